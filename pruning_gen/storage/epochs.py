"""The table epochs.csv of a folder: every network's loss, epoch by epoch."""

from collections.abc import Collection
from collections.abc import Sequence
from typing import Any

import pandas as pd
from etils import epath

from pruning_gen import processes
from pruning_gen.storage import files
from pruning_gen.storage import results

COLUMNS = (
  *results.NETWORK,
  'level',
  # Over all levels, as in results.csv.
  'epochs_trained',
  # The mean, over the steps of the epoch, of the loss before each.
  'train_loss',
  # After the epoch; missing where nothing was evaluated. Tables of older
  # versions end with the validation error.
  'validation_error',
  'test_error',
)
_OLDER = COLUMNS[:-1]
_IDENTITY = COLUMNS[: COLUMNS.index('train_loss')]


def path_of(workdir: epath.PathLike, folder: str) -> epath.Path:
  """Return where the table of a folder's networks is."""
  return files.path_of(workdir) / folder / 'epochs.csv'


def read(workdir: epath.PathLike, folder: str) -> pd.DataFrame:
  """Read the table; one without rows if there is none.

  Raises:
    UserError: it is damaged.
  """
  path = path_of(workdir, folder)
  if not path.exists():
    return pd.DataFrame(columns=list(COLUMNS))
  table = files.read_table(path, _OLDER, identity=_IDENTITY)
  return table.reindex(columns=list(COLUMNS))


class Epochs:
  """The rows of a folder's table, while some of its networks train.

  They are written before each checkpoint: later ones belong to epochs that a
  killed run trains again.
  """

  def __init__(
    self, workdir: epath.PathLike, folder: str, everyone: Sequence[tuple]
  ):
    """Read the rows of earlier starts.

    Args:
      everyone: the networks of the folder, in the order of its arrays.
    """
    self._path = path_of(workdir, folder)
    self._row_of = {member: row for row, member in enumerate(everyone)}
    # By level, epoch and network, the order of the table. As text, which stays
    # what was first written.
    self._lines = {}
    if processes.is_primary() and self._path.exists():
      table = read(workdir, folder)
      lines = self._path.read_text().splitlines()[1:]
      for row, line in zip(table.itertuples(index=False, name=None), lines):
        missing = len(COLUMNS) - 1 - line.count(',')
        self._lines[self._key(row[:6], *row[6:8])] = line + ',' * missing

  def _key(self, member: tuple, level: int, epochs_trained: int) -> tuple:
    return level, epochs_trained, self._row_of[tuple(member)]

  def drop(
    self, members: Sequence[tuple], levels: Collection[int], done: int
  ) -> None:
    """Drop the rows of networks at some levels that are trained again."""
    rows = {self._row_of[member] for member in members}
    self._lines = {
      (level, epochs_trained, row): line
      for (level, epochs_trained, row), line in self._lines.items()
      if not (row in rows and level in levels and epochs_trained > done)
    }

  def add(
    self,
    members: Sequence[tuple],
    level: int,
    epochs_trained: int,
    losses: Sequence[Any],
    errors: Sequence[Any] | None,
  ) -> None:
    """Add an epoch of some networks.

    Args:
      epochs_trained: over all levels.
      losses: of each network.
      errors: of each network, on validation and test examples; None where
        nothing was evaluated.
    """
    for i, member in enumerate(members):
      both = ('', '') if errors is None else errors[i]
      values = (*member, level, epochs_trained, losses[i], *both)
      line = ','.join(map(str, values))
      self._lines[self._key(member, level, epochs_trained)] = line

  def write(self) -> None:
    """Write the table."""
    lines = [
      ','.join(COLUMNS),
      *(self._lines[key] for key in sorted(self._lines)),
    ]
    files.write_text(self._path, '\n'.join(lines) + '\n')
