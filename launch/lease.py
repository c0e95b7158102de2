"""One launcher at a time on a workdir, in a folder or in a bucket."""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import socket
import threading
import time

from pruning_gen.errors import UserError

RENEW_SECONDS = 60.0
# A holder that is silent for so long is gone.
EXPIRE_SECONDS = 180.0
# What a file system without locks answers to flock.
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class InUseError(UserError):
  """Another launcher has the workdir."""


@contextlib.contextmanager
def hold_folder(workdir: str, say=print):
  """Hold a local workdir; yield the descriptor of the lock.

  A child that inherits it keeps the lock after this process has died.
  """
  workdir = pathlib.Path(workdir)
  path = workdir.parent / 'locks' / workdir.name
  path.parent.mkdir(parents=True, exist_ok=True)
  with path.open('w') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise InUseError(f'{workdir} is in use by another launcher') from error
    except OSError as error:
      if error.errno not in NO_LOCKS:
        raise
      say(f'warning: {path} cannot be locked ({error}): start each job once')
    yield file.fileno()


@contextlib.contextmanager
def hold_bucket(workdir: str, say=print):
  """Hold a workdir in a bucket with an object that its holder renews.

  Yields a threading.Event that is set if another launcher takes over, which
  can happen after `EXPIRE_SECONDS` without a connection to the bucket.
  """
  import tensorstore as ts

  try:
    store = ts.KvStore.open(workdir.rstrip('/') + '/').result()
    generation = _acquire(store, workdir, say)
  except ValueError as error:  # TensorStore's, of any fault.
    raise UserError(
      f'{workdir} cannot be written ({error}): give this account the role '
      'roles/storage.objectUser on the bucket'
    ) from error
  lost, done = threading.Event(), threading.Event()

  def renew():
    nonlocal generation
    while not done.wait(RENEW_SECONDS):
      try:
        found = store.read('lease.json').result().stamp.generation
        written = found == generation and _write(store, generation)
      except ValueError as error:
        say(f'warning: {workdir}/lease.json was not renewed ({error})')
        continue
      if not written:
        say(f'error: another launcher took over {workdir}')
        lost.set()
        return
      generation = written

  thread = threading.Thread(target=renew, daemon=True)
  thread.start()
  try:
    yield lost
  finally:
    done.set()
    thread.join()
    with contextlib.suppress(ValueError):
      if not lost.is_set():
        store.write('lease.json', None, if_equal=generation).result()


def _acquire(store, workdir, say):
  """Write the lease where there is none or it has expired."""
  while True:
    found = now = store.read('lease.json').result()
    if found.state == 'value':
      say(f'{workdir} has a lease ({found.value.decode()}); is it renewed?')
    end = time.monotonic() + EXPIRE_SECONDS
    while now.state == 'value' and time.monotonic() < end:
      time.sleep(EXPIRE_SECONDS / 20)
      now = store.read('lease.json').result()
      if now.state == 'value' and (
        now.stamp.generation != found.stamp.generation
      ):
        raise InUseError(f'{workdir} is in use ({now.value.decode()})')
    # Of two launchers that come this far, one finds another generation.
    written = _write(store, now.stamp.generation)
    if written:
      return written


def _write(store, generation):
  """Write the lease unless somebody else did; return the new generation."""
  holder = {'host': socket.gethostname(), 'process_id': os.getpid()}
  text = json.dumps(holder | {'time': time.time()})
  return (
    store.write('lease.json', text, if_equal=generation).result().generation
  )
