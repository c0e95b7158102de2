"""Runs that are parts of one benchmark make what one run of all would."""

import numpy as np
import pandas as pd
import pytest

from configs import default
from pruning_gen.analysis import load
from pruning_gen.errors import UserError
from pruning_gen.experiments import label_sets
from pruning_gen.storage import provenance
from pruning_gen.storage import results
from tests import fake_runs

CHAIN = ('chain', 'el2n', 'leave_out')


def write_part(workdir, experiments, *replicates, config=()):
  """Write a run of some experiments and replicates."""
  own = {
    'experiments': experiments,
    'first_replicate': min(replicates),
    'replicates': len(replicates),
  }
  config = fake_runs.CONFIG | own | dict(config)
  if 'chain' in experiments:
    fake_runs.write_chain(workdir, config=config, replicates=replicates)
    fake_runs.write_most_worsened(workdir, replicates)
  else:
    provenance.write_config(workdir, config)
    provenance.add_provenance(workdir, {'command': 'python'})
  if 'width' in experiments:
    fake_runs.write_width(workdir)
  if 'leave_out' in experiments:
    fake_runs.write_leave_out(workdir, replicates)
  if 'el2n' in experiments:
    # All jobs train the same networks for the labels without noise.
    row = fake_runs.make_row(experiment='el2n', arm='dense', network=1)
    results.write_rows(workdir, [row])
    fake_runs.write_el2n(workdir, replicates)
  vary(workdir)
  return workdir


def vary(workdir):
  """Give every network losses, and every label set scores, of its own."""
  for folder in ('chain', 'width'):
    for path in (workdir / folder).glob('level_*.npz'):
      level = int(path.stem[-3:])
      members = results.read_members(workdir, folder)
      factors = 1 + members.noise_fraction + members.replicate / 7
      arrays = results.read_level(workdir, folder, level)
      arrays['cross_entropy'] *= factors.to_numpy(np.float32)[:, None]
      results.write_level(workdir, folder, level, arrays)
  if results.EL2N.exists(workdir):
    table = pd.read_csv(workdir / 'el2n' / 'scores.csv')
    scores = results.read_el2n(workdir)
    rolled = [np.roll(score, 3 * i) for (_, i), score in scores.items()]
    results.EL2N.write(workdir, table, np.array(rolled))


@pytest.fixture(scope='module')
def workdirs(tmp_path_factory):
  """Three jobs that share the work of one benchmark."""
  root = tmp_path_factory.mktemp('sweep')
  return [
    write_part(root / 'digits-chain-r0-1a', CHAIN, 0),
    write_part(root / 'digits-chain-r1-2b', CHAIN, 1),
    write_part(root / 'digits-width-r0to1-3c', ('width',), 0, 1),
  ]


@pytest.fixture(scope='module')
def joined(workdirs):
  (benchmark,) = load.read_all(workdirs)
  return benchmark


def assert_same(table, other):
  order = [
    column
    for column in (
      *results.IDENTITY,
      'left_out',
      'number',
      'subgroup',
      'split',
      'by',
      'group',
    )
    if column in table
  ]
  pd.testing.assert_frame_equal(
    table.sort_values(order).reset_index(drop=True),
    other.sort_values(order).reset_index(drop=True),
  )


def test_parts_make_what_one_run_of_all_makes(joined, tmp_path):
  whole = load.read(write_part(tmp_path / 'run', (*CHAIN, 'width'), 0, 1))
  # What the parts lack when each stands alone.
  assert len(whole.effects) and set(whole.effects.experiment) == {
    'chain',
    'width',
  }
  assert set(whole.summary.n) == {2}
  for name in (
    'results',
    'summary',
    'effects',
    'concentration',
    'noisy_share',
    'group_errors',
    'memorization',
    'leave_out',
  ):
    assert_same(getattr(joined, name), getattr(whole, name))
  assert_same(joined.most_worsened[0], whole.most_worsened[0])
  assert len(joined.most_worsened[1]) == 8
  # Each network by the scores of its own label set: at level 1, replicate 1
  # with noise has 1.2 + 1/7 times the losses, and scores rolled by three.
  row = joined.effects.set_index(
    ['experiment', 'replicate', 'noise_fraction', 'level', 'subgroup']
  ).loc[('width', 1, 0.2, 1, 0)]
  # Lowest five scores: those of 3 to 7.
  assert row.effect == pytest.approx(-0.1 * 5 * (1.2 + 1 / 7), rel=1e-5)


