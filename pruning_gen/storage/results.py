"""Every path and every file format of a workdir, except checkpoints.

  WORKDIR/
    config.json      the configuration, fixed at the first start
    provenance.json  one entry a start: time, host, versions, devices, command
    results.csv      one row a member and level, complete after every level
    summary.csv      over replicates: mean, std, n, verdict against dense
    FOLDER/members.csv    what the rows [member] of the arrays are
    FOLDER/labels.npz     labels, is_noisy [member, example_id]; true_labels
    FOLDER/level_003.npz  per-example arrays [member, example_id]
    el2n/scores.npz       el2n [row, example_id], whose rows are scores.csv's
    chain/most_worsened.csv, .npz  the examples that pruning worsens most
    checkpoints/FOLDER/   Orbax
    tensorboard/FOLDER/   scalars
    report/          index.html, figures/*, tables/*

FOLDER is chain, width, el2n, or one of leave_out's: leave_out/train_48000 has
the networks that train on so many examples. Files are replaced in one move: a
reader never sees half a file.
"""

import contextlib
import io
import json
import os
import zipfile
import zlib

import numpy as np
import pandas as pd
from etils import epath

from pruning_gen.errors import UserError
from pruning_gen.storage import processes

# Raised when a file changes its meaning; older workdirs are then refused.
LAYOUT_VERSION = 2

# What every row of results.csv has, in this order.
COLUMNS = (
  'experiment',
  'arm',
  'noise_fraction',
  'replicate',
  'network',
  'level',
  'width',
  'num_weights',
  'weights_remaining',
  'num_train',
  'epochs_trained',
  'train_cross_entropy',
  'train_error',
  'train_cross_entropy_original',
  'train_cross_entropy_noisy',
  'validation_error',
  'test_error',
  'test_cross_entropy',
  'diverged',
)
# What tells two rows apart.
IDENTITY = (
  'experiment',
  'arm',
  'noise_fraction',
  'replicate',
  'network',
  'level',
)


def checkpoint_dir(workdir, folder):
  """Where the checkpoints of a folder's networks are."""
  return epath.Path(workdir) / 'checkpoints' / folder


def remove_checkpoints(workdir, folder):
  """Remove the checkpoints of a folder's networks, if there are any."""
  path = checkpoint_dir(workdir, folder)
  if processes.is_primary() and path.exists():
    path.rmtree()


def tensorboard_dir(workdir, folder):
  """Where the TensorBoard scalars of a folder's networks are."""
  return epath.Path(workdir) / 'tensorboard' / folder


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
    UserError: it is a file, cannot be written, is of another layout version,
      or belongs to another config (the message lists every key that differs).
  """
  workdir = epath.Path(workdir)
  if workdir.exists() and not workdir.is_dir():
    raise UserError(f'--workdir={workdir} is a file: name a folder')
  path = workdir / 'config.json'
  # Once through JSON, so that tuples compare equal to what was stored.
  config = json.loads(json.dumps(config))
  if path.exists():
    _check_same(path, read_config(workdir), config)
    return
  _write_text(path, json.dumps(config, indent=2) + '\n')


def _check_same(path, stored, config):
  stored, config = flatten(stored), flatten(config)
  # What to run next is no part of what was run.
  stored.pop('experiments', None)
  config.pop('experiments', None)
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


def _read_json(path):
  try:
    content = json.loads(path.read_text())
    if not isinstance(content, dict):
      raise ValueError('not an object')
  except (ValueError, RecursionError) as error:
    raise UserError(
      f'{path} is damaged ({error}): put it back from a copy, or name another '
      '--workdir'
    ) from error
  return content


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
    UserError: the folder holds no run, or one of another layout version.
  """
  path = epath.Path(workdir) / 'config.json'
  if not path.exists():
    raise UserError(
      f'--workdir={workdir} holds no run (no config.json): name the folder '
      'that was given to pruning_gen.main'
    )
  read_provenance(workdir)
  return _read_json(path)


def add_provenance(workdir, entry, allow_device_change=False):
  """Append one start of the program to provenance.json.

  Args:
    workdir: path.
    entry: dict, from `provenance.describe_start`, with `dataset` (a dict).
    allow_device_change: bool, whether `devices` may differ from the last
      start's.

  Raises:
    UserError: the data set differs from the last start's, or the devices do
      and may not.
  """
  history = read_provenance(workdir)
  if history['starts']:
    last = history['starts'][-1]
    _check_start(workdir, last, entry, allow_device_change)
  history['starts'].append(entry)
  path = epath.Path(workdir) / 'provenance.json'
  _write_text(path, json.dumps(history, indent=2) + '\n')


