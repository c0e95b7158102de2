"""Whether a compiled program fits in memory."""

import jax

from pruning_gen import environment
from pruning_gen.engine.mesh import Layout
from pruning_gen.errors import UserError


def check(compiled: jax.stages.Compiled, layout: Layout) -> str:
  """Check that a program fits, before anything is moved to the devices.

  Returns:
    The memory it needs and the memory available, as text.

  Raises:
    UserError: it does not fit.
  """
  needed, available = estimate(compiled, layout)
  text = f'{needed / 2**30:.2f} GiB of {available / 2**30:.0f} GiB'
  if needed > available:
    raise UserError(
      f'{layout.num_members} members need about {text} of device memory: lower '
      'config.replicates, config.noise_fractions or config.batch_size, pass '
      '--config.stacking=map, or use more devices'
    )
  return text


def estimate(compiled: jax.stages.Compiled, layout: Layout) -> tuple[int, int]:
  """Return how many bytes a program needs, and how many there are.

  On one device, or on all of them where they share the machine's memory (CPU).
  """
  needed = count_bytes(compiled)
  devices = layout.mesh.local_devices
  statistics = devices[0].memory_stats()
  if statistics:
    return needed, statistics['bytes_limit']
  return needed * len(devices), environment.memory_limit()


def count_bytes(compiled: jax.stages.Compiled) -> int:
  """Count the bytes of arguments, results and temporaries on one device."""
  plan = compiled.memory_analysis()
  return (
    plan.argument_size_in_bytes
    + plan.output_size_in_bytes
    + plan.temp_size_in_bytes
    # Donated arguments are the results' memory too.
    - plan.alias_size_in_bytes
  )
