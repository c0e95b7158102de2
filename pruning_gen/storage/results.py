"""Every path and every file format of a workdir, except checkpoints.

  WORKDIR/
    config.json      the configuration, as the last start had it
    provenance.json  one entry per start: time, host, versions, devices, command
    results.csv      one row per member and level, complete after every level
    summary.csv      over replicates: mean, std, n, verdict against dense
    FOLDER/members.csv    which network each row [member] of the arrays is of:
                          see storage/roster.py
    FOLDER/epochs.csv     losses of every epoch: see storage/epochs.py
    FOLDER/labels.npz     labels, is_noisy, left_out [member, example_id];
                          true_labels [example_id]; validation_labels,
                          test_labels [index]
    FOLDER/level_003.npz  per-example arrays [member, example_id]; of held-out
                          examples validation_*, test_* [member, index]
    el2n/scores.npz       el2n [row, example_id], for the rows of scores.csv
    chain/most_worsened.csv, .npz  the examples that pruning worsens most
    chain/layers.csv      how many weights each layer has left, by level: see
                          storage/level_tables.py
    landscape/*.csv       the loss around networks: likewise; other files there
                          are of twins, as in chain/
    networks/             networks that were kept: see storage/networks.py
    checkpoints/FOLDER/   Orbax; tensorboard/FOLDER/  scalars
    report/          index.html, figures/*, tables/*

FOLDER is chain, width, el2n, or one of several, as leave_out/train_48000 and
extended_width_0.016.
Files are replaced in one move: a reader never sees a partial file.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from etils import epath
from jaxtyping import Float

from pruning_gen import processes
from pruning_gen.errors import UserError
from pruning_gen.storage import files

# The columns of results.csv, in this order.
COLUMNS = (
  'experiment',
  'arm',
  'noise_fraction',
  'replicate',
  'network',
  'left_out',
  'chosen_at',
  'level',
  'width',
  'num_weights',
  'weights_remaining',
  'num_train',
  'epochs_trained',
  'train_cross_entropy',
  'train_error',
  'train_cross_entropy_clean',
  'train_cross_entropy_noisy',
  'validation_error',
  'test_error',
  'test_cross_entropy',
  'diverged',
)
# What `roster.add` writes into a folder.
MEMBER_FILES = ('members.csv', 'labels.npz')
# The prediction of level_003.npz for an image that cannot be decoded.
UNDECODED = 2**16 - 1
# The columns that distinguish two networks of an experiment.
NETWORK = (
  'arm',
  'noise_fraction',
  'replicate',
  'network',
  'left_out',
  'chosen_at',
)
# Those that differ in the chain.
CHAIN_NETWORK = ['arm', 'noise_fraction', 'replicate']
# The columns that distinguish two rows.
IDENTITY = ('experiment', *NETWORK, 'level')
# The order of rows, {column: whether it ascends}: leave-out has a folder for
# each number of examples, most first, and extended_width for each width.
ORDER = {'experiment': True, 'level': True, 'num_train': False, 'width': False}
# The EL2N of every example, [row, example_id]; networks is how many it is the
# mean over.
EL2N = files.Pair('el2n/scores', 'el2n', ('noise_fraction', 'replicate'))
# The examples that pruning worsens most; label, true_label, prediction and
# effect (nats) of each, and its image, uint8 [row, height, width, channels].
MOST_WORSENED = files.Pair(
  'chain/most_worsened',
  'images',
  ('noise_fraction', 'replicate', 'level', 'example_id'),
)


def checkpoint_dir(workdir: epath.PathLike, part: str) -> epath.Path:
  """Return where the checkpoints of a part's networks are."""
  return files.path_of(workdir) / 'checkpoints' / part


def remove_checkpoints(workdir: epath.PathLike, part: str) -> None:
  """Remove the checkpoints of a part, if there are any."""
  folder = checkpoint_dir(workdir, part)
  if processes.is_primary():
    # The record of whose they are goes last: one without its checkpoints does
    # no harm.
    for path in folder.glob('[0-9]*'):
      path.rmtree()
  _remove(folder)


def tensorboard_dir(workdir: epath.PathLike, part: str) -> epath.Path:
  """Return where the TensorBoard scalars of a part's networks are."""
  return files.path_of(workdir) / 'tensorboard' / part


def remove_tensorboard(workdir: epath.PathLike, part: str) -> None:
  """Remove the TensorBoard scalars of a part, if there are any."""
  _remove(tensorboard_dir(workdir, part))


def _remove(folder: epath.Path) -> None:
  if processes.is_primary() and folder.exists():
    folder.rmtree()


def report_dir(workdir: epath.PathLike) -> epath.Path:
  """Return where the report is."""
  return files.path_of(workdir) / 'report'


def results_path(workdir: epath.PathLike) -> epath.Path:
  """Return where the table of all networks is."""
  return files.path_of(workdir) / 'results.csv'


def summary_path(workdir: epath.PathLike) -> epath.Path:
  """Return where the table over replicates is."""
  return files.path_of(workdir) / 'summary.csv'


def list_tables(workdir: epath.PathLike) -> list[epath.Path]:
  """List the tables that experiments have written, of which a report is made.

  A table is written after the arrays of its rows.
  """
  path = files.path_of(workdir)
  return sorted([*path.glob('results.csv'), *path.glob('*/*.csv')])


