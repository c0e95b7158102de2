"""Which networks the arrays of a folder are of, and room for more of them.

  FOLDER/members.csv             which network each row [member] is of
  FOLDER/labels.npz              their labels
  FOLDER/growing.csv             only while the arrays get rows for more
  checkpoints/PART/members.csv   the networks of a stack

Networks are only ever added. Rows without values, of networks that have not
reached a level, hold NaN, False or the highest number of their type.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence

import numpy as np
import pandas as pd
from etils import epath

from pruning_gen import processes
from pruning_gen.errors import UserError
from pruning_gen.storage import files
from pruning_gen.storage import results

_GROWING = 'growing.csv'

# The arrays of networks, with a row for each.
Rows = tuple[dict[str, np.ndarray], Sequence[tuple]]


def read(workdir: epath.PathLike, folder: str) -> list[tuple]:
  """Return the networks of a folder's arrays; none if it has no arrays yet.

  Raises:
    UserError: a file is missing or damaged.
  """
  path = files.path_of(workdir) / folder
  for name in results.MEMBER_FILES:
    if not (path / name).exists():
      if list(path.glob('level_*.npz')):
        raise UserError(
          f'{path / name} is missing, but there are arrays of its networks: '
          'restore it from a copy, or start in another --workdir'
        )
      return []
  return _read(path / 'members.csv')


def _read(path: epath.Path) -> list[tuple]:
  table = files.read_table(path, results.NETWORK, identity=results.NETWORK)
  networks = table[list(results.NETWORK)]
  return list(networks.itertuples(index=False, name=None))


def _write(path: epath.Path, members: Sequence[tuple]) -> None:
  table = pd.DataFrame(members, columns=list(results.NETWORK))
  table.index.name = 'member'
  files.write_text(path, table.to_csv())


def add(
  workdir: epath.PathLike,
  folder: str,
  members: Sequence[tuple],
  labels: dict[str, np.ndarray],
  in_order: Callable[[list], list] = list,
) -> list[tuple]:
  """Add networks, and their labels, to those that a folder's arrays are of.

  Args:
    members: of type `Member`; some may be there already.
    labels: of these; see `measure.label_arrays`.
    in_order: sorts all members of the folder, if some are new.

  Returns:
    All members of the folder, in the order of its arrays.

  Raises:
    UserError: an earlier start wrote other labels; they are never replaced.
  """
  there = read(workdir, folder)
  new = [member for member in members if member not in there]
  everyone = in_order([*there, *new]) if new else there
  if processes.is_primary():
    path = files.path_of(workdir) / folder
    parts = [(labels, members)]
    if there:
      parts.insert(0, (_read_labels(path, there, *parts[0]), there))
    if new:
      _grow(path, there, everyone, parts)
  return everyone


def _read_labels(
  path: epath.Path,
  there: Sequence[tuple],
  labels: dict[str, np.ndarray],
  members: Sequence[tuple],
) -> dict[str, np.ndarray]:
  """Read labels.npz, and check that known networks have the same labels."""
  path = path / 'labels.npz'
  stored = files.read_arrays(path)
  known = [member for member in there if member in members]
  old, now = (
    _stack([(stored, there)], known),
    _stack([(labels, members)], known),
  )
  if old.keys() != now.keys() or any(
    old[name].dtype != array.dtype or not np.array_equal(old[name], array)
    for name, array in now.items()
  ):
    raise UserError(
      f'{path} is not what this start would write, so the results next to it '
      'are of other networks or labels: restore it from a copy, use the '
      'version of pruning_gen that wrote it, or start in another --workdir'
    )
  return stored


def _grow(
  path: epath.Path,
  there: list[tuple],
  everyone: list[tuple],
  labels: Iterable[Rows],
) -> None:
  """Make room in a folder's arrays; `undo_unfinished` undoes a part of it."""
  if there:
    _write(path / _GROWING, everyone)
    _move(path.glob('level_*.npz'), there, everyone)
  files.write_arrays(path / 'labels.npz', _stack(labels, everyone))
  # Last: it says whose rows the arrays have.
  _write(path / 'members.csv', everyone)
  files.remove(path / _GROWING)


