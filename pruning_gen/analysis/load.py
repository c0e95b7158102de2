"""All that a report knows of a panel, read from the files of its runs once.

A panel is one run, or several that each did a part of it: other experiments or
other replicates of one config, as the jobs of a sweep do.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from pruning_gen.analysis import examples
from pruning_gen.analysis import paired as comparisons
from pruning_gen.analysis import reading
from pruning_gen.analysis import runs
from pruning_gen.analysis import statistics
from pruning_gen.errors import UserError
from pruning_gen.storage import results


class Panel(NamedTuple):
  """One panel: what it is, what was measured, and what follows from it.

  Attributes:
    name: str, the workdir's last part; of several what their names begin with.
    config: nested dict; of several runs the first one's, with the experiments
      and replicates of all.
    provenance: dict; of several runs {workdir: dict}.
    results: DataFrame like results.csv, of finished levels; without EL2N's
      networks, of which only the scores count.
    summary: DataFrame from `statistics.summarize`.
    effects: DataFrame with experiment and the columns of
      `examples.tabulate_effects`; empty without EL2N.
    concentration: DataFrame likewise.
    noisy_share: DataFrame from `examples.tabulate_noisy_share`; may be empty.
    leave_out: DataFrame from `comparisons.average_leave_out`; may be empty.
    most_worsened: (table, images), or None.
    notes: list of str, what was left out and why.
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
  most_worsened: tuple | None
  notes: list


def read(workdir):
  """Read a run and compute what its report shows.

  Args:
    workdir: path of a run, finished or not.

  Returns:
    A Panel.

  Raises:
    UserError: the folder holds no run, one of another layout, nothing that is
      finished, or a broken file.
  """
  (panel,) = read_all([workdir])
  return panel


def read_all(workdirs):
  """Read runs, and join those that are parts of one panel (`runs.group`).

  Args:
    workdirs: list of paths, finished or not.

  Returns:
    List of Panels, in the order of their first workdirs. A run that has only
    begun is left out, and a note says so.

  Raises:
    UserError: as `read`, if no run has anything finished.
  """
  panels, left_out = [], []
  for parts in runs.group(list(map(runs.read, workdirs))):
    table, notes = _join_tables(parts)
    if table.empty:
      left_out += notes
    else:
      panels.append(_join(parts, table, notes))
  if not panels:
    raise UserError(
      f'--workdir={workdirs[0]} has nothing to show yet:\n'
      + '\n'.join(left_out)
      + '\nrun pruning_gen.main on it first'
    )
  panels[0].notes.extend(left_out)
  return panels


def _join(parts, table, notes):
  """Make a Panel of the runs that are its parts, and their joined table."""
  workdirs = [run.workdir for run in parts]
  config = runs.join_configs([run.config for run in parts])
  effects, concentration, noisy_share, unscored = _read_examples(
    workdirs, config, table
  )
  table = table.reset_index(drop=True)
  summary = statistics.summarize(table, config['prune_fraction'])
  histories = {run.workdir: run.provenance for run in parts}
  if len(parts) > 1:
    together = 'workdirs are parts of this panel: see provenance.json.'
    notes.insert(0, f'{len(parts)} {together}')
  return Panel(
    name=runs.join_names(workdirs),
    config=config,
    provenance=histories if len(parts) > 1 else parts[0].provenance,
    results=table,
    summary=summary,
    effects=effects,
    concentration=concentration,
    noisy_share=noisy_share,
    leave_out=comparisons.average_leave_out(comparisons.pair_leave_out(table)),
    most_worsened=_read_most_worsened(workdirs),
    notes=[*notes, *unscored, *_say_dense(summary)],
  )


def _join_tables(parts):
  """Join what is finished of results.csv, whose index begins with the workdir.

  Returns:
    A DataFrame, and a list of sentences that say what was left out.
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


def _say_dense(summary):
  optima = statistics.optimal_levels(summary, 'chain', 'pruning')
  return [
    f'With {noise_fraction:.0%} noise the optimal sparsity is level 0: the '
    'dense network itself.'
    for noise_fraction, level in optima.items()
    if level == 0
  ]


def _read_examples(workdirs, config, table):
  """Read what the arrays of all parts tell of single examples.

  Args:
    workdirs: list of paths.
    config: nested dict.
    table: DataFrame like results.csv, whose index begins with the workdir.

  Returns:
    effects, concentration and noisy_share, as in `Panel`; and a list of
    sentences that say what has no EL2N scores yet.
  """
  nothing = pd.DataFrame()
  el2n = {}
  for workdir in filter(results.has_el2n, workdirs):
    el2n |= reading.read(results.read_el2n, workdir, name='el2n')
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


def _read_most_worsened(workdirs):
  """Read the examples that pruning worsens most: (table, images), or None."""
  found = [
    reading.read(
      results.read_most_worsened, workdir, name='chain/most_worsened'
    )
    for workdir in filter(results.has_most_worsened, workdirs)
  ]
  if not found:
    return None
  tables, images = zip(*found)
  return pd.concat(tables, ignore_index=True), np.concatenate(images)
