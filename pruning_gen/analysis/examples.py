"""What happens to single examples, from the per-example arrays of a run.

The effect of a network on an example is its training loss minus the loss of
the same member's dense network (level 0); negative is better. Images that
cannot be decoded have neither score nor loss, and are in no mean.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool
from jaxtyping import Float
from jaxtyping import Int

from pruning_gen.data import subgroups
from pruning_gen.errors import UserError
from pruning_gen.storage import results

# The paper's influential examples are the top fifth by EL2N.
TOP_DIVISOR = 5

# EL2N scores by (noise_fraction, replicate).
El2n = dict[tuple[float, int], Float[np.ndarray, ' example_id']]


class Examples(NamedTuple):
  """What a run's arrays say, one row per network and level or finer.

  All have the columns `results.CHAIN_NETWORK` and level.

  Attributes:
    effects: subgroup (0 has the lowest EL2N) and effect, the mean over it in
      nats; of networks with EL2N scores.
    concentration: top_effect and rest_effect, the mean over the top 20 % by
      EL2N and over the rest; ratio, |top_effect| / |rest_effect|; share, the
      top's part of the sum of |effect|. Level 0 has no row.
    group_errors: split, 'train' or 'test'; by, 'subgroup' or 'class'; group;
      error, the fraction of the group predicted wrong. Training errors are by
      the training label and classes by the true label. Test examples have no
      EL2N score.
    memorization: of noisy examples, the fractions predicted as_noisy (their
      training label), as_true (the true label) and as_other.
  """

  effects: pd.DataFrame
  concentration: pd.DataFrame
  group_errors: pd.DataFrame
  memorization: pd.DataFrame


def tabulate(
  workdir: str,
  folder: str,
  finished: pd.DataFrame,
  el2n: El2n,
  num_subgroups: int,
) -> Examples:
  """Tabulate what happens to the examples of a chain or of width.

  The file of a level is read once; one is in memory next to that of level 0.

  Args:
    folder: 'chain' or 'width'.
    finished: `results.CHAIN_NETWORK` and level, what to look at; level 0 among
      them.
    el2n: label sets may be missing.

  Raises:
    UserError: an array is missing, broken or not finite, or a network has no
      EL2N scores of an example that has a loss.
  """
  labels = results.read_labels(workdir, folder)
  rows = {
    network: i for i, network in enumerate(_read_networks(workdir, folder))
  }
  shape = len(rows), labels['true_labels'].size
  used = [rows[network] for network in _list_networks(finished)]
  dense = read_level(workdir, folder, 0, shape, used)
  groups = _group_examples(
    workdir, _list_networks(finished), rows, dense, el2n, num_subgroups
  )
  found = Examples([], [], [], [])
  for level, at_level in finished.groupby('level'):
    networks = _list_networks(at_level)
    used = [rows[network] for network in networks]
    arrays = read_level(workdir, folder, level, shape, used) if level else dense
    for network, i in zip(networks, used):
      identity = dict(zip(results.CHAIN_NETWORK, network)) | {'level': level}
      own = {name: array[i] for name, array in arrays.items()}
      of_network = _look_at(own, dense['cross_entropy'][i], labels, i, groups)
      for table, new in zip(found, of_network):
        # Nothing is concentrated where nothing changes: at the dense network.
        if len(new) and not (table is found.concentration and level == 0):
          table.append((identity, new))
  return Examples(*map(_make_table, found))


def _make_table(parts: list[tuple[dict, dict]]) -> pd.DataFrame:
  """Make a table of many parts, each of an identity and columns."""
  if not parts:
    return pd.DataFrame()
  sizes = [len(next(iter(columns.values()))) for _, columns in parts]
  identities = {
    name: np.repeat([identity[name] for identity, _ in parts], sizes)
    for name in parts[0][0]
  }
  columns = {
    name: np.concatenate([columns[name] for _, columns in parts])
    for name in parts[0][1]
  }
  return pd.DataFrame(identities | columns)


def _look_at(own, dense, labels, i, groups) -> Examples:
  """Return the columns of one network's rows: dicts, empty where unknown."""
  decoded = own['prediction'] != results.UNDECODED
  train, truth = labels['labels'][i], labels['true_labels']
  wrong = own['prediction'] != train
  errors = [_mean_by_group('train', 'class', truth, wrong, decoded)]
  effects, concentration = {}, {}
  if i in groups:
    subgroup, is_top = groups[i]
    errors.insert(
      0, _mean_by_group('train', 'subgroup', subgroup, wrong, decoded)
    )
    effect = own['cross_entropy'] - dense.astype(np.float64)
    known = np.isfinite(effect) & (subgroup >= 0)
    effect, subgroup = effect[known], subgroup[known]
    means = np.bincount(subgroup, effect) / np.bincount(subgroup)
    effects = {'subgroup': np.arange(len(means)), 'effect': means}
    concentration = {
      name: [value]
      for name, value in concentrate(effect, is_top[known]).items()
    }
  test, test_labels = own['test_prediction'], labels['test_labels']
  errors.append(
    _mean_by_group(
      'test',
      'class',
      test_labels,
      test != test_labels,
      test != results.UNDECODED,
    )
  )
  group_errors = {
    name: np.concatenate([part[name] for part in errors]) for name in errors[0]
  }
  is_noisy = labels['is_noisy'][i] & decoded
  memorization = memorize(own['prediction'], train, truth, is_noisy)
  return Examples(effects, concentration, group_errors, memorization)


