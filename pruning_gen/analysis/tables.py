"""The plotted numbers, one function each: a panel in, a table out.

Errors are fractions and losses nats, averaged over replicates: mean, std
(n - 1) and n. A table is empty where the run has nothing for it. The arm of
the experiment `width` is called 'width' here, since colour tells the arm.
"""

import pandas as pd

from pruning_gen.analysis import paired as comparisons
from pruning_gen.analysis import statistics

CURVE_COLUMNS = [
  'arm',
  'noise_fraction',
  'level',
  'weights_remaining',
  'matched_weights_remaining',
  'num_weights_remaining',
  'epochs_trained',
  'n',
  'is_optimal',
]


def curves(panel, arms, metrics):
  """Tabulate metrics of arms over all levels.

  Args:
    panel: Panel.
    arms: tuple of str; 'width' for the experiment of that name.
    metrics: {part: column of results.csv}, whose part is 'original', 'noisy',
      or '' where a metric is of all examples.

  Returns:
    DataFrame with `CURVE_COLUMNS`, part, mean and std.
  """
  summary = _label_arms(panel.summary)
  # In the order of `arms`, so that colours and legends do not move.
  chosen = pd.concat(
    [summary.head(0), *(summary[summary.arm == arm] for arm in arms)]
  )
  parts = [
    chosen[CURVE_COLUMNS].assign(
      part=part,
      mean=chosen[f'{metric}_mean'],
      std=chosen[f'{metric}_std'],
    )
    for part, metric in metrics.items()
  ]
  # Without noise there is no loss of noisy examples.
  return pd.concat(parts).dropna(subset='mean')


def test_error(panel, *arms):
  """Tabulate the test error of arms over all levels."""
  return curves(panel, arms, {'': 'test_error'})


def training_loss(panel):
  """Tabulate the mean training loss of the chain's two main arms."""
  return curves(
    panel, ('pruning', 'extended_dense'), {'': 'train_cross_entropy'}
  )


def noisy_loss(panel):
  """Tabulate training loss on original and noisy examples, with noise."""
  table = curves(
    panel,
    ('pruning', 'extended_dense'),
    {
      'original': 'train_cross_entropy_clean',
      'noisy': 'train_cross_entropy_noisy',
    },
  )
  return table[table.noise_fraction > 0]


def noisy_loss_at_optimum(panel):
  """Tabulate the loss of dense, extended dense and optimally sparse networks.

  Returns:
    The rows of `noisy_loss` at pruning's optimal sparsity (extended dense
    training of as many epochs beside it) and at level 0, arm 'dense'.
  """
  table = noisy_loss(panel)
  levels = statistics.optimal_levels(panel.summary, 'chain', 'pruning')
  is_dense = (table.arm == 'pruning') & (table.level == 0)
  at_optimum = table.level == table.noise_fraction.map(levels)
  return pd.concat([table[is_dense].assign(arm='dense'), table[at_optimum]])


def twins(panel):
  """Tabulate the test error of every pruning arm that has its twin."""
  there = set(panel.summary.arm)
  pairs = [pair for pair in comparisons.TWINS.items() if {*pair} <= there]
  # Each arm once, the twins after the arms that prune.
  arms = dict.fromkeys([arm for arm, _ in pairs] + [twin for _, twin in pairs])
  return test_error(panel, *arms)


def ablations(panel):
  """Tabulate the test error of all arms that prune, if there are several."""
  table = test_error(panel, *comparisons.TWINS)
  return table if table.arm.nunique() > 1 else table.head(0)


def width(panel):
  """Tabulate the test error of pruned and of narrower networks."""
  table = test_error(panel, 'pruning', 'width')
  return table if 'width' in set(table.arm) else table.head(0)


def extended_dense(panel):
  """Tabulate what `comparisons.compare_at_optimum` compares."""
  table = comparisons.compare_at_optimum(panel.results, panel.summary)
  has_twin = len(table) and 'extended_dense' in set(table.network)
  return table if has_twin else table.head(0)


def subgroup_effects(panel):
  """Tabulate the effects of all levels on all subgroups.

  Returns:
    DataFrame with arm, noise_fraction, level, subgroup, mean, std, n.
  """
  if panel.effects.empty:
    return panel.effects
  table = _label_arms(panel.effects)
  return statistics.average(
    table, ['arm', 'noise_fraction', 'level', 'subgroup'], 'effect'
  )


def subgroups_at_optimum(panel, with_noise):
  """Tabulate the effects at pruning's optimal sparsity on all subgroups.

  Extended dense training of as many epochs stands beside it. Where the optimal
  sparsity is level 0, the dense network itself, there is nothing to tell.

  Args:
    panel: Panel.
    with_noise: bool, whether the noise levels above 0 are wanted, or 0.
  """
  table = subgroup_effects(panel)
  if table.empty:
    return table
  levels = statistics.optimal_levels(panel.summary, 'chain', 'pruning')
  return table[
    table.arm.isin(['pruning', 'extended_dense'])
    & (table.level == table.noise_fraction.map(levels))
    & (table.level > 0)
    & ((table.noise_fraction > 0) == with_noise)
  ]


