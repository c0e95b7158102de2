import importlib
import json

import pandas as pd
import pytest

from pruning_gen.analysis import claims
from pruning_gen.analysis import load
from pruning_gen.analysis import paired as comparisons
from pruning_gen.analysis import statistics
from pruning_gen.storage import provenance
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
  found = comparisons.compare_at_optimum(
    table, statistics.summarize(table, 0.2)
  )
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
        arm='most_improved_1', num_train=16
      ),
    ]
  )
  chain = statistics.summarize(table[table.experiment == 'chain'], 0.2)
  found = comparisons.compare_at_optimum(table, chain).set_index('network')
  row = found.loc['extended_dense']
  assert row[['mean', 'std', 'against_pruning_mean']].isna().all()
  assert row.n == 2 and row.against_pruning_verdict == ''
  assert found['mean']['pruning'] == pytest.approx(0.1)
  row = comparisons.average_leave_out(comparisons.pair_leave_out(table)).iloc[0]
  assert row[['mean', 'std']].isna().all() and row.n == 2


def test_same_size(tmp_path):
  fake_runs.write_chain(tmp_path)
  fake_runs.write_width(tmp_path)
  summary = statistics.summarize(results.read_results(tmp_path), 0.2)
  # Of 500 and 250 (1000 is the full network), 512 and 640 are near 500; 800
  # and 1000 are near none.
  same_size = [
    comparisons.find_same_size(summary, 0.0, level) for level in (3, 2, 1, 0)
  ]
  assert same_size == [1, 1, None, None]
  assert comparisons.find_same_size(summary, 0.4, 3) is None


@pytest.mark.parametrize(
  'test_error, verdict',
  # One as small might improve; one that does, of any size, refutes.
  [(0.9, 'cannot tell'), (0.1, 'does not agree')],
)
def test_no_narrower_network_is_as_small(tmp_path, test_error, verdict):
  fake_runs.write_chain(tmp_path, levels=2, config={'levels': 1})
  fake_runs.write_width(tmp_path)
  table = results.read_results(tmp_path)
  own = (table.experiment == 'width') & (table.level > 0)
  table.loc[own, 'test_error'] = test_error
  results.write_rows(tmp_path, table[own].to_dict('records'))
  table = claims.tabulate(load.read(tmp_path))
  improves = table[table.sentence.str.startswith('Narrower')]
  assert improves.verdict.tolist() == [verdict] * 2
  (loss,) = table[table.sentence.str.contains('as many weights')].itertuples()
  assert loss.verdict == 'cannot tell'
  assert loss.detail == 'no narrower network has about as many weights'


def test_claims_of_a_run(tmp_path):
  fake_runs.write_all(tmp_path)
  table = claims.tabulate(load.read(tmp_path))
  clean = table[table.noise_fraction == 0].set_index('sentence')
  row = clean.loc['Pruning to the optimal sparsity improves the test error.']
  # Level 3 against level 0: -.06 and -.03.
  assert row['mean'] == pytest.approx(-4.5)
  assert row['std'] == pytest.approx(3 / 2**0.5)
  assert (row.verdict, row.unit, row.n) == ('agrees', 'points', 2)
  assert row.detail == 'better; level 3 against dense'
  row = clean.filter(like='How many times', axis=0).iloc[0]
  # 17.5 / 7.5 without spread.
  assert row['mean'] == pytest.approx(7 / 3)
  assert (row.paper, row.verdict) == ('3.5 to 71', 'cannot tell')
  assert row.detail == 'the paper has no lenet on digits'
  row = clean.filter(like='improves the top 20 %', axis=0).iloc[0]
  # At level 3, -.3 x the mean rank: 17.5 and 7.5.
  assert row['mean'] == pytest.approx(-3) and row.verdict == 'agrees'
  row = clean.filter(like='Narrower networks', axis=0).iloc[0]
  # The best narrower one is level 1: .31 and .311, against .24 and .29.
  assert row['mean'] == pytest.approx(4.55)
  assert row.detail == (
    'worse; best narrower width (level 1) minus pruning (level 3)'
  )
  row = clean.filter(like='Without noise, leaving out', axis=0).iloc[0]
  assert row['mean'] == pytest.approx(10) and row.verdict == 'agrees'
  noisy = table[table.noise_fraction > 0]
  leave_out = noisy[noisy.sentence.str.startswith('Under noise, leaving out')]
  assert leave_out['mean'].tolist() == pytest.approx([-10, -15])
  assert leave_out.verdict.tolist() == ['agrees'] * 2


