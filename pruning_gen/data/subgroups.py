"""EL2N subgroups: equal groups of training examples, from easy to hard."""

import numpy as np

from pruning_gen.errors import UserError


def assign(scores, num_subgroups):
  """Assign each example to a group by the rank of its score.

  Args:
    scores: float [N], EL2N by example_id.
    num_subgroups: int, at most N.

  Returns:
    int [N], 0 for the lowest scores to num_subgroups - 1. Sizes differ by at
    most 1; ties go by example_id.

  Raises:
    UserError: there are fewer examples than groups.
  """
  num_examples = len(scores)
  if num_subgroups > num_examples:
    raise UserError(
      f'config.num_subgroups={num_subgroups} must be at most {num_examples}, '
      'the size of the training set'
    )
  ranks = np.empty(num_examples, int)
  ranks[np.argsort(scores, kind='stable')] = np.arange(num_examples)
  return ranks * num_subgroups // num_examples
