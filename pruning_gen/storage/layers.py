"""How many weights each layer of a network has left: FOLDER/layers.csv."""

import pandas as pd
from etils import epath

from pruning_gen.storage import files

# The member is as in members.csv, and the layer its place in the Flax tree;
# kept and size count weights of its kernel, and l2_norm is of those.
COLUMNS = ('member', 'level', 'layer', 'kept', 'size', 'l2_norm')
_NETWORK = ['member', 'level']


def write(workdir: epath.PathLike, folder: str, table: pd.DataFrame) -> None:
  """Add rows, with `COLUMNS`; those of the same networks are replaced."""
  new = files.parse_table(table.to_csv(index=False), dtype=str)
  path = _path_of(workdir, folder)
  if path.exists():
    old = files.read_table(path, COLUMNS, str, COLUMNS[:3])
    replaced = old.set_index(_NETWORK).index.isin(new.set_index(_NETWORK).index)
    new = pd.concat([old[~replaced], new])
  new = new.sort_values(
    _NETWORK[::-1], kind='stable', key=lambda column: column.astype(int)
  )
  files.write_table(path, new)


def read(workdir: epath.PathLike, folder: str) -> pd.DataFrame:
  """Read the table; without rows if an older version wrote the run.

  Raises:
    UserError: it is damaged, or has a row twice.
  """
  path = _path_of(workdir, folder)
  if not path.exists():
    return pd.DataFrame(columns=list(COLUMNS))
  return files.read_table(path, COLUMNS, identity=COLUMNS[:3])


def _path_of(workdir: epath.PathLike, folder: str) -> epath.Path:
  return files.path_of(workdir) / folder / 'layers.csv'
