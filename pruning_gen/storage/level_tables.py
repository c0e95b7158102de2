"""Tables of the chain's networks by level, which grow by levels and networks.

Rows are in the order of level and of members.csv, and numbers stay the text
that was first written: a run that grew has the bytes of one that did not.
"""

from collections.abc import Sequence

import pandas as pd
from etils import epath

from pruning_gen.storage import files
from pruning_gen.storage import results


def add(
  path: epath.Path,
  table: pd.DataFrame,
  identity: Sequence[str],
  members: pd.DataFrame,
) -> None:
  """Add rows to a table.

  Args:
    path: of the table.
    table: with `results.CHAIN_NETWORK`, `level` and others; all rows of the
      same network and level are replaced.
    identity: the columns that distinguish its rows.
    members: from `results.read_members`.
  """
  table = files.parse_table(table.to_csv(index=False), dtype=str)
  if path.exists():
    old = files.read_table(path, table.columns, str, identity)
    key = [*results.CHAIN_NETWORK, 'level']
    replaced = old.set_index(key).index.isin(table.set_index(key).index)
    table = pd.concat([old[~replaced], table], ignore_index=True)
  row_of = {own: i for i, own in enumerate(_list_networks(members))}
  order = table[['level']].astype(int)
  typed = table[results.CHAIN_NETWORK].astype(
    members[results.CHAIN_NETWORK].dtypes.to_dict()
  )
  order['member'] = [row_of[own] for own in _list_networks(typed)]
  order = order.sort_values(['level', 'member'], kind='stable')
  files.write_table(path, table.loc[order.index])


def _list_networks(table: pd.DataFrame) -> list[tuple]:
  return list(table[results.CHAIN_NETWORK].itertuples(index=False, name=None))


def read(
  path: epath.Path, columns: Sequence[str], identity: Sequence[str]
) -> pd.DataFrame:
  """Read a table; one without rows if there is none.

  Raises:
    UserError: it is damaged, or has a row twice.
  """
  if not path.exists():
    return pd.DataFrame(columns=list(columns))
  return files.read_table(path, columns, identity=identity)
