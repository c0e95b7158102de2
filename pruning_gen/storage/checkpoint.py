"""Checkpoints of a stack of networks. The only user of Orbax."""

import os
import re
import time
from collections.abc import Callable
from typing import Any

from etils import epath
from orbax.checkpoint import v1 as ocp

from pruning_gen import processes
from pruning_gen.errors import UserError
from pruning_gen.storage import files

_SAVE = ocp.training.save_decision_policies
_PRESERVE = ocp.training.preservation_policies

# Seconds that a process waits for the others to save their parts.
_TIMEOUT = 300
# What errors of the file system contain; TensorStore's are ValueErrors. Here
# and below only lowercase letters, which match PermissionDeniedError as well as
# PERMISSION_DENIED.
_FILES = ('oserrorcode', 'nospaceleft', 'readonlyfile', 'permissiondenied')
# Errors of a bucket; for a local folder, these words come from a process.
_BUCKETS = ('unauthenticated', 'unavailable', 'deadlineexceeded')
# Errors after which the checkpoint itself may be intact.
_ELSEWHERE = (
  *_BUCKETS,
  'permissiondenied',
  'resourceexhausted',
  'toomanyopenfiles',
)
# Its last file, which Orbax writes into a folder when a save has ended.
_COMMITTED = 'commit_success.txt'
# The index of all arrays, merged from those of the processes.
_MANIFEST = 'state/manifest.ocdbt'


class Checkpoints:
  """The checkpoints of one part of a run, named by finished global epochs.

  Saving is asynchronous and commits in one move: if a process dies while it
  saves, the previous checkpoint remains the newest.
  """

  def __init__(self, directory: epath.PathLike, keep: int):
    """Open a folder of checkpoints.

    Args:
      directory: created if it is missing.
      keep: how many of the newest to keep.

    Raises:
      UserError: the folder cannot be written.
    """
    self._directory = _absolute(directory)
    self._keep = keep
    self._in_progress = None
    self._checkpointer = self._explained(self._open)

  def _open(self) -> ocp.training.Checkpointer:
    context = ocp.Context()
    context.asynchronous.timeout_secs = _TIMEOUT
    with context:
      return ocp.training.Checkpointer(
        self._directory,
        # The caller decides when to save; by default Orbax does.
        save_decision_policy=_SAVE.FixedIntervalPolicy(1),
        preservation_policy=_PRESERVE.LatestN(self._keep),
        cleanup_tmp_directories=True,
      )

  def save(self, global_epoch: int, state: Any) -> None:
    """Start to save a stack; waits only for a save still in progress.

    Raises:
      UserError: this save, or the previous one, cannot be written.
    """
    self._wait_together()
    self._explained(self._end_save)
    save = self._explained(
      self._checkpointer.save_async, global_epoch, state, force=True
    )
    self._in_progress = global_epoch, save

  def _end_save(self) -> None:
    """Wait for the save in progress; Orbax then releases its thread.

    If the result is not retrieved, 3 open files per save are left, of which no
    process may have more than 1,024, or 256 on macOS.
    """
    if self._in_progress is None:
      return
    (global_epoch, save), self._in_progress = self._in_progress, None
    save.result()
    # Orbax commits even if it found none of the processes' parts to merge.
    manifest = self._directory / str(global_epoch) / _MANIFEST
    if processes.is_primary() and not manifest.exists():
      raise FileNotFoundError(f'{global_epoch}/{_MANIFEST} is missing')

  def restore_newest(
    self, abstract_state: Any, unpack: Callable[[Any], tuple[Any, bool]]
  ) -> tuple[int, Any] | tuple[None, None]:
    """Load the newest checkpoint that is intact.

    Damaged ones are skipped with a warning, and renamed to `damaged_12` once an
    intact one is found.

    Args:
      abstract_state: tree of jax.ShapeDtypeStruct with shardings to load into.
      unpack: loaded tree -> (state, whether it is intact).

    Returns:
      (global epoch, state), or (None, None) if nothing has been saved yet.

    Raises:
      UserError: all are damaged, or one cannot be read for another reason.
    """
    found = sorted(
      (c.step for c in self._checkpointer.checkpoints), reverse=True
    )
    for i, global_epoch in enumerate(found):
      folder = self._directory / str(global_epoch)
      state, problem = _load(folder, abstract_state, unpack)
      if problem is None:
        self._set_aside(found[:i])
        return global_epoch, state
      if processes.is_primary():
        print(
          f'checkpoint {folder} is damaged '
          f'({problem.splitlines()[0]:.200}): trying the previous one',
          flush=True,
        )
    if found:
      raise UserError(
        f'every checkpoint in {self._directory} is damaged ({found}): restore '
        'one from a copy, or remove that folder and the results of this '
        'experiment, or start in another --workdir'
      )
    return None, None

  def _set_aside(self, global_epochs: list[int]) -> None:
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

  def wait(self) -> None:
    """Wait until everything is saved.

    Raises:
      UserError: the last save cannot be written.
    """
    self._wait_together()
    self._explained(self._end_save)
    self._explained(self._checkpointer.wait)

  def close(self) -> None:
    """Wait until everything is saved, and release Orbax's resources.

    Raises:
      UserError: the last save cannot be written.
    """
    self._wait_together()
    try:
      self._explained(self._end_save)
    finally:
      self._explained(self._checkpointer.close)

  def _wait_together(self) -> None:
    """Wait for a save of several processes, or until one cannot write.

    Only that process's part would fail, and Orbax would let the others wait.
    """
    if not processes.are_several():
      return
    while processes.any_process(self._checkpointer.is_saving_in_progress()):
      problem = _try_to_write(self._directory)
      if processes.any_process(problem is not None):
        raise self._unwritable(problem or 'by another process of this job')
      time.sleep(0.05)

  def _explained(self, function: Callable, *args: Any, **kwargs: Any) -> Any:
    """Call Orbax, and raise a UserError if the file system refuses."""
    try:
      return function(*args, **kwargs)
    except Exception as error:
      words = _FILES
      if files.is_in_bucket(self._directory):
        words += _BUCKETS
      if not _says(error, words, OSError):
        raise
      raise self._unwritable(error) from error

  def _unwritable(self, problem: Any) -> UserError:
    return files.unwritable(f'checkpoints in {self._directory}', problem)


