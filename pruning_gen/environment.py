"""How JAX is set up, before anything asks it for its devices."""

import os
import pathlib
import platform
from collections.abc import Iterator

import jax
from ml_collections import ConfigDict

from pruning_gen.data import cache
from pruning_gen.errors import UserError

# Settings that change results, pinned whatever the environment says: with
# another implementation of keys, half of the noisy labels differ.
PINNED = {
  'jax_default_prng_impl': 'threefry2x32',
  'jax_threefry_partitionable': True,
  'jax_random_seed_offset': 0,
  'jax_enable_custom_prng': False,
  'jax_enable_x64': False,
  'jax_disable_jit': False,
  'jax_disable_most_optimizations': False,
  'jax_softmax_custom_jvp': False,
  'jax_high_dynamic_range_gumbel': False,
  'jax_allow_f16_reductions': True,
  # How far XLA optimizes, and by whose profile: the last bits change.
  'jax_compiler_enable_remat_pass': True,
  'jax_enable_pgle': False,
  'jax_exec_time_optimization_effort': 0.0,
  'jax_memory_fitting_effort': 0.0,
  'jax_memory_fitting_level': 'O2',
  'jax_optimization_level': 'UNKNOWN',
  'jax_xla_profile_version': 0,
}
# Environment variables that hold flags of compilers.
FLAGS = ('XLA_FLAGS', 'LIBTPU_INIT_ARGS', 'NVIDIA_TF32_OVERRIDE')


def set_up(
  config: ConfigDict, num_members: int, num_cpu_devices: int = 0
) -> None:
  """Pin JAX's settings; choose the CPU devices and the compilation cache.

  Args:
    num_members: how many networks train together.
    num_cpu_devices: as many as the workdir's last start had; 0 to choose.

  Raises:
    RuntimeError: JAX is in use already, with another number of CPU devices;
      everything else is set.
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
  # That of the environment may be in a bucket, which a fleet shares.
  if not os.environ.get('JAX_COMPILATION_CACHE_DIR'):
    cache_dir = cache.folder(config.data.cache_dir)
    jax.config.update(
      'jax_compilation_cache_dir', str(cache_dir / 'xla') if cache_dir else None
    )
  # By default only programs that took a second: 8 of the quickstart's 59. With
  # all of them, a second run takes 30 s instead of 45.
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  # Last: it fails if JAX is in use, as it may be in a notebook.
  if 'xla_force_host_platform_device_count' not in os.environ.get(
    'XLA_FLAGS', ''
  ):
    # A core that trains its own networks takes 0.49 s per epoch and member of
    # LeNet on MNIST, two cores that share each product 0.73 s. One member has
    # nothing to share out.
    jax.config.update(
      'jax_num_cpu_devices',
      config.devices.count or num_cpu_devices or min(cores(), num_members),
    )


def check_devices() -> str:
  """Return the number and kind of JAX's devices, as text.

  Raises:
    UserError: the requested platform is not available.
  """
  names = ('jax_platforms', 'jax_platform_name')
  asked = {name: jax.config.values.get(name) for name in names}
  name = 'jax_platforms' if asked['jax_platforms'] else 'jax_platform_name'
  first = (asked[name] or '').split(',')[0].strip().lower()
  try:
    devices = jax.devices()
  # JAX raises an AssertionError for an unknown platform.
  except (RuntimeError, AssertionError) as error:
    if not first:
      raise
    raise _absent(name, asked[name]) from error
  # Of several, JAX skips those that are not installed.
  if first in ('cuda', 'rocm', 'gpu', 'tpu') and devices[0].platform == 'cpu':
    raise _absent(name, asked[name])
  return _list_devices(devices)


def _list_devices(devices: list[jax.Device]) -> str:
  kinds = sorted({device.device_kind for device in devices})
  return f'{len(devices)} x {", ".join(kinds)} ({devices[0].platform})'


def _absent(name: str, asked: str) -> UserError:
  """Return the error of a platform that was asked for and is not there."""
  jax.config.update('jax_platforms', None)
  jax.config.update('jax_platform_name', '')
  return UserError(
    f'{name.upper()}={asked}, but JAX finds {_list_devices(jax.devices())}: '
    "install the JAX for it (pip install 'jax[cuda12]' or 'jax[tpu]') and its "
    f'driver, or unset {name.upper()} to use what there is'
  )


def cores() -> int:
  """Return how many cores XLA uses: by default those of this process."""
  for name in ('PJRT_NPROC', 'NPROC'):
    if os.environ.get(name, '').isdecimal():
      return max(int(os.environ[name]), 1)
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count()  # macOS


def describe() -> dict[str, object]:
  """Return what results depend on besides the config, for JSON.

  Of it, `provenance.add_provenance` refuses a change of cores, cpu and flags.
  """
  return {
    'cores': cores(),
    'cpu': _cpu(),
    'memory_limit': memory_limit(),
    # Without the variables that hold no flag.
    'flags': {name: flags for name in FLAGS if (flags := _flags(name))},
    'jax': {name: jax.config.values.get(name) for name in PINNED},
    'jax_environment': {
      name: value for name, value in os.environ.items() if name[:4] == 'JAX_'
    },
  }


def _cpu() -> str:
  """Return the model of the processor, for which XLA chooses instructions."""
  try:
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
  except OSError:
    return platform.processor()  # macOS
  names = [line.partition(': ')[2] for line in lines if 'model name' in line]
  # ARM's have none.
  return names[0] if names else platform.machine()


def _flags(name: str) -> dict[str, str]:
  """Return a compiler's flags that results may depend on, by name."""
  text = os.environ.get(name, '')
  # XLA reads its flags from a file, too.
  if not text.startswith('-') and os.path.isfile(text):
    text = pathlib.Path(text).read_text()
  pairs = (flag.partition('=') for flag in text.split())
  return {
    key: value for key, _, value in pairs if not key.startswith('--xla_dump')
  }


def memory_limit() -> int:
  """Return how many bytes this process may use: a container's limit, or all."""
  limits = [os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')]
  for path in _cgroup_files():
    try:
      limits.append(int(path.read_text()))
    # Absent, or the word 'max'.
    except (OSError, ValueError):
      continue
  return min(limits)


def _cgroup_files() -> Iterator[pathlib.Path]:
  """Yield the files that may limit the memory of this process.

  A container sees its own limit at the root; a job of Slurm or systemd has it
  further down, and every group above counts.
  """
  try:
    groups = pathlib.Path('/proc/self/cgroup').read_text().splitlines()
  except OSError:
    groups = []  # macOS
  own = dict(group.split(':', 2)[1:] for group in groups)
  for root, controller, name in (
    ('/sys/fs/cgroup', '', 'memory.max'),
    ('/sys/fs/cgroup/memory', 'memory', 'memory.limit_in_bytes'),
  ):
    group = pathlib.PurePosixPath(own.get(controller, '/'))
    for folder in (group, *group.parents):
      yield pathlib.Path(root) / str(folder).lstrip('/') / name
