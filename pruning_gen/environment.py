"""How JAX is set up, before anything asks it for its devices."""

import os
import pathlib

import jax
from ml_collections import ConfigDict

from pruning_gen.data import cache
from pruning_gen.errors import UserError

# Settings on which results depend, pinned whatever the environment says: with
# another implementation of keys, half of all noisy labels are others.
PINNED = {
  'jax_default_prng_impl': 'threefry2x32',
  'jax_threefry_partitionable': True,
  'jax_random_seed_offset': 0,
  'jax_enable_custom_prng': False,
  'jax_enable_x64': False,
  'jax_disable_jit': False,
  'jax_disable_most_optimizations': False,
  'jax_softmax_custom_jvp': False,
}


def set_up(config: ConfigDict, num_members: int) -> None:
  """Pin JAX's settings; choose the CPU devices and the compilation cache.

  Args:
    config: the config.
    num_members: how many networks train together.
  """
  for name, value in PINNED.items():
    # Not all are known to every version of JAX.
    if name in jax.config.values:
      jax.config.update(name, value)
  precision = config.matmul_precision
  jax.config.update(
    'jax_default_matmul_precision',
    None if precision == 'default' else precision,
  )
  if 'xla_force_host_platform_device_count' not in os.environ.get(
    'XLA_FLAGS', ''
  ):
    # A core that trains its own networks takes 0.49 s per epoch and member of
    # LeNet on MNIST, two cores that share each product 0.73 s. One member has
    # nothing to share out.
    jax.config.update(
      'jax_num_cpu_devices', config.devices.count or min(cores(), num_members)
    )
  cache_dir = cache.folder(config.data.cache_dir)
  jax.config.update(
    'jax_compilation_cache_dir', str(cache_dir / 'xla') if cache_dir else None
  )
  # By default only programs that took a second: 8 of the quickstart's 59. With
  # all of them, a second run takes 30 s instead of 45.
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)


def check_devices() -> str:
  """Ask JAX for its devices; return what they are, as text.

  Raises:
    UserError: the platform that was asked for is not there.
  """
  try:
    devices = jax.devices()
  # JAX raises an AssertionError for an unknown platform.
  except (RuntimeError, AssertionError) as error:
    asked = jax.config.jax_platforms
    raise UserError(
      f'JAX_PLATFORMS={asked} is not available ({error}): install the JAX for '
      "it (pip install 'jax[cuda12]' or 'jax[tpu]'), or unset JAX_PLATFORMS to "
      'use what there is'
    ) from error
  kinds = sorted({device.device_kind for device in devices})
  return f'{len(devices)} x {", ".join(kinds)} ({devices[0].platform})'


def cores() -> int:
  """Return how many cores this process may use, and XLA's threads with it."""
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count()  # macOS


def describe() -> dict[str, object]:
  """Return what results depend on besides the config, for JSON."""
  return {
    'cores': cores(),
    'memory_limit': memory_limit(),
    'xla_flags': os.environ.get('XLA_FLAGS', ''),
    'jax': {name: jax.config.values.get(name) for name in PINNED},
    'jax_environment': {
      name: value for name, value in os.environ.items() if name[:4] == 'JAX_'
    },
  }


def memory_limit() -> int:
  """Return how many bytes this process may use: of a container, or of all."""
  limits = [os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')]
  for path in (
    '/sys/fs/cgroup/memory.max',
    '/sys/fs/cgroup/memory/memory.limit_in_bytes',
  ):
    try:
      limits.append(int(pathlib.Path(path).read_text()))
    # Absent, or the word 'max'.
    except (OSError, ValueError):
      continue
  return min(limits)