def write_rows(
  workdir: epath.PathLike,
  rows: Sequence[dict[str, Any]],
  members: Sequence[tuple] = (),
) -> None:
  """Add rows to results.csv.

  Args:
    rows: with `COLUMNS` as keys; those of the same `IDENTITY` are replaced.
    members: the networks of the folder that the rows belong to, in the order
      that they have in results.csv; by default rows stay in theirs.
  """
  new = pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(index=False)
  # Numbers stay the text that was first written, to the last digit.
  tables = [files.parse_table(new, dtype=str)]
  path = results_path(workdir)
  if path.exists():
    old = files.read_table(path, IDENTITY, str, IDENTITY)
    key = list(IDENTITY)
    replaced = old.set_index(key).index.isin(tables[0].set_index(key).index)
    tables.insert(0, old[~replaced])
  table = pd.concat(tables)
  # Other experiments may have networks of the same names, and keep their order.
  is_own = table.experiment.isin([row['experiment'] for row in rows])
  numbers = table[['level', 'num_train', 'width']].apply(pd.to_numeric)
  keys = numbers.assign(
    experiment=table.experiment,
    member=np.where(is_own, _positions(table, members), -1),
  )
  order = sort_rows(keys.reset_index(drop=True), 'member').index
  files.write_table(path, table.iloc[order])


def sort_rows(table: pd.DataFrame, last: str) -> pd.DataFrame:
  """Sort rows by `ORDER` and then by one more column, ascending."""
  ascending = [*ORDER.values(), True]
  return table.sort_values([*ORDER, last], ascending=ascending, kind='stable')


def _positions(table: pd.DataFrame, members: Sequence[tuple]) -> np.ndarray:
  """Return which of some members each row, as text, is of, or -1."""
  text = pd.DataFrame(members, columns=list(NETWORK)).to_csv(index=False)
  wanted = files.parse_table(text, str)
  return pd.MultiIndex.from_frame(wanted).get_indexer(
    pd.MultiIndex.from_frame(table[list(NETWORK)])
  )


def read_results(workdir: epath.PathLike) -> pd.DataFrame:
  """Read results.csv; a table without rows if it does not exist yet.

  Raises:
    UserError: it is damaged, or has a row twice.
  """
  path = results_path(workdir)
  if not path.exists():
    return pd.DataFrame(columns=list(COLUMNS))
  return files.read_table(path, COLUMNS, identity=IDENTITY)


def finished_rows(workdir: epath.PathLike, experiment: str) -> set[tuple]:
  """Return the rows that results.csv has, each as in `IDENTITY[1:]`."""
  table = read_results(workdir)
  rows = table[table.experiment == experiment][list(IDENTITY[1:])]
  return set(rows.itertuples(index=False, name=None))


def read_members(workdir: epath.PathLike, folder: str) -> pd.DataFrame:
  """Read members.csv, which has one row for each member.

  Raises:
    UserError: it is missing or damaged, or the arrays next to it do not fit,
      because a run is adding networks, or was killed while it did.
  """
  path = files.path_of(workdir) / folder / 'members.csv'
  if path.with_name('growing.csv').exists():
    raise UserError(
      f'{path} does not fit its arrays, which are getting rows for more '
      'networks: wait a moment; if no run is in progress there, start it again'
    )
  table = files.read_table(path, ('member', *NETWORK), identity=NETWORK)
  return table.set_index('member')


def read_labels(workdir: epath.PathLike, folder: str) -> dict[str, np.ndarray]:
  """Read the labels of the networks of members.csv.

  Raises:
    UserError: the file is damaged, or its arrays do not fit each other.
  """
  path = files.path_of(workdir) / folder / 'labels.npz'
  arrays = files.read_arrays(path, 'labels', 'true_labels')
  shape = (len(read_members(workdir, folder)), arrays['true_labels'].size)
  for name, array in arrays.items():
    if array.ndim > 1 and array.shape != shape:
      raise UserError(
        f'{path}: {name} must be {shape}, [member, example_id] as in '
        f'members.csv and true_labels, but is {array.shape}: restore it from a '
        'copy, or start in another --workdir'
      )
  return arrays


def write_level(
  workdir: epath.PathLike,
  folder: str,
  level: int,
  arrays: dict[str, np.ndarray],
) -> None:
  """Write the per-example arrays [member, example_id] of one level."""
  files.write_arrays(level_path(workdir, folder, level), arrays)


def read_level(
  workdir: epath.PathLike, folder: str, level: int
) -> dict[str, np.ndarray]:
  """Read the per-example arrays of one level."""
  return files.read_arrays(level_path(workdir, folder, level))


def level_path(workdir: epath.PathLike, folder: str, level: int) -> epath.Path:
  """Name the file of a level's per-example arrays."""
  return files.path_of(workdir) / folder / f'level_{level:03d}.npz'


def read_el2n(
  workdir: epath.PathLike,
) -> dict[tuple[float, int], Float[np.ndarray, ' example']]:
  """Read the EL2N of every example, by (noise_fraction, replicate)."""
  table, scores = EL2N.read(workdir)
  label_sets = zip(table.noise_fraction, table.replicate)
  return dict(zip(label_sets, scores))
