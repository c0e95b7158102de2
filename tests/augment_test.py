import jax
import jax.numpy as jnp
import numpy as np

from pruning_gen.data import augment

KEY = jax.random.key(0)
# Every pixel is told apart from every other, and from the black border.
IMAGE = np.arange(1, 1 + 36 * 3, dtype=np.uint8).reshape(6, 6, 3)


def augmented(ids, key=KEY):
  images = jnp.broadcast_to(jnp.asarray(IMAGE), (len(ids), *IMAGE.shape))
  return np.asarray(augment.flip_and_crop(key, images, jnp.asarray(ids)))


def every_result():
  """All 2 x 9 x 9 images that augmentation may make, by their bytes."""
  results = {}
  for flip in (0, 1):
    image = IMAGE[:, ::-1] if flip else IMAGE
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))
    for row in range(9):
      for column in range(9):
        crop = padded[row : row + 6, column : column + 6]
        results[crop.tobytes()] = (flip, row, column)
  return results


def test_each_is_a_crop_of_its_padded_or_mirrored_image():
  allowed = every_result()
  drawn = [allowed[image.tobytes()] for image in augmented(range(2000))]
  assert augmented([0]).dtype == np.uint8
  flips, rows, columns = np.transpose(drawn)
  # Uniform: 5 standard deviations of the binomial counts.
  assert abs(flips.mean() - 0.5) < 5 * np.sqrt(0.25 / 2000)
  for offsets in (rows, columns):
    counts = np.bincount(offsets, minlength=9)
    assert np.abs(counts - 2000 / 9).max() < 5 * np.sqrt(2000 * 8 / 81)
  # Independent of each other: all 162 are seen.
  assert len(set(drawn)) > 155


def test_depends_on_key_and_example_alone():
  together = augmented([5, 6, 7])
  np.testing.assert_array_equal(together[2], augmented([7])[0])
  other = augmented(range(50), jax.random.key(1))
  assert (other != augmented(range(50))).any()


def test_images_of_a_batch_differ_from_each_other():
  assert len({image.tobytes() for image in augmented(range(20))}) > 10
