"""All that a report knows of one run, a panel, read from its files once."""

import pathlib
from typing import NamedTuple

import pandas as pd

from pruning_gen.analysis import comparisons
from pruning_gen.analysis import examples
from pruning_gen.analysis import reading
from pruning_gen.analysis import statistics
from pruning_gen.errors import UserError
from pruning_gen.storage import provenance
from pruning_gen.storage import results


class Panel(NamedTuple):
  """One run: what it is, what was measured, and what follows from it.

  Attributes:
    name: str, the workdir's last part.
    config: nested dict.
    provenance: dict.
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
  config = reading.read_config(workdir)
  table = reading.read_results(workdir)
  table = table[table.experiment != 'el2n']
  if table.empty:
    raise UserError(
      f'--workdir={workdir} has no finished level yet (results.csv): run '
      'pruning_gen.main on it first'
    )
  table, lost = statistics.drop_diverged(table)
  table, unfinished = statistics.drop_unfinished(table)
  notes = lost + unfinished + statistics.find_missing(table)
  if table.empty:
    raise UserError(
      f'--workdir={workdir} has nothing to show yet:\n' + '\n'.join(notes)
    )
  effects, concentration, noisy_share = _read_examples(workdir, config, table)
  summary = statistics.summarize(table, config['prune_fraction'])
  optima = statistics.optimal_levels(summary, 'chain', 'pruning')
  notes += [
    f'With {noise_fraction:.0%} noise the optimal sparsity is level 0: the '
    'dense network itself.'
    for noise_fraction, level in optima.items()
    if level == 0
  ]
  return Panel(
    name=pathlib.PurePath(workdir).name or str(workdir),
    config=config,
    provenance=reading.read(
      provenance.read_provenance, workdir, name='provenance.json'
    ),
    results=table,
    summary=summary,
    effects=effects,
    concentration=concentration,
    noisy_share=noisy_share,
    leave_out=comparisons.average_leave_out(comparisons.pair_leave_out(table)),
    most_worsened=reading.read(
      results.read_most_worsened, workdir, name='chain/most_worsened'
    ),
    notes=notes,
  )


def _read_examples(workdir, config, table):
  nothing = pd.DataFrame()
  if not results.has_el2n(workdir):
    return nothing, nothing, nothing
  el2n = reading.read(results.read_el2n, workdir, name='el2n')
  effects, concentration, noisy_share = [nothing], [nothing], nothing
  for experiment in ('chain', 'width'):
    finished = table[table.experiment == experiment]
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
      noisy_share = examples.tabulate_noisy_share(workdir, el2n)
  return pd.concat(effects), pd.concat(concentration), noisy_share
