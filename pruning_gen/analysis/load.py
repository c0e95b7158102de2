"""Reads the files of one or several runs into what a report shows.

A benchmark is a network on a data set: one run, or several that each did a
part of it, as the jobs of a sweep do (`runs.group`).
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from etils import epath

from pruning_gen.analysis import difficulty
from pruning_gen.analysis import examples
from pruning_gen.analysis import overlap
from pruning_gen.analysis import paired
from pruning_gen.analysis import runs
from pruning_gen.analysis import statistics
from pruning_gen.analysis import titles
from pruning_gen.errors import UserError
from pruning_gen.storage import epochs
from pruning_gen.storage import level_tables
from pruning_gen.storage import results

_NOTHING = pd.DataFrame()


class Benchmark(NamedTuple):
  """One benchmark: its config, measurements, and what follows from them.

  Attributes:
    name: the workdir's last part, or the words that several begin with.
    config: nested dict; of several runs the first one's, with the experiments
      and replicates of all.
    provenance: dict; of several runs {workdir: dict}.
    results: like results.csv, of finished levels; without EL2N's networks, of
      which only the scores count.
    summary: from `statistics.summarize`.
    effects: experiment and the columns of `Examples.effects`; empty without
      EL2N, as are concentration and noisy_share.
    concentration: likewise.
    noisy_share: from `examples.tabulate_noisy_share`.
    leave_out: from `paired.average_leave_out`; may be empty.
    most_worsened: (table, images), or None.
    notes: what was left out and why.
    group_errors: experiment and the columns of `Examples.group_errors`.
    memorization: likewise; empty without noise.
    layers: like layers.csv.
    score_effects: of `difficulty.tabulate_effects`.
    rankings: of `difficulty.correlate`.
    epochs: like chain/epochs.csv, of the networks in `results`.
    overlap: from `overlap.tabulate`.
    landscape: like landscape.csv and, as twin_COLUMN, twins.csv, and test_error
      of results.csv; empty without the experiment.
    title: network and data set, and what tells it from others of that name.
  """

  name: str
  config: dict
  provenance: dict
  results: pd.DataFrame
  summary: pd.DataFrame
  effects: pd.DataFrame
  concentration: pd.DataFrame
  noisy_share: pd.DataFrame
  leave_out: pd.DataFrame
  most_worsened: tuple[pd.DataFrame, np.ndarray] | None
  notes: list[str]
  group_errors: pd.DataFrame = _NOTHING
  memorization: pd.DataFrame = _NOTHING
  layers: pd.DataFrame = _NOTHING
  score_effects: pd.DataFrame = _NOTHING
  rankings: pd.DataFrame = _NOTHING
  epochs: pd.DataFrame = pd.DataFrame(columns=list(epochs.COLUMNS))
  overlap: pd.DataFrame = _NOTHING
  landscape: pd.DataFrame = _NOTHING
  title: str = ''


def read(workdir: str) -> Benchmark:
  """Read one run, finished or not, and compute what its report shows.

  Raises:
    UserError: the folder holds no run, one of another layout, nothing that is
      finished, or a broken file.
  """
  (benchmark,) = read_all([workdir])
  return benchmark


def read_all(workdirs: list[str]) -> list[Benchmark]:
  """Read runs, and join those that are parts of one benchmark.

  Returns:
    Benchmarks in the order of their first workdirs. A run that has only begun
    is left out, with a note.

  Raises:
    UserError: as `read`, if no run has anything finished.
  """
  benchmarks, left_out = [], []
  groups = runs.group([runs.read(workdir) for workdir in workdirs])
  for parts in groups:
    table, notes = join_tables(parts)
    if table.empty:
      left_out += notes
    else:
      benchmarks.append(_join(parts, table, notes))
  if not benchmarks:
    lost = [run.config for parts in groups for run in parts if len(run.table)]
    raise UserError(
      f'--workdir={workdirs[0]} has nothing to show:\n'
      + '\n'.join(left_out)
      + (
        '\nevery trained network diverged: lower config.learning_rate (now '
        f'{lost[0].get("learning_rate")}) in another --workdir'
        if lost
        else '\nrun pruning_gen.main on it first'
      )
    )
  benchmarks[0].notes.extend(left_out)
  return _name_apart(benchmarks)


def _name_apart(benchmarks: list[Benchmark]) -> list[Benchmark]:
  """Give each benchmark a title of its own."""
  titles = [benchmark.title for benchmark in benchmarks]
  named = []
  for number, benchmark in enumerate(benchmarks, start=1):
    title = benchmark.title
    if titles.count(title) > 1:
      title = f'{title} ({number}: {benchmark.name})'
    named.append(benchmark._replace(title=title))
  return named


def _join(
  parts: list[runs.Workdir], table: pd.DataFrame, notes: list[str]
) -> Benchmark:
  """Make a Benchmark of its parts and their joined table."""
  workdirs = [run.workdir for run in parts]
  config = runs.join_configs([run.config for run in parts])
  el2n = {}
  for workdir in filter(results.EL2N.exists, workdirs):
    el2n |= results.read_el2n(workdir)
  of_examples, incomplete = _read_examples(workdirs, config, table, el2n)
  summary = statistics.summarize(
    table.reset_index(drop=True), config['prune_fraction']
  )
  scores = difficulty.read(workdirs, el2n)
  optima = statistics.optimal_levels(summary)
  of_examples['score_effects'] = difficulty.tabulate_effects(
    table, optima, scores, config['num_subgroups']
  )
  overlaps = overlap.tabulate(table)
  table = table.reset_index(drop=True)
  histories = {run.workdir: run.provenance for run in parts}
  if len(parts) > 1:
    together = 'workdirs are parts of this benchmark: see provenance.json.'
    notes.insert(0, f'{len(parts)} {together}')
  return Benchmark(
    name=runs.join_names(workdirs),
    config=config,
    provenance=histories if len(parts) > 1 else parts[0].provenance,
    results=table,
    summary=summary,
    **of_examples,
    rankings=difficulty.correlate(scores),
    leave_out=paired.average_leave_out(paired.pair_leave_out(table)),
    most_worsened=_read_most_worsened(workdirs),
    layers=read_layers(workdirs, table),
    epochs=_read_epochs(workdirs, table),
    overlap=overlaps,
    landscape=_read_levels(
      workdirs, table, level_tables.read_landscape, 'test_error'
    ),
    title=titles.make_title(config),
    notes=[*notes, *incomplete, *_note_dense_optima(summary)],
  )


def join_tables(parts: list[runs.Workdir]) -> tuple[pd.DataFrame, list[str]]:
  """Join the finished rows of results.csv; the index begins with the workdir.

  Returns:
    The rows, and notes on what was left out.
  """
  notes = [
    f'Left out: {run.workdir} has no finished level yet.'
    for run in parts
    if run.table.empty and not runs.has_scores(run.workdir)
  ]
  # A table without rows does not know its types.
  tables = {run.workdir: run.table for run in parts if len(run.table)}
  if not tables:
    return pd.DataFrame(), notes
  table = pd.concat(tables, names=['workdir', 'row'])
  if len(tables) > 1:
    table = results.sort_rows(table, 'noise_fraction')
  table, lost = statistics.drop_diverged(table)
  table, unfinished = statistics.drop_unfinished(table)
  return table, lost + unfinished + statistics.find_missing(table) + notes


def _note_dense_optima(summary: pd.DataFrame) -> list[str]:
  optima = statistics.optimal_levels(summary)
  return [
    f'With {100 * noise_fraction:g}% noise the optimal sparsity is level 0: '
    'the dense network itself.'
    for noise_fraction, level in optima.items()
    if level == 0
  ]


def _read_examples(
  workdirs: list[str], config: dict, table: pd.DataFrame, el2n: examples.El2n
) -> tuple[dict[str, pd.DataFrame], list[str]]:
  """Tabulate what the per-example arrays of all parts hold.

  Args:
    workdirs: of all parts.
    table: from `join_tables`.

  Returns:
    The attributes of a `Benchmark` that `Examples` has, and noisy_share; and
    notes on what is missing.
  """
  notes = []
  table = table[table.experiment.isin(['chain', 'width'])]
  if el2n:
    label_sets = set(zip(table.noise_fraction, table.replicate))
    notes += [
      f'Left out of figures by EL2N: {100 * noise_fraction:g}% noise, '
      f'replicate {replicate}: el2n has not finished.'
      for noise_fraction, replicate in sorted(label_sets - el2n.keys())
    ]
  found = {name: [pd.DataFrame()] for name in examples.Examples._fields}
  noisy_share = [pd.DataFrame()]
  for (workdir, experiment), finished in table.groupby(
    ['workdir', 'experiment'], sort=False
  ):
    if not (epath.Path(workdir) / experiment / 'labels.npz').exists():
      notes.append(
        f'{workdir}/{experiment} has no arrays of single examples: what they '
        'show is left out.'
      )
      continue
    if 0 not in finished.level.values:
      continue
    new = examples.tabulate(
      workdir, experiment, finished, el2n, config['num_subgroups']
    )
    for name, rows in new._asdict().items():
      rows.insert(0, 'experiment', experiment)
      found[name].append(rows)
    if experiment == 'chain' and el2n:
      noisy_share.append(examples.tabulate_noisy_share(workdir, el2n))
  tables = {
    name: pd.concat(parts, ignore_index=True)
    for name, parts in (found | {'noisy_share': noisy_share}).items()
  }
  # Workdirs with other arms of a replicate have the same labels.
  tables['noisy_share'] = tables['noisy_share'].drop_duplicates()
  return tables, notes


def read_layers(workdirs: list[str], table: pd.DataFrame) -> pd.DataFrame:
  """Read the layers of the finished networks of a chain."""
  read = functools.partial(level_tables.read, name=level_tables.LAYERS)
  return _read_levels(workdirs, table, read)


def _read_levels(
  workdirs: list[str], table: pd.DataFrame, read: Callable, *columns: str
) -> pd.DataFrame:
  """Read a table of the finished networks of a chain.

  Args:
    workdirs: of all parts.
    table: from `join_tables`.
    read: workdir -> table.
    *columns: of `table`, to add.
  """
  chain = table[table.experiment == 'chain']
  key = [*results.CHAIN_NETWORK, 'level']
  found = [pd.DataFrame()]
  for workdir in workdirs:
    rows = read(workdir)
    if len(rows):
      found.append(rows.merge(chain[[*key, *columns]], on=key))
  return pd.concat(found, ignore_index=True)


def _read_epochs(workdirs: list[str], table: pd.DataFrame) -> pd.DataFrame:
  """Read the losses by epoch of the chain's networks that are in a table."""
  found = pd.concat([epochs.read(workdir, 'chain') for workdir in workdirs])
  network = results.CHAIN_NETWORK
  chain = table[table.experiment == 'chain'].set_index(network).index
  return found[found.set_index(network).index.isin(chain)]


def _read_most_worsened(
  workdirs: list[str],
) -> tuple[pd.DataFrame, np.ndarray] | None:
  there = filter(results.MOST_WORSENED.exists, workdirs)
  found = list(map(results.MOST_WORSENED.read, there))
  if not found:
    return None
  tables, images = zip(*found)
  return pd.concat(tables, ignore_index=True), np.concatenate(images)
