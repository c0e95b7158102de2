"""Which result is compared with which: the controlled comparisons (4, 5).

Every comparison is paired by replicate; its sign is that of the first minus
the second, so a positive difference in error means that the first is worse.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from pruning_gen.analysis import statistics
from pruning_gen.analysis import verdicts
from pruning_gen.pruning.arms import ARMS

# Networks are of one size up to this factor in weights; a network and the next
# narrower one are a factor 1 / 0.8**2 = 1.56 apart.
SAME_SIZE = 1.5


class Point(NamedTuple):
  """One network of results.csv, of all replicates of a noise level."""

  arm: str
  level: int
  experiment: str = 'chain'
  chosen_at: int = -1


# Of `compare_at_optimum`.
COLUMNS = (
  'noise_fraction',
  'network',
  'level',
  'weights_remaining',
  'epochs_trained',
  'train_cross_entropy_mean',
  'train_cross_entropy_std',
  'test_error_mean',
  'test_error_std',
  'n',
  'against_pruning_mean',
  'against_pruning_std',
  'against_pruning_verdict',
  'against_pruning_unpaired',
)


def dense_controls(summary: pd.DataFrame) -> dict[str, str]:
  """Map each arm that prunes to its dense control, where both are there."""
  there = set(summary.arm)
  return {
    name: arm.dense_control
    for name, arm in ARMS.items()
    if name in there and arm.dense_control in there
  }


def pruning_arms(summary: pd.DataFrame) -> list[str]:
  """List the arms of the chain that prune and are there."""
  there = set(summary[summary.experiment == 'chain'].arm)
  return [name for name, arm in ARMS.items() if arm.prunes and name in there]


def compare_at_optimum(
  results: pd.DataFrame, summary: pd.DataFrame
) -> pd.DataFrame:
  """Compare dense, extended dense and pruned networks (section 5.1).

  The pruned network is the one of the optimal sparsity, and extended dense
  training has lasted as many epochs, or as many as suit it best by its own
  validation error ('best').

  Returns:
    DataFrame with noise_fraction; network, 'dense', 'extended_dense',
    'extended_dense_best', 'pruning'; level; weights_remaining; epochs_trained;
    train_cross_entropy_mean and _std; test_error_mean and _std; n;
    against_pruning_mean, _std and _verdict, of the paired difference of test
    errors; and against_pruning_unpaired.
  """
  best = statistics.optimal_levels(summary, 'chain', 'extended_dense')
  rows = []
  for noise_fraction, level in statistics.optimal_levels(summary).items():
    networks = {'dense': Point('pruning', 0)}
    if noise_fraction in best:
      networks['extended_dense'] = Point('extended_dense', level)
      networks['extended_dense_best'] = Point(
        'extended_dense', best[noise_fraction]
      )
    networks['pruning'] = Point('pruning', level)
    own = results[results.noise_fraction == noise_fraction]
    rows += _compare_with_pruning(own, noise_fraction, networks)
  return pd.DataFrame(rows, columns=list(COLUMNS))


def compare_size_and_time(results: pd.DataFrame) -> pd.DataFrame:
  """Compare the full and a narrow network, trained once or as long as pruned.

  The pruned network is that of the lowest validation error above level 0, and
  the narrow one has about as many weights, unless the config sets its width.

  Returns:
    Like `compare_at_optimum`, with the networks 'dense', 'extended_dense',
    'narrow', 'narrow_extended' and 'pruning'. Noise levels without
    `extended_width` have no rows.
  """
  rows = []
  for noise_fraction, own in results.groupby('noise_fraction'):
    is_pruned = (own.experiment == 'chain') & (own.arm == 'pruning')
    level = statistics.optimal_level(own[is_pruned & (own.level > 0)])
    widths = set(own[own.experiment == 'extended_width'].chosen_at)
    chosen_at = level if level in widths else -1
    if level is None or chosen_at not in widths:
      continue
    narrow = Point('dense', 0, 'extended_width', chosen_at)
    networks = {
      'dense': Point('pruning', 0),
      'extended_dense': Point('extended_dense', level),
      'narrow': narrow,
      'narrow_extended': narrow._replace(level=level),
      'pruning': Point('pruning', level),
    }
    rows += _compare_with_pruning(own, noise_fraction, networks)
  return pd.DataFrame(rows)


def _compare_with_pruning(
  results: pd.DataFrame, noise_fraction: float, networks: dict[str, Point]
) -> list[dict]:
  """Compare the test errors of networks with those of 'pruning'.

  Args:
    networks: by name; those that are not in `results` are left out.
  """
  found = {
    network: statistics.select(results, **own._asdict())
    for network, own in networks.items()
  }
  pruned, rows = found['pruning'].test_error, []
  for network, own in share_replicates(found).items():
    loss = own.train_cross_entropy
    rows.append(
      {
        'noise_fraction': noise_fraction,
        'network': network,
        'level': networks[network].level,
        'weights_remaining': own.weights_remaining.mean(),
        'epochs_trained': own.epochs_trained.mean(),
        'train_cross_entropy_mean': loss.mean(skipna=False),
        'train_cross_entropy_std': loss.std(skipna=False),
        **compare_errors('test_error', own.test_error, pruned),
      }
    )
  return rows


def share_replicates(
  networks: dict[str, pd.DataFrame],
) -> dict[str, pd.DataFrame]:
  """Keep the replicates that 'pruning' has, and the networks that have any.

  Args:
    networks: rows of each, by replicate (the index).
  """
  there = networks['pruning'].index
  shared = {name: own[own.index.isin(there)] for name, own in networks.items()}
  return {name: own for name, own in shared.items() if len(own)}


def compare_errors(
  name: str, errors: pd.Series, pruned: pd.Series
) -> dict[str, float | str]:
  """Average errors, and compare them with those of pruned networks.

  Args:
    errors: of a network, by replicate; those of `share_replicates`.
    pruned: likewise, perhaps of more replicates.

  Returns:
    NAME_mean, NAME_std, and the columns of `COLUMNS` from 'n' on.
  """
  others = pruned[errors.index]
  difference = statistics.compare(errors, others)
  return {
    f'{name}_mean': errors.mean(skipna=False),
    f'{name}_std': errors.std(skipna=False),
    'n': len(errors),
    'against_pruning_mean': difference.mean,
    'against_pruning_std': difference.std,
    'against_pruning_verdict': difference.verdict,
    'against_pruning_unpaired': verdicts.judge_unpaired(
      errors.to_numpy(), others.to_numpy()
    ),
  }


def pair_leave_out(results: pd.DataFrame) -> pd.DataFrame:
  """Pair each network that leaves a set out with the random set of its size.

  Returns:
    DataFrame, one row for each noise_fraction, replicate, left_out (as
    'most_improved') and number (the level whose losses chose the set, or the
    subgroup): num_left_out; test_error; random_error, of the network without
    a random set of the same size; dense_error, of the dense network that
    trains on all. The latter two are NaN where that network is missing.
  """
  table = results[results.experiment == 'leave_out']
  chain = results[(results.experiment == 'chain') & (results.level == 0)]
  label_set = ['noise_fraction', 'replicate']
  # All arms of the chain share their level 0.
  dense = chain.drop_duplicates(label_set)
  table = table.merge(
    dense[[*label_set, 'num_train', 'test_error']].rename(
      columns={'num_train': 'num_all', 'test_error': 'dense_error'}
    ),
    how='left',
    on=label_set,
  )
  table = table.assign(
    number=table.chosen_at, num_left_out=table.num_all - table.num_train
  )
  is_random = table.left_out == 'random'
  randoms = table[is_random][[*label_set, 'num_train', 'test_error']].rename(
    columns={'test_error': 'random_error'}
  )
  pairs = table[~is_random].merge(
    randoms, how='left', on=[*label_set, 'num_train']
  )
  columns = ['left_out', 'number', 'num_left_out']
  errors = ['test_error', 'random_error', 'dense_error']
  return pairs[[*label_set, *columns, *errors]]


def average_leave_out(pairs: pd.DataFrame) -> pd.DataFrame:
  """Average the pairs of `pair_leave_out` over replicates.

  Returns:
    DataFrame, one row for each noise_fraction, left_out and number:
    num_left_out (mean); mean, std, n of the test error; random_mean,
    random_std, dense_mean and dense_std likewise; difference_mean,
    difference_std and verdict of the test error against random, paired.
  """
  rows = []
  for (noise_fraction, left_out, number), group in pairs.groupby(
    ['noise_fraction', 'left_out', 'number'], sort=False
  ):
    against_random = statistics.judge(group.test_error - group.random_error)
    rows.append(
      {
        'noise_fraction': noise_fraction,
        'left_out': left_out,
        'number': int(number),
        'num_left_out': group.num_left_out.mean(),
        'mean': group.test_error.mean(skipna=False),
        'std': group.test_error.std(skipna=False),
        'n': len(group),
        'random_mean': group.random_error.mean(skipna=False),
        'random_std': group.random_error.std(skipna=False),
        'dense_mean': group.dense_error.mean(skipna=False),
        'dense_std': group.dense_error.std(skipna=False),
        'difference_mean': against_random.mean,
        'difference_std': against_random.std,
        'verdict': against_random.verdict,
      }
    )
  table = pd.DataFrame(rows)
  if table.empty:
    return table
  return table.sort_values(['noise_fraction', 'left_out', 'number'])


def find_same_size(
  summary: pd.DataFrame, noise_fraction: float, level: int
) -> int | None:
  """Find the narrower network with as many weights as a pruned one.

  Args:
    level: of the arm `pruning`.

  Returns:
    int, the level of `width`, above 0, whose number of weights is nearest on a
    logarithmic scale; None where none is within a factor of `SAME_SIZE`.
  """
  curve = summary[summary.noise_fraction == noise_fraction]
  widths = curve[(curve.experiment == 'width') & (curve.level > 0)]
  pruned = curve[(curve.arm == 'pruning') & (curve.level == level)]
  if widths.empty or pruned.empty:
    return None
  ratio = widths.num_weights_remaining / pruned.num_weights_remaining.iloc[0]
  distance = np.abs(np.log(ratio))
  if distance.min() > np.log(SAME_SIZE):
    return None
  return int(widths.level[distance.idxmin()])
