"""Random label noise: the paper's rule (section 2), and those of others.

A new kind is a function that draws labels and one entry of `KINDS`;
`config.noise.kind` chooses from its names.
"""

from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Array
from jaxtyping import Bool
from jaxtyping import Int
from jaxtyping import Key

# (key, labels, chosen, num_classes) -> the new labels of the chosen examples.
Draw = Callable[
  [
    Key[Array, ''],
    Int[np.ndarray, ' example'],
    Int[np.ndarray, ' chosen'],
    int,
  ],
  Int[np.ndarray, ' chosen'],
]


def _draw_other(key, labels, chosen, num_classes):
  # An offset in 1..num_classes - 1 reaches every class except the true one. All
  # examples get one, so that more noise changes no label that less noise drew.
  offsets = jax.random.randint(key, (len(labels),), 1, num_classes)
  return (labels + np.asarray(offsets))[chosen] % num_classes


def _draw_uniform(key, labels, chosen, num_classes):
  classes = jax.random.randint(key, (len(labels),), 0, num_classes)
  return np.asarray(classes)[chosen]


def _permute(key, labels, chosen, num_classes):
  del num_classes
  return labels[np.asarray(jax.random.permutation(key, chosen))]


def _pair(key, labels, chosen, num_classes):
  del key
  return (labels[chosen] + 1) % num_classes


KINDS: dict[str, Draw] = {
  # One of the other classes (the paper).
  'other': _draw_other,
  # Any class: with C classes, one in C keeps its label (OpenLTH).
  'uniform': _draw_uniform,
  # The labels of the chosen in another order, which leaves the number of
  # examples of each class as it is (Paul et al. 2021).
  'permuted': _permute,
  # The next class: k becomes k + 1, and the last class 0 (asymmetric noise).
  'pair': _pair,
}


def corrupt_labels(
  key: Key[Array, ''],
  labels: Int[np.ndarray, ' example'],
  num_classes: int,
  noise_fraction: float,
  kind: str = 'other',
) -> tuple[Int[np.ndarray, ' example'], Bool[np.ndarray, ' example']]:
  """Draw new labels for a random fraction of the examples.

  Exactly round(noise_fraction * N) examples are chosen, uniformly; with
  'other' and 'pair' all of them get a wrong label. With the same key the
  chosen examples of a smaller fraction are among those of a larger one, with
  the same new labels unless they are permuted, so noise levels are compared on
  common random numbers.

  Args:
    labels: in [0, num_classes).
    num_classes: at least 2.
    noise_fraction: in [0, 1].
    kind: a name in `KINDS`.

  Returns:
    labels: the training labels.
    is_noisy: whether an example's label was changed.
  """
  order_key, class_key = jax.random.split(key)
  num_chosen = round(noise_fraction * len(labels))
  order = np.asarray(jax.random.permutation(order_key, len(labels)))
  chosen = order[:num_chosen]
  noisy = labels.astype(np.int32)
  noisy[chosen] = KINDS[kind](class_key, labels, chosen, num_classes)
  return noisy, noisy != labels
