import pandas as pd
import pytest

from pruning_gen.analysis import paired
from pruning_gen.analysis import statistics
from pruning_gen.storage import results
from tests import fake_runs
from tests.fake_runs import make_row


def test_leave_out_is_paired_with_the_random_set_of_its_size(tmp_path):
  fake_runs.write_chain(tmp_path)
  fake_runs.write_leave_out(tmp_path)
  pairs = paired.pair_leave_out(results.read_results(tmp_path))
  assert len(pairs) == 5 * 4
  row = pairs[
    (pairs.left_out == 'misclassified')
    & (pairs.noise_fraction == 0.2)
    & (pairs.replicate == 1)
  ].iloc[0]
  assert (row.number, row.num_left_out) == (3, 5)
  assert row.test_error == pytest.approx(0.11)
  assert row.random_error == pytest.approx(0.26)
  assert row.dense_error == pytest.approx(0.32)
  # Differences: 0.1 - 0.25 twice.
  table = paired.average_leave_out(pairs)
  row = table[(table.left_out == 'misclassified')].iloc[0]
  assert row.difference_mean == pytest.approx(-0.15)
  assert (row.verdict, row.n) == ('better', 2)


def test_leave_out_without_its_random_set():
  rows = [
    make_row(),
    make_row(
      experiment='leave_out',
      arm='dense',
      left_out='most_improved',
      chosen_at=5,
      num_train=16,
    ),
  ]
  pairs = paired.pair_leave_out(pd.DataFrame(rows))
  row = paired.average_leave_out(pairs).iloc[0]
  assert (row.left_out, row.number) == ('most_improved', 5)
  assert row.num_left_out == 4 and row.verdict == ''
  assert row[['random_mean', 'difference_mean']].isna().all()


def test_compare_at_optimum():
  pruning = fake_runs.make_results({0: [0.3, 0.3], 1: [0.1, 0.2], 2: [0.5] * 2})
  dense = fake_runs.make_results(
    {0: [0.3, 0.3], 1: [0.2, 0.3], 2: [0.1, 0.1]}, 'extended_dense'
  )
  table = pd.concat([pruning, dense])
  found = paired.compare_at_optimum(table, statistics.summarize(table, 0.2))
  found = found.set_index('network')
  assert found.level.to_dict() == {
    'dense': 0,
    'extended_dense': 1,
    'extended_dense_best': 2,
    'pruning': 1,
  }
  # Against 0.1 and 0.2: +.1 +.1 is worse, 0 and -.1 matches (std .07).
  row = found.loc['extended_dense']
  assert row.against_pruning_mean == pytest.approx(0.1)
  assert row.against_pruning_verdict == 'worse'
  assert found.against_pruning_verdict['extended_dense_best'] == 'match'
  # .1 apart, and the std of a difference of two of std .07 is .1, too.
  assert row.against_pruning_unpaired == 'worse'


def test_replicates_that_only_one_network_has_are_left_out():
  table = fake_runs.make_results({0: [0.3] * 3, 1: [0.1, 0.2]})
  longer = fake_runs.make_results({1: [0.2, 0.3, 0.7]}, 'extended_dense')
  longer['train_cross_entropy'] = [1.0, 2.0, 9.0]
  table = pd.concat([table, longer])
  found = paired.compare_at_optimum(table, statistics.summarize(table, 0.2))
  row = found.set_index('network').loc['extended_dense']
  assert row.n == 2 and row.test_error_mean == pytest.approx(0.25)
  assert row.train_cross_entropy_mean == 1.5


def test_missing_errors_are_not_averaged_over():
  nan = float('nan')
  table = pd.concat(
    [
      fake_runs.make_results({0: [0.3, 0.3], 1: [0.1, 0.1]}),
      fake_runs.make_results(
        {0: [0.3, 0.3], 1: [0.1, nan]},
        'extended_dense',
        validation={0: 0.3, 1: 0.1},
      ),
      fake_runs.make_results({0: [nan, 0.2]}, experiment='leave_out').assign(
        arm='dense', left_out='most_improved', chosen_at=1, num_train=16
      ),
    ]
  )
  chain = statistics.summarize(table[table.experiment == 'chain'], 0.2)
  found = paired.compare_at_optimum(table, chain).set_index('network')
  row = found.loc['extended_dense']
  assert row[['test_error_mean', 'against_pruning_mean']].isna().all()
  assert row.n == 2 and row.against_pruning_verdict == ''
  assert found.test_error_mean['pruning'] == pytest.approx(0.1)
  row = paired.average_leave_out(paired.pair_leave_out(table)).iloc[0]
  assert row[['mean', 'std']].isna().all() and row.n == 2


def test_same_size(tmp_path):
  fake_runs.write_chain(tmp_path)
  fake_runs.write_width(tmp_path)
  summary = statistics.summarize(results.read_results(tmp_path), 0.2)
  # Of 500 and 250 (1000 is the full network), 512 and 640 are near 500; 800
  # and 1000 are near none.
  same_size = [
    paired.find_same_size(summary, 0.0, level) for level in (3, 2, 1, 0)
  ]
  assert same_size == [1, 1, None, None]
  assert paired.find_same_size(summary, 0.4, 3) is None
