import jax
import numpy as np
import pytest

from pruning_gen.data import label_noise

LABELS = np.arange(1000, dtype=np.int32) % 10


def corrupt(seed, fraction, labels=LABELS, num_classes=10, kind='other'):
  return label_noise.corrupt_labels(
    jax.random.key(seed), labels, num_classes, fraction, kind
  )


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


@pytest.mark.parametrize(
  'kind, expected',
  [
    ('other', [0, 1, 3, 3, 4, 2, 0, 0, 3, 4]),
    ('uniform', [0, 1, 1, 3, 4, 4, 1, 1, 3, 4]),
    ('permuted', [0, 1, 2, 3, 4, 0, 2, 1, 3, 4]),
    ('pair', [0, 1, 3, 3, 4, 1, 2, 3, 3, 4]),
  ],
)
def test_each_kind_literally(kind, expected):
  true_labels = np.arange(10, dtype=np.int32) % 5
  labels, is_noisy = corrupt(3, 0.4, true_labels, 5, kind)
  np.testing.assert_array_equal(labels, expected)
  np.testing.assert_array_equal(is_noisy, labels != true_labels)
  assert labels.dtype == np.int32
  # It is the labels of examples 2, 5, 6 and 7 that are drawn.
  assert set(np.flatnonzero(is_noisy)) <= {2, 5, 6, 7}
  assert true_labels.tolist() == [0, 1, 2, 3, 4] * 2


def test_uniform_noise_keeps_one_label_in_ten():
  labels, is_noisy = corrupt(0, 1.0, np.zeros(9000, np.int32), kind='uniform')
  counts = np.bincount(labels, minlength=10)
  assert np.all(np.abs(counts - 900) < 5 * np.sqrt(900 * 9 / 10))
  assert is_noisy.sum() == 9000 - counts[0]


def test_permuted_noise_keeps_the_classes():
  labels, is_noisy = corrupt(0, 0.5, kind='permuted')
  assert np.bincount(labels).tolist() == [100] * 10
  # Of 500 that are chosen, about a tenth get the label they had.
  assert 400 < is_noisy.sum() < 500


@pytest.mark.parametrize('kind', ['uniform', 'pair'])
def test_levels_of_noise_are_nested_for_other_kinds(kind):
  less, some = corrupt(0, 0.1, kind=kind)
  more, _ = corrupt(0, 0.3, kind=kind)
  np.testing.assert_array_equal(less[some], more[some])
