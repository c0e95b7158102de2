"""What the experiment `difficulty` leaves in a workdir.

difficulty/epochs/difficulty_0002.npz  of each network, after that many epochs:
    network [member, 3], its noise_fraction, replicate and network; correct
    [member, byte], eight examples in a byte; where they are measured, el2n and
    grand [member, example_id]; at the end cross_entropy
difficulty/scores.npz  score [row, example_id], for the rows of scores.csv:
    noise_fraction, replicate, score, epoch, and how many networks the score is
    averaged over
"""

import numpy as np
import pandas as pd
from etils import epath
from jaxtyping import Float

from pruning_gen.storage import files

FOLDER = 'difficulty'
IDENTITY = ('noise_fraction', 'replicate', 'score', 'epoch')


def write_epoch(
  workdir: epath.PathLike, epoch: int, arrays: dict[str, np.ndarray]
) -> None:
  """Add what is measured of some networks after `epoch` epochs; see the module.

  Rows of the same networks are replaced, and those of others stay.
  """
  path = _epoch_path(workdir, epoch)
  if path.exists():
    there = files.read_arrays(path, *arrays)
    new = arrays['network'].tolist()
    stays = [network not in new for network in there['network'].tolist()]
    arrays = {
      name: np.concatenate([there[name][stays], array])
      for name, array in arrays.items()
    }
  order = np.lexsort(arrays['network'].T[::-1])
  files.write_arrays(
    path, {name: array[order] for name, array in arrays.items()}
  )


def read_epoch(workdir: epath.PathLike, epoch: int) -> dict[str, np.ndarray]:
  """Read what `write_epoch` wrote."""
  return files.read_arrays(_epoch_path(workdir, epoch), 'network', 'correct')


def _epoch_path(workdir: epath.PathLike, epoch: int) -> epath.Path:
  folder = files.path_of(workdir) / FOLDER / 'epochs'
  return folder / f'{FOLDER}_{epoch:04d}.npz'


def write_scores(
  workdir: epath.PathLike,
  table: pd.DataFrame,
  scores: Float[np.ndarray, 'row example'],
) -> None:
  """Write the scores of all examples, and the table of their rows."""
  path = files.path_of(workdir) / FOLDER / 'scores'
  files.write_pair(path, table, score=scores)


def has_scores(workdir: epath.PathLike) -> bool:
  """Return whether scores are written."""
  return (files.path_of(workdir) / FOLDER / 'scores.csv').exists()


def read_scores(
  workdir: epath.PathLike,
) -> tuple[pd.DataFrame, Float[np.ndarray, 'row example']]:
  """Read what `write_scores` wrote.

  Raises:
    UserError: a file is missing or damaged, or they do not fit together.
  """
  path = files.path_of(workdir) / FOLDER / 'scores'
  return files.read_pair(path, 'score', IDENTITY)