def test_workdirs_that_differ_in_arms_are_parts(tmp_path):
  arms = ('pruning', 'extended_dense', 'random')
  for name, own in ('whole', arms), ('two', arms[:2]), ('one', arms[2:]):
    config = {'arms': list(own), 'levels': len(own)}
    fake_runs.write_chain(tmp_path / name, own, 2, config)
    fake_runs.write_el2n(tmp_path / name)
  whole = load.read(tmp_path / 'whole')
  (joined,) = load.read_all([tmp_path / 'two', tmp_path / 'one'])
  for name in ('results', 'summary', 'effects', 'noisy_share'):
    assert_same(getattr(joined, name), getattr(whole, name))
  assert joined.config['arms'] == list(arms)
  assert joined.config['levels'] == 2


def test_what_a_joined_benchmark_says_of_itself(joined, workdirs):
  assert joined.name == 'digits'
  assert joined.config['experiments'] == [*CHAIN, 'width']
  assert joined.config['replicates'] == 2
  assert joined.config['first_replicate'] == 0
  assert list(joined.provenance) == [str(path) for path in workdirs]
  (note,) = joined.notes
  assert note.startswith('3 workdirs ') and 'provenance.json' in note


def test_a_run_alone_is_as_it_was(workdirs):
  benchmark = load.read(workdirs[0])
  assert benchmark.name == 'digits-chain-r0-1a'
  assert benchmark.provenance['starts'][0]['command'].endswith(
    'pruning_gen.main'
  )
  assert set(benchmark.summary.n) == {1}


def test_runs_with_a_network_in_common_are_never_averaged(workdirs, tmp_path):
  again = write_part(tmp_path / 'again', ('chain',), 0, 1)
  first, second = load.read_all([*workdirs, again])
  assert set(first.summary.n) == {2} and set(second.summary.n) == {2}
  assert set(first.results.experiment) == {'chain', 'width', 'leave_out'}
  assert set(second.results.experiment) == {'chain'}
  assert (first.name, second.name) == ('digits', 'again')


@pytest.mark.parametrize(
  'config, num_benchmarks',
  [
    ({'learning_rate': 0.2}, 2),
    ({'data': {'name': 'digits', 'num_train': 20}}, 2),
    ({'data': {'name': 'digits', 'dir': 'here', 'num_workers': 8}}, 1),
    ({'checkpoint': {'every_epochs': 9}, 'devices': {'count': 2}}, 1),
    ({'on_divergence': 'continue', 'eval_batch_size': 50}, 1),
    ({'arms': ['random'], 'noise_fractions': [0.1], 'levels': 4}, 1),
  ],
)
def test_which_configs_are_of_one_benchmark(tmp_path, config, num_benchmarks):
  write_dense(tmp_path / 'a', 0)
  write_dense(tmp_path / 'b', 1, config)
  found = load.read_all([tmp_path / 'a', tmp_path / 'b'])
  assert len(found) == num_benchmarks


def test_runs_on_other_data_are_not_joined(tmp_path):
  write_dense(tmp_path / 'a', 0)
  write_dense(tmp_path / 'b', 1, digest='34')
  write_dense(tmp_path / 'c', 2)
  first, second = load.read_all([tmp_path / name for name in 'abc'])
  assert first.results.replicate.tolist() == [0, 2]
  assert second.results.replicate.tolist() == [1]


def test_parts_of_an_older_version_are_parts(tmp_path):
  """A key that one of them lacks had its default."""
  write_dense(tmp_path / 'a', 0)
  for replicate, kind in enumerate(('other', 'pair'), 1):
    noise = {'noise': {'kind': kind}}
    write_dense(tmp_path / kind, replicate, config=noise)
  first, second = load.read_all(
    [tmp_path / name for name in ('a', 'other', 'pair')]
  )
  assert first.results.replicate.tolist() == [0, 1]
  assert second.results.replicate.tolist() == [2]


def write_dense(workdir, replicate, config=(), digest='12'):
  """Write a run that has a dense network and nothing else."""
  provenance.write_config(workdir, fake_runs.CONFIG | dict(config))
  provenance.add_provenance(workdir, {'dataset': {'sha256': digest}})
  results.write_rows(workdir, [fake_runs.make_row(replicate=replicate)])


def test_networks_without_scores_are_left_out_and_said(workdirs, tmp_path):
  late = write_part(tmp_path / 'late', ('chain',), 1)
  (benchmark,) = load.read_all([workdirs[0], late, workdirs[2]])
  notes = benchmark.notes[1:]
  assert len(notes) == 2 and all('replicate 1' in note for note in notes)
  assert ' 0% noise' in notes[0] and ' 20% noise' in notes[1]
  assert set(benchmark.effects.replicate) == {0}
  assert set(benchmark.effects.experiment) == {'chain', 'width'}
  assert benchmark.noisy_share.replicate.tolist() == [0]
  # All else is of both.
  assert set(benchmark.results.replicate) == {0, 1}


