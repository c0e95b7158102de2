"""How many weights each layer of a network has left: FOLDER/layers.csv."""

import pandas as pd
from etils import epath

from pruning_gen.storage import files
from pruning_gen.storage import level_tables
from pruning_gen.storage import results

# A layer's name is its place in the Flax tree; kept and size count weights of
# its kernel, and l2_norm is of those.
COLUMNS = (
  *results.CHAIN_NETWORK,
  'level',
  'layer',
  'kept',
  'size',
  'l2_norm',
)
_IDENTITY = COLUMNS[:5]


def write(workdir: epath.PathLike, folder: str, table: pd.DataFrame) -> None:
  """Add rows to the table, by level, and in the order of members.csv.

  Args:
    workdir: path.
    folder: such as 'chain'.
    table: with `COLUMNS`; rows of the same network and level are replaced.
  """
  members = results.read_members(workdir, folder)
  level_tables.add(_path_of(workdir, folder), table, _IDENTITY, members)


def read(workdir: epath.PathLike, folder: str) -> pd.DataFrame:
  """Read the table; without rows if an older version wrote the run.

  Raises:
    UserError: it is damaged, or has a row twice.
  """
  return level_tables.read(_path_of(workdir, folder), COLUMNS, _IDENTITY)


def _path_of(workdir: epath.PathLike, folder: str) -> epath.Path:
  return files.path_of(workdir) / folder / 'layers.csv'