def _mean_by_group(split, by, group, wrong, decoded) -> dict[str, np.ndarray]:
  known = decoded & (group >= 0)
  sizes = np.bincount(group[known])
  with np.errstate(invalid='ignore'):
    errors = np.bincount(group[known], wrong[known]) / sizes
  # A class without a single example has no error.
  there = np.flatnonzero(sizes)
  return {
    'split': np.repeat(split, len(there)),
    'by': np.repeat(by, len(there)),
    'group': there,
    'error': errors[there],
  }


def memorize(
  prediction: Int[np.ndarray, ' example_id'],
  labels: Int[np.ndarray, ' example_id'],
  true_labels: Int[np.ndarray, ' example_id'],
  is_noisy: Bool[np.ndarray, ' example_id'],
) -> dict[str, list[float]]:
  """Return what fractions of noisy examples are predicted as what.

  Returns:
    Columns as_noisy, as_true and as_other, which add up to 1; empty where
    nothing is noisy.
  """
  if not is_noisy.any():
    return {}
  as_noisy = (prediction == labels)[is_noisy].mean()
  as_true = (prediction == true_labels)[is_noisy].mean()
  return {
    'as_noisy': [as_noisy],
    'as_true': [as_true],
    'as_other': [1 - as_noisy - as_true],
  }


def concentrate(
  effect: Float[np.ndarray, ' example_id'],
  is_top: Bool[np.ndarray, ' example_id'],
) -> dict[str, float]:
  """Return how much of an effect falls on the top examples.

  Returns:
    top_effect, rest_effect, ratio and share, as in `Examples`. The ratio is
    inf where the rest does not change on average, and NaN where nothing does,
    like the share where nothing changes.
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


def tabulate_noisy_share(workdir: str, el2n: El2n) -> pd.DataFrame:
  """Tabulate how well EL2N finds the examples with noisy labels.

  Returns:
    noise_fraction (above 0), replicate, and noisy_share: the fraction of noisy
    examples among the noise_fraction with the highest scores. Chance gives
    noise_fraction, a perfect score 1. Label sets without scores are left out.
  """
  is_noisy = results.read_labels(workdir, 'chain')['is_noisy']
  rows = {}
  for i, (_, *label_set) in enumerate(_read_networks(workdir, 'chain')):
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


def read_level(
  workdir: str,
  folder: str,
  level: int,
  shape: tuple[int, int],
  rows: list[int],
) -> dict[str, np.ndarray]:
  """Read the arrays of a level, and check those that every run has.

  Args:
    folder: 'chain' or 'width'.
    level: one that results.csv has.
    shape: what cross_entropy and prediction must have.
    rows: the members that are needed; their losses must be finite for images
      that can be decoded, and are NaN for others.

  Raises:
    UserError: names the file, the array and what is wrong with it.
  """
  arrays = results.read_level(workdir, folder, level)
  path = results.level_path(workdir, folder, level)
  for needed in ('cross_entropy', 'prediction'):
    if needed not in arrays or arrays[needed].shape != shape:
      shapes = {key: array.shape for key, array in arrays.items()}
      raise UserError(
        f'{path} has the arrays {shapes}; by labels.npz it needs a {needed} of '
        f'shape {shape}: the files are of different runs, so copy the workdir '
        'again'
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
  return arrays


def _group_examples(workdir, networks, rows, dense, el2n, num_subgroups):
  """Group the examples of each network with scores, by its row.

  Returns:
    {row: (subgroup, is_top)}, int and bool [example_id].
  """
  groups = {}
  for network in networks:
    score = el2n.get(network[1:])
    if score is None:
      continue
    i = rows[network]
    _check_scores(workdir, network, score, dense['cross_entropy'][i])
    is_top = subgroups.divide(score, TOP_DIVISOR) == TOP_DIVISOR - 1
    groups[i] = subgroups.divide(score, num_subgroups), is_top
  return groups


def _read_networks(workdir: str, folder: str) -> list[tuple]:
  """List the rows of the arrays, as `results.CHAIN_NETWORK`."""
  return _list_networks(results.read_members(workdir, folder))


def _list_networks(table: pd.DataFrame) -> list[tuple]:
  networks = table[results.CHAIN_NETWORK].drop_duplicates()
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
