import numpy as np
import pytest

from pruning_gen.data import subgroups
from pruning_gen.errors import UserError


def test_groups_by_rank():
  scores = np.array([0.9, 0.1, 0.5, 0.3, 0.7, 0.2], np.float32)
  assert subgroups.assign(scores, 3).tolist() == [2, 0, 1, 1, 2, 0]


def test_ties_go_by_example_id_and_sizes_differ_by_one():
  groups = subgroups.assign(np.zeros(10, np.float32), 4)
  assert groups.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]


def test_more_groups_than_examples():
  with pytest.raises(UserError, match='num_subgroups=4 must be at most 3'):
    subgroups.assign(np.zeros(3), 4)
