"""What is measured on every network of every experiment at a level's end."""

import numpy as np


def label_arrays(engine):
  """Return the labels that a stack trains on, as they are stored.

  Returns:
    Dict of arrays: labels uint16 and is_noisy bool [member, example_id],
    true_labels uint16 [example_id].
  """
  return {
    'labels': engine.labels.astype(np.uint16),
    'is_noisy': engine.is_noisy,
    'true_labels': engine.dataset.train_labels.astype(np.uint16),
  }


def measure(engine, state):
  """Score a stack at the end of a level.

  Args:
    engine: Engine.
    state: the stack.

  Returns:
    arrays: dict of arrays [member, example_id]: cross_entropy float32 (nats),
      prediction uint16 (the predicted class), correct bool (on the training
      label).
    rows: list of dicts, one for each member, the columns of results.csv that
      can be read off a network.
  """
  scores = engine.score(state)
  train = scores['train']
  arrays = {
    'cross_entropy': train.cross_entropy,
    'prediction': train.prediction.astype(np.uint16),
    'correct': train.prediction == engine.labels,
  }
  weights_remaining = engine.num_kept(state) / engine.num_weights
  rows = []
  for i, member in enumerate(engine.members):
    own = {
      'width': 1.0,
      'num_weights': engine.num_weights,
      'weights_remaining': weights_remaining[i],
      'num_train': len(engine.dataset.train_labels),
    }
    own |= _train_columns(
      train.cross_entropy[i], arrays['correct'][i], engine.is_noisy[i]
    )
    for split, labels in (
      ('validation', engine.dataset.validation_labels),
      ('test', engine.dataset.test_labels),
    ):
      own[f'{split}_error'] = np.mean(scores[split].prediction[i] != labels)
    own['test_cross_entropy'] = _mean(scores['test'].cross_entropy[i])
    rows.append(member._asdict() | own)
  return arrays, rows


def _train_columns(cross_entropy, correct, is_noisy):
  return {
    'train_cross_entropy': _mean(cross_entropy),
    'train_error': np.mean(~correct),
    'train_cross_entropy_original': _mean(cross_entropy[~is_noisy]),
    'train_cross_entropy_noisy': _mean(cross_entropy[is_noisy]),
  }


def _mean(losses):
  """Average in float64; NaN, an empty field of the table, over no examples."""
  return losses.mean(dtype=np.float64) if len(losses) else np.nan
