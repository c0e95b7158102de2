"""Which accelerators this machine has, and how a process gets its own."""

import os
import pathlib
import subprocess

from pruning_gen.errors import UserError


def find(env=os.environ, dev=pathlib.Path('/dev')) -> tuple[str, list[str]]:
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
      if any(ids):
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


def environment(platform: str, ids: list[str]) -> dict[str, str]:
  """Return the variables that give a process these devices and no others.

  Raises:
    UserError: a process cannot have so many chips of a TPU.
  """
  # Without a platform JAX would use the CPU where the accelerator fails.
  env = {'JAX_PLATFORMS': platform}
  if platform == 'cuda':
    return env | {'CUDA_VISIBLE_DEVICES': ','.join(ids)}
  if len(ids) > 1:
    raise UserError(
      f'{len(ids)} TPU chips ({", ".join(ids)}) must be shared by as many '
      'workers, or all be used by one'
    )
  return env | {
    'TPU_VISIBLE_CHIPS': ids[0],
    'TPU_CHIPS_PER_PROCESS_BOUNDS': '1,1,1',
    'TPU_PROCESS_BOUNDS': '1,1,1',
    # libtpu's lock file admits one process per machine.
    'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
  }


def share(workers: int | None, platform: str, ids: list[str]) -> list[dict]:
  """Return the environment of each worker; by default one per device.

  Raises:
    UserError: there are more workers than devices.
  """
  count = workers or len(ids) or 1
  if not ids:
    return [{}] * count
  if count > len(ids):
    raise UserError(
      f'--workers={count} must be at most {len(ids)}, the {platform} devices '
      f'here ({", ".join(ids)}): two programs on one exhaust its memory'
    )
  if count == 1:
    return [{'JAX_PLATFORMS': platform}]
  size = len(ids) // count
  groups = [ids[i * size : (i + 1) * size] for i in range(count)]
  return [environment(platform, group) for group in groups]
