"""Which examples pruning changes: read off the arrays that a chain left."""

import numpy as np
import pandas as pd

from pruning_gen import config as protocol
from pruning_gen.analysis import statistics
from pruning_gen.errors import UserError
from pruning_gen.storage import results

# How many examples of each label set are kept with their images.
NUM_WORSENED = 24


def label_sets(config, workdir):
  """List the draws of the labels whose pruned network did not diverge.

  Args:
    config: the config.
    workdir: path of a finished chain.

  Returns:
    List of (noise_fraction, replicate).
  """
  curve = _read_curve(config, workdir)
  known = set(zip(curve.noise_fraction, curve.replicate))
  return [own for own in protocol.label_sets(config) if own in known]


def optimal_level(config, workdir, noise_fraction):
  """Return the level, of those pruned, with the lowest validation error.

  Args:
    config: the config.
    workdir: path of a finished chain.
    noise_fraction: float, of one of `label_sets`.
  """
  curve = _read_curve(config, workdir)
  return statistics.optimal_level(curve[curve.noise_fraction == noise_fraction])


def _read_curve(config, workdir):
  table = results.read_results(workdir)
  table = table[(table.experiment == 'chain') & (table.arm == 'pruning')]
  table, _ = statistics.drop_diverged(table)
  return table[table.level.between(1, config.levels)]


def read_pruned(workdir, noise_fraction, replicate, level):
  """Read what a network of arm `pruning` makes of every training example.

  Returns:
    Dict of arrays [example_id]; see `measure.measure`.
  """
  members = results.read_members(workdir, 'chain')
  row = members.index[
    (members.arm == 'pruning')
    & (members.noise_fraction == noise_fraction)
    & (members.replicate == replicate)
  ][0]
  arrays = results.read_level(workdir, 'chain', level)
  return {name: array[row] for name, array in arrays.items()}


def effect(workdir, noise_fraction, replicate, level):
  """Return how pruning to a level changes each example's training loss.

  Returns:
    float32 [example_id]: its loss minus the dense network's; in nats, below 0
    where pruning improves, NaN for an image that cannot be decoded.
  """
  pruned, dense = (
    read_pruned(workdir, noise_fraction, replicate, at)['cross_entropy']
    for at in (level, 0)
  )
  return pruned - dense


def write_most_worsened(config, workdir, dataset):
  """Write the examples that the optimal sparsity worsens most, with images.

  Args:
    config: the config.
    workdir: path of a finished chain with an arm `pruning`.
    dataset: Dataset, or StreamedDataset.

  Raises:
    UserError: every pruned network diverged.
  """
  labels = results.read_labels(workdir, 'chain')
  members = results.read_members(workdir, 'chain')
  rows = []
  for noise_fraction, replicate in label_sets(config, workdir):
    level = optimal_level(config, workdir, noise_fraction)
    change = effect(workdir, noise_fraction, replicate, level)
    pruned = read_pruned(workdir, noise_fraction, replicate, level)
    row = members.index[
      (members.noise_fraction == noise_fraction)
      & (members.replicate == replicate)
    ][0]
    # NaN is last in this order.
    worst = np.argsort(-change, kind='stable')[:NUM_WORSENED]
    rows.append(
      pd.DataFrame(
        {
          'noise_fraction': noise_fraction,
          'replicate': replicate,
          'level': level,
          'example_id': worst,
          'label': labels['labels'][row, worst],
          'true_label': labels['true_labels'][worst],
          'prediction': pruned['prediction'][worst],
          'effect': change[worst],
        }
      )
    )
  if not rows:
    raise UserError(
      'chain: every network of arm pruning diverged, so there is no optimal '
      'sparsity and no effect of pruning: lower config.learning_rate (now '
      f'{config.learning_rate:g}) in another --workdir'
    )
  table = pd.concat(rows, ignore_index=True)
  images = dataset.read_train_images(table.example_id.to_numpy())
  results.write_most_worsened(workdir, table, images)
