"""The program as a library: runs as DataFrames, networks as NumPy arrays.

The tables are those of the report, read by its functions. docs/library.md has
examples; `pruning_gen.load` and the others are these functions.
"""

import contextlib
from typing import Any
from typing import NamedTuple

import numpy as np
import pandas as pd
from etils import epath
from ml_collections import ConfigDict

from pruning_gen import config as config_rules
from pruning_gen import runner
from pruning_gen.analysis import examples
from pruning_gen.analysis import load as load_lib
from pruning_gen.analysis import runs
from pruning_gen.analysis import statistics
from pruning_gen.analysis.load import Benchmark
from pruning_gen.engine.part import Run
from pruning_gen.errors import UserError
from pruning_gen.export import find
from pruning_gen.export import load_network
from pruning_gen.export import Network
from pruning_gen.storage import results

SPLITS = ('train', 'validation', 'test')


class LoadedRun(NamedTuple):
  """A run, finished or not.

  Attributes:
    workdir: its folder.
    config: nested dict.
    results: like results.csv: one row per network and level, of levels that
      all replicates have finished, without networks that diverged; no rows if
      there are only scores of examples.
    summary: means over replicates, verdicts and optimal sparsities; see
      `statistics.summarize`.
    members: which network each member of the chain is.
    layers: like layers.csv, of the networks in `results`.
    notes: what was left out and why.
  """

  workdir: str
  config: dict[str, Any]
  results: pd.DataFrame
  summary: pd.DataFrame
  members: pd.DataFrame
  layers: pd.DataFrame
  notes: list[str]

  def examples(
    self, level: int, split: str = 'train', experiment: str = 'chain'
  ) -> pd.DataFrame:
    """Return one row for each network of a level and example.

    Args:
      level: a finished one.
      split: 'train', 'validation' or 'test'.
      experiment: 'chain' or 'width'.

    Returns:
      The index (member, example_id); arm, noise_fraction, replicate, label,
      cross_entropy (nats) and prediction. Of training examples, whose label is
      the one trained on, also true_label, is_noisy, and effect, the change of
      the loss from the dense network's.

    Raises:
      UserError: there is no such split or level, or an array is damaged.
    """
    if split not in SPLITS:
      raise UserError(f'split={split!r} must be one of: {", ".join(SPLITS)}')
    finished = self.results[self.results.experiment == experiment]
    at_level = finished[finished.level == level][results.CHAIN_NETWORK]
    if at_level.empty:
      known = ', '.join(map(str, sorted(set(finished.level)))) or 'none'
      raise UserError(
        f'level={level!r}: the levels of {experiment} that {self.workdir} has '
        f'finished are: {known}'
      )
    members = results.read_members(self.workdir, experiment)
    shown = members.reset_index().merge(at_level, on=results.CHAIN_NETWORK)
    rows = shown.pop('member').to_numpy()
    arrays = _read_arrays(self.workdir, experiment, level, split, rows)
    num_examples = len(arrays['label'][0])
    index = pd.MultiIndex.from_product(
      [rows, range(num_examples)], names=['member', 'example_id']
    )
    identity = shown[results.CHAIN_NETWORK].loc[
      np.arange(len(rows)).repeat(num_examples)
    ]
    columns = {name: array.ravel() for name, array in arrays.items()}
    return identity.set_index(index).assign(**columns)

  def network(
    self,
    arm: str = 'pruning',
    noise_fraction: float = 0.0,
    replicate: int = 0,
    level: int | str = 'optimal',
  ) -> Network:
    """Load a network that the run has kept; see `export.export`."""
    return load_network(
      find(self.workdir, arm, noise_fraction, replicate, level)
    )

  def benchmark(self) -> Benchmark:
    """Return what the report's figures are drawn from; reads every array."""
    return load_lib.read(self.workdir)


def _read_arrays(
  workdir: str, experiment: str, level: int, split: str, rows: np.ndarray
) -> dict[str, np.ndarray]:
  """Read the columns of `LoadedRun.examples`, [row, example]."""
  labels = results.read_labels(workdir, experiment)
  shape = labels['labels'].shape
  arrays, dense = (
    examples.read_level(workdir, experiment, at, shape, list(rows))
    for at in (level, 0)
  )
  if split == 'train':
    loss, prediction = arrays['cross_entropy'], arrays['prediction']
    found = {
      'label': labels['labels'],
      'true_label': np.broadcast_to(labels['true_labels'], shape),
      'is_noisy': labels['is_noisy'],
      'effect': loss - dense['cross_entropy'].astype(np.float64),
    }
  else:
    names = 'cross_entropy', 'prediction'
    loss, prediction = (arrays[f'{split}_{name}'] for name in names)
    found = {'label': np.broadcast_to(labels[f'{split}_labels'], loss.shape)}
  found |= {'cross_entropy': loss, 'prediction': prediction}
  return {name: array[rows] for name, array in found.items()}


def load(workdir: epath.PathLike) -> LoadedRun:
  """Load a run, finished or not.

  Raises:
    UserError: the folder holds no run, one of another layout, nothing that is
      finished, or a broken file.
  """
  run = runs.read(str(workdir))
  table, notes = load_lib.join_tables([run])
  if table.empty:
    if not runs.has_scores(workdir):
      raise UserError(
        f'{workdir} has no finished level yet: run pruning_gen.main on it first'
      )
    # A run that has only scores of examples.
    table = run.table
  has_chain = (table.experiment == 'chain').any()
  return LoadedRun(
    workdir=run.workdir,
    config=run.config,
    results=table.reset_index(drop=True),
    summary=statistics.summarize(table, run.config['prune_fraction']),
    members=(
      results.read_members(workdir, 'chain') if has_chain else pd.DataFrame()
    ),
    layers=load_lib.read_layers([run.workdir], table),
    notes=notes,
  )


def train(
  config: ConfigDict,
  workdir: epath.PathLike,
  allow_device_change: bool = False,
) -> LoadedRun:
  """Run the experiments of a config, as pruning_gen.main does, and load them.

  In a process that has not used JAX yet, the results are those of
  pruning_gen.main to the byte. A run that was stopped continues.

  Args:
    allow_device_change: whether a workdir may continue on other devices than
      it was started on; later results differ in rounding.

  Raises:
    UserError: the config breaks a rule, the workdir belongs to another config
      or other devices, or a loss is not finite.
  """
  config_rules.check(config)
  # Where JAX is in use already, it keeps the devices that it has.
  with contextlib.suppress(RuntimeError):
    runner.set_up(config, workdir, keep_devices=not allow_device_change)
  run = Run(config, workdir, None, lambda: False)
  runner.run_experiments(run, allow_device_change)
  return load(workdir)
