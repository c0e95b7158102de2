"""The runs that a report is of, and which of them are parts of one panel.

The jobs of a sweep each do a part of a panel: other experiments, or other
replicates, of one config.
"""

import json
import os
import pathlib
from typing import NamedTuple

import pandas as pd

from pruning_gen.analysis import reading
from pruning_gen.storage import provenance
from pruning_gen.storage import results

# Keys of a config that say which part was run, or do not change results; what
# is under 'devices', too.
PART_KEYS = (
  *provenance.MAY_CHANGE,
  'replicates',
  'first_replicate',
  'devices',
)


class Run(NamedTuple):
  """One workdir, and what tells of which panel it is.

  Attributes:
    workdir: str.
    config: nested dict.
    provenance: dict.
    table: DataFrame like results.csv, without EL2N's networks, of which only
      the scores count: jobs share those without noise.
  """

  workdir: str
  config: dict
  provenance: dict
  table: pd.DataFrame


def read(workdir):
  """Read a Run.

  Args:
    workdir: path of a run, finished or not.

  Raises:
    UserError: the folder holds no run, one of another layout, or a broken file.
  """
  config = reading.read_config(workdir)
  table = reading.read_results(workdir)
  return Run(
    workdir=str(workdir),
    config=config,
    provenance=reading.read(
      provenance.read_provenance, workdir, name='provenance.json'
    ),
    table=table[table.experiment != 'el2n'],
  )


def group(runs):
  """Put the parts of one panel together.

  Runs are, if their configs differ in `PART_KEYS` alone, their data sets do not
  differ, and they have no network in common. Of two runs of one thing, each
  makes a panel, and what else there is belongs to the first.

  Args:
    runs: list of Run.

  Returns:
    List of lists of Run.
  """
  groups = []
  # What has no networks yet fits all runs of its config: it joins the first.
  for run in sorted(runs, key=lambda run: run.table.empty):
    shared = _describe(run)
    table = run.table[list(results.IDENTITY)]
    networks = set(table.itertuples(index=False, name=None))
    for other, known, parts in groups:
      if shared == other and known.isdisjoint(networks):
        known.update(networks)
        parts.append(run)
        break
    else:
      groups.append((shared, networks, [run]))
  return [parts for _, _, parts in groups]


def _describe(run):
  """Return what the parts of one panel have in common, as text."""
  config = {
    key: value
    for key, value in provenance.flatten(run.config).items()
    if not {key, key.split('.')[0]} & set(PART_KEYS)
  }
  # data.dir is no part of it, so what lay there is.
  starts = run.provenance.get('starts', [])
  datasets = [start.get('dataset') for start in starts]
  return json.dumps([config, datasets[-1:]], sort_keys=True)


def join_configs(configs):
  """Return the first config, with the experiments and replicates of all."""
  if len(configs) == 1:
    return configs[0]
  replicates = {
    config['first_replicate'] + i
    for config in configs
    for i in range(config['replicates'])
  }
  experiments = dict.fromkeys(
    name for config in configs for name in config['experiments']
  )
  return configs[0] | {
    'experiments': list(experiments),
    'replicates': len(replicates),
    'first_replicate': min(replicates),
  }


def join_names(workdirs):
  """Return a workdir's last part; of several what those begin with."""
  names = [pathlib.PurePath(path).name or path for path in workdirs]
  words = [name.split('-') for name in names]
  # Of lists as well as of text.
  return '-'.join(os.path.commonprefix(words)) or names[0]  # noqa: RUF071
