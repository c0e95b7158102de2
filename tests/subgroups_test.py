import numpy as np
import pytest

from pruning_gen.data import subgroups
from pruning_gen.errors import UserError


def test_equal_groups_by_rank():
  el2n = np.array([0.9, 0.1, 0.5, 0.3, 0.7, 0.2], np.float32)
  assert subgroups.divide(el2n, 3).tolist() == [2, 0, 1, 1, 2, 0]
  assert subgroups.divide(el2n, 6).tolist() == [5, 0, 3, 2, 4, 1]
  assert subgroups.divide(el2n, 1).tolist() == [0] * 6


def test_ties_rank_by_example_id():
  assert subgroups.divide(np.ones(4), 2).tolist() == [0, 0, 1, 1]
  assert subgroups.divide(np.array([1, 0, 1, 0]), 4).tolist() == [2, 0, 3, 1]


@pytest.mark.parametrize('num_examples, num_subgroups', [(10, 4), (1437, 20)])
def test_sizes_differ_by_at_most_one(num_examples, num_subgroups):
  el2n = np.random.default_rng(0).random(num_examples)
  sizes = np.bincount(subgroups.divide(el2n, num_subgroups))
  assert len(sizes) == num_subgroups
  assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize('num_subgroups', [0, 4])
def test_impossible_numbers_of_groups(num_subgroups):
  message = rf'config.num_subgroups={num_subgroups} must be between 1 and .*3'
  with pytest.raises(UserError, match=message):
    subgroups.divide(np.zeros(3), num_subgroups)


def test_what_has_no_score_is_in_no_group():
  scores = np.array([3.0, np.nan, 1.0, 2.0, 4.0])
  assert subgroups.divide(scores, 2).tolist() == [1, -1, 0, 0, 1]
