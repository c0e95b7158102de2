"""Tables without a drawing."""

import pandas as pd

from pruning_gen.analysis import statistics
from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import curves


def tabulate_optima(benchmark):
  """Tabulate every curve's optimal and highest improving sparsity.

  Returns:
    DataFrame, one row a curve: arm, noise_fraction, optimal_level,
    optimal_weights_remaining, test_error mean, std and n there,
    against_dense_mean, _std and verdict, and highest_improving_level (missing
    where no level improves).
  """
  summary = curves.label_width(benchmark.summary)
  summary = summary[summary.experiment != 'leave_out']
  # Where validation errors are missing there is no optimum.
  groups = summary.groupby(['arm', 'noise_fraction'])
  summary = summary[groups.is_optimal.transform('any')]
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


def tabulate_concentration(benchmark):
  """Tabulate how much of the effect falls on the top 20 % by EL2N.

  Returns:
    DataFrame, one row for each of pruning and extended dense, and noise
    fraction, at pruning's optimal sparsity: ratio_mean and _std of |mean
    effect| on the top over that on the rest, share_mean and _std of the total
    of |effect|; noisy_share_mean and _std (of noisy examples among as many of
    the highest base.EL2N; missing without noise); n.
  """
  if benchmark.concentration.empty:
    return benchmark.concentration
  levels = statistics.optimal_levels(benchmark.summary, 'chain', 'pruning')
  table = benchmark.concentration
  table = table[
    table.arm.isin(['pruning', 'extended_dense'])
    & (table.level == table.noise_fraction.map(levels))
  ]
  if table.empty:
    return table
  table = table.merge(
    benchmark.noisy_share, how='left', on=['noise_fraction', 'replicate']
  )
  groups = table.groupby(['arm', 'noise_fraction', 'level'], sort=False)
  columns = {
    f'{metric}_{name}': (metric, name)
    for metric in ('ratio', 'share', 'noisy_share')
    for name in ('mean', 'std')
  }
  return groups.agg(**columns, n=('ratio', 'size')).reset_index()


INFLUENTIAL = base.Figure(
  'influential_examples',
  'How much of the effect falls on influential examples',
  caption=(
    'At the optimal sparsity, and for extended dense training of as many '
    'epochs: ratio, |mean change| of the top 20 % by EL2N over that of the '
    'rest (3.5 to 71 in the paper); share, the part of all change, example by '
    'example, that falls on them; noisy share, how many of the highest scores '
    'are noisy examples, counting as many scores as there are noisy examples.'
  ),
  needs=base.EL2N,
  tabulate=tabulate_concentration,
  draw=None,
)

OPTIMA = base.Figure(
  'optimal_sparsity',
  'Optimal and highest improving sparsity',
  caption=(
    'The optimal level has the lowest mean validation error; its test error, '
    'and the paired difference against dense with its verdict (none for one '
    'replicate). The highest improving level is the sparsest whose verdict is '
    'better.'
  ),
  needs=base.CHAIN,
  tabulate=tabulate_optima,
  draw=None,
)

EVERY_LEVEL = base.Figure(
  'every_level',
  'Appendix M: every level of every arm',
  caption=(
    'Mean ± standard deviation (n - 1) over n replicates; errors are '
    'fractions, losses nats. Difference and verdict: against dense, paired by '
    'replicate; better or worse where |mean| ≥ standard deviation, else '
    'match; one replicate gets no verdict. Bold: the optimal sparsity.'
  ),
  needs=base.CHAIN,
  tabulate=lambda benchmark: benchmark.summary,
  draw=None,
)
