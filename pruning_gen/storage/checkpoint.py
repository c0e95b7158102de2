"""Checkpoints of a stack of members. The only user of Orbax."""

import os
import re
import time

from etils import epath
from orbax.checkpoint import v1 as ocp

from pruning_gen import processes
from pruning_gen.errors import UserError
from pruning_gen.storage import files

_SAVE = ocp.training.save_decision_policies
_PRESERVE = ocp.training.preservation_policies

# Seconds that a process waits for others to save their parts.
_TIMEOUT = 300
# What errors say of the file system; TensorStore's are ValueErrors. Here and
# below of small letters alone: PermissionDeniedError and PERMISSION_DENIED.
_FILES = ('oserrorcode', 'nospaceleft', 'readonlyfile', 'permissiondenied')
# A bucket's errors; of a folder, these words are of another process.
_BUCKETS = ('unauthenticated', 'unavailable', 'deadlineexceeded')
# A checkpoint of which these are said may be whole.
_ELSEWHERE = (
  *_BUCKETS,
  'permissiondenied',
  'resourceexhausted',
  'toomanyopenfiles',
)


class Checkpoints:
  """The checkpoints of one stage, named by finished global epochs.

  Saving is asynchronous and commits in one move: a process that dies while
  it saves leaves the checkpoint before as the newest.
  """

  def __init__(self, directory, keep):
    """Open a folder of checkpoints.

    Args:
      directory: path, made where it is missing.
      keep: int, how many of the newest to keep.

    Raises:
      UserError: the folder cannot be written.
    """
    self._directory = _absolute(directory)
    self._keep = keep
    self._under_way = None
    self._checkpointer = self._explained(self._open)

  def _open(self):
    context = ocp.Context()
    context.asynchronous.timeout_secs = _TIMEOUT
    with context:
      return ocp.training.Checkpointer(
        self._directory,
        # We say when to save; the default also saves whenever it has time.
        save_decision_policy=_SAVE.FixedIntervalPolicy(1),
        preservation_policy=_PRESERVE.LatestN(self._keep),
        cleanup_tmp_directories=True,
      )

  def save(self, global_epoch, state):
    """Start to save a stack; waits only for a save still in progress.

    Raises:
      UserError: this save, or the one before, cannot be written.
    """
    self._wait_together()
    self._explained(self._end_save)
    self._under_way = self._explained(
      self._checkpointer.save_async, global_epoch, state, force=True
    )

  def _end_save(self):
    """Wait for the save under way; Orbax then gives back its thread.

    If nobody asks for the result, 3 open files a save are left: no process may
    have more than 1,024 of them, or 256 on macOS.
    """
    save, self._under_way = self._under_way, None
    if save is not None:
      save.result()

  def restore_newest(self, abstract_state, unpack):
    """Load the newest checkpoint that is whole.

    What is damaged is said, and set aside as `damaged_12` once another one is
    found whole.

    Args:
      abstract_state: tree of jax.ShapeDtypeStruct with shardings to load into.
      unpack: what was loaded -> (state, whether it is intact).

    Returns:
      (global epoch, state), or (None, None) where nothing was saved yet.

    Raises:
      UserError: all are damaged, or one cannot be read for another reason.
    """
    found = sorted(
      (c.step for c in self._checkpointer.checkpoints), reverse=True
    )
    for i, global_epoch in enumerate(found):
      state = self._load(global_epoch, abstract_state, unpack)
      if state is not None:
        self._set_aside(found[:i])
        return global_epoch, state
    if found:
      raise UserError(
        f'every checkpoint in {self._directory} is damaged ({found}): put one '
        'back from a copy, or remove that folder and the results of this '
        'experiment, or start in another --workdir'
      )
    return None, None

  def _load(self, global_epoch, abstract_state, unpack):
    """Load one checkpoint; None where it is damaged, for any process."""
    folder = self._directory / str(global_epoch)
    state, problem = _load(folder, abstract_state, unpack)
    if problem is None:
      return state
    if processes.is_primary():
      print(
        f'checkpoint {folder} is damaged '
        f'({problem.splitlines()[0]:.200}): trying the one before',
        flush=True,
      )
    return None

  def _set_aside(self, global_epochs):
    if not global_epochs:
      return
    self._checkpointer.close()
    if processes.is_primary():
      for global_epoch in global_epochs:
        damaged = self._directory / f'damaged_{global_epoch}'
        if damaged.exists():
          damaged.rmtree()
        (self._directory / str(global_epoch)).rename(damaged)
    processes.wait_for_all('damaged checkpoint set aside')
    self._checkpointer = self._open()

  def wait(self):
    """Wait until everything is saved.

    Raises:
      UserError: the last save cannot be written.
    """
    self._wait_together()
    self._explained(self._end_save)
    self._explained(self._checkpointer.wait)

  def close(self):
    """Wait until everything is saved, and save no more.

    Raises:
      UserError: the last save cannot be written.
    """
    self._wait_together()
    try:
      self._explained(self._end_save)
    finally:
      self._explained(self._checkpointer.close)

  def _wait_together(self):
    """Wait for a save of several processes, or until one cannot write.

    Its own part would fail, and Orbax have the others wait for it.
    """
    if not processes.are_several():
      return
    while processes.any_process(self._checkpointer.is_saving_in_progress()):
      problem = _try_to_write(self._directory)
      if processes.any_process(problem is not None):
        raise self._unwritable(problem or 'by another process of this job')
      time.sleep(0.05)

  def _explained(self, function, *args, **kwargs):
    """Call Orbax; what the file system refuses is the user's to mend."""
    try:
      return function(*args, **kwargs)
    except Exception as error:
      words = _FILES
      if files.is_in_bucket(self._directory):
        words += _BUCKETS
      if not _says(error, words, OSError):
        raise
      raise self._unwritable(error) from error

  def _unwritable(self, problem):
    return files.unwritable(f'checkpoints in {self._directory}', problem)


