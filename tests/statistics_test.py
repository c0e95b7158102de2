import math

import pandas as pd
import pytest

from pruning_gen.analysis import statistics
from pruning_gen.storage import results


@pytest.mark.parametrize(
  'errors, baseline, mean, std, verdict',
  [
    # Differences -1, -2, -3: mean -2, std 1.
    ([4, 4, 4], [5, 6, 7], -2, 1, 'better'),
    ([5, 6, 7], [4, 4, 4], 2, 1, 'worse'),
    # Differences 1, -1, 1.5: mean .5, std 1.32.
    ([2, 0, 2.5], [1, 1, 1], 0.5, math.sqrt(1.75), 'match'),
    # |mean| equal to std differs: differences 0 and 2 - sqrt(2) apart.
    ([-1 - math.sqrt(0.5), -1 + math.sqrt(0.5)], [0, 0], -1, 1, 'better'),
    ([1, 1], [1, 1], 0, 0, 'match'),
    ([1, 2], [2, 3], -1, 0, 'better'),
  ],
)
def test_compare(errors, baseline, mean, std, verdict):
  found = statistics.compare(errors, baseline)
  assert found[0] == pytest.approx(mean)
  assert found[1] == pytest.approx(std)
  assert found[2] == verdict


def test_one_replicate_gets_no_verdict():
  mean, std, verdict = statistics.compare([1.0], [2.0])
  assert mean == -1.0 and math.isnan(std) and verdict == ''


def make_results(errors, arm='pruning', validation=None):
  """Rows with test errors {level: [by replicate]}."""
  rows = []
  for level, by_replicate in errors.items():
    for replicate, error in enumerate(by_replicate):
      row = dict.fromkeys(results.COLUMNS, 0.5)
      row |= {'experiment': 'chain', 'arm': arm, 'noise_fraction': 0.0}
      row |= {'level': level, 'replicate': replicate, 'test_error': error}
      row |= {'validation_error': (validation or {level: error})[level]}
      row |= {'weights_remaining': 0.8**level if arm == 'pruning' else 1.0}
      rows.append(row)
  return pd.DataFrame(rows)


def test_summary():
  table = make_results(
    {
      0: [0.10, 0.12, 0.14],
      1: [0.09, 0.10, 0.11],
      2: [0.08, 0.14, 0.12],
      3: [0.20, 0.22, 0.24],
    },
    validation={0: 0.3, 1: 0.2, 2: 0.1, 3: 0.1},
  )
  # Replicates may come in any order: they are paired by name.
  summary = statistics.summarize(table.sample(frac=1, random_state=0))
  assert summary.level.tolist() == [0, 1, 2, 3]
  assert summary.n.tolist() == [3, 3, 3, 3]
  assert summary.test_error_mean.tolist() == pytest.approx(
    [0.12, 0.10, 0.34 / 3, 0.22]
  )
  assert summary.test_error_std[0] == pytest.approx(0.02)
  # Differences at level 1: -.01 -.02 -.03.
  assert summary.test_error_difference_mean[1] == pytest.approx(-0.02)
  assert summary.test_error_difference_std[1] == pytest.approx(0.01)
  assert summary.test_error_verdict.tolist() == ['', 'better', 'match', 'worse']
  # By validation error, the least sparse of equals.
  assert summary.is_optimal.tolist() == [False, False, True, False]
  assert summary.is_highest_improving.tolist() == [False, True, False, False]


def test_extended_dense_is_drawn_where_pruning_is():
  errors = {0: [0.1, 0.1], 1: [0.1, 0.1], 2: [0.1, 0.1]}
  table = pd.concat(
    [make_results(errors), make_results(errors, 'extended_dense')]
  )
  summary = statistics.summarize(table)
  dense = summary[summary.arm == 'extended_dense']
  assert dense.weights_remaining.tolist() == [1, 1, 1]
  assert dense.matched_weights_remaining.tolist() == pytest.approx(
    [1, 0.8, 0.64]
  )
