"""One program at a time on one workdir."""

import contextlib
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator

from etils import epath

from pruning_gen import processes
from pruning_gen.errors import UserError
from pruning_gen.storage import files

# What a file system without locks answers, as Lustre and NFS can be mounted.
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


@contextlib.contextmanager
def hold(workdir: epath.PathLike) -> Iterator[None]:
  """Hold a workdir: a second program that wants it is refused immediately.

  The lock is the kernel's (flock) and ends with the process, however it dies;
  the file `lock.json` only records who holds it. Buckets have no locks; neither
  do some file systems, which gives a warning. There the caller must ensure that
  only one program runs.

  Args:
    workdir: a folder; created if it is missing.

  Raises:
    UserError: another process holds it (names its host and process id), or it
      cannot be written.
  """
  # The first of several processes of a job holds it for all of them.
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
        f'--workdir={workdir} cannot be written ({error}): give permission, or '
        'pass another folder'
      ) from error
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      file.seek(0)
      raise UserError(
        f'--workdir={workdir} is in use ({file.read().strip()}): wait for that '
        'program, stop it, or pass another folder'
      ) from error
    except OSError as error:
      if error.errno not in NO_LOCKS:
        raise UserError(
          f'--workdir={workdir} cannot be locked ({error}): pass a folder on '
          'another file system'
        ) from error
      print(
        f'warning: the file system of {path.parent} has no locks ({error}): '
        'start only one program at a time with this --workdir',
        flush=True,
      )
    # Only the lock matters; on a full disk nobody can read who holds it.
    with contextlib.suppress(OSError):
      _write_holder(file.fileno())
    yield


def _write_holder(file: int) -> None:
  holder = {'host': socket.gethostname(), 'process_id': os.getpid()}
  # Unbuffered, so that closing the file writes nothing. Through the descriptor
  # that holds the lock: on NFS, closing another one would release the lock.
  os.ftruncate(file, 0)
  os.write(file, json.dumps(holder).encode())
