"""What is measured on every network of every experiment at a level's end."""

import numpy as np


def example_arrays(scores):
  """Return the per-example arrays that a level leaves behind.

  Args:
    scores: ExampleScores of the training split, [members, num_train].

  Returns:
    Dict of arrays [member, example_id]: cross_entropy float32 (nats),
    prediction uint16 (the predicted class).
  """
  return {
    'cross_entropy': scores.cross_entropy,
    'prediction': scores.prediction.astype(np.uint16),
  }


def rows(members, scores, labels, is_noisy, dataset, common):
  """Return one row of results.csv for each member.

  Means are taken in float64 over float32 losses.

  Args:
    members: list of Member.
    scores: dict from split to ExampleScores [members, N].
    labels: int32 [members, num_train].
    is_noisy: bool [members, num_train].
    dataset: Dataset.
    common: dict of the other columns; arrays have one entry for each member.
  """
  table = []
  for i, member in enumerate(members):
    losses = scores['train'].cross_entropy[i].astype(np.float64)
    own = {
      key: value[i] if isinstance(value, np.ndarray) else value
      for key, value in common.items()
    }
    table.append(
      own
      | member._asdict()
      | {
        'train_cross_entropy': losses.mean(),
        'train_error': _error(scores['train'].prediction[i], labels[i]),
        'train_cross_entropy_original': _mean(losses[~is_noisy[i]]),
        'train_cross_entropy_noisy': _mean(losses[is_noisy[i]]),
        'validation_error': _error(
          scores['validation'].prediction[i], dataset.validation_labels
        ),
        'test_error': _error(scores['test'].prediction[i], dataset.test_labels),
        'test_cross_entropy': scores['test']
        .cross_entropy[i]
        .astype(np.float64)
        .mean(),
      }
    )
  return table


def _error(prediction, labels):
  return np.mean(prediction != labels)


def _mean(losses):
  """Average; NaN, an empty field of the table, over no examples."""
  return losses.mean() if len(losses) else np.nan
