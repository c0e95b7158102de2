"""Several processes of one job: the first writes, all decide alike."""

import jax
import numpy as np
from jax.experimental import multihost_utils


def is_primary():
  """Tell whether this process writes files and talks to the user.

  Does not touch the devices where it need not: a report can be built while a
  run holds the accelerator.
  """
  return not jax.distributed.is_initialized() or jax.process_index() == 0


def any_process(flag):
  """Tell whether a flag is set on any process; called by all of them."""
  if not jax.distributed.is_initialized():
    return flag
  return bool(multihost_utils.process_allgather(np.asarray(flag)).any())


def wait_for_all(name):
  """Wait until all processes are here; called by all of them."""
  if jax.distributed.is_initialized():
    multihost_utils.sync_global_devices(name)
