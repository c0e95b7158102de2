"""How much memory a compiled program needs, and how much there is."""

import os


def estimate(compiled, mesh):
  """Compare a compiled program's memory with that of the devices.

  Args:
    compiled: a jax.stages.Compiled.
    mesh: the mesh it runs on.

  Returns:
    needed: int, bytes of arguments, results and temporaries, as the compiler
      plans them; on one device, or on all of them where they share the
      memory of the machine (CPU).
    available: int, bytes.
  """
  needed = count_bytes(compiled)
  device = mesh.local_devices[0]
  statistics = device.memory_stats()
  if statistics:
    return needed, statistics['bytes_limit']
  physical = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
  return needed * len(mesh.local_devices), physical


def count_bytes(compiled):
  """Count the bytes that a jax.stages.Compiled needs of one device."""
  plan = compiled.memory_analysis()
  return (
    plan.argument_size_in_bytes
    + plan.output_size_in_bytes
    + plan.temp_size_in_bytes
    # Donated arguments are the results' memory too.
    - plan.alias_size_in_bytes
  )
