"""Measures every network at the end of a level, in every experiment."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Bool
from jaxtyping import Float
from jaxtyping import Int

from pruning_gen.engine.inputs import Spec
from pruning_gen.engine.programs import Programs
from pruning_gen.engine.stack import Stack
from pruning_gen.storage import results

# Known of a network whatever its weights have become.
_KNOWN = ('num_weights', 'num_kept', 'num_train')


def label_arrays(spec: Spec) -> dict[str, np.ndarray]:
  """Return the labels that a stack trains on, as they are stored.

  Returns:
    labels uint16, is_noisy bool and left_out bool [member, example_id];
    true_labels uint16 [example_id]; validation_labels and test_labels uint16
    [index].
  """
  stack, dataset = spec.stack, spec.dataset
  left_out = np.ones(stack.labels.shape, bool)
  np.put_along_axis(left_out, stack.example_ids, False, axis=1)
  return {
    'labels': stack.labels.astype(np.uint16),
    'is_noisy': stack.is_noisy,
    'left_out': left_out,
    'true_labels': dataset.train_labels.astype(np.uint16),
    'validation_labels': dataset.validation_labels.astype(np.uint16),
    'test_labels': dataset.test_labels.astype(np.uint16),
  }


def count_bytes(tree: Any) -> int:
  """Count the bytes of a tree of arrays, before compression."""
  leaves = jax.tree.leaves(tree)
  return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


def measure(
  programs: Programs, state: Any
) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
  """Evaluate a stack at the end of a level.

  Returns:
    arrays: [member, example_id]: cross_entropy float32 (nats; NaN for an image
      that cannot be decoded), prediction uint16 (the predicted class, or
      `results.UNDECODED`), correct bool (by the training label), el2n float32;
      and of held-out examples [member, index]: validation_cross_entropy,
      validation_prediction, test_cross_entropy, test_prediction.
    rows: one dict per member, with the columns of results.csv that can be read
      off a network. Training losses and errors are of the examples that it
      trains on; means leave out images that cannot be decoded. A network whose
      loss is not finite has no metrics: `diverged` is 1.
  """
  stack, dataset = programs.spec.stack, programs.spec.dataset
  evaluated = programs.evaluate(state)
  num_kept = programs.num_kept(state)
  train = evaluated['train']
  arrays = {
    'cross_entropy': train.cross_entropy,
    'prediction': _stored(train.prediction),
    'correct': train.prediction == stack.labels,
    'el2n': train.el2n,
  }
  for split in ('validation', 'test'):
    held_out = evaluated[split]
    arrays[f'{split}_cross_entropy'] = held_out.cross_entropy
    arrays[f'{split}_prediction'] = _stored(held_out.prediction)
  rows = []
  for i, member in enumerate(stack.members):
    own = jax.tree.map(lambda array, i=i: array[i], evaluated)
    row = {
      'num_weights': programs.num_weights,
      'num_kept': num_kept[i],
      'num_train': stack.example_ids.shape[1],
    }
    row |= _train_columns(own['train'], stack, i)
    row |= _held_out_columns(own, dataset)
    row['diverged'] = 0
    if not np.isfinite(row['train_cross_entropy']):
      metrics = row.keys() - set(_KNOWN)
      row |= dict.fromkeys(metrics, np.nan) | {'diverged': 1}
    rows.append(member._asdict() | row)
  return arrays, rows


def held_out_errors(
  programs: Programs, state: Any
) -> Float[np.ndarray, 'members splits']:
  """Evaluate a stack on the validation and the test examples."""
  dataset = programs.spec.dataset
  evaluated = programs.evaluate_held_out(state)
  columns = [
    [error(own, labels) for own in evaluated[split].prediction]
    for split, labels in (
      ('validation', dataset.validation_labels),
      ('test', dataset.test_labels),
    )
  ]
  return np.array(columns).T


def _stored(prediction: Int[np.ndarray, '...']) -> np.ndarray:
  """Return predictions as they are stored: uint16, without negative ones."""
  return np.where(prediction < 0, results.UNDECODED, prediction).astype(
    np.uint16
  )


def _train_columns(train: Any, stack: Stack, i: int) -> dict[str, float]:
  """Average over the training examples that a member sees."""
  seen = stack.example_ids[i]
  labels, is_noisy = stack.labels[i, seen], stack.is_noisy[i, seen]
  loss, prediction = train.cross_entropy[seen], train.prediction[seen]
  decoded = prediction >= 0
  return {
    'train_cross_entropy': _mean(loss, decoded),
    'train_error': error(prediction, labels),
    'train_cross_entropy_clean': _mean(loss, decoded & ~is_noisy),
    'train_cross_entropy_noisy': _mean(loss, decoded & is_noisy),
  }


def _held_out_columns(own: dict[str, Any], dataset: Any) -> dict[str, float]:
  validation, test = own['validation'], own['test']
  return {
    'validation_error': error(validation.prediction, dataset.validation_labels),
    'test_error': error(test.prediction, dataset.test_labels),
    'test_cross_entropy': _mean(test.cross_entropy, test.prediction >= 0),
  }


def error(
  prediction: Int[np.ndarray, ' n'], labels: Int[np.ndarray, ' n']
) -> float:
  """Return the fraction predicted wrong of the images that can be decoded."""
  decoded = prediction >= 0
  return np.mean(prediction[decoded] != labels[decoded])


def _mean(losses: Float[np.ndarray, ' n'], where: Bool[np.ndarray, ' n']):
  """Average in float64; NaN, an empty field of the table, over no examples."""
  return losses[where].mean(dtype=np.float64) if where.any() else np.nan
