import jax
import numpy as np
import pytest

from pruning_gen.data import label_noise

LABELS = np.arange(1000, dtype=np.int32) % 10


def corrupt(seed, fraction, labels=LABELS, num_classes=10):
  return label_noise.corrupt_labels(
    jax.random.key(seed), labels, num_classes, fraction
  )


def test_literal():
  labels, is_noisy = corrupt(3, 0.4, np.arange(10, dtype=np.int32) % 5, 5)
  np.testing.assert_array_equal(labels, [0, 1, 3, 3, 4, 2, 0, 0, 3, 4])
  np.testing.assert_array_equal(np.flatnonzero(is_noisy), [2, 5, 6, 7])
  assert labels.dtype == np.int32


@pytest.mark.parametrize('fraction', [0.0, 0.05, 0.15, 0.333, 1.0])
def test_exactly_as_many_are_wrong_as_asked(fraction):
  labels, is_noisy = corrupt(0, fraction)
  assert is_noisy.sum() == round(fraction * 1000)
  np.testing.assert_array_equal(labels != LABELS, is_noisy)


def test_wrong_classes_are_uniform_over_the_others():
  labels, _ = corrupt(0, 1.0, np.zeros(9000, np.int32))
  counts = np.bincount(labels, minlength=10)
  assert counts[0] == 0
  # Nine classes of 1000 +- 5 standard deviations of a binomial draw.
  assert np.all(np.abs(counts[1:] - 1000) < 5 * np.sqrt(1000 * 8 / 9))


def test_replicates_differ_and_levels_of_noise_are_nested():
  _, some = corrupt(0, 0.1)
  labels, more = corrupt(0, 0.3)
  _, other = corrupt(1, 0.1)
  assert np.all(more[some])
  assert not np.array_equal(some, other)
  np.testing.assert_array_equal(corrupt(0, 0.1)[0][some], labels[some])


def test_two_classes_flip():
  labels, _ = corrupt(0, 1.0, np.array([0, 1, 1], np.int32), 2)
  np.testing.assert_array_equal(labels, [1, 0, 0])
