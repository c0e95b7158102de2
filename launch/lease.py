"""One launcher at a time on a workdir in a bucket, which has no locks.

In a folder the program's own lock does this (pruning_gen.storage.lock).
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator

from pruning_gen.errors import UserError

RENEW_SECONDS = 60.0
# A holder that is silent for so long is gone.
EXPIRE_SECONDS = 180.0
KEY = 'lease.json'


class InUseError(UserError):
  """Another launcher has the workdir."""


@contextlib.contextmanager
def hold(workdir: str) -> Iterator[threading.Event]:
  """Hold a workdir with an object that its holder renews.

  Yields an event that is set if another launcher takes over, which can happen
  after `EXPIRE_SECONDS` without a connection to the bucket.

  Raises:
    InUseError: another launcher renews the object.
    UserError: the bucket cannot be written.
  """
  # Slow to import, and only needed for a bucket.
  import tensorstore as ts

  try:
    store = ts.KvStore.open(workdir.rstrip('/') + '/').result()
    generation = _acquire(store, workdir)
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
        # Not every bucket refuses a write by its condition: emulators do not.
        found = store.read(KEY).result().stamp.generation
        written = found == generation and _write(store, generation)
      except ValueError as error:
        print(f'warning: {workdir}: the lease was not renewed ({error})')
        continue
      if not written:
        print(f'error: another launcher took over {workdir}', flush=True)
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
        store.write(KEY, None, if_equal=generation).result()


def _acquire(store, workdir):
  """Write the lease if there is none, or if the existing one is not renewed."""
  while True:
    found = now = store.read(KEY).result()
    end = time.monotonic() + EXPIRE_SECONDS
    if found.state == 'value':
      print(f'{workdir} has a lease: waiting to see if it is renewed')
    while now.state == 'value' and time.monotonic() < end:
      time.sleep(EXPIRE_SECONDS / 20)
      now = store.read(KEY).result()
      if now.state == 'value' and (
        now.stamp.generation != found.stamp.generation
      ):
        raise InUseError(f'{workdir} is in use ({now.value.decode()})')
    # Of two launchers that come this far, one finds another generation.
    if written := _write(store, now.stamp.generation):
      return written


def _write(store, generation):
  """Write the lease unless somebody else did; return the new generation."""
  holder = {'host': socket.gethostname(), 'process_id': os.getpid()}
  text = json.dumps(holder | {'time': time.time()})
  return store.write(KEY, text, if_equal=generation).result().generation
