"""Every path and every file format of a workdir, except checkpoints.

  WORKDIR/
    config.json      the configuration, fixed at the first start
    provenance.json  one entry a start: time, host, versions, devices, command
    results.csv      one row a member and level, complete after every level
    summary.csv      over replicates: mean, std, n, verdict against dense
    EXPERIMENT/members.csv    what the rows [member] of the arrays are
    EXPERIMENT/labels.npz     labels, is_noisy [member, example_id]; true_labels
    EXPERIMENT/level_003.npz  per-example arrays [member, example_id]
    checkpoints/EXPERIMENT/   Orbax
    tensorboard/              scalars
    report/          index.html, figures/*.png

Files are replaced in one move: a reader never sees half a file.
"""

import io
import json

import numpy as np
import pandas as pd
from etils import epath

from pruning_gen.errors import UserError
from pruning_gen.storage import processes

# Raised when a file changes its meaning; older workdirs are then refused.
LAYOUT_VERSION = 1

# What every row of results.csv has, in this order.
COLUMNS = (
  'experiment',
  'arm',
  'noise_fraction',
  'replicate',
  'level',
  'width',
  'num_weights',
  'weights_remaining',
  'epochs_trained',
  'train_cross_entropy',
  'train_error',
  'train_cross_entropy_original',
  'train_cross_entropy_noisy',
  'validation_error',
  'test_error',
  'test_cross_entropy',
)


def checkpoint_dir(workdir, experiment):
  """Where an experiment's checkpoints are."""
  return epath.Path(workdir) / 'checkpoints' / experiment


def tensorboard_dir(workdir, experiment):
  """Where an experiment's TensorBoard scalars are."""
  return epath.Path(workdir) / 'tensorboard' / experiment


def report_dir(workdir):
  """Where the report is."""
  return epath.Path(workdir) / 'report'


def results_path(workdir):
  """Where the table of all networks is."""
  return epath.Path(workdir) / 'results.csv'


def summary_path(workdir):
  """Where the table over replicates is."""
  return epath.Path(workdir) / 'summary.csv'


def open_workdir(workdir, config):
  """Claim a workdir for a configuration, or checks that it is the same.

  Args:
    workdir: path; made where it is missing.
    config: nested dict of what JSON can hold.

  Raises:
    UserError: it is a file, cannot be written, or belongs to another config
      (the message lists every key that differs).
  """
  workdir = epath.Path(workdir)
  if workdir.exists() and not workdir.is_dir():
    raise UserError(f'--workdir={workdir} is a file: name a folder')
  path = workdir / 'config.json'
  # Once through JSON, so that tuples compare equal to what was stored.
  config = json.loads(json.dumps(config))
  if path.exists():
    _check_same(path, json.loads(path.read_text()), config)
    return
  try:
    _write_text(path, json.dumps(config, indent=2) + '\n')
  except OSError as error:
    raise UserError(
      f'--workdir={workdir} cannot be written ({error}): name another folder'
    ) from error


def _check_same(path, stored, config):
  stored, config = flatten(stored), flatten(config)
  differences = [
    f'  {key}: {stored.get(key, "absent")!r} there, '
    f'{config.get(key, "absent")!r} now'
    for key in sorted(stored.keys() | config.keys())
    if stored.get(key, 'absent') != config.get(key, 'absent')
  ]
  if differences:
    raise UserError(
      f'{path} belongs to another configuration:\n'
      + '\n'.join(differences)
      + '\nname another --workdir, or pass the same values'
    )


def flatten(config, prefix=''):
  """Flatten a nested dict to {'outer.inner': value}."""
  flat = {}
  for key, value in config.items():
    if isinstance(value, dict):
      flat |= flatten(value, f'{prefix}{key}.')
    else:
      flat[prefix + key] = value
  return flat


def read_config(workdir):
  """Read config.json, a nested dict.

  Raises:
    UserError: the folder holds no run.
  """
  path = epath.Path(workdir) / 'config.json'
  if not path.exists():
    raise UserError(
      f'--workdir={workdir} holds no run (no config.json): name the folder '
      'that was given to pruning_gen.main'
    )
  return json.loads(path.read_text())


