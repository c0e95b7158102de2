import importlib

import numpy as np
import pandas as pd
import pytest

from pruning_gen.analysis import claims
from pruning_gen.analysis.claims import base
from pruning_gen.analysis.claims import paper
from pruning_gen.analysis.claims.case import Case
from pruning_gen.storage import provenance
from tests import claims_cases as cases
from tests import fake_benchmarks as fake

NAN = float('nan')


def find(words):
  """Return the claims that begin with these words: one."""
  found = [claim for claim in claims.CLAIMS if claim.text.startswith(words)]
  assert len(found) == 1, [claim.text for claim in found]
  return tuple(found)


@pytest.fixture(scope='module')
def benchmarks():
  return {name: fake.make(name) for name in fake.CHANGE}


def test_every_claim_of_the_five_benchmarks_agrees(benchmarks):
  table = claims.tabulate(list(benchmarks.values()))
  others = table[table.verdict != 'agrees']
  # The text does not give all noise levels of these.
  names = {'lenet on mnist', 'resnet50 on imagenet2012'}
  assert set(others.benchmark) == names
  assert len(others) == 8 and others.detail.str.contains(cases.OURS).all()
  assert set(table.claim) == {claim.text for claim in claims.CLAIMS}
  assert table.claim.drop_duplicates().tolist() == [
    claim.text for claim in claims.CLAIMS
  ]
  assert list(table.columns) == claims.COLUMNS


def test_every_claim_has_its_cases():
  words = [case[0] for case in cases.CASES] + [case[0] for case in cases.OVER]
  assert {find(each)[0].text for each in words} == {
    claim.text for claim in claims.CLAIMS
  }


@pytest.mark.parametrize(
  'case', [case for case in cases.CASES if case[2]], ids=lambda case: case[0]
)
def test_a_claim_contradicted(case):
  words, (model, noise_fractions), edit, _, _ = case
  benchmark = fake.make(model, noise_fractions, edit)
  assert 'contradicts' in set(claims.tabulate([benchmark], find(words)).verdict)


@pytest.mark.parametrize('case', cases.CASES, ids=lambda case: case[0])
def test_a_claim_undecided(case):
  words, network, _, edit, reason = case
  if isinstance(edit, tuple):
    *network, edit = edit
  table = claims.tabulate([fake.make(*network, edit)], find(words))
  assert set(table.verdict) == {'undecided'}
  assert table.detail.str.contains(reason, regex=False).all()


@pytest.mark.parametrize('words, edits', cases.OVER)
def test_a_claim_over_benchmarks(benchmarks, words, edits):
  others = {name: fake.make(name, None, edit) for name, edit in edits.items()}
  (row,) = claims.tabulate(
    list((benchmarks | others).values()), find(words)
  ).itertuples()
  assert (row.verdict, row.benchmark) == ('contradicts', 'all')
  # ResNet-20 is 1 of 5 clean benchmarks and 3 of 13 noisy ones.
  four = {key: value for key, value in benchmarks.items() if key != 'resnet20'}
  (row,) = claims.tabulate(list(four.values()), find(words)).itertuples()
  is_noisy = find(words)[0].scope == base.ALL_NOISY
  assert row.verdict == 'undecided'
  assert ('10 of 13' if is_noisy else '4 of 5') in row.detail


def test_the_numbers_of_a_row():
  benchmark = fake.make('resnet20', [0.3])
  words = find('Pruning to L* improves the test error, or')
  (row,) = claims.tabulate([benchmark], words).itertuples()
  # Level 11 is 6 points better in every replicate, +-.001.
  assert row.mean == pytest.approx(-6)
  assert row.std == pytest.approx(100 * fake.SPREAD)
  assert (row.unit, row.n, row.paper) == ('points', 3, 'better or match')
  assert (row.paired, row.unpaired, row.noise_fraction) == (
    'better',
    'better',
    0.3,
  )
  assert 'level 11' in row.detail


