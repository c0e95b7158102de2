"""What is measured on every network of every experiment at a level's end."""

import numpy as np

from pruning_gen.storage import results


def label_arrays(engine):
  """Return the labels that a stack trains on, as they are stored.

  Returns:
    Dict of arrays: labels uint16 and is_noisy bool [member, example_id],
    left_out bool [member, example_id], true_labels uint16 [example_id].
  """
  left_out = np.ones(engine.labels.shape, bool)
  np.put_along_axis(left_out, engine.example_ids, False, axis=1)
  return {
    'labels': engine.labels.astype(np.uint16),
    'is_noisy': engine.is_noisy,
    'left_out': left_out,
    'true_labels': engine.dataset.train_labels.astype(np.uint16),
  }


def measure(engine, state):
  """Score a stack at the end of a level.

  Args:
    engine: Engine.
    state: the stack.

  Returns:
    arrays: dict of arrays [member, example_id]: cross_entropy float32 (nats;
      NaN for an image that cannot be decoded), prediction uint16 (the
      predicted class, or `results.UNDECODED`), correct bool (on the training
      label), el2n float32.
    rows: list of dicts, one for each member, the columns of results.csv that
      can be read off a network. Training losses and errors are of the
      examples that it trains on; no mean counts what cannot be decoded. A
      network whose loss is not finite has no metrics: `diverged` is 1.
  """
  scores = engine.score(state)
  train = scores['train']
  arrays = {
    'cross_entropy': train.cross_entropy,
    'prediction': np.where(
      train.prediction < 0, results.UNDECODED, train.prediction
    ).astype(np.uint16),
    'correct': train.prediction == engine.labels,
    'el2n': train.el2n,
  }
  num_kept = engine.num_kept(state)
  rows = []
  for i, member in enumerate(engine.members):
    own = {
      'width': 1.0,
      'num_weights': engine.num_weights,
      'weights_remaining': num_kept[i] / engine.num_weights,
      'num_train': engine.example_ids.shape[1],
    }
    seen = engine.example_ids[i]
    own |= _train_columns(
      train.cross_entropy[i, seen],
      train.prediction[i, seen],
      engine.labels[i, seen],
      engine.is_noisy[i, seen],
    )
    test = scores['test']
    own['validation_error'] = _error(
      scores['validation'].prediction[i], engine.dataset.validation_labels
    )
    own['test_error'] = _error(test.prediction[i], engine.dataset.test_labels)
    own['test_cross_entropy'] = _mean(
      test.cross_entropy[i], test.prediction[i] >= 0
    )
    own['diverged'] = 0
    if not np.isfinite(own['train_cross_entropy']):
      # Masks are known, whatever the weights have become.
      known = {'width', 'num_weights', 'weights_remaining', 'num_train'}
      measured = own.keys() - known
      own |= dict.fromkeys(measured, np.nan) | {'diverged': 1}
    rows.append(member._asdict() | own)
  return arrays, rows


def _train_columns(cross_entropy, prediction, labels, is_noisy):
  decoded = prediction >= 0
  return {
    'train_cross_entropy': _mean(cross_entropy, decoded),
    'train_error': _error(prediction, labels),
    'train_cross_entropy_original': _mean(cross_entropy, decoded & ~is_noisy),
    'train_cross_entropy_noisy': _mean(cross_entropy, decoded & is_noisy),
  }


def _error(prediction, labels):
  """Return which part of what can be decoded is not predicted right."""
  decoded = prediction >= 0
  return np.mean(prediction[decoded] != labels[decoded])


def _mean(losses, where):
  """Average in float64; NaN, an empty field of the table, over no examples."""
  return losses[where].mean(dtype=np.float64) if where.any() else np.nan
