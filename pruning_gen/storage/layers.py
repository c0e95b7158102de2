"""How many weights each layer of a network has left: FOLDER/layers.csv."""

import pandas as pd
from etils import epath

from pruning_gen.storage import files
from pruning_gen.storage import results

NETWORK = ['arm', 'noise_fraction', 'replicate']
# A layer's name is its place in the Flax tree; kept and size count weights of
# its kernel, and l2_norm is of those.
COLUMNS = (*NETWORK, 'level', 'layer', 'kept', 'size', 'l2_norm')
_IDENTITY = COLUMNS[:5]


def write(workdir: epath.PathLike, folder: str, table: pd.DataFrame) -> None:
  """Add rows to the table, by level, and in the order of members.csv.

  Args:
    workdir: path.
    folder: such as 'chain'.
    table: with `COLUMNS`; rows of the same network and level are replaced.
  """
  # Numbers stay the text that was first written.
  table = files.parse_table(table.to_csv(index=False), dtype=str)
  path = _path_of(workdir, folder)
  if path.exists():
    old = files.read_table(path, COLUMNS, str, _IDENTITY)
    key = [*NETWORK, 'level']
    replaced = old.set_index(key).index.isin(table.set_index(key).index)
    table = pd.concat([old[~replaced], table], ignore_index=True)
  members = results.read_members(workdir, folder)[NETWORK]
  row_of = {own: i for i, own in enumerate(_list_networks(members))}
  order = table[['level']].astype(int)
  typed = table[NETWORK].astype(members.dtypes.to_dict())
  order['member'] = [row_of[own] for own in _list_networks(typed)]
  order = order.sort_values(['level', 'member'], kind='stable')
  files.write_table(path, table.loc[order.index])


def _list_networks(table: pd.DataFrame) -> list[tuple]:
  return list(table.itertuples(index=False, name=None))


def read(workdir: epath.PathLike, folder: str) -> pd.DataFrame:
  """Read the table; without rows if an older version wrote the run.

  Raises:
    UserError: it is damaged, or has a row twice.
  """
  path = _path_of(workdir, folder)
  if not path.exists():
    return pd.DataFrame(columns=list(COLUMNS))
  return files.read_table(path, COLUMNS, identity=_IDENTITY)


def _path_of(workdir: epath.PathLike, folder: str) -> epath.Path:
  return files.path_of(workdir) / folder / 'layers.csv'
