"""How examples are divided into splits: always the same, whatever the seed."""

import numpy as np
from jaxtyping import Int

# A data set's arrays, as files name them.
ARRAYS = ('train_images', 'train_labels', 'test_images', 'test_labels')


def split_test(
  num_examples: int,
) -> tuple[Int[np.ndarray, ' num_validation'], Int[np.ndarray, ' num_test']]:
  """Set 20 % of a test split aside for validation, always the same.

  Args:
    num_examples: the size of the whole test split.

  Returns:
    validation: positions in the test split, ascending.
    test: the other positions, ascending.
  """
  order = fixed_permutation(num_examples)
  num_validation = num_examples // 5
  # Sorted, so that a split is read in order and its ids stay meaningful.
  return np.sort(order[:num_validation]), np.sort(order[num_validation:])


def fixed_permutation(n: int) -> Int[np.ndarray, ' n']:
  """Return the one permutation of so many examples."""
  # RandomState's streams never change; those of newer generators and of JAX
  # may change between versions, and these splits must not.
  return np.random.RandomState(0).permutation(n)