def test_paired_and_unpaired_verdicts():
  # Apart by .5 in each of three replicates that are apart by 1 themselves.
  values, baseline = pd.Series([1.0, 2, 3]), pd.Series([1.5, 2.5, 3.5])
  found = base.measure(values, baseline)
  assert (found.mean, found.std, found.n) == (-0.5, 0, 3)
  assert (found.paired, found.unpaired) == ('better', 'match')
  found = base.measure(values, baseline, 'points', words=base.SIZE)
  assert (found.mean, found.paired) == (-50, 'smaller')
  # Of replicates 0 and 1 only, and without a pair.
  found = base.measure(values, baseline[:2])
  assert (found.n, found.paired) == (2, 'better')
  found = base.measure(values, words=base.SIGN)
  assert (found.mean, found.paired, found.unpaired) == (2, 'positive', '')


WIDE = 'the spread'


@pytest.mark.parametrize(
  'mean, std, number, verdict, detail',
  [
    (1.0, 0.1, (0.5, 2), 'agrees', 'inside'),
    # Outside by .5: less than one standard deviation, and as much.
    (2.5, 0.6, (0.5, 2), 'agrees', '0.5 nats above'),
    (0.0, 0.5, (0.5, 2), 'contradicts', '0.5 nats below'),
    # A spread above 2, inside and outside by less; and outside by more.
    (1.0, 2.1, (0.5, 2), 'undecided', WIDE),
    (3.5, 2.1, (0.5, 2), 'undecided', WIDE),
    (4.5, 2.1, (0.5, 2), 'contradicts', '2.5 nats above'),
    (-1.0, 5.3, -5.2, 'undecided', WIDE),
    (-1.0, 5.2, -5.2, 'agrees', '4.2 nats above'),
    # Zero is a match.
    (0.4, 0.5, 0, 'agrees', '0.4 nats above'),
    (0.5, 0.5, 0, 'contradicts', '0.5 nats above'),
    (-9.0, 0.5, (-np.inf, 2.1), 'agrees', 'inside'),
    (2.7, 0.5, (-np.inf, 2.1), 'contradicts', '0.6 nats above'),
    (1.0, 0.1, 'worse or match', 'agrees', 'here'),
    (1.0, 0.1, 'better or match', 'contradicts', 'here'),
    (9.0, NAN, base.Count(9, 13), 'agrees', 'here'),
    (8.0, NAN, base.Count(9, 13), 'contradicts', 'here'),
    (NAN, NAN, 'worse', 'undecided', 'missing or infinite; here'),
    (np.inf, NAN, (0.5, 2), 'undecided', 'missing or infinite; here'),
  ],
)
def test_what_decides(mean, std, number, verdict, detail):
  found = base.Finding(mean, std, 'nats', 3, paired='worse', detail='here')
  found = base.decide(found, number)
  assert found.verdict == verdict and detail in found.detail


@pytest.mark.parametrize('n, why', [(0, 'not finished'), (1, cases.ONE)])
def test_what_has_no_verdict_has_a_reason(n, why):
  found = base.decide(base.Finding(1.0, NAN, 'nats', n), 'better')
  assert (found.verdict, found.detail) == ('undecided', why)


@pytest.mark.parametrize(
  'number, text',
  [
    (-5.2, '-5.2'),
    ((3.5, 71), '3.5 to 71'),
    ((-np.inf, 2.1), 'at most 2.1'),
    (base.Count(9, 13), '9 of 13'),
  ],
)
def test_how_the_papers_numbers_are_shown(number, text):
  assert base.show(number) == text


def test_levels_of_a_case():
  def edit(parts):
    cases.pruned([5, 9], test_error=0.6)(parts)
    cases.pruned(12, test_error=0.4)(parts)

  case = Case(fake.make('resnet20', [0.0], edit), 0.0)
  # Better at 1 to 4, 6 to 8 and 12; validation prefers 3, the test error 12.
  assert case.improving() == [1, 2, 3, 4, 6, 7, 8, 12]
  assert (case.best(), case.lowest()) == (3, 12)
  assert (case.highest(), case.unbroken(), case.last()) == (12, 4, 13)
  assert 'to level 4' in case.describe(12, Case.highest)
  assert case.best('width') == case.lowest('width') == 0
  with pytest.raises(base.Undecided, match='width'):
    case.optimum('width')


def test_the_optimum_need_not_improve():
  def edit(parts):
    cases.pruned(3, test_error=0.5)(parts)

  case = Case(fake.make('resnet20', [0.0], edit), 0.0)
  assert case.unbroken() is None and case.highest() == 8


