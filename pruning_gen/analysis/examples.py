"""What happens to single training examples, from the arrays of a run.

The effect of a network on an example is its training loss minus the loss of
the same member's dense network (level 0); negative is better. Images that
cannot be decoded have neither score nor loss, and are in no mean.
"""

import numpy as np
import pandas as pd
from jaxtyping import Float

from pruning_gen.data import subgroups
from pruning_gen.errors import UserError
from pruning_gen.storage import results

# What tells the networks of one level apart.
NETWORK = ['arm', 'noise_fraction', 'replicate']

# The paper's influential examples are the top fifth by EL2N.
TOP_DIVISOR = 5


def tabulate_effects(workdir, folder, finished, el2n, num_subgroups):
  """Tabulate the effect of every level on the subgroups of examples.

  Args:
    workdir: path.
    folder: str, 'chain' or 'width'.
    finished: DataFrame with `NETWORK` and level, what to look at. The file of
      a level is read once, and one is in memory beside that of level 0.
    el2n: {(noise_fraction, replicate): float [example_id]}, of all of them.
    num_subgroups: int, M.

  Returns:
    effects: DataFrame with arm, noise_fraction, replicate, level, subgroup
      (0 has the lowest EL2N) and effect (nats, the mean over the subgroup).
    concentration: DataFrame with arm, noise_fraction, replicate, level;
      top_effect and rest_effect, the mean over the top 20 % by EL2N and over
      the rest; ratio, |top_effect| / |rest_effect|; share, the top's part of
      the sum of |effect|. Level 0, which changes nothing, has no row.

  Raises:
    UserError: an array is missing, broken or not finite, or a member has no
      EL2N scores of an example that has a loss.
  """
  rows = {
    network: i for i, network in enumerate(_read_networks(workdir, folder))
  }
  scores = {network: el2n[network[1:]] for network in _list_networks(finished)}
  shape = len(rows), len(next(iter(scores.values())))
  used = [rows[network] for network in scores]
  dense = read_losses(workdir, folder, 0, shape, used)
  for network, score in scores.items():
    _check_scores(workdir, network, score, dense[rows[network]])
  groups = {
    network: subgroups.divide(score, num_subgroups)
    for network, score in scores.items()
  }
  is_top = {
    network: subgroups.divide(score, TOP_DIVISOR) == TOP_DIVISOR - 1
    for network, score in scores.items()
  }
  effect_rows, concentration_rows = [], []
  for level, at_level in finished.groupby('level'):
    networks = _list_networks(at_level)
    used = [rows[network] for network in networks]
    losses = (
      read_losses(workdir, folder, level, shape, used) if level else dense
    )
    for network, i in zip(networks, used):
      identity = dict(zip(NETWORK, network)) | {'level': level}
      effect = losses[i] - dense[i].astype(np.float64)
      known = np.isfinite(effect) & np.isfinite(scores[network])
      effect, group = effect[known], groups[network][known]
      means = np.bincount(group, effect) / np.bincount(group)
      effect_rows += [
        identity | {'subgroup': subgroup, 'effect': mean}
        for subgroup, mean in enumerate(means)
      ]
      if level > 0:
        concentration_rows.append(
          identity | concentrate(effect, is_top[network][known])
        )
  return pd.DataFrame(effect_rows), pd.DataFrame(concentration_rows)


def concentrate(effect, is_top):
  """Tell how much of an effect falls on a part of the examples.

  Args:
    effect: float [example_id].
    is_top: bool [example_id].

  Returns:
    Dict of floats: top_effect, rest_effect, ratio and share, as in
    `tabulate_effects`. The ratio is inf where the rest does not change on
    average, and NaN where nothing does, like the share where nothing changes.
  """
  top, rest = effect[is_top].mean(), effect[~is_top].mean()
  size = np.abs(effect)
  with np.errstate(divide='ignore', invalid='ignore'):
    ratio = np.abs(top) / np.abs(rest)
    share = size[is_top].sum() / size.sum()
  return {
    'top_effect': top,
    'rest_effect': rest,
    'ratio': ratio,
    'share': share,
  }


def tabulate_noisy_share(workdir, el2n):
  """Tabulate how well EL2N finds the examples with noisy labels.

  Args:
    workdir: path.
    el2n: {(noise_fraction, replicate): float [example_id]}; label sets that
      are not there are left out.

  Returns:
    DataFrame with noise_fraction (above 0), replicate, and noisy_share: the
    part of noisy examples among the noise_fraction with the highest scores.
    Chance gives noise_fraction, a perfect score 1.
  """
  networks = _read_networks(workdir, 'chain')
  labels = results.read_labels(workdir, 'chain')
  is_noisy = labels['is_noisy']
  rows = {}
  for i, (_, *label_set) in enumerate(networks):
    label_set = tuple(label_set)
    # All arms of a replicate have the same labels.
    if label_set in rows or label_set not in el2n:
      continue
    scored = np.isfinite(el2n[label_set])
    noisy, score = is_noisy[i][scored], el2n[label_set][scored]
    if noisy.any():
      order = np.argsort(score, kind='stable')
      rows[label_set] = noisy[order[-noisy.sum() :]].mean()
  columns = {'noise_fraction': float, 'replicate': int, 'noisy_share': float}
  table = pd.DataFrame(
    [(*label_set, share) for label_set, share in rows.items()],
    columns=list(columns),
  )
  # Without a row, pandas would not know the types.
  return table.astype(columns)


def read_losses(
  workdir: str,
  folder: str,
  level: int,
  shape: tuple[int, int],
  rows: list[int],
) -> Float[np.ndarray, 'member example_id']:
  """Read the training losses of a level.

  Args:
    workdir: path.
    folder: 'chain' or 'width'.
    level: one that results.csv has.
    shape: what they must have.
    rows: the members whose losses are needed, and must be finite for images
      that can be decoded; they are NaN for others.

  Raises:
    UserError: names the file, the array and what is wrong with it.
  """
  arrays = results.read_level(workdir, folder, level)
  path = results.level_path(workdir, folder, level)
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


def _read_networks(workdir, folder):
  """List who the rows of the arrays are, as `NETWORK`."""
  return _list_networks(results.read_members(workdir, folder))


def _list_networks(table):
  networks = table[NETWORK].drop_duplicates()
  return list(networks.itertuples(index=False, name=None))


def _check_scores(workdir, network, score, loss):
  # Scores may be of another job, and so of another workdir, than losses.
  _, noise_fraction, replicate = network
  label_set = f'noise_fraction={noise_fraction:g}, replicate={replicate}'
  if score.shape != loss.shape:
    raise UserError(
      f'{workdir} has losses of {loss.size} examples, and el2n/scores.npz has '
      f'scores of {score.size} at {label_set}: the files are of different '
      'runs, so copy the workdirs again'
    )
  num_missing = (np.isfinite(loss) & ~np.isfinite(score)).sum()
  if num_missing:
    raise UserError(
      f'{workdir}: el2n/scores.npz: el2n has {num_missing} values of '
      f'{score.size} that are not finite, of examples that can be decoded, at '
      f'{label_set}: copy the workdir of these scores again, or remove its '
      "folder el2n and run pruning_gen.main with 'el2n' in "
      '--config.experiments'
    )
