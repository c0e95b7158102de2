"""One program at a time on one workdir."""

import contextlib
import fcntl
import json
import os
import socket

from etils import epath

from pruning_gen import processes
from pruning_gen.errors import UserError
from pruning_gen.storage import files


@contextlib.contextmanager
def hold(workdir):
  """Hold a workdir: a second program on it is refused at once.

  The lock is the kernel's (flock) and goes with the process, however it dies;
  the file `lock.json` only says who has it. Buckets know no locks: there the
  caller must see to it.

  Args:
    workdir: path of a folder; made where it is missing.

  Raises:
    UserError: another process has it; names its host and process id.
  """
  # Of several processes of one job the first holds it for all.
  if files.is_in_bucket(workdir) or not processes.is_primary():
    yield
    return
  path = epath.Path(workdir) / 'lock.json'
  with contextlib.ExitStack() as stack:
    try:
      path.parent.mkdir(parents=True, exist_ok=True)
      file = stack.enter_context(open(path, 'a+'))
    except OSError as error:
      raise UserError(
        f'--workdir={workdir} cannot be written ({error}): give permission or '
        'name another folder'
      ) from error
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      file.seek(0)
      raise UserError(
        f'--workdir={workdir} is in use ({file.read().strip()}): wait for it, '
        'stop it, or name another folder'
      ) from error
    except OSError as error:
      raise UserError(
        f'--workdir={workdir} cannot be locked ({error}): its file system has '
        'no flock; name a folder on another, or mount it with locks'
      ) from error
    # The lock counts; on a full disk nobody can read who has it.
    with contextlib.suppress(OSError):
      _write_holder(file.fileno())
    yield


def _write_holder(file):
  holder = {'host': socket.gethostname(), 'process_id': os.getpid()}
  # Nothing may be left to write when the file is closed. By the descriptor that
  # holds the lock: on NFS to close another one would give the lock back.
  os.ftruncate(file, 0)
  os.write(file, json.dumps(holder).encode())
