"""Which accelerators this machine has, and how a process gets its own."""

import os
import pathlib
import subprocess
from collections.abc import Mapping

from pruning_gen.errors import UserError


def find(
  env: Mapping[str, str] = os.environ, dev: pathlib.Path = pathlib.Path('/dev')
) -> tuple[str, list[str]]:
  """Find the devices that a program started here would see.

  Returns:
    'cuda', 'tpu' or 'cpu', and the ids of the devices; none for 'cpu'.
  """
  wanted = env.get('JAX_PLATFORMS', '')
  for platform, variable, probe in (
    ('cuda', 'CUDA_VISIBLE_DEVICES', _gpus),
    ('tpu', 'TPU_VISIBLE_CHIPS', lambda: _chips(dev)),
  ):
    if wanted in ('', platform):
      ids = env[variable].split(',') if variable in env else probe()
      # CUDA reads these two as none.
      if any(ids) and ids[0] not in ('-1', 'NoDevFiles'):
        return platform, ids
  return 'cpu', []


def _gpus():
  command = ['nvidia-smi', '--query-gpu=index', '--format=csv,noheader']
  try:
    result = subprocess.run(command, capture_output=True, text=True, check=True)
  except (OSError, subprocess.CalledProcessError):
    return []
  return result.stdout.split()


def _chips(dev):
  paths = [*dev.glob('accel[0-9]*'), *dev.glob('vfio/[0-9]*')]
  return [path.name.removeprefix('accel') for path in sorted(paths)]


def environment(
  platform: str, ids: list[str], device: str | None = None
) -> dict[str, str]:
  """Return the variables that give a process one device, or by default all.

  Raises:
    UserError: there is no such device.
  """
  if device is None:
    # Without a platform JAX would use the CPU where the accelerator fails.
    return {'JAX_PLATFORMS': platform} if ids else {}
  if device not in ids:
    known = ', '.join(ids) or 'none'
    raise UserError(f'--device={device} must be one of: {known}')
  if platform == 'cuda':
    return {'JAX_PLATFORMS': platform, 'CUDA_VISIBLE_DEVICES': device}
  return {
    'JAX_PLATFORMS': platform,
    'TPU_VISIBLE_CHIPS': device,
    'TPU_CHIPS_PER_PROCESS_BOUNDS': '1,1,1',
    'TPU_PROCESS_BOUNDS': '1,1,1',
    # libtpu's lock file admits one process per machine.
    'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
  }


def share(
  workers: int | None, platform: str, ids: list[str]
) -> list[dict[str, str]]:
  """Return the environment of each worker; by default one per device.

  Raises:
    UserError: there are more workers than devices.
  """
  count = len(ids) or 1 if workers is None else workers
  most = len(ids) or count
  if not 1 <= count <= most:
    raise UserError(
      f'--workers={count} must be at least 1, and at most the number of '
      f'{platform} devices here ({", ".join(ids)})'
    )
  # One has the whole machine.
  own = ids[:count] if ids and count > 1 else [None] * count
  return [environment(platform, ids, device) for device in own]
