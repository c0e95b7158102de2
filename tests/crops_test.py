import numpy as np
import pytest

from pruning_gen.data import crops


def test_center_box():
  assert crops.center_box(256, 256) == (16, 16, 240, 240)
  # 512 x 256, once resized.
  assert crops.center_box(1024, 512) == (288, 32, 736, 480)


def test_draws_never_change():
  # Change these, and every published run changes its data.
  draws = crops.augment_draws(0, 1, 2, 3)
  assert len(draws) == 41
  assert draws[:2] == [0.6572874874286314, 0.722336558056354]
  assert crops.random_crop(500, 375, draws[1:]) == (77, 0, 385, 365)


def test_random_crops_are_in_range():
  areas, ratios, lefts, flips = [], [], [], []
  for example_id in range(4000):
    flip, *draws = crops.augment_draws(0, 0, 0, example_id)
    left, top, width, height = crops.random_crop(4000, 4000, draws)
    assert 0 <= left <= 4000 - width
    assert 0 <= top <= 4000 - height
    areas.append(width * height / 16e6)
    ratios.append(width / height)
    lefts.append(left / max(4000 - width, 1))
    flips.append(flip < 0.5)
  assert 0.0999 < min(areas) < 0.102
  assert 0.95 < max(areas) <= 1
  assert 0.799 < min(ratios) < 0.801
  assert 1.249 < max(ratios) < 1.251
  # Half of the ratios are below 1: the draw is uniform in their logarithm.
  assert np.mean(np.array(ratios) < 1) == pytest.approx(0.5, abs=0.03)
  assert np.mean(lefts) == pytest.approx(0.5, abs=0.02)
  assert np.mean(flips) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
  'size, crop',
  [
    ((2000, 50), (969, 0, 62, 50)),
    ((50, 2000), (0, 969, 50, 62)),
    ((1, 1), (0, 0, 1, 1)),
    ((3, 1), (1, 0, 1, 1)),
  ],
)
def test_a_crop_that_never_fits_is_central(size, crop):
  # The largest area, which is no narrower than 0.8 of its height.
  assert crops.random_crop(*size, [1 - 2**-53] * 40) == crop
