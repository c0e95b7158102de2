"""Reading the files of a run that may be broken: which one, and what to do."""

import numpy as np

from pruning_gen.analysis import statistics
from pruning_gen.errors import UserError
from pruning_gen.storage import provenance
from pruning_gen.storage import results

# What comes of half a table, or of one that is not ours. Arrays and JSON are
# checked by their readers.
BROKEN = (AttributeError, KeyError, OSError, ValueError)


# What a report reads of config.json.
CONFIG_KEYS = (
  'model.name',
  'data.name',
  'levels',
  'prune_fraction',
  'num_subgroups',
  'width.levels',
  'experiments',
  'replicates',
  'first_replicate',
)


def read(reader, workdir, *args, name):
  """Read a table of a run.

  Args:
    reader: function of workdir and args, of `storage.results`.
    workdir: path.
    *args: what else the reader takes.
    name: str, the file's name in the workdir, for the message.

  Returns:
    What the reader returns.

  Raises:
    UserError: names the file and what is wrong with it.
  """
  try:
    return reader(workdir, *args)
  except BROKEN as error:
    raise UserError(
      f'{workdir}/{name} cannot be read ({error!r}): copy the workdir again, '
      'or run pruning_gen.main in a new one'
    ) from error


def read_config(workdir):
  """Read config.json, and see that it has what a report needs.

  Raises:
    UserError: there is none, it is damaged, or of another version.
  """
  config = provenance.read_config(workdir)
  keys = provenance.flatten(config)
  missing = [key for key in CONFIG_KEYS if key not in keys]
  if missing:
    raise UserError(
      f'{workdir}/config.json lacks {", ".join(missing)}: it was written by '
      'another version of pruning_gen; use that one'
    )
  return config


def read_results(workdir):
  """Read results.csv, and see that every row says what it is of.

  Metrics may be missing, as the loss of noisy examples is without noise.

  Raises:
    UserError: names the column, or the line, and what is wrong with it.
  """
  table = read(results.read_results, workdir, name='results.csv')
  numbers = table.columns.difference(['experiment', 'arm', 'left_out'])
  no_numbers = table[numbers].select_dtypes(exclude='number').columns
  required = table.columns.difference(statistics.METRICS)
  # Of a network that diverged, older runs kept not even the weights.
  cut_off = table[required].isna().any(axis=1) & (table.diverged != 1)
  if len(table) and (len(no_numbers) or cut_off.any()):
    wrong = (
      f'its {", ".join(no_numbers)} are no numbers'
      if len(no_numbers)
      # The header is line 1.
      else f'line {cut_off.idxmax() + 2} has empty fields'
    )
    raise UserError(
      f'{results.results_path(workdir)} is damaged ({wrong}): copy the workdir '
      'again'
    )
  return table


def read_losses(workdir, folder, level, shape, rows):
  """Read the training losses of a level, float32 [member, example_id].

  They are NaN for images that cannot be decoded.

  Args:
    workdir: path.
    folder: str.
    level: int, one that results.csv has.
    shape: the shape they must have.
    rows: list of int, the members whose losses are needed, and must be finite
      for what can be decoded.

  Raises:
    UserError: names the file, the array and what is wrong with it.
  """
  name = f'{folder}/{results.level_path(workdir, folder, level).name}'
  arrays = results.read_level(workdir, folder, level)
  path = f'{workdir}/{name}'
  for needed in ('cross_entropy', 'prediction'):
    if needed not in arrays or arrays[needed].shape != shape:
      shapes = {key: array.shape for key, array in arrays.items()}
      raise UserError(
        f'{path} has the arrays {shapes}; by members.csv and el2n/scores.npz '
        f'it needs a {needed} of shape {shape}: the files are of different '
        'runs, so copy the workdir again'
      )
  losses = arrays['cross_entropy']
  decoded = arrays['prediction'][rows] != results.UNDECODED
  not_finite = decoded & ~np.isfinite(losses[rows])
  if not_finite.any():
    members = np.array(rows)[not_finite.any(axis=1)].tolist()
    raise UserError(
      f'{path}: cross_entropy has {not_finite.sum()} values of {losses.size} '
      f'that are not finite, of the members {members} (members.csv), which '
      'results.csv does not call diverged: copy the workdir again'
    )
  return losses
