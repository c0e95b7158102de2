"""Random label noise by the paper's rule (section 2)."""

import jax
import numpy as np
from jaxtyping import Array
from jaxtyping import Bool
from jaxtyping import Int
from jaxtyping import Key


def corrupt_labels(
  key: Key[Array, ''],
  labels: Int[np.ndarray, ' example'],
  num_classes: int,
  noise_fraction: float,
) -> tuple[Int[np.ndarray, ' example'], Bool[np.ndarray, ' example']]:
  """Give a random fraction of the examples a wrong label.

  Exactly round(noise_fraction * N) examples, drawn uniformly, get one of the
  *other* classes, drawn uniformly. With the same key the noisy examples of a
  smaller fraction are among those of a larger one, with the same wrong
  labels, so noise levels are compared on common random numbers.

  Args:
    key: of this draw.
    labels: in [0, num_classes).
    num_classes: at least 2.
    noise_fraction: in [0, 1].

  Returns:
    labels: the training labels.
    is_noisy: whether an example's label was changed.
  """
  order_key, class_key = jax.random.split(key)
  num_examples = len(labels)
  num_noisy = round(noise_fraction * num_examples)
  order = np.asarray(jax.random.permutation(order_key, num_examples))
  # An offset in 1..num_classes - 1 reaches every class except the true one.
  offsets = np.asarray(
    jax.random.randint(class_key, (num_examples,), 1, num_classes)
  )
  is_noisy = np.zeros(num_examples, bool)
  is_noisy[order[:num_noisy]] = True
  wrong = (labels + offsets) % num_classes
  return np.where(is_noisy, wrong, labels).astype(np.int32), is_noisy
