"""What stays of a level's networks: chosen weights, and the sizes of layers."""

from concurrent import futures
from typing import Any

import jax
import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from pruning_gen import processes
from pruning_gen.engine import measure
from pruning_gen.engine.part import Part
from pruning_gen.engine.part import Run
from pruning_gen.engine.programs import Programs
from pruning_gen.storage import files
from pruning_gen.storage import level_tables
from pruning_gen.storage import networks
from pruning_gen.storage import results
from pruning_gen.storage.networks import StoredNetwork

# What `StoredNetwork.metadata` has of a row of results.csv.
_RESULTS = ('weights_remaining', 'validation_error', 'test_error')


def count_bytes(config: ConfigDict, programs: Programs) -> int:
  """Count the bytes of the networks to keep, at most, before compression."""
  keep = set(config.checkpoint.keep_levels)
  state = programs.packed.state
  size = measure.count_bytes((state.params, state.batch_stats, state.masks))
  return size * (config.levels + 1 if 'all' in keep else len(keep))


def write_level(
  run: Run, part: Part, programs: Programs, state: Any, rows: list[dict]
) -> None:
  """Write layers.csv and the networks to keep, and drop what is superseded.

  Call it right before the rows are written. A level that a kill interrupts is
  then measured again, and leaves the same files.

  Args:
    part: the part that has finished a level.
    rows: of results.csv, by member.
  """
  # All processes have a part of it.
  trees = programs.networks(state)
  if not processes.is_primary():
    return
  sizes = measure_layers(rows, trees, programs.layers)
  level_tables.write(run.workdir, level_tables.LAYERS, sizes)
  level, keep = rows[0]['level'], run.config.checkpoint.keep_levels
  old = new = {}
  if 'optimal' in keep and 'all' not in keep:
    old, new = _find_optima(run, part, rows)

  def keep_one(i: int) -> None:
    row = rows[i]
    curve = row['arm'], row['noise_fraction']
    identity = *curve, row['replicate']
    is_optimal = new.get(curve) == level
    is_kept = is_optimal or level in keep or 'all' in keep
    # Networks that diverged are in no report.
    if is_kept and not row['diverged']:
      networks.write(
        networks.path_of(run.workdir, *identity, level),
        StoredNetwork(
          **jax.tree.map(lambda leaf: leaf[i], trees),
          metadata=_describe(run, row),
        ),
      )
    superseded = old.get(curve)
    if is_optimal and superseded is not None and superseded not in keep:
      path = networks.path_of(run.workdir, *identity, superseded)
      files.remove(path)

  if keep:
    # Each waits for the disk, or for a bucket.
    with futures.ThreadPoolExecutor(4) as pool:
      list(pool.map(keep_one, range(len(rows))))


def _find_optima(run: Run, part: Part, rows: list[dict[str, Any]]) -> tuple:
  """Return the optimal level of each curve, before a level and after it."""
  before = results.read_results(run.workdir)
  before = before[before.experiment == part.experiment]
  after = pd.DataFrame(rows, columns=list(results.COLUMNS))
  if before.empty:
    return {}, part.find_optima(after)
  return part.find_optima(before), part.find_optima(pd.concat([before, after]))


def _describe(run: Run, row: dict[str, Any]) -> dict[str, Any]:
  """Return `StoredNetwork.metadata`: nothing that a later start may change."""
  dataset = run.dataset
  return {
    'model': run.config.model.to_dict(),
    'num_classes': dataset.num_classes,
    'data': dataset.name,
    'image_shape': list(dataset.image_shape),
    'mean': list(map(float, dataset.mean)),
    'std': list(map(float, dataset.std)),
    'eval_precision': run.config.eval_precision,
    **{name: row[name] for name in results.CHAIN_NETWORK},
    'level': row['level'],
    'epochs_trained': int(row['epochs_trained']),
    **{name: float(row[name]) for name in _RESULTS},
  }


def measure_layers(
  rows: list[dict[str, Any]], trees: dict[str, Any], names: list[str]
) -> pd.DataFrame:
  """Count the kept weights of each layer, and measure the norm of its kernel.

  Args:
    rows: of results.csv, by member.
    trees: from `Programs.networks`.

  Returns:
    The columns of layers.csv.
  """
  kernels, kept = (networks.flatten(trees[key]) for key in ('params', 'masks'))
  found = []
  for name in names:
    kernel, mask = (tree[f'{name}/kernel'] for tree in (kernels, kept))
    for i, row in enumerate(rows):
      norm = np.sqrt(np.square(kernel[i], dtype=np.float64).sum())
      own = [row[column] for column in (*results.CHAIN_NETWORK, 'level')]
      sizes = mask[i].sum(), mask[i].size, np.float32(norm)
      found.append((*own, name, *sizes))
  columns = level_tables.COLUMNS[level_tables.LAYERS]
  return pd.DataFrame(found, columns=list(columns))