@pytest.mark.parametrize(
  'improving, verdict',
  [
    (range(1, 9), 'agrees'),
    (range(1, 7), 'agrees'),
    (range(1, 11), 'agrees'),
    (range(1, 6), 'contradicts'),
    (range(1, 12), 'contradicts'),
    # Alone beyond the run that level 3 is in.
    ([*range(1, 9), 13], 'undecided'),
    ([3, 13], 'contradicts'),
  ],
)
def test_the_highest_improving_level(improving, verdict):
  def edit(parts):
    cases.pruned(cases.ALL, test_error=0.6)(parts)
    cases.pruned(list(improving), test_error=0.4)(parts)

  benchmark = fake.make('resnet20', [0.0], edit)
  (row,) = claims.tabulate([benchmark], find('L^, the')).itertuples()
  assert (row.verdict, row.mean, row.paper) == (verdict, max(improving), '8')


def test_a_chain_that_ends_before_the_highest_improving_level():
  def edit(parts):
    cases.drop('results', level=range(6, 24))(parts)
    cases.set_config(levels=5)(parts)

  benchmark = fake.make('vgg16', [0.0], edit)
  (row,) = claims.tabulate([benchmark], find('L^, the')).itertuples()
  assert (row.verdict, row.mean) == ('undecided', 5)
  assert 'ends before level 21' in row.detail


@pytest.mark.parametrize('number, verdict', [(8, 'agrees'), (9, 'contradicts')])
def test_eight_of_twenty_levels_may_differ_by_chance(number, verdict):
  edit = cases.longer(range(1, number + 1), test_error=0.6)
  benchmark = fake.make('vgg16', [0.0], edit)
  (row,) = claims.tabulate([benchmark], find('VGG-16: levels')).itertuples()
  assert (row.verdict, row.mean, row.unit) == (verdict, number, 'of 20')
  # The largest difference is that to level 3, at .49.
  assert '+11.00 points, at level 3' in row.detail


@pytest.mark.parametrize(
  'number, verdict', [(5, 'undecided'), (6, 'contradicts')]
)
def test_five_of_twenty_subgroups_may_be_worse_by_chance(number, verdict):
  edit = cases.effect(3, 0.1, range(number))
  benchmark = fake.make('resnet20', [0.0], edit)
  (row,) = claims.tabulate([benchmark], find('At L*, no sub')).itertuples()
  assert (row.verdict, row.mean) == (verdict, number)
  assert 'worse: 0, 1, 2, 3, 4' in row.detail


def test_the_narrowest_network_may_not_be_the_best():
  # Level 4 is best and last; pruning reaches .49.
  edit = cases.narrow(4, test_error=0.495)
  (row,) = claims.tabulate(
    [fake.make('resnet20', [0.0], edit)], find('Narrower networks are')
  ).itertuples()
  assert (row.verdict, row.paired) == ('undecided', 'worse')
  assert row.mean == pytest.approx(0.5) and 'narrowest' in row.detail


def test_benchmarks_whose_narrowest_network_is_the_best_are_not_counted():
  edit = cases.narrow(4, test_error=0.495)
  runs = [
    fake.make(name, [0.0], edit if name == 'resnet20' else None)
    for name in fake.CHANGE
  ]
  words = find('Clean benchmarks where narrower')
  (row,) = claims.tabulate(runs, words).itertuples()
  assert row.verdict == 'undecided'
  assert 'resnet20 on cifar10, 0% noise: the narrowest is best' in row.detail


def test_every_noise_level_and_arm_must_be_finished():
  at_30 = cases.at_noise(0.3, cases.drop('results', level=range(5, 24)))
  words = 'The largest G over noise levels, at L*', 'Pruning to L* improves the'
  words = find(words[0]) + find(f'{words[1]} test error more')
  table = claims.tabulate([fake.make('vgg16', None, at_30)], words)
  assert table.verdict.tolist() == ['undecided'] * 3
  assert table.detail.str.contains('level 4 of 23 at 30% noise').all()

  def edit(parts):
    rows = parts['results']
    is_late = (rows.arm == 'extended_dense') & (rows.level > 2)
    parts['results'] = rows[~is_late]

  words = find('Extended dense training is worse')
  table = claims.tabulate([fake.make('vgg16', None, edit)], words)
  assert table.verdict.tolist() == ['undecided'] * 3
  assert table.detail.str.contains('extended dense has finished level 2').all()


