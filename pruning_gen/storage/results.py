"""Every path and every file format of a workdir, except checkpoints.

  WORKDIR/
    config.json      the configuration, as the first start had it
    provenance.json  one entry a start: time, host, versions, devices, command
    results.csv      one row a member and level, complete after every level
    summary.csv      over replicates: mean, std, n, verdict against dense
    FOLDER/members.csv    what the rows [member] of the arrays are
    FOLDER/labels.npz     labels, is_noisy, left_out [member, example_id];
                          true_labels [example_id]; validation_labels,
                          test_labels [index]
    FOLDER/level_003.npz  per-example arrays [member, example_id]; of held-out
                          examples validation_*, test_* [member, index]
    el2n/scores.npz       el2n [row, example_id], whose rows are scores.csv's
    chain/most_worsened.csv, .npz  the examples that pruning worsens most
    checkpoints/FOLDER/   Orbax
    tensorboard/FOLDER/   scalars
    report/          index.html, figures/*, tables/*

FOLDER is chain, width, el2n, or one of leave_out's: leave_out/train_48000 has
the networks that train on so many examples. Files are replaced in one move: a
reader never sees half a file.
"""

import numpy as np
import pandas as pd
from etils import epath

from pruning_gen import processes
from pruning_gen.errors import UserError
from pruning_gen.storage import files

# What every row of results.csv has, in this order.
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
# What `write_members` writes into a folder.
MEMBER_FILES = ('members.csv', 'labels.npz')
# The prediction of level_003.npz for an image that cannot be decoded.
UNDECODED = 2**16 - 1
# What tells two rows apart.
IDENTITY = (
  'experiment',
  'arm',
  'noise_fraction',
  'replicate',
  'network',
  'left_out',
  'chosen_at',
  'level',
)


def checkpoint_dir(workdir, folder):
  """Where the checkpoints of a folder's networks are."""
  return epath.Path(workdir) / 'checkpoints' / folder


def remove_checkpoints(workdir, folder):
  """Remove the checkpoints of a folder's networks, if there are any."""
  _remove(checkpoint_dir(workdir, folder))


def tensorboard_dir(workdir, folder):
  """Where the TensorBoard scalars of a folder's networks are."""
  return epath.Path(workdir) / 'tensorboard' / folder


def remove_tensorboard(workdir):
  """Remove all TensorBoard scalars, if there are any."""
  _remove(epath.Path(workdir) / 'tensorboard')


def _remove(folder):
  if processes.is_primary() and folder.exists():
    folder.rmtree()


def report_dir(workdir):
  """Where the report is."""
  return epath.Path(workdir) / 'report'


def results_path(workdir):
  """Where the table of all networks is."""
  return epath.Path(workdir) / 'results.csv'


def summary_path(workdir):
  """Where the table over replicates is."""
  return epath.Path(workdir) / 'summary.csv'


def write_rows(workdir, rows):
  """Add rows to results.csv; what is there already (`IDENTITY`) is replaced.

  Args:
    workdir: path.
    rows: list of dicts with `COLUMNS` as keys.
  """
  new = pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(index=False)
  # Numbers stay the text they were first written as, to the last digit.
  tables = [files.parse_table(new, dtype=str)]
  path = results_path(workdir)
  if path.exists():
    old = files.read_table(path, IDENTITY, dtype=str)
    identity = list(IDENTITY)
    replaced = old.set_index(identity).index.isin(
      tables[0].set_index(identity).index
    )
    tables.insert(0, old[~replaced])
  table = pd.concat(tables)
  table = table.sort_values(
    ['experiment', 'level'],
    kind='stable',
    key=lambda column: column.astype(int if column.name == 'level' else str),
  )
  files.write_table(path, table)


def read_results(workdir):
  """Read results.csv as a DataFrame; without rows where there is none yet."""
  path = results_path(workdir)
  if not path.exists():
    return pd.DataFrame(columns=list(COLUMNS))
  return files.read_table(path, COLUMNS)


def finished_rows(workdir, experiment):
  """Return the set of rows that are there, each as in `IDENTITY[1:]`.

  Args:
    workdir: path.
    experiment: str.
  """
  table = read_results(workdir)
  rows = table[table.experiment == experiment][list(IDENTITY[1:])]
  return set(rows.itertuples(index=False, name=None))


def write_members(workdir, folder, members, labels):
  """Write who the members are and what labels they train on.

  Args:
    workdir: path.
    folder: str, as 'chain'.
    members: list of `Member`.
    labels: dict of arrays; see `measure.label_arrays`.

  Raises:
    UserError: an earlier start wrote others; they are never replaced.
  """
  if not processes.is_primary():
    return
  path = epath.Path(workdir) / folder
  table = pd.DataFrame(members)
  table.index.name = 'member'
  written = [(path / name).exists() for name in MEMBER_FILES]
  # Parsed, so that 0 and 0.0 are one.
  if written[0] and not files.read_table(path / 'members.csv', ()).equals(
    files.parse_table(table.to_csv())
  ):
    raise _differs(path / 'members.csv')
  if written[1] and not _are_equal(
    files.read_arrays(path / 'labels.npz'), labels
  ):
    raise _differs(path / 'labels.npz')
  if not written[0]:
    files.write_text(path / 'members.csv', table.to_csv())
  if not written[1]:
    files.write_arrays(path / 'labels.npz', labels)