def _try_to_write(directory: epath.Path) -> OSError | None:
  """Return the error of writing next to a local folder, if there is one."""
  if files.is_in_bucket(directory):
    return None
  path = directory.parent / f'.{directory.name}.{os.getpid()}.tmp'
  try:
    path.write_bytes(b' ')
    path.unlink()
  except OSError as error:
    return error
  return None


def _load(
  folder: epath.Path, abstract_state: Any, unpack: Callable
) -> tuple[Any, None] | tuple[None, str]:
  """Load one checkpoint; called by all processes.

  Returns:
    (state, None), or (None, what is damaged).
  """
  # Orbax counts loads: either all processes load it, or none does.
  if processes.any_process(not _is_committed(folder)):
    return None, f'it lacks {_COMMITTED} or {_MANIFEST}, which end a save'
  packed, problem = _read(folder, abstract_state)
  if processes.any_process(packed is None):
    return None, problem or 'another process cannot read its part'
  state, is_intact = unpack(packed)
  return (state, None) if is_intact else (None, 'its checksum does not match')


def _is_committed(folder: epath.Path) -> bool:
  """Return whether a save has ended; Orbax checks this in buckets only."""
  try:
    return all((folder / name).exists() for name in (_COMMITTED, _MANIFEST))
  # Each kind of bucket has its own errors.
  except Exception as error:
    raise _unreadable(folder, error) from error


def _read(
  folder: epath.Path, abstract_state: Any
) -> tuple[Any, None] | tuple[None, str]:
  """Read this process's part of a checkpoint.

  Waits for no other process: the damage may be in the part of only one.

  Returns:
    (tree, None), or (None, what is damaged).

  Raises:
    UserError: it cannot be read for another reason than damage.
  """
  context = ocp.Context()
  own = ocp.multihost.process_index()
  context.multiprocessing.primary_host = own
  context.multiprocessing.active_processes = {own}
  context.multiprocessing.barrier_sync_key_prefix = str(own)
  try:
    with context:
      return ocp.load(folder, abstract_state), None
  # Orbax and TensorStore raise many kinds of errors for a damaged file.
  except Exception as error:
    if _says(error, _ELSEWHERE, MemoryError):
      raise _unreadable(folder, error) from error
    return None, f'{type(error).__name__}: {error}'


def _unreadable(folder: epath.Path, error: Exception) -> UserError:
  return UserError(
    f'checkpoint {folder} cannot be read ({error}): nothing is lost; free '
    'memory or give permission, and run the same command again'
  )


def _absolute(directory: epath.PathLike) -> epath.Path:
  """Return a folder's absolute path; Orbax refuses others, but only later.

  An address in a bucket is absolute, and `resolve` would turn it into a local
  folder.
  """
  path = files.path_of(directory)
  return path if files.is_in_bucket(directory) else path.resolve()


def _says(
  error: BaseException | None,
  words: tuple[str, ...],
  kind: type[BaseException],
) -> bool:
  """Return whether an error or a cause of it contains a word, or is a kind."""
  while error is not None:
    text = f'{type(error).__name__} {error}'.lower()
    letters = re.sub('[^a-z]', '', text)
    if isinstance(error, kind) or any(word in letters for word in words):
      return True
    error = error.__cause__ or error.__context__
  return False
