"""Subgroups of training examples, by how influential they are (section 3)."""

import numpy as np
from jaxtyping import Float
from jaxtyping import Int

from pruning_gen.errors import UserError


def divide(
  el2n: Float[np.ndarray, ' example'], num_subgroups: int
) -> Int[np.ndarray, ' example']:
  """Divide examples into equal groups by the rank of their EL2N.

  Args:
    el2n: NaN for an image that cannot be decoded.
    num_subgroups: M; at most the number of examples.

  Returns:
    The group of each example, in [0, M): 0 has the lowest EL2N, M - 1 the
    highest; -1 without EL2N. Equal values rank by example_id; sizes differ by
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