def add_provenance(workdir, entry):
  """Append one start of the program to provenance.json."""
  history = read_provenance(workdir)
  history['starts'].append(entry)
  path = epath.Path(workdir) / 'provenance.json'
  _write_text(path, json.dumps(history, indent=2) + '\n')


def read_provenance(workdir):
  """Read provenance.json: {'layout_version': int, 'starts': [dict]}."""
  path = epath.Path(workdir) / 'provenance.json'
  if not path.exists():
    return {'layout_version': LAYOUT_VERSION, 'starts': []}
  history = json.loads(path.read_text())
  if history['layout_version'] != LAYOUT_VERSION:
    raise UserError(
      f'{path} has layout version {history["layout_version"]}, this program '
      f'reads {LAYOUT_VERSION}: use the version of pruning_gen that wrote it'
    )
  return history


def write_rows(workdir, rows):
  """Add rows to results.csv; a level that is there already is replaced.

  Args:
    workdir: path.
    rows: list of dicts with `COLUMNS` as keys, all of one experiment.
  """
  new = pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(index=False)
  # Numbers stay the text they were first written as, to the last digit.
  tables = [_parse(new, dtype=str)]
  path = results_path(workdir)
  if path.exists():
    old = _parse(path.read_text(), dtype=str)
    identity = ['experiment', 'level']
    replaced = old.set_index(identity).index.isin(
      tables[0].set_index(identity).index
    )
    tables.insert(0, old[~replaced])
  table = pd.concat(tables)
  table = table.sort_values(
    ['experiment', 'level'],
    kind='stable',
    key=lambda column: column.astype(int if column.name == 'level' else str),
  )
  write_table(path, table)


def read_results(workdir):
  """Read results.csv as a DataFrame; without rows where there is none yet."""
  path = results_path(workdir)
  if not path.exists():
    return pd.DataFrame(columns=list(COLUMNS))
  return _parse(path.read_text())


def _parse(text, dtype=None):
  # As text an empty field stays empty; as a number it is NaN.
  return pd.read_csv(
    io.StringIO(text), dtype=dtype, keep_default_na=dtype is not str
  )


def finished_levels(workdir, experiment):
  """Return the set of levels of an experiment that results.csv holds."""
  table = read_results(workdir)
  return set(table.level[table.experiment == experiment])


def write_members(workdir, experiment, members, labels):
  """Write who the members are and what labels they train on.

  Args:
    workdir: path.
    experiment: str.
    members: list of `Member`.
    labels: dict of arrays: labels and is_noisy [member, example_id],
      true_labels [example_id].
  """
  folder = epath.Path(workdir) / experiment
  table = pd.DataFrame(members)
  table.index.name = 'member'
  _write_text(folder / 'members.csv', table.to_csv())
  _write_arrays(folder / 'labels.npz', labels)


def write_level(workdir, experiment, level, arrays):
  """Write the per-example arrays [member, example_id] of one level."""
  _write_arrays(level_path(workdir, experiment, level), arrays)


def read_level(workdir, experiment, level):
  """Read the per-example arrays of one level, a dict."""
  path = level_path(workdir, experiment, level)
  with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
    return dict(arrays)


def level_path(workdir, experiment, level):
  """Name the file of a level's per-example arrays."""
  return epath.Path(workdir) / experiment / f'level_{level:03d}.npz'


def write_table(path, table):
  """Write a DataFrame as CSV, without its index."""
  _write_text(path, table.to_csv(index=False))


def write_bytes(path, content):
  """Write a file in one move; of several processes only the first does."""
  if not processes.is_primary():
    return
  path = epath.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f'.{path.name}.tmp')
  temporary.write_bytes(content)
  temporary.replace(path)


def _write_text(path, text):
  write_bytes(path, text.encode())


def _write_arrays(path, arrays):
  buffer = io.BytesIO()
  np.savez(buffer, **arrays)
  write_bytes(path, buffer.getvalue())
