"""The runs that a report shows, and which of them are parts of one benchmark.

The jobs of a sweep each do a part of a benchmark: other experiments, or other
replicates, of one config. So do workdirs that differ in arms or noise levels.
"""

import json
import os
import pathlib
from typing import NamedTuple

import pandas as pd

from pruning_gen.analysis import statistics
from pruning_gen.configs import default
from pruning_gen.errors import UserError
from pruning_gen.storage import difficulty_scores
from pruning_gen.storage import provenance
from pruning_gen.storage import results

# What a report reads of config.json.
CONFIG_KEYS = (
  'model.name',
  'data.name',
  'levels',
  'prune_fraction',
  'num_subgroups',
  'width.levels',
  'experiments',
  'replicates',
  'first_replicate',
)
# Keys of a config that name the part of a benchmark, or do not change results;
# everything under 'devices', too.
PART_KEYS = (*provenance.MAY_CHANGE, 'devices')
# Experiments whose networks count only by what is measured between them.
UNSHOWN = ('el2n', 'difficulty', 'landscape')
TEXT_COLUMNS = ('experiment', 'arm', 'left_out')


class Workdir(NamedTuple):
  """One workdir.

  Attributes:
    workdir: its path.
    config: nested dict.
    provenance: dict.
    table: like results.csv, without the networks of `UNSHOWN`: jobs share
      EL2N's without noise.
  """

  workdir: str
  config: dict
  provenance: dict
  table: pd.DataFrame


def read(workdir: str) -> Workdir:
  """Read a run, finished or not.

  Raises:
    UserError: the folder holds no run, one of another layout, or a broken file.
  """
  config = _read_config(workdir)
  table = _read_results(workdir)
  return Workdir(
    workdir=str(workdir),
    config=config,
    provenance=provenance.read_provenance(workdir),
    table=table[~table.experiment.isin(UNSHOWN)],
  )


def has_scores(workdir: str) -> bool:
  """Return whether a run has scored examples, by networks of `UNSHOWN`."""
  scores = results.EL2N, difficulty_scores.SCORES
  return any(pair.exists(workdir) for pair in scores)


def _read_config(workdir: str) -> dict:
  config = provenance.read_config(workdir)
  keys = provenance.flatten(config)
  missing = [key for key in CONFIG_KEYS if key not in keys]
  if missing:
    raise UserError(
      f'{workdir}/config.json lacks {", ".join(missing)}: it was written by '
      'another version of pruning_gen; use that one'
    )
  return config


def _read_results(workdir: str) -> pd.DataFrame:
  """Read results.csv, and check that no row is cut off.

  Metrics may be missing, as the loss of noisy examples is without noise, and
  all of them of a network that diverged.
  """
  table = results.read_results(workdir)
  numbers = table.columns.difference(TEXT_COLUMNS)
  no_numbers = table[numbers].select_dtypes(exclude='number').columns
  required = table.columns.difference(statistics.METRICS)
  cut_off = table[required].isna().any(axis=1)
  if len(table) and (len(no_numbers) or cut_off.any()):
    wrong = (
      f'its {", ".join(no_numbers)} are no numbers'
      if len(no_numbers)
      # The header is line 1.
      else f'line {cut_off.idxmax() + 2} has empty fields'
    )
    raise UserError(
      f'{results.results_path(workdir)} is damaged ({wrong}): copy the workdir '
      'again'
    )
  return table


def group(runs: list[Workdir]) -> list[list[Workdir]]:
  """Put the parts of each benchmark together.

  Runs are parts of one if their configs differ in `PART_KEYS` alone, they use
  the same data, and have no network in common. Of two runs of the same
  networks, each makes a benchmark, and other parts belong to the first.
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


def complete(config: dict) -> dict:
  """Flatten a config; keys that are newer than it get their default."""
  defaults = default.get_config().to_dict()
  return provenance.flatten(defaults) | provenance.flatten(config)


def _describe(run: Workdir) -> str:
  """Return what the parts of one benchmark have in common, as text."""
  config = {
    key: value
    for key, value in complete(run.config).items()
    if not {key, key.split('.')[0]} & set(PART_KEYS)
  }
  # data.dir may differ, but not the content of that folder.
  starts = run.provenance.get('starts', [])
  datasets = [start.get('dataset') for start in starts]
  text = json.dumps([config, datasets[-1:]], sort_keys=True)
  # 0 and 0.0 are one number.
  return json.dumps(json.loads(text, parse_int=float))


def join_configs(configs: list[dict]) -> dict:
  """Return the first config, with what any of them trains."""
  if len(configs) == 1:
    return configs[0]
  replicates = {
    config['first_replicate'] + i
    for config in configs
    for i in range(config['replicates'])
  }
  # Other tuples are not read by reports.
  tuples = {
    key: list(dict.fromkeys(name for config in configs for name in config[key]))
    for key in ('experiments', 'arms', 'noise_fractions')
    if key in configs[0]
  }
  widths = max(config['width']['levels'] for config in configs)
  return (
    configs[0]
    | tuples
    | {
      'levels': max(config['levels'] for config in configs),
      'width': configs[0]['width'] | {'levels': widths},
      'replicates': len(replicates),
      'first_replicate': min(replicates),
    }
  )


def join_names(workdirs: list[str]) -> str:
  """Return a workdir's last part, or the words that several begin with."""
  names = [pathlib.PurePath(path).name or path for path in workdirs]
  words = [name.split('-') for name in names]
  # Of lists as well as of text.
  return '-'.join(os.path.commonprefix(words)) or names[0]  # noqa: RUF071
