"""Where results come from: a workdir's config, and every start on it."""

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import shlex
import socket
import subprocess
import sys

import jax
from etils import epath

from pruning_gen.errors import UserError
from pruning_gen.storage import files

# Raised when a file changes its meaning; older workdirs are then refused.
LAYOUT_VERSION = 2

PACKAGES = ('pruning_gen', 'jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint')


def open_workdir(workdir, config):
  """Claim a workdir for a configuration, or checks that it is the same.

  Args:
    workdir: path; made where it is missing.
    config: nested dict of what JSON can hold.

  Raises:
    UserError: it is a file, cannot be reached or written, is of another layout
      version, or belongs to another config (the message lists every key that
      differs).
  """
  workdir = epath.Path(workdir)
  try:
    is_file = workdir.exists() and not workdir.is_dir()
  # What reads a bucket has errors of its own.
  except Exception as error:
    raise UserError(
      f'--workdir={workdir} cannot be reached ({error}): give permission; for '
      'a bucket, log in and see that TensorFlow or gcsfs is installed'
    ) from error
  if is_file:
    raise UserError(f'--workdir={workdir} is a file: name a folder')
  path = workdir / 'config.json'
  # Once through JSON, so that tuples compare equal to what was stored.
  config = json.loads(json.dumps(config))
  if path.exists():
    _check_same(path, read_config(workdir), config)
    return
  files.write_text(path, json.dumps(config, indent=2) + '\n')


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
  return files.read_json(path)


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
  files.write_text(path, json.dumps(history, indent=2) + '\n')


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
  history = files.read_json(path)
  version = history.get('layout_version')
  if version != LAYOUT_VERSION:
    raise UserError(
      f'{path} has layout version {version}, this program reads '
      f'{LAYOUT_VERSION}: use the version of pruning_gen that wrote it'
    )
  return history


def describe_start():
  """Return what JSON can hold of this process, its code and its machine."""
  devices = jax.devices()
  return {
    'time': datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds'),
    'command': shlex.join(sys.argv),
    'git_revision': git_revision(),
    'host': socket.gethostname(),
    'process_id': os.getpid(),
    'python': platform.python_version(),
    'versions': {name: _version(name) for name in PACKAGES},
    'platform': platform.platform(),
    'cpu_count': os.cpu_count(),
    'devices': [
      f'{device.platform}: {device.device_kind}' for device in devices
    ],
  }


def git_revision():
  """Return the checkout's commit, with '+changes' if it has any, or None."""
  folder = pathlib.Path(__file__).parent
  try:
    commit = _git(folder, 'rev-parse', 'HEAD')
    changes = _git(folder, 'status', '--porcelain', '--untracked-files=no')
  except (OSError, subprocess.CalledProcessError):
    # Installed without its repository, or no git.
    return None
  return commit + ('+changes' if changes else '')


def _git(folder, *command):
  result = subprocess.run(
    ['git', '-C', folder, *command], capture_output=True, text=True, check=True
  )
  return result.stdout.strip()


def _version(package):
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None
