"""How JAX is set up, before anything asks it for its devices."""

import os
import pathlib

import jax
from ml_collections import ConfigDict

from pruning_gen.data import datasets


def set_up(config: ConfigDict, num_members: int) -> None:
  """Choose the CPU devices, the precision and the compilation cache.

  Args:
    config: the config.
    num_members: how many networks train together.
  """
  if 'xla_force_host_platform_device_count' not in os.environ.get(
    'XLA_FLAGS', ''
  ):
    # A core that trains its own networks takes 0.49 s per epoch and member of
    # LeNet on MNIST, two cores that share each product 0.73 s. One member has
    # nothing to share out.
    jax.config.update(
      'jax_num_cpu_devices', config.devices.count or min(_cores(), num_members)
    )
  if config.matmul_precision != 'default':
    jax.config.update('jax_default_matmul_precision', config.matmul_precision)
  cache_dir = config.data.cache_dir or datasets.default_cache_dir()
  jax.config.update(
    'jax_compilation_cache_dir', str(pathlib.Path(cache_dir) / 'xla')
  )


def _cores() -> int:
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count()  # macOS