def _check_start(workdir, last, entry, allow_device_change):
  if entry['dataset'] != last['dataset']:
    raise UserError(
      f'--workdir={workdir} was begun on another version of the data set:\n'
      f'  {last["dataset"]} there\n  {entry["dataset"]} now\n'
      'set config.data.dir back to it, or name another --workdir'
    )
  if entry['devices'] != last['devices'] and not allow_device_change:
    raise UserError(
      f'--workdir={workdir} was begun on other devices:\n'
      f'  {last["devices"]} there\n  {entry["devices"]} now\n'
      'the rest would differ in rounding: use the same, or pass '
      '--allow_device_change to go on (provenance.json will tell)'
    )


def saved_epochs(workdir):
  """Return the newest checkpoint of every stage: {folder: finished epochs}."""
  root = epath.Path(workdir) / 'checkpoints'
  newest = {}
  # chain/12, and leave_out/train_48000/12.
  for path in [*root.glob('*/[0-9]*'), *root.glob('*/*/[0-9]*')]:
    if path.name.isdigit():
      folder = str(path.parent.relative_to(root))
      newest[folder] = max(int(path.name), newest.get(folder, 0))
  return dict(sorted(newest.items()))


def read_provenance(workdir):
  """Read provenance.json: {'layout_version': int, 'starts': [dict]}."""
  path = epath.Path(workdir) / 'provenance.json'
  if not path.exists():
    return {'layout_version': LAYOUT_VERSION, 'starts': []}
  history = _read_json(path)
  version = history.get('layout_version')
  if version != LAYOUT_VERSION:
    raise UserError(
      f'{path} has layout version {version}, this program reads '
      f'{LAYOUT_VERSION}: use the version of pruning_gen that wrote it'
    )
  return history


def write_rows(workdir, rows):
  """Add rows to results.csv; what is there already (`IDENTITY`) is replaced.

  Args:
    workdir: path.
    rows: list of dicts with `COLUMNS` as keys.
  """
  new = pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(index=False)
  # Numbers stay the text they were first written as, to the last digit.
  tables = [_parse(new, dtype=str)]
  path = results_path(workdir)
  if path.exists():
    old = _read_table(path, IDENTITY, dtype=str)
    identity = list(IDENTITY)
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
  return _read_table(path, COLUMNS)


def _read_table(path, columns, dtype=None):
  """Read a table that must have these columns."""
  try:
    table = _parse(path.read_text(), dtype)
    missing = [name for name in columns if name not in table]
    if missing:
      raise ValueError(f'it lacks the columns {", ".join(missing)}')
  except (OSError, ValueError) as error:
    raise UserError(
      f'{path} cannot be read ({error}): put it back from a copy, or start in '
      'another --workdir'
    ) from error
  return table


def _parse(text, dtype=None):
  # As text an empty field stays empty; as a number it is NaN.
  return pd.read_csv(
    io.StringIO(text), dtype=dtype, keep_default_na=dtype is not str
  )


def finished_rows(workdir, experiment):
  """Return the set of (arm, noise_fraction, replicate, network, level) there.

  Args:
    workdir: path.
    experiment: str.
  """
  table = read_results(workdir)
  rows = table[table.experiment == experiment][list(IDENTITY[1:])]
  return set(rows.itertuples(index=False, name=None))


def write_members(workdir, folder, members, labels):
  """Write who the members are and what labels they train on.

  Args:
    workdir: path.
    folder: str, as 'chain'.
    members: list of `Member`.
    labels: dict of arrays: labels and is_noisy [member, example_id],
      true_labels [example_id]; and left_out, bool [member, example_id], where
      members do not train on all examples.
  """
  path = epath.Path(workdir) / folder
  table = pd.DataFrame(members)
  table.index.name = 'member'
  _write_text(path / 'members.csv', table.to_csv())
  _write_arrays(path / 'labels.npz', labels)


def read_members(workdir, folder):
  """Read members.csv: a DataFrame with one row for each member."""
  path = epath.Path(workdir) / folder / 'members.csv'
  return _read_table(path, ('member', *IDENTITY[1:-1])).set_index('member')


def read_labels(workdir, folder):
  """Read the arrays of `write_members`, a dict.

  Raises:
    UserError: the file is damaged, or its arrays do not fit each other.
  """
  path = epath.Path(workdir) / folder / 'labels.npz'
  arrays = _read_arrays(path, 'labels', 'true_labels')
  shape = (len(read_members(workdir, folder)), arrays['true_labels'].size)
  for name, array in arrays.items():
    if name != 'true_labels' and array.shape != shape:
      raise UserError(
        f'{path}: {name} is {array.shape}, not {shape}, [member, '
        'example_id] as members.csv and true_labels have it: put it back from '
        'a copy, or start in another --workdir'
      )
  return arrays