@pytest.mark.parametrize('level', [10, 6])
def test_what_a_longer_chain_may_agree_with_is_open(level):
  """A chain of 10 levels that ends at its L* (if level is 10) and at its L^."""

  def edit(parts):
    parts['config']['levels'] = 10
    rows = parts['results']
    is_late = (rows.experiment == 'chain') & (rows.level > 10)
    parts['results'] = rows[~is_late].copy()
    for own, error in ((range(5, 11), 0.02), ([level], 0.01)):
      where = {'experiment': 'chain', 'arm': 'pruning', 'level': own}
      cases.put('results', where, validation_error=error, test_error=error)(
        parts
      )
    # Narrower networks are worse.
    where = {'experiment': 'width', 'level': range(1, 30)}
    cases.put('results', where, test_error=0.9)(parts)

  table = claims.tabulate([fake.make('vgg16', None, edit)])
  found = table.groupby('claim').verdict.agg(set)
  of_highest = found[found.index.str.contains('L^', regex=False)]
  assert set.union(*of_highest) == {'undecided'}
  of_best = found[found.index.str.contains('pruning to L*', regex=False)]
  assert ('contradicts' in set.union(*of_best)) == (level < 10)
  assert found['Narrowing to k* improves the test error.'] == {'contradicts'}
  is_open = table.detail.str.contains('the chain ends at its L')
  assert set(table[is_open].verdict) == {'undecided'}


def test_groups_that_are_worse_at_the_optimum_are_harmed_early():
  words = find('Pruning harms the test error of a class')
  for number, verdict in ((3, 'agrees'), (4, 'contradicts')):
    where = {'by': 'class', 'level': 3, 'experiment': 'chain'}
    edit = cases.put(
      'group_errors', where | {'group': range(number)}, error=0.9
    )
    (row,) = claims.tabulate(
      [fake.make('resnet20', [0.0], edit)], words
    ).itertuples()
    assert row.verdict == verdict
    assert f'level 3: {number} of 10 (3 may by chance)' in row.detail


def test_a_missing_value_of_one_member_is_not_averaged_over():
  def edit(parts):
    for column in ('test_error', cases.LOSS, cases.NOISY):
      cases.put('results', {'replicate': 1}, **{column: NAN})(parts)
    for column in ('share', 'top_effect'):
      cases.put('concentration', {'replicate': 1}, **{column: NAN})(parts)

  table = claims.tabulate([fake.make('resnet20', [0.0, 0.3], edit)])
  # These read no column that lacks a value.
  others = ('At L*, no', 'At L*, most', 'At L*, the subgroup', 'Pruning harms')
  others += ('Pruning to L* and narrowing', 'The classes', 'The subgroups')
  reads = ~table.claim.str.startswith(others)
  assert set(table[reads].verdict) == {'undecided'}
  assert set(table[~reads].verdict) == {'agrees'}
  assert table[reads].detail.str.contains('missing').sum() > 25


def test_a_chain_that_has_only_its_dense_networks():
  edit = cases.drop('results', level=cases.ALL)
  table = claims.tabulate([fake.make('vgg16', None, edit)])
  told = table[table.verdict != 'undecided']
  assert told.claim.str.endswith('dense.').all() and len(told) == 2


def test_lenet_at_5_percent_noise_matches():
  edit = cases.at_noise(0.05, cases.pruned(11, test_error=0.4))
  benchmark = fake.make('lenet', None, edit)
  words = find('Pruning to L* improves the test error, or')
  table = claims.tabulate([benchmark], words)
  assert table.paper.tolist() == ['match', *['better or match'] * 2]
  assert table.verdict.tolist() == ['contradicts', 'agrees', 'agrees']


def test_other_benchmarks_have_no_numbers_of_the_paper():
  def edit(parts):
    parts['config']['data']['name'] = 'digits'

  table = claims.tabulate([fake.make('vgg16', [0.0, 0.15], edit)])
  assert not table.claim.str.startswith(('VGG', 'On CIFAR', 'L^')).any()
  # One range is of all benchmarks.
  rows = table[table.paper.str.contains(' to ')]
  assert rows.detail.str.contains('vgg16 on digits').tolist() == [True]