def undo_unfinished(workdir: epath.PathLike) -> None:
  """Undo additions that were killed; call it while holding the lock.

  Nothing is lost: the rows that were added had no values yet.
  """
  if not processes.is_primary():
    return
  workdir = files.path_of(workdir)
  for folder in [*workdir.glob('*'), *workdir.glob('leave_out/*')]:
    growing = folder / _GROWING
    if growing.exists():
      there, everyone = _read(folder / 'members.csv'), _read(growing)
      moved = [*folder.glob('level_*.npz'), folder / 'labels.npz']
      if there != everyone:
        _move(moved, everyone, there)
      files.remove(growing)


def _move(
  paths: Iterable[epath.Path], old: list[tuple], new: list[tuple]
) -> None:
  """Give arrays the rows of other members, unless they have them already."""
  for path in paths:
    arrays = files.read_arrays(path)
    if any(
      len(array) == len(old) for array in arrays.values() if array.ndim > 1
    ):
      files.write_arrays(path, _stack([(arrays, old)], new))


def _stack(
  parts: Iterable[Rows], members: Sequence[tuple]
) -> dict[str, np.ndarray]:
  """Return arrays with a row for each member, of the last part that has it."""
  row_of = {member: row for row, member in enumerate(members)}
  stacked = {}
  for arrays, own in parts:
    there = [i for i, member in enumerate(own) if member in row_of]
    rows = [row_of[own[i]] for i in there]
    for name, array in arrays.items():
      # What all members share, such as the true labels.
      if array.ndim == 1:
        stacked[name] = array
        continue
      if name not in stacked:
        stacked[name] = _blank(array, len(members))
      stacked[name][rows] = array[there]
  return stacked


def _blank(like: np.ndarray, num_rows: int) -> np.ndarray:
  """Return rows without values."""
  value = {'f': np.nan, 'b': False}.get(like.dtype.kind)
  if value is None:
    value = np.iinfo(like.dtype).max
  return np.full((num_rows, *like.shape[1:]), value, like.dtype)


def write_level(
  workdir: epath.PathLike,
  folder: str,
  level: int,
  arrays: dict[str, np.ndarray],
  members: Sequence[tuple],
  everyone: Sequence[tuple],
) -> None:
  """Write the arrays of some of a folder's networks at one level.

  Args:
    arrays: per-example arrays [member, ...].
    members: whose they are.
    everyone: from `add`.
  """
  if not processes.is_primary():
    return
  path = results.level_path(workdir, folder, level)
  parts = [(arrays, members)]
  if path.exists() and len(members) < len(everyone):
    parts.insert(0, (files.read_arrays(path), everyone))
  results.write_level(workdir, folder, level, _stack(parts, everyone))


def write_stack(
  workdir: epath.PathLike, part: str, members: Sequence[tuple]
) -> None:
  """Record which networks the checkpoints of a part are of."""
  path = results.checkpoint_dir(workdir, part) / 'members.csv'
  if not path.exists():
    _write(path, members)


def read_stacks(workdir: epath.PathLike, part: str) -> dict[int, list[tuple]]:
  """Return which networks the checkpoints of a part are of, by stack index.

  Indices may be missing: a stack that keeps no checkpoints removes its folder.

  Args:
    part: its name with stack index 0; others are called PART+INDEX.
  """
  first = results.checkpoint_dir(workdir, part)
  stacks = {0: first}
  for path in first.parent.glob(f'{first.name}+*'):
    stacks[int(path.name.rpartition('+')[2])] = path
  return {
    index: _read(path / 'members.csv')
    for index, path in sorted(stacks.items())
    if (path / 'members.csv').exists()
  }


def remove(workdir: epath.PathLike) -> None:
  """Remove what belongs to networks of which nothing is saved.

  Only in folders with a members.csv of ours: others may be the user's own.
  """
  if not processes.is_primary():
    return
  workdir = files.path_of(workdir)
  for path in workdir.glob('checkpoints/*/members.csv'):
    if _is_ours(path):
      # The new curves would be drawn over them.
      results.remove_tensorboard(workdir, path.parent.name)
      results.remove_checkpoints(workdir, path.parent.name)
  for path in workdir.glob('*/members.csv'):
    if _is_ours(path):
      # A level is measured before its checkpoint is complete. members.csv goes
      # last: it says whose the others are.
      folder = path.parent
      for array in (*folder.glob('level_*.npz'), *folder.glob('epochs/*.npz')):
        files.remove(array)
      for name in ('epochs.csv', 'labels.npz', 'members.csv'):
        files.remove(folder / name)


def _is_ours(path: epath.Path) -> bool:
  """Return whether a members.csv is a table of networks."""
  try:
    _read(path)
  except UserError:
    return False
  return True
