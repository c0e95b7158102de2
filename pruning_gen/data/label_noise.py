"""Random label noise by the paper's rule (section 2)."""

import jax
import numpy as np


def corrupt_labels(key, labels, num_classes, noise_fraction):
  """Give a random part of the examples a wrong label.

  Exactly round(noise_fraction * N) examples, drawn uniformly, get one of the
  *other* classes, drawn uniformly. With one key the noisy examples of a
  smaller fraction are among those of a larger one, with the same wrong
  labels, so noise levels are compared on common random numbers.

  Args:
    key: PRNG key.
    labels: int32 [N], in [0, num_classes).
    num_classes: int, at least 2.
    noise_fraction: float in [0, 1].

  Returns:
    labels: int32 [N], the training labels.
    is_noisy: bool [N], whether an example's label was changed.
  """
  order_key, class_key = jax.random.split(key)
  num_examples = len(labels)
  num_noisy = round(noise_fraction * num_examples)
  order = np.asarray(jax.random.permutation(order_key, num_examples))
  # An offset in 1..num_classes - 1 reaches every class but the true one.
  offsets = np.asarray(
    jax.random.randint(class_key, (num_examples,), 1, num_classes)
  )
  is_noisy = np.zeros(num_examples, bool)
  is_noisy[order[:num_noisy]] = True
  wrong = (labels + offsets) % num_classes
  return np.where(is_noisy, wrong, labels).astype(np.int32), is_noisy
