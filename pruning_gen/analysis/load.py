"""Reads the files of one or several runs into what a report shows.

A benchmark is a network on a data set: one run, or several that each did a
part of it, as the jobs of a sweep do (`runs.group`).
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from pruning_gen.analysis import examples
from pruning_gen.analysis import paired
from pruning_gen.analysis import runs
from pruning_gen.analysis import statistics
from pruning_gen.errors import UserError
from pruning_gen.storage import results


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
    effects: experiment and the columns of `examples.tabulate_effects`; empty
      without EL2N.
    concentration: likewise.
    noisy_share: from `examples.tabulate_noisy_share`; may be empty.
    leave_out: from `paired.average_leave_out`; may be empty.
    most_worsened: (table, images), or None.
    notes: what was left out and why.
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
    table, notes = _join_tables(parts)
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
  return benchmarks


def _join(
  parts: list[runs.Run], table: pd.DataFrame, notes: list[str]
) -> Benchmark:
  """Make a Benchmark of its parts and their joined table."""
  workdirs = [run.workdir for run in parts]
  config = runs.join_configs([run.config for run in parts])
  effects, concentration, noisy_share, unscored = _read_examples(
    workdirs, config, table
  )
  table = table.reset_index(drop=True)
  summary = statistics.summarize(table, config['prune_fraction'])
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
    effects=effects,
    concentration=concentration,
    noisy_share=noisy_share,
    leave_out=paired.average_leave_out(paired.pair_leave_out(table)),
    most_worsened=_read_most_worsened(workdirs),
    notes=[*notes, *unscored, *_note_dense_optima(summary)],
  )


def _join_tables(parts: list[runs.Run]) -> tuple[pd.DataFrame, list[str]]:
  """Join the finished rows of results.csv; the index begins with the workdir.

  Returns:
    The rows, and notes on what was left out.
  """
  notes = [
    f'Left out: {run.workdir} has no finished level yet.'
    for run in parts
    if run.table.empty and not results.has_el2n(run.workdir)
  ]
  # A table without rows does not know its types.
  tables = {run.workdir: run.table for run in parts if len(run.table)}
  if not tables:
    return pd.DataFrame(), notes
  table = pd.concat(tables, names=['workdir', 'row'])
  table, lost = statistics.drop_diverged(table)
  table, unfinished = statistics.drop_unfinished(table)
  return table, lost + unfinished + statistics.find_missing(table) + notes


def _note_dense_optima(summary: pd.DataFrame) -> list[str]:
  optima = statistics.optimal_levels(summary, 'chain', 'pruning')
  return [
    f'With {noise_fraction:.0%} noise the optimal sparsity is level 0: the '
    'dense network itself.'
    for noise_fraction, level in optima.items()
    if level == 0
  ]


def _read_examples(
  workdirs: list[str], config: dict, table: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, list[str]]:
  """Tabulate what the per-example arrays of all parts hold.

  Args:
    workdirs: of all parts.
    config: nested dict.
    table: from `_join_tables`.

  Returns:
    effects, concentration and noisy_share, as in `Benchmark`; and notes on
    label sets that have no EL2N scores yet.
  """
  nothing = pd.DataFrame()
  el2n = {}
  for workdir in filter(results.has_el2n, workdirs):
    el2n |= results.read_el2n(workdir)
  if not el2n:
    return nothing, nothing, nothing, []
  table = table[table.experiment.isin(['chain', 'width'])]
  label_sets = list(zip(table.noise_fraction, table.replicate))
  notes = [
    f'Left out of what is by EL2N: {noise_fraction:.0%} noise, replicate '
    f'{replicate}: el2n has not finished.'
    for noise_fraction, replicate in sorted(set(label_sets) - el2n.keys())
  ]
  table = table[[label_set in el2n for label_set in label_sets]]
  effects, concentration, noisy_share = [nothing], [nothing], [nothing]
  for (workdir, experiment), finished in table.groupby(
    ['workdir', 'experiment'], sort=False
  ):
    if 0 not in finished.level.values:
      continue
    for tables, new in zip(
      (effects, concentration),
      examples.tabulate_effects(
        workdir,
        experiment,
        finished,
        el2n,
        config['num_subgroups'],
      ),
    ):
      new.insert(0, 'experiment', experiment)
      tables.append(new)
    if experiment == 'chain':
      noisy_share.append(examples.tabulate_noisy_share(workdir, el2n))
  tables = (effects, concentration, noisy_share)
  return *(pd.concat(table, ignore_index=True) for table in tables), notes


def _read_most_worsened(
  workdirs: list[str],
) -> tuple[pd.DataFrame, np.ndarray] | None:
  found = []
  for workdir in filter(results.has_most_worsened, workdirs):
    try:
      found.append(results.read_most_worsened(workdir))
    except (OSError, ValueError) as error:
      raise UserError(
        f'{workdir}/chain/most_worsened.csv cannot be read ({error!r}): copy '
        'the workdir again'
      ) from error
  if not found:
    return None
  tables, images = zip(*found)
  return pd.concat(tables, ignore_index=True), np.concatenate(images)
