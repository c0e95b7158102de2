"""Means over replicates, verdicts, and the choice of a sparsity."""

from typing import Any
from typing import NamedTuple

import numpy as np
import pandas as pd

# What a curve is: one experiment's arm at one noise level.
CURVE = ['experiment', 'arm', 'noise_fraction', 'left_out', 'chosen_at']

# Columns of results.csv that are averaged over replicates.
METRICS = (
  'train_cross_entropy',
  'train_error',
  'train_cross_entropy_clean',
  'train_cross_entropy_noisy',
  'validation_error',
  'test_error',
  'test_cross_entropy',
)

# Of `summarize`.
SUMMARY = (
  *CURVE,
  'matched_weights_remaining',
  'level',
  'weights_remaining',
  'num_weights_remaining',
  'epochs_trained',
  'n',
  *(f'{metric}_{part}' for metric in METRICS for part in ('mean', 'std')),
  'test_error_difference_mean',
  'test_error_difference_std',
  'test_error_verdict',
  'is_optimal',
  'is_highest_improving',
)

# By how much, relative to a spread, two equal numbers may be apart. Rounding
# moves the difference of two errors by 1e-11 of itself at most.
TOLERANCE = 1e-9


class Comparison(NamedTuple):
  """Paired differences over replicates, and what the rule says of them."""

  mean: float
  std: float
  n: int
  verdict: str


def compare(values: pd.Series, baseline: pd.Series) -> Comparison:
  """Judge paired results by the rule of the paper.

  They differ if |mean of the differences| >= the standard deviation of the
  differences (n - 1), and match otherwise.

  Args:
    values: by replicate (the index); lower is better.
    baseline: likewise. Replicates that only one has are left out.

  Returns:
    mean and std (n - 1; NaN for n < 2) of values - baseline; n; verdict
    'better', 'worse', 'match', or '' where there is none, because n < 2 or a
    value is missing or infinite.
  """
  values, baseline = values.align(baseline, join='inner')
  return judge(values - baseline)


def judge(differences: pd.Series | np.ndarray) -> Comparison:
  """Judge paired differences; see `compare`."""
  differences = np.asarray(differences, float)
  n = len(differences)
  mean = std = np.nan
  # Of an infinite value there is no std.
  with np.errstate(invalid='ignore'):
    if n > 0:
      mean = float(differences.mean())
    if n > 1:
      std = float(differences.std(ddof=1))
  return Comparison(mean, std, n, str(verdict_of(mean, std)))


def verdict_of(mean: np.ndarray, std: np.ndarray) -> np.ndarray:
  """Apply the paper's rule to means and standard deviations of differences.

  Returns:
    'better', 'worse', 'match', or '' where one of them is not finite.
  """
  has_none = ~(np.isfinite(mean) & np.isfinite(std))
  # Errors are k / N, so a mean may equal its std: those differ, whatever
  # rounding leaves.
  is_match = (mean == 0) | (np.abs(mean) < std * (1 - TOLERANCE))
  is_better = np.less(mean, 0)
  return np.select(
    [has_none, is_match, is_better], ['', 'match', 'better'], 'worse'
  )


def select(table: pd.DataFrame, **identity: Any) -> pd.DataFrame:
  """Return the rows whose columns have these values, by replicate (the index).

  As `select(results, arm='pruning', level=3).test_error`.
  """
  for column, value in identity.items():
    table = table[table[column] == value]
  return table.set_index('replicate')


