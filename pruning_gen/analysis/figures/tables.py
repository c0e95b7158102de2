"""Tables without a drawing."""

import pandas as pd

from pruning_gen.analysis import statistics
from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import curves
from pruning_gen.analysis.load import Benchmark


def tabulate_optima(benchmark: Benchmark) -> pd.DataFrame:
  """Tabulate every curve's optimal and highest improving sparsity.

  Returns:
    One row per curve: arm, noise_fraction, optimal_level,
    optimal_weights_remaining, test_error_mean, _std and n there,
    difference_mean, _std and verdict against dense, highest_improving_level
    (missing where no level improves), and lowest_test_error_level.
  """
  summary = curves.name_width(benchmark.summary)
  # The others are of one size.
  summary = summary[summary.experiment.isin(['chain', 'width'])]
  rows = []
  for (arm, noise_fraction), curve in summary.groupby(
    ['arm', 'noise_fraction'], sort=False
  ):
    # Where validation errors are missing there is no optimum.
    if not curve.is_optimal.any():
      continue
    best = curve[curve.is_optimal].iloc[0]
    lowest = curve.test_error_mean.idxmin()
    rows.append(
      {
        'arm': arm,
        'noise_fraction': noise_fraction,
        'optimal_level': best.level,
        'optimal_weights_remaining': best.weights_remaining,
        'test_error_mean': best.test_error_mean,
        'test_error_std': best.test_error_std,
        'n': best.n,
        'difference_mean': best.test_error_difference_mean,
        'difference_std': best.test_error_difference_std,
        'verdict': best.test_error_verdict,
        'highest_improving_level': curve[
          curve.is_highest_improving
        ].level.max(),
        'lowest_test_error_level': curve.level[lowest],
      }
    )
  table = pd.DataFrame(rows)
  if table.empty:
    return table
  return table.astype({'highest_improving_level': 'Int64'})


def tabulate_concentration(benchmark: Benchmark) -> pd.DataFrame:
  """Tabulate how much of the effect falls on the top 20 % by EL2N.

  Returns:
    One row for each of pruning and extended dense, and noise fraction, at
    pruning's optimal sparsity: ratio_mean and _std of |mean effect| on the top
    over that on the rest, share_mean and _std of the total of |effect|;
    noisy_share_mean and _std (of noisy examples among as many of the highest
    EL2N; missing without noise); n.
  """
  table = benchmark.concentration
  levels = statistics.optimal_levels(benchmark.summary)
  table = table[
    table.arm.isin(['pruning', 'extended_dense'])
    & (table.level == table.noise_fraction.map(levels))
  ]
  if table.empty:
    return table
  table = table.merge(
    benchmark.noisy_share, how='left', on=['noise_fraction', 'replicate']
  )
  by = ['arm', 'noise_fraction', 'level']
  return statistics.average(table, by, 'ratio', 'share', 'noisy_share')


def tabulate_table_5(benchmark: Benchmark) -> pd.DataFrame:
  """Tabulate pruning next to extended dense training, as the paper's Table 5.

  Returns:
    noise_fraction, level, weights_remaining, epochs_trained, pruning_mean,
    pruning_std, extended_dense_mean, extended_dense_std, n, is_optimal.
  """
  key = ['noise_fraction', 'level']
  table = curves.tabulate(benchmark, ['pruning'], 'test_error')
  table = table.rename(
    columns={'test_error_mean': 'pruning_mean', 'test_error_std': 'pruning_std'}
  )
  other = curves.tabulate(benchmark, ['extended_dense'], 'test_error')
  if table.empty or other.empty:
    return pd.DataFrame()
  other = other[[*key, 'test_error_mean', 'test_error_std']].rename(
    columns={
      'test_error_mean': 'extended_dense_mean',
      'test_error_std': 'extended_dense_std',
    }
  )
  table = table.merge(other, how='left', on=key)
  columns = [
    *('noise_fraction', 'level', 'weights_remaining', 'epochs_trained'),
    *('pruning_mean', 'pruning_std'),
    *('extended_dense_mean', 'extended_dense_std', 'n', 'is_optimal'),
  ]
  return table[columns]


def _note_dense(benchmarks: list[Benchmark], table: pd.DataFrame) -> list[str]:
  """Say why there is nothing, where EL2N scores are there."""
  if table.empty and any(len(own.concentration) for own in benchmarks):
    return ['the optimal sparsity is level 0, the dense network, everywhere.']
  return []


INFLUENTIAL = base.Figure(
  'more_influential_examples',
  'How much of the effect falls on influential examples',
  caption=(
    'At the optimal sparsity, and for extended dense training of as many '
    'epochs: ratio, |mean change| of the top 20 % by EL2N over that of the '
    'rest (3.5 to 71 in the paper, without noise); share, the part of all '
    'change, example by example, that falls on them; noisy share, how many of '
    'the highest scores are noisy examples, counting as many scores as there '
    'are noisy examples.'
  ),
  needs=base.EL2N,
  tabulate_one=tabulate_concentration,
  reads='concentration',
  notes=_note_dense,
)

OPTIMA = base.Figure(
  'more_optimal_sparsity',
  'Optimal and highest improving sparsity',
  caption=(
    'The optimal level has the lowest mean validation error; its test error, '
    'and the paired difference against dense with its verdict (none for one '
    'replicate). The highest improving level is the sparsest whose verdict is '
    'better. The paper also speaks of the best generalization, the level of '
    'the lowest test error.'
  ),
  needs=base.CHAIN,
  tabulate_one=tabulate_optima,
)

TABLE_5 = base.Figure(
  'appendix_m_test_error',
  'Appendix M, Table 5: test error of pruning and of extended dense training',
  caption='The numbers of Figure 6. Bold: the optimal sparsity of pruning.',
  needs=base.CHAIN,
  tabulate_one=tabulate_table_5,
)

EVERY_LEVEL = base.Figure(
  'appendix_m_every_level',
  'Appendix M: every level of every arm',
  caption=(
    'Mean ± standard deviation (n - 1) over n replicates. Difference and '
    'verdict: against dense, paired by replicate; better or worse where |mean| '
    '≥ standard deviation, else match; one replicate gets no verdict. Bold: '
    'the optimal sparsity.'
  ),
  needs=base.CHAIN,
  tabulate_one=lambda own: own.summary,
)
