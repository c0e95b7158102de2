"""Tables of curves over all levels, which many figures draw."""

from collections.abc import Iterable

import pandas as pd

from pruning_gen.analysis.load import Benchmark

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


def tabulate(
  benchmark: Benchmark, arms: Iterable[str], *metrics: str
) -> pd.DataFrame:
  """Tabulate metrics of arms over all levels, in the order of `arms`.

  Args:
    arms: 'width' for the experiment of that name.
    *metrics: columns of results.csv.

  Returns:
    `CURVE_COLUMNS`, METRIC_mean and METRIC_std. Rows without a mean of the
    first metric are left out.
  """
  summary = name_width(benchmark.summary)
  summary = summary[summary.experiment != 'leave_out']
  chosen = pd.concat(
    [summary.head(0), *(summary[summary.arm == arm] for arm in arms)]
  )
  values = [
    f'{metric}_{part}' for metric in metrics for part in ('mean', 'std')
  ]
  return chosen[CURVE_COLUMNS + values].dropna(subset=values[0])


def add_weights(table: pd.DataFrame, benchmark: Benchmark) -> pd.DataFrame:
  """Add matched_weights_remaining of each arm, noise fraction and level."""
  by = ['arm', 'noise_fraction', 'level']
  weights = name_width(benchmark.summary).drop_duplicates(by)
  return table.merge(
    weights[[*by, 'matched_weights_remaining']], how='left', on=by
  )


def name_width(table: pd.DataFrame) -> pd.DataFrame:
  """Name the dense networks of the experiment `width` in the column `arm`."""
  return table.assign(arm=table.arm.mask(table.experiment == 'width', 'width'))
