"""What the experiment `landscape` leaves in a workdir.

landscape/landscape.csv  of each network and level
landscape/twins.csv      of those that a twin was trained for; `COLUMNS` has the
    columns of both
landscape/level_003.npz, members.csv, labels.npz, epochs.csv  of the twins, as
    in chain/
"""

import numpy as np
import pandas as pd
from etils import epath

from pruning_gen.storage import files
from pruning_gen.storage import level_tables
from pruning_gen.storage import results

FOLDER = 'landscape'
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
COLUMNS = {
  'landscape': (
    *IDENTITY,
    *COMPARED,
    # The Hessian's largest eigenvalue, up to the residual.
    'hessian_eigenvalue',
    'hessian_residual',
  ),
  # On the line between a network and its twin.
  'twins': (*IDENTITY, *BARRIERS),
}


def write(workdir: epath.PathLike, name: str, table: pd.DataFrame) -> None:
  """Add rows to a table of `COLUMNS`."""
  members = results.read_members(workdir, 'chain')
  level_tables.add(_path_of(workdir, name), table, IDENTITY, members)


def read(workdir: epath.PathLike, name: str) -> pd.DataFrame:
  """Read a table of `COLUMNS`; one without rows if there is no file.

  Raises:
    UserError: it is damaged.
  """
  return level_tables.read(_path_of(workdir, name), COLUMNS[name], IDENTITY)


def read_all(workdir: epath.PathLike) -> pd.DataFrame:
  """Read both tables, with the columns of the second as twin_COLUMN."""
  names = {name: f'twin_{name}' for name in BARRIERS}
  table = read(workdir, 'landscape')
  twins = read(workdir, 'twins').rename(columns=names)
  if twins.empty:
    return table.assign(**dict.fromkeys(names.values(), np.nan))
  return table.merge(twins, on=list(IDENTITY), how='outer', sort=False)


def _path_of(workdir: epath.PathLike, name: str) -> epath.Path:
  return files.path_of(workdir) / FOLDER / f'{name}.csv'