# Validation prefers level 1; arms share their level 0.
PRUNING = {0: [0.30, 0.32], 1: [0.25, 0.26]}
EXTENDED_DENSE = {0: [0.30, 0.32], 1: [0.29, 0.28]}


def make_panel(noise_fraction, metrics, name=('lenet', 'digits'), epochs=160):
  """Return a panel with metrics {(arm, level): {column: [by replicate]}}."""
  table = pd.concat(
    fake_runs.make_results(errors, arm, noise_fraction=noise_fraction)
    for arm, errors in (
      ('pruning', PRUNING),
      ('extended_dense', EXTENDED_DENSE),
    )
  ).reset_index(drop=True)
  for (arm, level), columns in metrics.items():
    rows = (table.arm == arm) & (table.level == level)
    for column, values in columns.items():
      table.loc[rows, column] = values
  nothing = pd.DataFrame()
  return load.Benchmark(
    name='run',
    config={
      'model': {'name': name[0], 'num_filters': 64},
      'data': {'name': name[1], 'num_train': 0},
      'epochs': epochs,
      'levels': 1,
      'prune_fraction': 0.2,
      'width': {'levels': 2},
    },
    provenance={},
    results=table,
    summary=statistics.summarize(table, 0.2),
    effects=nothing,
    concentration=nothing,
    noisy_share=nothing,
    leave_out=nothing,
    most_worsened=None,
    notes=[],
  )


def test_better_training():
  loss = 'train_cross_entropy'
  panel = make_panel(
    0.0,
    {
      ('pruning', 0): {loss: [0.5, 0.5]},
      ('pruning', 1): {loss: [0.5, 0.6]},
      ('extended_dense', 1): {loss: [0.2, 0.4]},
    },
  )
  table = claims.tabulate(panel)
  assert table.sentence.tolist() == [
    'Pruning to the optimal sparsity improves the test error.',
    'Without noise, pruning to the optimal sparsity lowers the training loss.',
    'Without noise, extended dense training lowers the training loss.',
    'Without noise, extended dense training matches pruning.',
  ]
  # -.05 -.06; 0 .1; -.3 -.1; .04 .02.
  assert table['mean'].tolist() == pytest.approx([-5.5, 0.05, -0.2, 3])
  assert table.detail.str.split(';').str[0].tolist() == [
    'better',
    'match',
    'better',
    'worse',
  ]
  assert table.verdict.tolist() == [
    'agrees',
    'does not agree',
    'agrees',
    'does not agree',
  ]


def test_regularization():
  noisy, original = (f'train_cross_entropy_{k}' for k in ('noisy', 'clean'))
  panel = make_panel(
    0.15,
    {
      ('pruning', 0): {noisy: [0.3, 0.5], original: [0.2, 0.5]},
      ('pruning', 1): {noisy: [2.0, 2.2], original: [0.1, 0.1]},
      ('extended_dense', 1): {noisy: [0.1, 0.1]},
    },
    ('vgg16', 'cifar10'),
  )
  table = claims.tabulate(panel).set_index('sentence')
  loss, gap_of = 'Loss of noisy examples minus that of original ones, ', {}
  for kind in ('dense', 'optimally sparse'):
    gap_of[kind] = table.loc[f'{loss}{kind} network.']
  # .1 and 0, then 1.9 and 2.1.
  assert gap_of['dense']['mean'] == pytest.approx(0.05)
  assert gap_of['dense'].detail == 'inside; level 0'
  assert gap_of['optimally sparse']['mean'] == pytest.approx(2)
  row = table.filter(like='widens the gap', axis=0).iloc[0]
  assert row['mean'] == pytest.approx(1.95) and row.verdict == 'agrees'
  row = table.filter(like='Pruning to the optimal sparsity raises', axis=0)
  assert row['mean'].tolist() == pytest.approx([1.7])
  row = table.filter(like='does not raise', axis=0).iloc[0]
  assert row['mean'] == pytest.approx(-0.3)
  assert (row.paper, row.verdict) == ('better or match', 'agrees')


