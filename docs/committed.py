"""Runs whose tables are part of the repository, in results/NAME.

A folder has config.json, provenance.json without what identifies a machine,
results.csv, and in tables/ the others that a report computes from a workdir,
compressed. Folders that hold parts of one benchmark, such as other noise
levels, are read as one run, as the report does. `docs.results` shows them.
"""

import datetime
import json
import lzma
import pathlib
import shlex
from collections.abc import Sequence

import pandas as pd

from pruning_gen.analysis import load
from pruning_gen.analysis import runs
from pruning_gen.analysis.load import Benchmark
from pruning_gen.configs import default
from pruning_gen.errors import UserError
from pruning_gen.storage import files
from pruning_gen.storage import provenance
from pruning_gen.storage import results

RESULTS = pathlib.Path(__file__).parents[1] / 'results'
# Tables of a Benchmark that are computed from results.csv.
DERIVED = ('results', 'summary', 'leave_out')
# What is kept of a start, and of its environment.
OF_START = ('time', 'git_revision', 'python', 'versions', 'devices', 'dataset')
MACHINE = ('cores', 'cpu', 'memory_limit', 'flags')
# Flags of no interest elsewhere.
LOCAL = ('--config.data.dir', '--config.data.cache_dir')


def add(workdir: str, name: str, root: pathlib.Path = RESULTS) -> None:
  """Take a run's tables into results/NAME, anew or where it has grown.

  Args:
    workdir: of the run itself, finished or not: a copy has lost its times.

  Raises:
    UserError: the folder is of another run (the message lists what differs).
  """
  benchmark = load.read(workdir)
  config = provenance.read_config(workdir)
  config['data'] |= {'dir': '', 'cache_dir': ''}
  history = provenance.read_provenance(workdir)
  history['starts'] = [
    strip(start, name, seconds)
    for start, seconds in zip(history['starts'], measure_starts(workdir))
  ]
  rows = results.results_path(workdir).read_text()
  folder = root / name
  if folder.exists():
    check_same_run(folder, config, history, rows)
  for path, content in (('config', config), ('provenance', history)):
    text = json.dumps(content, indent=2) + '\n'
    files.write_text(folder / f'{path}.json', text)
  for field, table in benchmark._asdict().items():
    if isinstance(table, pd.DataFrame) and field not in DERIVED and len(table):
      # Errors are multiples of 1 / N and stay exact, if N is below 10^6.
      text = table.to_csv(index=False, float_format='%.6g')
      path = folder / 'tables' / f'{field}.csv.xz'
      files.write_bytes(path, lzma.compress(text.encode()))
  # Last, as in a workdir: without it, nothing is shown.
  files.write_text(results.results_path(folder), rows)


def check_same_run(
  folder: pathlib.Path, config: dict, history: dict, rows: str
) -> None:
  """Check that a folder is of the run that is to replace it.

  Raises:
    UserError: names what differs.
  """
  differences = provenance.list_differences(
    provenance.read_config(folder), config, default.get_config().to_dict()
  )
  there, now = (
    ', '.join(list_revisions(own))
    for own in (provenance.read_provenance(folder), history)
  )
  if there != now:
    differences.append(f'  git_revision: {there} there, {now} now')
  committed = results.results_path(folder).read_text().splitlines()
  lost = [row for row in committed if row not in set(rows.splitlines())]
  if lost:
    differences.append(f'  {len(lost)} rows of results.csv, as: {lost[0]}')
  if differences:
    raise UserError(
      f'{folder} is of another run:\n'
      + '\n'.join(differences)
      + '\nadd this run by another --name, or remove that folder first'
    )


def list_revisions(history: dict) -> list[str]:
  """List the git revisions in provenance.json."""
  return sorted({str(start['git_revision']) for start in history['starts']})


def measure_starts(workdir: str) -> list[float]:
  """Return the seconds from each start to the last file that it wrote."""
  starts = provenance.read_provenance(workdir)['starts']
  begins = [
    datetime.datetime.fromisoformat(start['time']).timestamp()
    for start in starts
  ]
  # A report may be built at any time.
  written = sorted(
    path.stat().st_mtime
    for path in pathlib.Path(workdir).glob('*/**/*')
    if path.is_file() and 'report' not in path.relative_to(workdir).parts
  )
  ends = [*begins[1:], float('inf')]
  return [
    max([t for t in written if begin <= t < end], default=begin) - begin
    for begin, end in zip(begins, ends)
  ]


def strip(start: dict, name: str, seconds: float) -> dict:
  """Return an entry of provenance.json without what identifies a machine."""
  environment = start.get('environment', {})
  return {
    'command': shorten(start['command'], name),
    **{key: start.get(key) for key in OF_START},
    'environment': {key: environment.get(key) for key in MACHINE},
    'seconds': round(seconds),
  }


def shorten(command: str, name: str) -> str:
  """Return a command as one types it in a checkout."""
  words = ['python', '-m', 'pruning_gen.main']
  given = shlex.split(command)[1:]
  for i, word in enumerate(given):
    flag, equals, value = word.partition('=')
    if not flag.startswith('--'):
      # The value of the flag before.
      continue
    has_value = i + 1 < len(given) and not given[i + 1].startswith('--')
    if not equals and has_value:
      value = given[i + 1]
    if flag == '--workdir':
      value = f'runs/{name}'
    elif flag == '--config':
      value = f'configs/{value.rpartition("/")[2]}' if '/' in value else value
    if flag not in LOCAL:
      words.append(f'{flag}={value}' if value else flag)
  return ' '.join(f'"{w}"' if set(w) & set('()* ') else w for w in words)


def read(*folders: pathlib.Path) -> Benchmark:
  """Read the parts of a benchmark, as the report reads their workdirs.

  Raises:
    UserError: they have no git revision in common.
  """
  histories = [provenance.read_provenance(folder) for folder in folders]
  check_same_revision(folders, histories)
  (benchmark,) = load.read_all([str(folder) for folder in folders])
  tables = {}
  for folder in folders:
    for path in sorted((folder / 'tables').glob('*.csv.xz')):
      text = lzma.decompress(path.read_bytes()).decode()
      name = path.name.partition('.')[0]
      tables.setdefault(name, []).append(files.parse_table(text))
  return benchmark._replace(
    provenance={'starts': [s for own in histories for s in own['starts']]},
    **{
      name: pd.concat(parts, ignore_index=True)
      for name, parts in tables.items()
    },
  )


def check_same_revision(
  folders: Sequence[pathlib.Path], histories: Sequence[dict]
) -> None:
  """Check that the parts of a benchmark have a revision in common.

  Raises:
    UserError: lists the revisions of each.
  """
  revisions = [list_revisions(history) for history in histories]
  if not set.intersection(*map(set, revisions)):
    listed = '\n'.join(
      f'  {folder.name}: {", ".join(own)}'
      for folder, own in zip(folders, revisions)
    )
    raise UserError(
      'these folders are parts of one benchmark, but no revision of the '
      f'program made them all:\n{listed}\nremove one of them, or run it again'
    )


def list_runs(root: pathlib.Path = RESULTS) -> dict[str, Benchmark]:
  """Read every run, by the name of its (first) folder."""
  paths = sorted(path.parent for path in root.glob('*/results.csv'))
  groups = runs.group([runs.read(str(path)) for path in paths])
  folders = [[pathlib.Path(part.workdir) for part in own] for own in groups]
  return {own[0].name: read(*own) for own in folders}
