import pandas as pd
import pytest

from pruning_gen.analysis import claims
from pruning_gen.analysis import comparisons
from pruning_gen.analysis import panel as panels
from pruning_gen.analysis import statistics
from pruning_gen.storage import results
from tests import fake_runs
from tests.fake_runs import make_row


def test_leave_out_is_paired_with_the_random_set_of_its_size(tmp_path):
  fake_runs.write_chain(tmp_path)
  fake_runs.write_leave_out(tmp_path)
  pairs = comparisons.pair_leave_out(results.read_results(tmp_path))
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
  table = comparisons.average_leave_out(pairs)
  row = table[(table.left_out == 'misclassified')].iloc[0]
  assert row.difference_mean == pytest.approx(-0.15)
  assert (row.verdict, row.n) == ('better', 2)


def test_leave_out_without_its_random_set():
  rows = [make_row(), make_row(experiment='leave_out', arm='most_improved_5')]
  rows[1]['num_train'] = 16
  pairs = comparisons.pair_leave_out(pd.DataFrame(rows))
  row = comparisons.average_leave_out(pairs).iloc[0]
  assert row.num_left_out == 4 and row.verdict == ''
  assert row[['random_mean', 'difference_mean']].isna().all()


def test_compare_at_optimum():
  pruning = fake_runs.make_results({0: [0.3, 0.3], 1: [0.1, 0.2], 2: [0.5] * 2})
  dense = fake_runs.make_results(
    {0: [0.3, 0.3], 1: [0.2, 0.3], 2: [0.1, 0.1]}, 'extended_dense'
  )
  table = pd.concat([pruning, dense])
  found = comparisons.compare_at_optimum(table, statistics.summarize(table))
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


def test_same_size(tmp_path):
  fake_runs.write_chain(tmp_path)
  fake_runs.write_width(tmp_path)
  summary = statistics.summarize(results.read_results(tmp_path))
  # 512 weights of 1000, 500, 250; and 800.
  assert comparisons.find_same_size(summary, 0.0, 3) == 1
  assert comparisons.find_same_size(summary, 0.0, 1) == 0
  assert comparisons.find_same_size(summary, 0.4, 1) is None


def test_claims_of_a_run(tmp_path):
  fake_runs.write_all(tmp_path)
  table = claims.tabulate(panels.read(tmp_path))
  clean = table[table.noise_fraction == 0].set_index('sentence')
  row = clean.loc['Pruning to the optimal sparsity improves the test error.']
  # Level 3 against level 0: -.06 and -.03.
  assert row['mean'] == pytest.approx(-4.5)
  assert row['std'] == pytest.approx(3 / 2**0.5)
  assert (row.verdict, row.unit, row.n) == ('agrees', 'points', 2)
  assert row.detail == 'better; level 3 against dense'
  row = clean.loc['Pruning changes the top 20 % by EL2N more than the rest.']
  # 17.5 / 7.5 without spread, and the paper has 3.5 at least.
  assert row['mean'] == pytest.approx(7 / 3)
  assert row.verdict == 'does not agree'
  assert row.detail == '1.17 times below; level 3'
  assert row.paper == '3.5 to 71'
  leave_out = clean[clean.index.str.startswith('Leaving out')].iloc[0]
  assert leave_out['mean'] == pytest.approx(10)
  assert leave_out.verdict == 'agrees'
  noisy = table[table.noise_fraction > 0]
  assert noisy.sentence.str.startswith('Under noise').sum() == 3
  assert noisy.paper.tolist()[1] == '0.03 to 0.13'


def test_one_replicate_cannot_tell(tmp_path):
  results.open_workdir(tmp_path, fake_runs.CONFIG)
  table = fake_runs.make_results({0: [0.3], 1: [0.2]})
  results.write_rows(tmp_path, table.to_dict('records'))
  table = claims.tabulate(panels.read(tmp_path))
  assert set(table.verdict) == {'cannot tell'}
  assert table.detail[0] == 'one replicate; level 1 against dense'


def test_dense_as_the_optimum_cannot_tell(tmp_path):
  fake_runs.write_chain(tmp_path, levels=1)
  table = claims.tabulate(panels.read(tmp_path))
  clean = table[table.noise_fraction == 0]
  # Pruning does not improve; nothing can be said of what pruning does.
  assert clean.verdict.tolist() == ['does not agree'] + ['cannot tell'] * 2
  assert 'level 0' in clean.detail.iloc[-1]


@pytest.mark.parametrize(
  'mean, std, verdict, detail',
  [
    (1.0, 0.1, 'agrees', 'inside; here'),
    # Outside by .5: less than one standard deviation, and more.
    (2.5, 0.6, 'agrees', '0.5 nats above; here'),
    (0.0, 0.5, 'does not agree', '0.5 nats below; here'),
  ],
)
def test_ranges(mean, std, verdict, detail):
  found = statistics.Comparison(mean, std, 3, 'better')
  claim = claims._judge_range('x', 0.0, found, 'nats', (0.5, 2), 'here')
  assert (claim.verdict, claim.detail) == (verdict, detail)
