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
from etils import epath

from pruning_gen.storage import files

FOLDER = 'difficulty'
SCORES = files.Pair(
  f'{FOLDER}/scores',
  'score',
  ('noise_fraction', 'replicate', 'score', 'epoch'),
)


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
