import pandas as pd
import pytest

from pruning_gen.analysis import fairness

# Errors of two replicates by level: differences from level 0 on the right.
ERRORS = {
  # +.1 +.3: mean .2, std .14; then 0 0; then +.2 +.2 twice.
  0: [(0.1, 0.1), (0.2, 0.4), (0.1, 0.1), (0.3, 0.3), (0.3, 0.3)],
  # +.1 -.1: mean 0; 0 0; 0 0; +.1 -.05: mean .025, std .106.
  1: [(0.5, 0.5), (0.6, 0.4), (0.5, 0.5), (0.5, 0.5), (0.6, 0.45)],
  # +.1 +.1 at every level.
  2: [(0.2, 0.3), (0.3, 0.4), (0.3, 0.4), (0.3, 0.4), (0.3, 0.4)],
}


def make_errors(errors, replicates=(0, 1)):
  return pd.DataFrame(
    [
      ('chain', 'pruning', 0.0, i, level, 'test', 'class', group, pair[i])
      for group, by_level in errors.items()
      for level, pair in enumerate(by_level)
      for i in replicates
    ],
    columns=[
      *('experiment', 'arm', 'noise_fraction', 'replicate', 'level'),
      *('split', 'by', 'group', 'error'),
    ],
  )


def test_groups_are_judged_against_dense():
  table = fairness.compare_groups(make_errors(ERRORS))
  table = table.set_index(['group', 'level'])
  assert len(table) == 15
  assert table.error_mean[0, 1] == pytest.approx(0.3)
  assert table.error_std[0, 1] == pytest.approx(0.02**0.5)
  assert table.difference_mean[0, 1] == pytest.approx(0.2)
  assert table.difference_std[0, 1] == pytest.approx(0.02**0.5)
  assert table.verdict[0].tolist() == ['', 'worse', 'match', 'worse', 'worse']
  assert table.verdict[1].tolist() == ['', *['match'] * 4]
  assert table.verdict[2].tolist() == ['', *['worse'] * 4]
  assert table.n.unique().tolist() == [2]


def test_harm_begins_where_every_sparser_level_is_worse():
  errors = make_errors(ERRORS).sample(frac=1, random_state=0)
  table = fairness.find_harm(fairness.compare_groups(errors))
  assert table.group.tolist() == [0, 1, 2]
  # Level 1 of group 0 is worse, and level 2 is not.
  assert table.harmed_from.tolist() == [3, pd.NA, 1]


def test_one_replicate_shows_no_harm():
  compared = fairness.compare_groups(make_errors(ERRORS, replicates=[0]))
  assert set(compared.verdict) == {''} and set(compared.n) == {1}
  assert fairness.find_harm(compared).harmed_from.isna().all()
