"""Which examples pruning affects: read back from the arrays of a chain."""

import numpy as np
import pandas as pd
from etils import epath
from jaxtyping import Float

from pruning_gen.analysis import statistics
from pruning_gen.engine.session import Run
from pruning_gen.errors import UserError
from pruning_gen.experiments import label_sets
from pruning_gen.storage import results

# How many examples of each label set are kept with their images.
NUM_WORSENED = 24


def known_label_sets(run: Run) -> list[tuple[float, int]]:
  """List the label sets whose pruned network did not diverge."""
  curve = _read_curve(run)
  known = set(zip(curve.noise_fraction, curve.replicate))
  return [own for own in label_sets.list_label_sets(run.config) if own in known]


def optimal_level(run: Run, noise_fraction: float) -> int:
  """Return the level, of those pruned, with the lowest validation error."""
  curve = _read_curve(run)
  return statistics.optimal_level(curve[curve.noise_fraction == noise_fraction])


def _read_curve(run: Run) -> pd.DataFrame:
  table = results.read_results(run.workdir)
  table = table[(table.experiment == 'chain') & (table.arm == 'pruning')]
  table, _ = statistics.drop_diverged(table)
  return table[table.level.between(1, run.config.levels)]


def read_pruned(
  workdir: epath.PathLike, noise_fraction: float, replicate: int, level: int
) -> dict[str, np.ndarray]:
  """Read the arrays [example_id] of one network of the arm `pruning`."""
  row = _row_of(workdir, noise_fraction, replicate)
  arrays = results.read_level(workdir, 'chain', level)
  return {name: array[row] for name, array in arrays.items()}


def _row_of(
  workdir: epath.PathLike, noise_fraction: float, replicate: int
) -> int:
  members = results.read_members(workdir, 'chain')
  return members.index[
    (members.arm == 'pruning')
    & (members.noise_fraction == noise_fraction)
    & (members.replicate == replicate)
  ][0]


def effect(
  workdir: epath.PathLike, noise_fraction: float, replicate: int, level: int
) -> Float[np.ndarray, ' example_id']:
  """Return how pruning to a level changes each example's training loss.

  The loss minus the dense network's, in nats: negative where pruning improves
  it, NaN for an image that cannot be decoded.
  """
  pruned, dense = (
    read_pruned(workdir, noise_fraction, replicate, at)['cross_entropy']
    for at in (level, 0)
  )
  return pruned - dense


def write_most_worsened(run: Run) -> None:
  """Write the examples that the optimal sparsity worsens most, with images.

  Raises:
    UserError: every pruned network diverged.
  """
  tables = [
    _most_worsened(run, *label_set) for label_set in known_label_sets(run)
  ]
  if not tables:
    raise UserError(
      'chain: every network of arm pruning diverged, so there is no optimal '
      'sparsity and no effect of pruning: lower config.learning_rate (now '
      f'{run.config.learning_rate:g}) in another --workdir'
    )
  table = pd.concat(tables, ignore_index=True)
  images = run.dataset.read_train_images(table.example_id.to_numpy())
  results.write_most_worsened(run.workdir, table, images)


def _most_worsened(
  run: Run, noise_fraction: float, replicate: int
) -> pd.DataFrame:
  level = optimal_level(run, noise_fraction)
  network = (run.workdir, noise_fraction, replicate)
  change = effect(*network, level)
  labels = results.read_labels(run.workdir, 'chain')
  # NaN is last in this order.
  worst = np.argsort(-change, kind='stable')[:NUM_WORSENED]
  return pd.DataFrame(
    {
      'noise_fraction': noise_fraction,
      'replicate': replicate,
      'level': level,
      'example_id': worst,
      'label': labels['labels'][_row_of(*network), worst],
      'true_label': labels['true_labels'][worst],
      'prediction': read_pruned(*network, level)['prediction'][worst],
      'effect': change[worst],
    }
  )