def test_a_run_without_noise():
  table = claims.tabulate([fake.make('lenet', [0.0])])
  noisy = table[table.detail == 'this run has no label noise']
  scopes = {claim.text: claim.scope for claim in claims.CLAIMS}
  assert set(noisy.claim.map(scopes)) == {'noisy', 'across'}
  # One row each, and those of clean data stay.
  assert noisy.claim.is_unique and set(noisy.verdict) == {'undecided'}
  assert (table.verdict == 'agrees').sum() > 15


def test_what_no_noise_level_can_test_is_one_row():
  words = find('Extended dense training is worse')
  edit = cases.no_extended_dense
  table = claims.tabulate([fake.make('lenet', None, edit)], words)
  assert len(table) == 1 and np.isnan(table.noise_fraction[0])


def test_a_run_without_pruning():
  benchmark = fake.make('lenet', [0.0], cases.drop('results', arm='pruning'))
  table = claims.tabulate([benchmark])
  assert table.empty and 'verdict' in table and 'benchmark' not in table


def test_a_benchmark_that_is_there_twice_counts_once(benchmarks):
  twice = benchmarks['resnet20']._replace(title='again')
  words = find('Noisy benchmarks where pruning')
  (row,) = claims.tabulate([*benchmarks.values(), twice], words).itertuples()
  assert (row.mean, row.unit) == (11, 'of 13')
  table = claims.tabulate(
    [benchmarks['resnet20'], twice], find('At few weights')
  )
  assert table.benchmark.tolist() == ['resnet20 on cifar10'] * 3 + ['again'] * 3


def test_a_smaller_run_counts_for_no_benchmark(benchmarks):
  small = fake.make('resnet20', None, cases.less_often)
  words = find('Noisy benchmarks where pruning')
  runs = list((benchmarks | {'resnet20': small}).values())
  (row,) = claims.tabulate(runs, words).itertuples()
  assert row.verdict == 'undecided'
  assert '10 of 13' in row.detail and 'epochs=8' in row.detail


def test_numbers_of_an_unfinished_chain_stay():
  benchmark = fake.make('resnet20', [0.3], cases.unfinished)
  (row,) = claims.tabulate(
    [benchmark], find('Pruning to L* raises the loss of noisy')
  ).itertuples()
  assert row.verdict == 'undecided' and '13 of 40' in row.detail
  assert (row.mean, row.paired) == (pytest.approx(0.7), 'worse')


@pytest.mark.parametrize(
  'key, value',
  [
    ('epochs', 8),
    ('rewind_epoch', 0),
    ('batch_size', 64),
    ('learning_rate', 0.2),
    ('weight_decay', 0.0),
    ('momentum', 0.0),
    ('milestones', [80]),
    ('prune_fraction', 0.3),
    ('model.batch_norm_scale_init', 'ones'),
    ('model.num_filters', 32),
    ('data.num_train', 100),
    ('optimizer', 'adam'),
    ('warmup_epochs', 5),
    ('data.augment', False),
    ('prune_output', True),
    ('width.fraction', 0.5),
  ],
)
def test_a_number_needs_the_settings_of_the_paper(key, value):
  config = fake.make_config(('vgg16', 'cifar10'))
  assert paper.find_difference(config) == ''
  *outer, last = key.split('.')
  (config[outer[0]] if outer else config)[last] = value
  assert f'{key}={value}' in paper.find_difference(config)


def test_the_paper_has_other_benchmarks():
  config = fake.make_config(('vgg16', 'cifar10'))
  config['data']['name'] = 'digits'
  assert 'vgg16 on digits' in paper.find_difference(config)


@pytest.mark.parametrize('model, data', paper.SETTINGS)
def test_the_settings_of_the_paper_are_those_of_our_configs(model, data):
  config = importlib.import_module(f'configs.{model}').get_config()
  assert paper.find_difference(config.to_dict()) == ''
  assert paper.name_of(config) == (model, data)
  noise_fractions = paper.NOISE_FRACTIONS[model, data]
  assert config.noise_fractions == (0.0, *noise_fractions)
  assert provenance.flatten(config.to_dict()).keys() >= set(
    paper.SETTINGS[model, data]
  )
