"""Subgroups of training examples, by how influential they are (section 3)."""

import numpy as np

from pruning_gen.errors import UserError


def divide(el2n, num_subgroups):
  """Divide examples into equal groups by the rank of their EL2N score.

  Args:
    el2n: float [example_id]; NaN for an image that cannot be decoded.
    num_subgroups: int, M; at most the number of examples.

  Returns:
    int64 [example_id], in [0, M): 0 has the lowest scores, M - 1 the highest;
    -1 for what has no score. Equal scores rank by example_id; sizes differ by
    at most 1.

  Raises:
    UserError: there are fewer examples than groups.
  """
  num_examples = np.isfinite(el2n).sum()
  if not 1 <= num_subgroups <= num_examples:
    raise UserError(
      f'config.num_subgroups={num_subgroups} must be between 1 and the number '
      f'of training examples ({num_examples}): choose fewer subgroups, or more '
      'examples (config.data.num_train)'
    )
  subgroup = np.full(len(el2n), -1)
  # Stable, so that ties do not depend on the sorting algorithm; NaN is last.
  order = np.argsort(el2n, kind='stable')[:num_examples]
  subgroup[order] = np.arange(num_examples) * num_subgroups // num_examples
  return subgroup