def drop_diverged(results: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
  """Leave out networks whose loss was not finite at any level.

  Returns:
    The rows of the others, and notes on what was left out.
  """
  identity = [*CURVE, 'replicate']
  lost = results[results.diverged == 1].drop_duplicates(identity)
  if lost.empty:
    return results, []
  notes = [
    f'Left out: replicate {row.replicate} of {row.experiment}, {row.arm}, '
    f'{100 * row.noise_fraction:g}% noise: its loss was not finite at level '
    f'{row.level}.'
    for row in lost.itertuples()
  ]
  is_lost = results.set_index(identity).index.isin(
    lost.set_index(identity).index
  )
  return results[~is_lost], notes


def drop_unfinished(results: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
  """Leave out the levels that some replicates have not finished.

  Returns:
    The finished rows, curve by curve, and notes on what was left out.
  """
  if results.empty:
    return results, []
  curves = results.groupby(CURVE, sort=False)
  replicates = curves.replicate.transform('nunique')
  levels = results.groupby([*CURVE, 'level'], sort=False)
  finished = levels.replicate.transform('nunique')
  order = np.argsort(curves.ngroup(), kind='stable')
  counted = results.assign(count=finished, replicates=replicates)
  unfinished = counted[finished < replicates]
  notes = [
    f'Left out: level {row.level} of {row.experiment}, {row.arm}, '
    f'{100 * row.noise_fraction:g}% noise: {row.count} of {row.replicates} '
    'replicates have finished it.'
    for row in unfinished.drop_duplicates([*CURVE, 'level']).itertuples(
      index=False, name='Row'
    )
  ]
  is_finished = (finished == replicates).to_numpy()[order]
  return results.iloc[order][is_finished], notes


def find_missing(results: pd.DataFrame) -> list[str]:
  """Return notes that name the metrics whose values are missing."""
  # Without noise nothing is noisy, and its loss is no number.
  has_noise = results.noise_fraction > 0
  sentences = []
  for metric in METRICS:
    missing = results[metric].isna()
    if metric == 'train_cross_entropy_noisy':
      # A set that is left out may have held all noisy examples.
      missing &= has_noise & (results.experiment != 'leave_out')
    if missing.any():
      row = results[missing].iloc[0]
      sentences.append(
        f'results.csv has no {metric} in {missing.sum()} rows, the first of '
        f'{row.experiment}, {row.arm}, {100 * row.noise_fraction:g}% noise, '
        f'replicate {row.replicate}, level {row.level}: their means are left '
        'out.'
      )
  return sentences


def summarize(results: pd.DataFrame, prune_fraction: float) -> pd.DataFrame:
  """Average results over replicates and judge each level against dense.

  Args:
    prune_fraction: of the remaining weights, removed per level.

  Returns:
    One row for each experiment, arm, noise_fraction and level:
    weights_remaining; matched_weights_remaining, of the arm that prunes most
    by that level, or where pruning would be if none does: extended dense
    training of as many epochs is drawn there; num_weights_remaining;
    epochs_trained; n; METRIC_mean and METRIC_std (n - 1) for each of
    `METRICS`; test_error_difference_mean and _std against level 0 of the same
    curve, paired by replicate, and the test_error_verdict; is_optimal, true at
    the optimal sparsity, of which leave_out has none; is_highest_improving,
    true at the sparsest level whose verdict is 'better'.
  """
  rows = []
  for curve, group in results.groupby(CURVE, sort=False):
    rows += _summarize_curve(dict(zip(CURVE, curve)), group)
  if not rows:
    return pd.DataFrame(columns=list(SUMMARY)).astype({'is_optimal': bool})
  summary = pd.DataFrame(rows)
  # Narrow networks have a width of their own for each `chosen_at`.
  keys = ['experiment', 'chosen_at', 'level']
  by_level = summary.groupby(keys).weights_remaining
  matched = by_level.transform('min')
  matched = matched.where(matched < 1, (1 - prune_fraction) ** summary.level)
  summary['matched_weights_remaining'] = matched
  return summary[list(SUMMARY)]


def _summarize_curve(
  identity: dict, curve: pd.DataFrame
) -> list[dict[str, Any]]:
  dense = curve[curve.level == 0]
  dense = dict(zip(dense.replicate, dense.test_error))
  is_pruned = identity['experiment'] == 'chain'
  rows = []
  for level, group in curve.groupby('level'):
    # By hand, since pandas would take most of a report's time.
    errors = zip(group.replicate, group.test_error)
    against_dense = judge([e - dense[i] for i, e in errors if i in dense])
    weights = group.weights_remaining.mean()
    row = {
      **identity,
      'level': level,
      'weights_remaining': weights,
      # A narrower network states its own count, a pruned one the dense count.
      'num_weights_remaining': round(
        group.num_weights.iloc[0] * (weights if is_pruned else 1)
      ),
      'epochs_trained': group.epochs_trained.iloc[0],
      'n': len(group),
    }
    # A missing value shows: it is never left out of a mean.
    values = group[list(METRICS)].to_numpy(float)
    means = values.mean(axis=0)
    stds = np.full(len(METRICS), np.nan)
    if len(group) > 1:
      stds = values.std(axis=0, ddof=1)
    for metric, mean, std in zip(METRICS, means, stds):
      row[f'{metric}_mean'], row[f'{metric}_std'] = mean, std
    row['test_error_difference_mean'] = against_dense.mean
    row['test_error_difference_std'] = against_dense.std
    row['test_error_verdict'] = against_dense.verdict if level > 0 else ''
    rows.append(row)
  # A network that leaves examples out is none of several sparsities.
  is_alone = identity['experiment'] == 'leave_out'
  best = None if is_alone else optimal_level(curve)
  improving = [r['level'] for r in rows if r['test_error_verdict'] == 'better']
  for row in rows:
    row['is_optimal'] = row['level'] == best
    row['is_highest_improving'] = row['level'] == max(improving, default=-1)
  return rows


def optimal_level(curve: pd.DataFrame) -> int | None:
  """Return the level with the lowest mean validation error.

  Args:
    curve: rows of results.csv, of one curve.

  Returns:
    The least sparse of equals. A level at which a replicate has no validation
    error does not count; None if there is no other.
  """
  errors = curve.groupby('level').validation_error
  means = errors.agg(lambda values: values.mean(skipna=False)).dropna()
  # Equal means of errors k / N differ by what is left by rounding.
  equals = means.index[means <= means.min() + TOLERANCE]
  return None if means.empty else int(equals.min())


def find_optima(results: pd.DataFrame) -> dict[tuple[str, float], int]:
  """Find the optimal sparsities of an experiment, finished or not.

  Args:
    results: rows of results.csv, of one experiment.

  Returns:
    {(arm, noise_fraction): level}, as `summarize` chooses it.
  """
  finished, _ = drop_unfinished(drop_diverged(results)[0])
  curves = finished.groupby(['arm', 'noise_fraction'], sort=False)
  found = {curve: optimal_level(rows) for curve, rows in curves}
  return {curve: level for curve, level in found.items() if level is not None}


def optimal_levels(
  summary: pd.DataFrame,
  experiment: str = 'chain',
  arm: str = 'pruning',
) -> dict[float, int]:
  """Return {noise_fraction: level} of one arm's optimal sparsities.

  A noise level without one has no entry.
  """
  own = summary[(summary.experiment == experiment) & (summary.arm == arm)]
  return _levels_of(own[own.is_optimal])


def highest_improving_levels(summary: pd.DataFrame) -> dict[float, int]:
  """Return the same of the sparsest levels that pruning improves."""
  own = summary[(summary.experiment == 'chain') & (summary.arm == 'pruning')]
  return _levels_of(own[own.is_highest_improving])


def _levels_of(rows: pd.DataFrame) -> dict[float, int]:
  return dict(zip(rows.noise_fraction, rows.level))


def average(table: pd.DataFrame, by: list[str], *metrics: str) -> pd.DataFrame:
  """Average columns over replicates.

  Args:
    table: one row per replicate.
    by: the columns that identify curves and points.
    *metrics: columns; missing values are left out of their means.

  Returns:
    The columns `by`; METRIC_mean and METRIC_std (n - 1) of each metric; and n,
    the number of rows.
  """
  columns = {
    f'{metric}_{part}': (metric, part)
    for metric in metrics
    for part in ('mean', 'std')
  }
  groups = table.groupby(by, sort=False)
  return groups.agg(**columns, n=(metrics[0], 'size')).reset_index()
