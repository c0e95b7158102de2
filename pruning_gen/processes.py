"""Several processes of one job: the first writes, all decide alike."""

import hashlib

import jax
import numpy as np
from jax.experimental import multihost_utils


def are_several():
  """Tell whether this process is one of several of a job."""
  return jax.distributed.is_initialized()


def is_primary():
  """Tell whether this process writes files and talks to the user.

  Does not touch the devices where it need not: a report can be built while a
  run holds the accelerator.
  """
  return not are_several() or jax.process_index() == 0


def any_process(flag):
  """Tell whether a flag is set on any process; called by all of them."""
  if not are_several():
    return flag
  return bool(multihost_utils.process_allgather(np.asarray(flag)).any())


def agree(text):
  """Tell whether a text is the same on all processes; called by all of them."""
  if not are_several():
    return True
  digest = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)
  return bool((multihost_utils.process_allgather(digest) == digest).all())


def wait_for_all(name):
  """Wait until all processes are here; called by all of them."""
  if are_several():
    multihost_utils.sync_global_devices(name)
