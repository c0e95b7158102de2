import numpy as np
import pandas as pd
import pytest

from pruning_gen.analysis import statistics
from pruning_gen.analysis import verdicts


@pytest.mark.parametrize(
  'n, rate',
  # 1 - 2 atan(sqrt 2) / pi; and 1 - sqrt(3 / 5).
  [(2, 0.39183), (3, 0.22540)],
)
def test_false_rate(n, rate):
  assert verdicts.false_rate(n) == pytest.approx(rate, abs=1e-5)


def test_false_rate_is_what_the_rule_does():
  ties = pd.DataFrame(np.random.default_rng(0).normal(size=(4000, 3)))
  found = verdicts.judge_rows(ties)
  assert (found != 'match').mean() == pytest.approx(0.225, abs=0.02)
  assert (found == 'worse').mean() == pytest.approx(0.113, abs=0.015)


@pytest.mark.parametrize(
  'count, sides, allowed',
  # Of 20, more than 8 have probability .022, more than 7 .061.
  [(20, 2, 8), (20, 1, 5), (5, 2, 3), (2, 1, 1), (1, 2, 1), (0, 2, 0)],
)
def test_allowed_by_chance(count, sides, allowed):
  assert verdicts.allowed_by_chance(count, 3, sides) == allowed


@pytest.mark.parametrize(
  'values, baseline, verdict',
  [
    # Apart by 2; standard deviations 1 and 1, together 1.41.
    ([1.0, 2, 3], [3.0, 4, 5], 'better'),
    ([3.0, 4, 5], [1.0, 2, 3], 'worse'),
    # Apart by 1.
    ([1.0, 2, 3], [2.0, 3, 4], 'match'),
    ([1.0, 2, 3], [1.0, np.nan, 3], ''),
    ([1.0, 2, 3], [1.0], ''),
  ],
)
def test_unpaired(values, baseline, verdict):
  found = verdicts.judge_unpaired(np.array(values), np.array(baseline))
  assert found == verdict


def test_rows_are_judged_as_a_series_is():
  rows = pd.DataFrame(
    [[1.0, 2, 3], [-1, -2, -4], [1, -1, 0], [1, np.nan, 3], [1, 1, np.inf]],
    index=list('abcde'),
  )
  found = verdicts.judge_rows(rows)
  assert found.to_dict() == dict(
    zip('abcde', ['worse', 'better', 'match', '', ''])
  )
  assert found.tolist() == [
    statistics.judge(row).verdict for _, row in rows.iterrows()
  ]
