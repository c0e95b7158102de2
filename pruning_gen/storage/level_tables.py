"""Tables of the chain's networks by level, which grow by levels and networks.

chain/layers.csv         the weights left in each layer
landscape/landscape.csv  the loss around each network that was kept
landscape/twins.csv      the loss on the line from each network to its twin

Rows are in the order of level and of members.csv, and numbers stay the text
that was first written: the tables of a run that grew are byte-identical to
those of one that did not.
"""

import numpy as np
import pandas as pd
from etils import epath

from pruning_gen.storage import files
from pruning_gen.storage import results

IDENTITY = (*results.CHAIN_NETWORK, 'level')
BARRIERS = ('barrier_test_error', 'barrier_train_cross_entropy')
AFTER_PRUNING = (
  'test_error_after_pruning',
  'train_cross_entropy_after_pruning',
)
# Of the network of the level before, as it was and with this level's mask, and
# of the line from there to this level's network. Empty at level 0, and where
# the level before was not kept.
COMPARED = ('test_error_before_pruning', *AFTER_PRUNING, *BARRIERS)
LAYERS = 'chain/layers'
LANDSCAPE = 'landscape/landscape'
TWINS = 'landscape/twins'
COLUMNS = {
  # A layer's name is its place in the Flax tree; kept and size count weights of
  # its kernel, and l2_norm is of those.
  LAYERS: (*IDENTITY, 'layer', 'kept', 'size', 'l2_norm'),
  LANDSCAPE: (
    *IDENTITY,
    *COMPARED,
    # The Hessian's largest eigenvalue, up to the residual.
    'hessian_eigenvalue',
    'hessian_residual',
  ),
  TWINS: (*IDENTITY, *BARRIERS),
}


def write(workdir: epath.PathLike, name: str, table: pd.DataFrame) -> None:
  """Add rows to a table of `COLUMNS`.

  All rows of the same network and level are replaced.
  """
  members = results.read_members(workdir, 'chain')
  path = _path_of(workdir, name)
  table = files.parse_table(table.to_csv(index=False), dtype=str)
  if path.exists():
    old = files.read_table(path, table.columns, str, _identity(name))
    key = list(IDENTITY)
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


def read(workdir: epath.PathLike, name: str) -> pd.DataFrame:
  """Read a table of `COLUMNS`; one without rows if there is no file.

  Raises:
    UserError: it is damaged, or has a row twice.
  """
  path = _path_of(workdir, name)
  if not path.exists():
    return pd.DataFrame(columns=list(COLUMNS[name]))
  return files.read_table(path, COLUMNS[name], identity=_identity(name))


def read_landscape(workdir: epath.PathLike) -> pd.DataFrame:
  """Read landscape.csv, with the columns of twins.csv as twin_COLUMN."""
  names = {name: f'twin_{name}' for name in BARRIERS}
  table = read(workdir, LANDSCAPE)
  twins = read(workdir, TWINS).rename(columns=names)
  if twins.empty:
    return table.assign(**dict.fromkeys(names.values(), np.nan))
  return table.merge(twins, on=list(IDENTITY), how='outer', sort=False)


def _path_of(workdir: epath.PathLike, name: str) -> epath.Path:
  return files.path_of(workdir) / f'{name}.csv'


def _identity(name: str) -> tuple[str, ...]:
  return (*IDENTITY, 'layer') if name == LAYERS else IDENTITY