def _try_to_write(directory):
  """Return the error of writing beside a folder, or None; not of a bucket."""
  if files.is_in_bucket(directory):
    return None
  path = directory.parent / f'.{directory.name}.{os.getpid()}.tmp'
  try:
    path.write_bytes(b' ')
    path.unlink()
  except OSError as error:
    return error
  return None


def _load(folder, abstract_state, unpack):
  """Load one checkpoint; called by all processes.

  Returns:
    (state, None), or (None, what is damaged).
  """
  # Orbax counts what it loads: all processes load it, or none does.
  if processes.any_process(not _is_committed(folder)):
    return None, 'it has no commit_success.txt, which ends a save'
  packed, problem = _read(folder, abstract_state)
  if processes.any_process(packed is None):
    return None, problem or 'another process cannot read its part'
  state, is_intact = unpack(packed)
  return (state, None) if is_intact else (None, 'its checksum does not match')


def _is_committed(folder):
  """Tell whether a save has ended; Orbax looks in buckets only."""
  try:
    return (folder / 'commit_success.txt').exists()
  # Each kind of bucket has its own.
  except Exception as error:
    raise _unreadable(folder, error) from error


def _read(folder, abstract_state):
  """Read this process's part of a checkpoint.

  Waits for no other process: damage may be in the part of one alone.

  Returns:
    (tree, None), or (None, what is damaged).

  Raises:
    UserError: the trouble is not the checkpoint's.
  """
  context = ocp.Context()
  own = ocp.multihost.process_index()
  context.multiprocessing.primary_host = own
  context.multiprocessing.active_processes = {own}
  context.multiprocessing.barrier_sync_key_prefix = str(own)
  try:
    with context:
      return ocp.load(folder, abstract_state), None
  # Whatever Orbax and TensorStore make of a damaged file: there are many.
  except Exception as error:
    if _says(error, _ELSEWHERE, MemoryError):
      raise _unreadable(folder, error) from error
    return None, f'{type(error).__name__}: {error}'


def _unreadable(folder, error):
  return UserError(
    f'checkpoint {folder} cannot be read ({error}): nothing is lost; free '
    'memory or give permission, and run the same command again'
  )


def _absolute(directory):
  """Return a folder's absolute path; Orbax refuses another, but only late.

  An address in a bucket is absolute, and `resolve` would make a local folder
  of it.
  """
  path = epath.Path(directory)
  return path if files.is_in_bucket(directory) else path.resolve()


def _says(error, words, kind):
  """Tell whether an error, or one behind it, has some words or is of a kind."""
  while error is not None:
    text = f'{type(error).__name__} {error}'.lower()
    letters = re.sub('[^a-z]', '', text)
    if isinstance(error, kind) or any(word in letters for word in words):
      return True
    error = error.__cause__ or error.__context__
  return False
