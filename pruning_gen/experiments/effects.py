"""Which examples pruning affects, read from the arrays of a chain."""

import numpy as np
import pandas as pd
from etils import epath
from jaxtyping import Float

from pruning_gen.analysis import statistics
from pruning_gen.engine.part import Run
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
  curve = _read_curve(run, noise_fraction)
  return statistics.optimal_level(curve[curve.level > 0])


def num_weights_at(run: Run, noise_fraction: float, level: int) -> int:
  """Return how many weights pruning leaves at a level."""
  curve = _read_curve(run, noise_fraction)
  row = curve[curve.level == level].iloc[0]
  return round(row.num_weights * row.weights_remaining)


def highest_improving_level(run: Run, noise_fraction: float) -> int | None:
  """Return the sparsest level that is better than dense, if there is one."""
  curve = _read_curve(run, noise_fraction)
  dense = statistics.select(curve, level=0).test_error
  for level in range(run.config.levels, 0, -1):
    pruned = statistics.select(curve, level=level).test_error
    if statistics.compare(pruned, dense).verdict == 'better':
      return level
  return None


def _read_curve(run: Run, noise_fraction: float | None = None) -> pd.DataFrame:
  """Read the arm `pruning` of a chain, without networks that diverged.

  Up to the config's last level, of networks that have all levels: others may
  be of another start.
  """
  table = results.read_results(run.workdir)
  table = table[(table.experiment == 'chain') & (table.arm == 'pruning')]
  table, _ = statistics.drop_diverged(table)
  if noise_fraction is not None:
    table = table[table.noise_fraction == noise_fraction]
  table = table[table.level <= run.config.levels]
  levels = table.groupby(['noise_fraction', 'replicate'])['level']
  return table[levels.transform('size') > run.config.levels]


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


def has_most_worsened(run: Run) -> bool:
  """Return whether `write_most_worsened` has written every network's."""
  if not results.MOST_WORSENED.exists(run.workdir):
    return False
  table, _ = results.MOST_WORSENED.read(run.workdir)
  networks = table[['noise_fraction', 'replicate', 'level']]
  return set(networks.itertuples(index=False, name=None)) == set(
    _worsened_networks(run)
  )


def write_most_worsened(run: Run) -> None:
  """Write the examples that pruning worsens most, with images.

  Raises:
    UserError: every pruned network diverged.
  """
  tables = [
    _most_worsened(run, *network) for network in _worsened_networks(run)
  ]
  if not tables:
    raise UserError(
      'chain: every network of arm pruning diverged, so there is no optimal '
      'sparsity and no effect of pruning: lower config.learning_rate (now '
      f'{run.config.learning_rate:g}) in another --workdir'
    )
  table = pd.concat(tables, ignore_index=True)
  images = run.dataset.read_train_images(table.example_id.to_numpy())
  results.MOST_WORSENED.write(run.workdir, table, images)


def _worsened_networks(run: Run) -> list[tuple[float, int, int]]:
  """List (noise_fraction, replicate, level) of the networks to look at.

  At the optimal sparsity, and at the highest that still improves; of every
  label set of the workdir, whether the config names it or not.
  """
  curve = _read_curve(run)
  levels = {
    noise_fraction: {
      optimal_level(run, noise_fraction),
      highest_improving_level(run, noise_fraction),
    }
    for noise_fraction in set(curve.noise_fraction)
  }
  return sorted(
    (noise_fraction, replicate, level)
    for noise_fraction, replicate in set(
      zip(curve.noise_fraction, curve.replicate)
    )
    for level in levels[noise_fraction] - {None}
  )


def _most_worsened(
  run: Run, noise_fraction: float, replicate: int, level: int
) -> pd.DataFrame:
  network = (run.workdir, noise_fraction, replicate)
  change = effect(*network, level)
  labels = results.read_labels(run.workdir, 'chain')
  # NaN, of images that cannot be decoded, sorts last.
  num_worst = min(NUM_WORSENED, np.isfinite(change).sum())
  worst = np.argsort(-change, kind='stable')[:num_worst]
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