@pytest.mark.parametrize(
  'name, paper',
  [
    (('vgg16', 'cifar10'), ['better', '-5.2', 'worse', '3.6 to 34.2']),
    (('resnet20', 'cifar10'), ['better', 'worse', '0.4 to 14.5']),
    # Another data set is not held against the paper's numbers.
    (('vgg16', 'digits'), ['better', 'worse']),
  ],
)
def test_numbers_of_a_panel(name, paper):
  table = claims.tabulate(make_panel(0.15, {}, name))
  of_error = table[table.unit == 'points']
  assert of_error.paper.tolist() == paper
  by_how_much = of_error[of_error.sentence.str.startswith('By how much')]
  assert by_how_much.paper.tolist() == [p for p in paper if p[-1].isdigit()]
  # -5 -6 and .04 .02 in points.
  for mean in by_how_much['mean']:
    assert mean == pytest.approx(-5.5) or mean == pytest.approx(3)


def test_one_replicate_cannot_tell(tmp_path):
  provenance.open_workdir(tmp_path, fake_runs.CONFIG | {'levels': 1})
  table = fake_runs.make_results({0: [0.3], 1: [0.2]})
  results.write_rows(tmp_path, table.to_dict('records'))
  table = claims.tabulate(load.read(tmp_path))
  assert set(table.verdict) == {'cannot tell'}
  assert table.detail[0] == 'one replicate; level 1 against dense'


def test_dense_as_the_optimum_cannot_tell(monkeypatch):
  monkeypatch.setitem(PRUNING, 1, [0.35, 0.36])
  table = claims.tabulate(make_panel(0.0, {}))
  # Pruning does not improve; nothing can be said of what pruning does.
  assert table.verdict.tolist() == ['does not agree'] + ['cannot tell'] * 3
  assert set(table.detail[1:]) == {
    'the optimal sparsity is level 0, the dense network'
  }


def test_no_pruned_level_cannot_tell(monkeypatch):
  for errors in (PRUNING, EXTENDED_DENSE):
    monkeypatch.delitem(errors, 1)
  table = claims.tabulate(make_panel(0.15, {}, ('vgg16', 'cifar10')))
  # What is said of the dense network can be told: it has no gap here.
  of_dense = table.sentence.str.endswith('dense network.')
  assert table[of_dense].verdict.tolist() == ['does not agree']
  assert set(table[~of_dense].verdict) == {'cannot tell'}
  assert set(table[~of_dense].detail) == {'the chain has finished level 0 of 1'}
  assert table.sentence.str.startswith('By how much').sum() == 2


def test_the_papers_numbers_bind_no_smaller_run():
  panel = make_panel(0.15, {}, ('vgg16', 'cifar10'), epochs=8)
  table = claims.tabulate(panel)
  of_number = table.paper.str[-1].str.isdigit()
  assert of_number.sum() == 4
  assert set(table[of_number].verdict) == {'cannot tell'}
  assert set(table[of_number].detail) == {
    "the run is not of the paper's size: epochs=8"
  }
  assert 'cannot tell' not in set(table[~of_number].verdict)


