"""Where a result comes from: one entry for each start of the program."""

import datetime
import importlib.metadata
import os
import pathlib
import platform
import shlex
import socket
import subprocess
import sys

import jax

PACKAGES = ('pruning_gen', 'jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint')


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
