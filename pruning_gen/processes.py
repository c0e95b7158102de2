"""Several processes of one job: join, decide alike, and end."""

import contextlib
import hashlib
import os
import sys
import threading
from collections.abc import Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from pruning_gen.errors import handling_stop
from pruning_gen.errors import stop_at_once
from pruning_gen.errors import UserError


def join(
  coordinator_address: str | None,
  num_processes: int | None,
  process_id: int | None,
  join_seconds: int,
) -> None:
  """Join the other processes of a job, or exit if they do not appear.

  Must precede everything that asks JAX for its devices.

  Raises:
    UserError: they cannot find each other.
  """
  # Google's automatic firewall opens this port between the hosts of a slice,
  # and not JAX's default.
  os.environ.setdefault('JAX_COORDINATOR_PORT', '8476')

  def give_up():
    # JAX would abort with a stack trace and no remedy.
    print(
      f'error: the processes of this job did not all join within '
      f'{join_seconds} s (--num_processes={num_processes}, '
      f'--coordinator_address={coordinator_address}): start that many, each '
      'with its own --process_id counting from 0, and check that they can '
      'reach that address',
      file=sys.stderr,
      flush=True,
    )
    os._exit(1)

  timer = threading.Timer(join_seconds, give_up)
  timer.start()
  try:
    jax.distributed.initialize(
      coordinator_address,
      num_processes,
      process_id,
      # Longer than the timer, so that ours is the message that is shown.
      initialization_timeout=join_seconds + 60,
      # A process that died is noticed in half of JAX's default time.
      heartbeat_timeout_seconds=60,
    )
  except (ValueError, RuntimeError) as error:
    raise UserError(
      f'--distributed: {error}\nOutside Cloud TPU and Slurm, pass '
      '--coordinator_address=HOST:PORT of process 0, --num_processes, and each '
      "process's own --process_id counting from 0"
    ) from error
  finally:
    timer.cancel()


def are_several() -> bool:
  """Return whether this process is one of several of a job."""
  return jax.distributed.is_initialized()


def is_primary() -> bool:
  """Return whether this process writes files and talks to the user.

  Does not touch the devices where it need not: a report can be built while a
  run holds the accelerator.
  """
  return not are_several() or jax.process_index() == 0


def any_process(flag: bool) -> bool:
  """Return whether a flag is set on any process; called by all of them."""
  if not are_several():
    return flag
  return bool(multihost_utils.process_allgather(np.asarray(flag)).any())


def agree(text: str) -> bool:
  """Return whether all processes have the same text; called by all of them."""
  if not are_several():
    return True
  digest = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)
  return bool((multihost_utils.process_allgather(digest) == digest).all())


def wait_for_all(name: str) -> None:
  """Wait until all processes are here; called by all of them."""
  if are_several():
    multihost_utils.sync_global_devices(name)


@contextlib.contextmanager
def stopping_at_once() -> Iterator[None]:
  """Let a signal end the program at once, where there is nothing to save.

  Does nothing in one of several processes, for which the others would wait, and
  outside the main thread, where signals cannot be handled.
  """
  is_main = threading.current_thread() is threading.main_thread()
  if are_several() or not is_main:
    yield
    return
  with handling_stop(stop_at_once):
    yield


def exit_soon(code: int) -> None:
  """Exit with an error code, without waiting for threads and processes."""
  if are_several():
    # The others may wait for this process, and at an orderly exit JAX would
    # wait for them. They notice that it is gone.
    os._exit(code)
  # An orderly exit ends the workers that read images, in less than a second.
  # It also waits for the parts of a save that cannot be written, 5 minutes.
  timer = threading.Timer(5, os._exit, (code,))
  timer.daemon = True
  timer.start()