def test_the_papers_numbers_are_of_our_panels():
  for (model, data), size in claims.PANELS.items():
    config = importlib.import_module(f'configs.{model}').get_config().to_dict()
    found = provenance.flatten(config)
    assert (found['model.name'], found['data.name']) == (model, data)
    assert found['data.num_train'] == 0
    for key, value in size.items():
      assert json.loads(json.dumps(found[key])) == value


def test_narrower_networks_where_pruning_does_not_improve(tmp_path):
  fake_runs.write_chain(tmp_path)
  fake_runs.write_width(tmp_path)
  table = results.read_results(tmp_path)
  own = (table.experiment == 'chain') & (table.noise_fraction == 0)
  table.loc[own, 'test_error'] = 0.3
  results.write_rows(tmp_path, table[own].to_dict('records'))
  table = claims.tabulate(load.read(tmp_path))
  rows = table[table.sentence.str.startswith('Narrower')]
  # Fake widths ignore noise.
  assert rows.verdict.tolist() == ['cannot tell', 'does not agree']
  assert rows.detail.iloc[0] == 'pruning does not improve'


def test_narrower_networks_that_are_still_to_come(tmp_path):
  fake_runs.write_chain(tmp_path)
  fake_runs.write_width(tmp_path, levels=2)
  table = claims.tabulate(load.read(tmp_path))
  rows = table[table.sentence.str.startswith('Narrower')]
  assert set(rows.verdict) == {'cannot tell'}
  assert set(rows.detail) == {'width has finished level 1 of 2'}


def test_sets_that_one_of_two_replicates_chose(tmp_path):
  fake_runs.write_chain(tmp_path)
  fake_runs.write_leave_out(tmp_path, replicates=(1,))
  table = claims.tabulate(load.read(tmp_path))
  rows = table[table.sentence.str.contains('eaving out')]
  assert set(rows.verdict) == {'cannot tell'}
  assert set(rows.detail) == {'level 3: sets of 1 of 2 replicates'}


WIDE = "and the spread is above the paper's number"


@pytest.mark.parametrize(
  'mean, std, paper, verdict, detail',
  [
    (1.0, 0.1, (0.5, 2), 'agrees', 'inside; here'),
    # Outside by .5: less than one standard deviation, and more.
    (2.5, 0.6, (0.5, 2), 'agrees', '0.5 nats above; here'),
    (0.0, 0.5, (0.5, 2), 'does not agree', '0.5 nats below; here'),
    # A spread above 2, inside and outside by less; and outside by as much.
    (1.0, 2.1, (0.5, 2), 'cannot tell', f'inside, {WIDE}; here'),
    (3.5, 2.1, (0.5, 2), 'cannot tell', f'1.5 nats above, {WIDE}; here'),
    (-1.0, 5.3, (-5.2, -5.2), 'cannot tell', f'4.2 nats above, {WIDE}; here'),
    (-1.0, 5.2, (-5.2, -5.2), 'agrees', '4.2 nats above; here'),
    (4.5, 2.1, (0.5, 2), 'does not agree', '2.5 nats above; here'),
    (1.0, 0.1, 'worse or match', 'agrees', 'worse; here'),
    (1.0, 0.1, 'better or match', 'does not agree', 'worse; here'),
  ],
)
def test_judgement(mean, std, paper, verdict, detail):
  found = statistics.Comparison(mean, std, 3, 'worse')
  claim = claims._judge('x', found, 'nats', paper, 'here')
  assert (claim.verdict, claim.detail) == (verdict, detail)


@pytest.mark.parametrize(
  'n, why',
  [
    (0, 'not finished'),
    (1, 'one replicate'),
    (2, 'a value is missing or infinite'),
  ],
)
@pytest.mark.parametrize('paper', ['better', (0.5, 2)])
def test_why_it_cannot_tell(n, why, paper):
  found = statistics.Comparison(float('nan'), float('nan'), n, '')
  claim = claims._judge('x', found, 'nats', paper, 'here')
  assert (claim.verdict, claim.detail) == ('cannot tell', f'{why}; here')
