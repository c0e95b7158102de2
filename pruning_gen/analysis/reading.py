"""Reading the files of a run that may be broken: which one, and what to do."""

import numpy as np

from pruning_gen.errors import UserError
from pruning_gen.storage import results

# What comes of half a table, or of one that is not ours. Arrays and JSON are
# checked by their readers.
BROKEN = (AttributeError, KeyError, OSError, ValueError)


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


def read_losses(workdir, folder, level, shape, rows):
  """Read the training losses of a level, float32 [member, example_id].

  Args:
    workdir: path.
    folder: str.
    level: int, one that results.csv has.
    shape: the shape they must have.
    rows: list of int, the members whose losses are needed, and must be finite.

  Raises:
    UserError: names the file, the array and what is wrong with it.
  """
  name = f'{folder}/{results.level_path(workdir, folder, level).name}'
  arrays = results.read_level(workdir, folder, level)
  path = f'{workdir}/{name}'
  if 'cross_entropy' not in arrays or arrays['cross_entropy'].shape != shape:
    shapes = {key: array.shape for key, array in arrays.items()}
    raise UserError(
      f'{path} has the arrays {shapes}; by members.csv and el2n/scores.npz it '
      f'needs a cross_entropy of shape {shape}: the files are of different '
      'runs, so copy the workdir again'
    )
  losses = arrays['cross_entropy']
  not_finite = ~np.isfinite(losses[rows])
  if not_finite.any():
    members = np.array(rows)[not_finite.any(axis=1)].tolist()
    raise UserError(
      f'{path}: cross_entropy has {not_finite.sum()} values of {losses.size} '
      f'that are not finite, of the members {members} (members.csv), which '
      'results.csv does not call diverged: copy the workdir again'
    )
  return losses