def subgroups_by_size(panel):
  """Tabulate the effects of two ways to be small on all subgroups.

  Returns:
    As `subgroup_effects`: pruning at its optimal sparsity and the narrower
    network with as many weights.
  """
  table = subgroup_effects(panel)
  levels = statistics.optimal_levels(panel.summary, 'chain', 'pruning')
  parts = [pd.DataFrame()]
  for noise_fraction, level in levels.items():
    narrow = comparisons.find_same_size(panel.summary, noise_fraction, level)
    if table.empty or level == 0 or narrow is None:
      continue
    own = table[table.noise_fraction == noise_fraction]
    parts += [
      own[(own.arm == 'pruning') & (own.level == level)],
      own[(own.arm == 'width') & (own.level == narrow)],
    ]
  return pd.concat(parts)


def heat_maps(panel):
  """Tabulate the effects on all subgroups at all levels but 0."""
  table = subgroup_effects(panel)
  if table.empty:
    return table
  arms = ['pruning', 'extended_dense', 'width']
  return table[table.arm.isin(arms) & (table.level > 0)]


def leave_out(panel, *kinds, with_noise=None):
  """Tabulate what leaving examples out does to a dense network.

  Args:
    panel: Panel.
    *kinds: str, as 'most_improved'.
    with_noise: bool, whether only the noise levels above 0 are wanted, or
      only 0; both by default.
  """
  table = panel.leave_out
  if table.empty:
    return table
  table = table[table.left_out.isin(kinds)]
  if with_noise is not None:
    table = table[(table.noise_fraction > 0) == with_noise]
  return table


def most_worsened(panel):
  """Tabulate the examples that pruning worsens most.

  Of each noise level, in the first replicate that it has.

  Returns:
    DataFrame with the columns of most_worsened.csv and image, uint8 [height,
    width, channels].
  """
  if panel.most_worsened is None:
    return pd.DataFrame()
  table, images = panel.most_worsened
  table = table.assign(image=list(images))
  first = table.groupby('noise_fraction').replicate.transform('min')
  return table[table.replicate == first]


def optima(panel):
  """Tabulate every curve's optimal and highest improving sparsity.

  Returns:
    DataFrame, one row a curve: arm, noise_fraction, optimal_level,
    optimal_weights_remaining, test_error mean, std and n there,
    against_dense_mean, _std and verdict, and highest_improving_level (missing
    where no level improves).
  """
  summary = _label_arms(panel.summary)
  summary = summary[summary.experiment != 'leave_out']
  # Where validation errors are missing there is no optimum.
  curves = summary.groupby(['arm', 'noise_fraction'])
  summary = summary[curves.is_optimal.transform('any')]
  if summary.empty:
    return summary
  rows = []
  for (arm, noise_fraction), curve in summary.groupby(
    ['arm', 'noise_fraction'], sort=False
  ):
    best = curve[curve.is_optimal].iloc[0]
    highest = curve[curve.is_highest_improving].level
    rows.append(
      {
        'arm': arm,
        'noise_fraction': noise_fraction,
        'optimal_level': best.level,
        'optimal_weights_remaining': best.weights_remaining,
        'mean': best.test_error_mean,
        'std': best.test_error_std,
        'n': best.n,
        'against_dense_mean': best.test_error_difference_mean,
        'against_dense_std': best.test_error_difference_std,
        'verdict': best.test_error_verdict,
        'highest_improving_level': highest.max(),
      }
    )
  return pd.DataFrame(rows).astype({'highest_improving_level': 'Int64'})


def concentration(panel):
  """Tabulate how much of the effect falls on the top 20 % by EL2N.

  Returns:
    DataFrame, one row for each of pruning and extended dense, and noise
    fraction, at pruning's optimal sparsity: ratio_mean and _std of |mean
    effect| on the top over that on the rest, share_mean and _std of the total
    of |effect|; noisy_share_mean and _std (of noisy examples among as many of
    the highest EL2N; missing without noise); n.
  """
  if panel.concentration.empty:
    return panel.concentration
  levels = statistics.optimal_levels(panel.summary, 'chain', 'pruning')
  table = panel.concentration
  table = table[
    table.arm.isin(['pruning', 'extended_dense'])
    & (table.level == table.noise_fraction.map(levels))
  ]
  if table.empty:
    return table
  table = table.merge(
    panel.noisy_share, how='left', on=['noise_fraction', 'replicate']
  )
  groups = table.groupby(['arm', 'noise_fraction', 'level'], sort=False)
  columns = {
    f'{metric}_{name}': (metric, name)
    for metric in ('ratio', 'share', 'noisy_share')
    for name in ('mean', 'std')
  }
  return groups.agg(**columns, n=('ratio', 'size')).reset_index()


def _label_arms(table):
  is_width = table.experiment == 'width'
  return table.assign(arm=table.arm.mask(is_width, 'width'))
