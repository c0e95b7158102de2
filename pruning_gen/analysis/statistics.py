"""Means over replicates, verdicts, and the choice of a sparsity."""

import numpy as np
import pandas as pd

# What a curve is: one experiment's arm at one noise level.
CURVE = ['experiment', 'arm', 'noise_fraction']

# Columns of results.csv that are averaged over replicates.
METRICS = (
  'train_cross_entropy',
  'train_error',
  'train_cross_entropy_original',
  'train_cross_entropy_noisy',
  'validation_error',
  'test_error',
  'test_cross_entropy',
)


def compare(errors, baseline):
  """Judge paired results by the rule of the paper.

  They differ if |mean of the differences| >= the standard deviation of the
  differences (n - 1), else they match.

  Args:
    errors: float [n], one value for each replicate; lower is better.
    baseline: float [n], of the same replicates.

  Returns:
    mean: float, of errors - baseline.
    std: float, of errors - baseline (n - 1); NaN for n < 2.
    verdict: 'better', 'worse', 'match', or '' for n < 2 (one replicate gets
      no verdict).
  """
  differences = np.asarray(errors, float) - np.asarray(baseline, float)
  mean = float(differences.mean())
  if len(differences) < 2:
    return mean, float('nan'), ''
  std = float(differences.std(ddof=1))
  if abs(mean) < std or mean == 0:
    return mean, std, 'match'
  return mean, std, 'better' if mean < 0 else 'worse'


def summarize(results):
  """Average results over replicates and judge each level against dense.

  Args:
    results: DataFrame like results.csv.

  Returns:
    DataFrame, one row for each experiment, arm, noise_fraction and level:
    weights_remaining; matched_weights_remaining, of the arm that prunes most
    by that level, which is where extended dense training of as many epochs is
    drawn beside it; epochs_trained; n; METRIC_mean and METRIC_std (n - 1)
    for each of `METRICS`; test_error_difference_mean and _std against level 0
    of the same curve, paired by replicate, and the test_error_verdict;
    is_optimal, true at the optimal sparsity; is_highest_improving, true at the
    sparsest level whose verdict is 'better'.
  """
  rows = []
  for curve, group in results.groupby(CURVE, sort=False):
    rows += _summarize_curve(dict(zip(CURVE, curve)), group)
  summary = pd.DataFrame(rows)
  by_level = summary.groupby(['experiment', 'level']).weights_remaining
  summary.insert(5, 'matched_weights_remaining', by_level.transform('min'))
  return summary


def _summarize_curve(identity, curve):
  dense = curve[curve.level == 0].set_index('replicate').test_error
  rows = []
  for level, group in curve.groupby('level'):
    row = {
      **identity,
      'level': level,
      'weights_remaining': group.weights_remaining.mean(),
      'epochs_trained': group.epochs_trained.iloc[0],
      'n': len(group),
    }
    for metric in METRICS:
      row[f'{metric}_mean'] = group[metric].mean()
      row[f'{metric}_std'] = group[metric].std(ddof=1)
    mean, std, verdict = compare(
      group.test_error, dense[group.replicate].to_numpy()
    )
    row['test_error_difference_mean'] = mean
    row['test_error_difference_std'] = std
    row['test_error_verdict'] = verdict if level > 0 else ''
    rows.append(row)
  best = optimal_level(curve)
  improving = [r['level'] for r in rows if r['test_error_verdict'] == 'better']
  for row in rows:
    row['is_optimal'] = row['level'] == best
    row['is_highest_improving'] = row['level'] == max(improving, default=-1)
  return rows


def optimal_level(curve):
  """Return the level with the lowest mean validation error.

  Args:
    curve: DataFrame of results of one curve.

  Returns:
    int; the least sparse of equals.
  """
  return int(curve.groupby('level').validation_error.mean().idxmin())