def write_level(workdir, folder, level, arrays):
  """Write the per-example arrays [member, example_id] of one level."""
  _write_arrays(level_path(workdir, folder, level), arrays)


def read_level(workdir, folder, level):
  """Read the per-example arrays of one level, a dict."""
  return _read_arrays(level_path(workdir, folder, level))


def level_path(workdir, folder, level):
  """Name the file of a level's per-example arrays."""
  return epath.Path(workdir) / folder / f'level_{level:03d}.npz'


def write_el2n(workdir, table, scores):
  """Write EL2N scores.

  Args:
    workdir: path.
    table: DataFrame with the columns noise_fraction, replicate and networks,
      how many a score is the mean over.
    scores: float32 [row of table, example_id].
  """
  folder = epath.Path(workdir) / 'el2n'
  _write_arrays(folder / 'scores.npz', {'el2n': scores})
  # Last: it tells that the scores are there.
  write_table(folder / 'scores.csv', table)


def has_el2n(workdir):
  """Tell whether there are EL2N scores."""
  return (epath.Path(workdir) / 'el2n' / 'scores.csv').exists()


def read_el2n(workdir):
  """Read EL2N scores: {(noise_fraction, replicate): float32 [example_id]}."""
  folder = epath.Path(workdir) / 'el2n'
  table = _read_table(folder / 'scores.csv', ('noise_fraction', 'replicate'))
  scores = _read_arrays(folder / 'scores.npz', 'el2n')['el2n']
  if len(scores) != len(table):
    raise UserError(
      f'{folder}/scores.npz has {len(scores)} rows, scores.csv has '
      f'{len(table)}: put them back from a copy, or start in another --workdir'
    )
  label_sets = zip(table.noise_fraction, table.replicate)
  return dict(zip(label_sets, scores))


def write_most_worsened(workdir, table, images):
  """Write the examples that pruning worsens most, and their images.

  Args:
    workdir: path.
    table: DataFrame with the columns noise_fraction, replicate, level,
      example_id, label, true_label, prediction and effect (nats).
    images: uint8 [row of table, height, width, channels].
  """
  folder = epath.Path(workdir) / 'chain'
  _write_arrays(folder / 'most_worsened.npz', {'images': images})
  write_table(folder / 'most_worsened.csv', table)


def has_most_worsened(workdir):
  """Tell whether there is what `write_most_worsened` writes."""
  return (epath.Path(workdir) / 'chain' / 'most_worsened.csv').exists()


def read_most_worsened(workdir):
  """Read what `write_most_worsened` wrote, (table, images), or None."""
  if not has_most_worsened(workdir):
    return None
  folder = epath.Path(workdir) / 'chain'
  images = _read_arrays(folder / 'most_worsened.npz', 'images')['images']
  table = _parse((folder / 'most_worsened.csv').read_text())
  return table, images


def write_table(path, table):
  """Write a DataFrame as CSV, without its index."""
  _write_text(path, table.to_csv(index=False))


def write_bytes(path, content):
  """Write a file in one move; of several processes only the first does."""
  if not processes.is_primary():
    return
  path = epath.Path(path)
  # A report may be built twice at a time, of a run and beside it.
  temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary.open('wb') as file:
      file.write(content)
      if '://' not in str(path):
        # Or a power cut could leave the new name with nothing in it.
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
  except OSError as error:
    with contextlib.suppress(OSError):
      temporary.unlink()
    raise UserError(
      f'{path} cannot be written ({error}): make space or give permission, and '
      'run the same command again; all that is finished is kept'
    ) from error


def remove_leftovers(workdir):
  """Remove what killed programs left of writes; by the one that holds it."""
  if processes.is_primary():
    workdir = epath.Path(workdir)
    for folder in (workdir, *workdir.glob('*'), *workdir.glob('leave_out/*')):
      for path in folder.glob('.*.tmp'):
        path.unlink(missing_ok=True)


def _write_text(path, text):
  write_bytes(path, text.encode())


def _write_arrays(path, arrays):
  buffer = io.BytesIO()
  np.savez(buffer, **arrays)
  write_bytes(path, buffer.getvalue())


def _read_arrays(path, *names):
  """Read arrays by name; those of `names` must be there."""
  try:
    # Never a pickle: a file from elsewhere must not run code here.
    file = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
    if not isinstance(file, np.lib.npyio.NpzFile):
      raise ValueError('it is a single array')
    with file:
      arrays = dict(file)
    missing = [name for name in names if name not in arrays]
    if missing:
      raise ValueError(f'it has no array {missing[0]}')
    return arrays
  except (
    OSError,
    ValueError,
    EOFError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
  ) as error:
    raise UserError(
      f'{path} is missing or holds no arrays of this program ({error}): put it '
      'back from a copy, or start in another --workdir'
    ) from error