def _are_equal(arrays, others):
  return arrays.keys() == others.keys() and all(
    arrays[name].dtype == array.dtype and np.array_equal(arrays[name], array)
    for name, array in others.items()
  )


def _differs(path):
  return UserError(
    f'{path} is not what this start would write, so the results next to it are '
    'of other networks or labels: put it back from a copy, use the version of '
    'pruning_gen that wrote it, or start in another --workdir'
  )


def remove_members(workdir):
  """Remove what `write_members` wrote, where no results depend on it."""
  if processes.is_primary():
    for folder in epath.Path(workdir).iterdir():
      if folder.is_dir():
        for name in MEMBER_FILES:
          (folder / name).unlink(missing_ok=True)


def read_members(workdir, folder):
  """Read members.csv: a DataFrame with one row for each member."""
  path = epath.Path(workdir) / folder / 'members.csv'
  return files.read_table(path, ('member', *IDENTITY[1:-1])).set_index('member')


def read_labels(workdir, folder):
  """Read the arrays of `write_members`, a dict.

  Raises:
    UserError: the file is damaged, or its arrays do not fit each other.
  """
  path = epath.Path(workdir) / folder / 'labels.npz'
  arrays = files.read_arrays(path, 'labels', 'true_labels')
  shape = (len(read_members(workdir, folder)), arrays['true_labels'].size)
  for name, array in arrays.items():
    if array.ndim > 1 and array.shape != shape:
      raise UserError(
        f'{path}: {name} is {array.shape}, not {shape}, [member, '
        'example_id] as members.csv and true_labels have it: put it back from '
        'a copy, or start in another --workdir'
      )
  return arrays


def write_level(workdir, folder, level, arrays):
  """Write the per-example arrays [member, example_id] of one level."""
  files.write_arrays(level_path(workdir, folder, level), arrays)


def read_level(workdir, folder, level):
  """Read the per-example arrays of one level, a dict."""
  return files.read_arrays(level_path(workdir, folder, level))


def level_path(workdir, folder, level):
  """Name the file of a level's per-example arrays."""
  return epath.Path(workdir) / folder / f'level_{level:03d}.npz'


def write_el2n(workdir, table, scores):
  """Write EL2N scores.

  Args:
    workdir: path.
    table: DataFrame with the columns noise_fraction, replicate and networks,
      how many a score is the mean over.
    scores: float32 [row of table, example_id].
  """
  folder = epath.Path(workdir) / 'el2n'
  files.write_arrays(folder / 'scores.npz', {'el2n': scores})
  # Last: it tells that the scores are there.
  files.write_table(folder / 'scores.csv', table)


def has_el2n(workdir):
  """Tell whether there are EL2N scores."""
  return (epath.Path(workdir) / 'el2n' / 'scores.csv').exists()


def read_el2n(workdir):
  """Read EL2N scores: {(noise_fraction, replicate): float32 [example_id]}."""
  folder = epath.Path(workdir) / 'el2n'
  table = files.read_table(
    folder / 'scores.csv', ('noise_fraction', 'replicate')
  )
  scores = files.read_arrays(folder / 'scores.npz', 'el2n')['el2n']
  if len(scores) != len(table):
    raise UserError(
      f'{folder}/scores.npz has {len(scores)} rows, scores.csv has '
      f'{len(table)}: put them back from a copy, or start in another --workdir'
    )
  label_sets = zip(table.noise_fraction, table.replicate)
  return dict(zip(label_sets, scores))


def write_most_worsened(workdir, table, images):
  """Write the examples that pruning worsens most, and their images.

  Args:
    workdir: path.
    table: DataFrame with the columns noise_fraction, replicate, level,
      example_id, label, true_label, prediction and effect (nats).
    images: uint8 [row of table, height, width, channels].
  """
  folder = epath.Path(workdir) / 'chain'
  files.write_arrays(folder / 'most_worsened.npz', {'images': images})
  files.write_table(folder / 'most_worsened.csv', table)


def has_most_worsened(workdir):
  """Tell whether there is what `write_most_worsened` writes."""
  return (epath.Path(workdir) / 'chain' / 'most_worsened.csv').exists()


def read_most_worsened(workdir):
  """Read what `write_most_worsened` wrote, (table, images), or None."""
  if not has_most_worsened(workdir):
    return None
  folder = epath.Path(workdir) / 'chain'
  images = files.read_arrays(folder / 'most_worsened.npz', 'images')['images']
  table = files.parse_table((folder / 'most_worsened.csv').read_text())
  return table, images
