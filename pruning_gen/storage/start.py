"""Describes one start of the program: this process, its code, its machine."""

import datetime
import importlib.metadata
import os
import pathlib
import platform
import shlex
import socket
import subprocess
import sys
from typing import Any

import jax

PACKAGES = (
  'pruning_gen',
  'jax',
  'jaxlib',
  'libtpu',
  'flax',
  'optax',
  'orbax-checkpoint',
)


def describe() -> dict[str, Any]:
  """Describe this process, its code and its machine, for JSON."""
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


def git_revision() -> str | None:
  """Return the checkout's commit, with '+changes' if it has any, or None."""
  path = pathlib.Path(__file__)
  try:
    # If the package is installed inside another repository, that commit is not
    # ours.
    _git(path.parent, 'ls-files', '--error-unmatch', path.name)
    commit = _git(path.parent, 'rev-parse', 'HEAD')
    changes = _git(path.parent, 'status', '--porcelain', '--untracked-files=no')
  except (OSError, subprocess.CalledProcessError):
    # Installed without its repository, or without git.
    return None
  return commit + ('+changes' if changes else '')


def _git(folder: pathlib.Path, *command: str) -> str:
  # A hook of another repository names that one in GIT_DIR and more.
  environment = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith('GIT_') or name.startswith('GIT_CONFIG')
  }
  result = subprocess.run(
    ['git', '-C', folder, *command],
    capture_output=True,
    text=True,
    check=True,
    env=environment,
  )
  return result.stdout.strip()


def _version(package: str) -> str | None:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None