def test_scores_of_other_examples(workdirs, tmp_path):
  other = write_part(tmp_path / 'other', ('el2n',), 1)
  label_sets = pd.read_csv(other / 'el2n' / 'scores.csv')
  results.EL2N.write(other, label_sets, np.zeros((2, 19), np.float32))
  message = r'width-.* losses of 20 examples.* scores of 19 .*replicate=1'
  with pytest.raises(UserError, match=message):
    load.read_all([workdirs[0], workdirs[2], other])


def test_scores_of_a_job_that_has_nothing_else(workdirs, tmp_path):
  late = write_part(tmp_path / 'chain', ('chain',), 1)
  scores = write_part(tmp_path / 'scores', ('el2n',), 1)
  (benchmark,) = load.read_all([scores, workdirs[0], late])
  assert len(benchmark.notes) == 1
  assert set(benchmark.effects.replicate) == {0, 1}


def test_a_job_that_has_just_begun(workdirs, tmp_path):
  begun = write_part(tmp_path / 'begun', ('width',), 2)
  (begun / 'results.csv').unlink()
  other = write_part(
    tmp_path / 'other', ('width',), 2, config={'learning_rate': 0.2}
  )
  (other / 'results.csv').unlink()
  (benchmark,) = load.read_all([other, begun, *workdirs])
  notes = benchmark.notes[1:]
  assert len(notes) == 2 and str(begun) in notes[0] and str(other) in notes[1]
  # A config says what is asked for.
  assert benchmark.config['replicates'] == 3
  with pytest.raises(UserError, match='no finished level yet'):
    load.read_all([begun, other])


def test_a_benchmark_that_diverged_does_not_hide_the_others(workdirs, tmp_path):
  lost = write_part(
    tmp_path / 'lost', ('chain',), 0, config={'learning_rate': 9.0}
  )
  table = results.read_results(lost).assign(diverged=1)
  table.to_csv(lost / 'results.csv', index=False)
  (benchmark,) = load.read_all([lost, *workdirs])
  assert 'learning_rate' not in benchmark.config
  assert sum('its loss was not finite' in note for note in benchmark.notes) == 4
  with pytest.raises(UserError, match='its loss was not finite at level 0'):
    load.read_all([lost])


def test_levels_that_one_part_has_not_finished(workdirs, tmp_path):
  late = write_part(tmp_path / 'late', ('chain', 'el2n'), 1)
  table = results.read_results(late)
  table[table.level < 3].to_csv(late / 'results.csv', index=False)
  (benchmark,) = load.read_all([workdirs[0], late])
  chain = benchmark.results[benchmark.results.experiment == 'chain']
  assert sorted(set(chain.level)) == [0, 1, 2] and len(chain) == 2 * 3 * 4
  first = benchmark.notes[1]
  for part in ('level 3', 'chain', 'pruning', ' 0% noise', '1 of 2 replicates'):
    assert part in first


def test_a_number_is_one_however_it_is_written(tmp_path):
  spellings = ((0, 0.2), [0.0, 0.2], (0.0, 0.20))
  # Replicates 0 and 1 are all that a fake run has.
  workdirs = [tmp_path / str(i) for i in range(2)]
  for i, (workdir, noise_fractions) in enumerate(zip(workdirs, spellings)):
    fake_runs.write_chain(
      workdir,
      config={
        'noise_fractions': noise_fractions,
        'first_replicate': i,
        'replicates': 1,
      },
      replicates=(i,),
    )
    fake_runs.write_most_worsened(workdir, (i,))
  (benchmark,) = load.read_all(workdirs)
  assert set(benchmark.results.replicate) == {0, 1}
  # A second start has the same config.
  for noise_fractions in spellings:
    own = {'noise_fractions': noise_fractions, 'replicates': 1}
    provenance.check_config(workdirs[0], fake_runs.CONFIG | own)
  config = default.get_config()
  config.noise_fractions = (0, 1)
  drawn = label_sets.list_label_sets(config)
  assert {type(fraction) for fraction, _ in drawn} == {float}


def test_runs_that_all_diverged_name_the_learning_rate(tmp_path):
  config = fake_runs.CONFIG | {'learning_rate': 1e30}
  provenance.write_config(tmp_path, config)
  provenance.add_provenance(tmp_path, {'command': 'python'})
  rows = [fake_runs.make_row(diverged=1, replicate=i) for i in range(2)]
  results.write_rows(tmp_path, rows)
  with pytest.raises(UserError) as error:
    load.read(str(tmp_path))
  assert 'config.learning_rate (now 1e+30)' in str(error.value)
  assert 'run pruning_gen.main' not in str(error.value)
