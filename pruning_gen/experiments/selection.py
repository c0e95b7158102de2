"""Which examples pruning changes: read off the arrays that a chain left."""

import numpy as np
import pandas as pd

from pruning_gen.analysis import statistics
from pruning_gen.experiments import protocol
from pruning_gen.storage import results

# How many examples of each label set are kept with their images.
NUM_WORSENED = 24


def optimal_level(config, workdir, noise_fraction):
  """Return the level, of those pruned, with the lowest validation error.

  Args:
    config: the config.
    workdir: path of a finished chain.
    noise_fraction: float.
  """
  table = results.read_results(workdir)
  curve = table[
    (table.experiment == 'chain')
    & (table.arm == 'pruning')
    & (table.noise_fraction == noise_fraction)
    & table.level.between(1, config.levels)
  ]
  return statistics.optimal_level(curve)


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
    where pruning improves.
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
  """
  labels = results.read_labels(workdir, 'chain')
  members = results.read_members(workdir, 'chain')
  rows = []
  for noise_fraction, replicate in protocol.label_sets(config):
    level = optimal_level(config, workdir, noise_fraction)
    change = effect(workdir, noise_fraction, replicate, level)
    pruned = read_pruned(workdir, noise_fraction, replicate, level)
    row = members.index[
      (members.noise_fraction == noise_fraction)
      & (members.replicate == replicate)
    ][0]
    for example_id in np.argsort(-change, kind='stable')[:NUM_WORSENED]:
      rows.append(
        {
          'noise_fraction': noise_fraction,
          'replicate': replicate,
          'level': level,
          'example_id': example_id,
          'label': labels['labels'][row, example_id],
          'true_label': labels['true_labels'][example_id],
          'prediction': pruned['prediction'][example_id],
          'effect': change[example_id],
        }
      )
  table = pd.DataFrame(rows)
  images = dataset.read_train_images(table.example_id.to_numpy())
  results.write_most_worsened(workdir, table, images)
