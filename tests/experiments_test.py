"""Width, EL2N and leave-out after a small chain, as the program runs them."""

import shutil

import numpy as np
import pandas as pd
import pytest

from pruning_gen import config as config_rules
from pruning_gen import runner
from pruning_gen.data import subgroups
from pruning_gen.errors import UserError
from pruning_gen.experiments import effects
from pruning_gen.experiments import el2n
from pruning_gen.experiments import leave_out
from pruning_gen.storage import results
from pruning_gen.storage import roster
from tests import fake_runs
from tests import small_chain


def make_config():
  config = small_chain.make_config()
  config.replicates = 2
  config.noise_fractions = (0.2,)
  config.levels = 1
  config.el2n.epoch = 1
  config.el2n.networks = 3
  config.width.levels = 1
  config.num_subgroups = 5
  return config


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  config = make_config()
  config_rules.check(config)
  workdir = tmp_path_factory.mktemp('experiments')
  runner.run_experiments(small_chain.make_run(config, workdir))
  return workdir


@pytest.fixture
def run(workdir):
  """The finished run; a test may change its config."""
  return small_chain.make_run(make_config(), workdir)


@pytest.fixture
def empty_run(tmp_path):
  return small_chain.make_run(make_config(), tmp_path)


@pytest.fixture(scope='module')
def table(workdir):
  return results.read_results(workdir)


def test_all_are_finished(run, workdir, capsys):
  runner.run_experiments(run)
  assert 'nothing to do' in capsys.readouterr().out
  # Only the chain's may be needed again.
  left = {path.name for path in (workdir / 'checkpoints').iterdir()}
  assert left - {'leave_out'} == {'chain'}
  assert not list((workdir / 'checkpoints').glob('leave_out/*'))


def test_width(table):
  rows = table[table.experiment == 'width']
  assert rows.level.tolist() == [0] * 2 + [1] * 2
  assert rows.width.unique().tolist() == [1.0, 0.8]
  # Kernels of 64 x 20 x 10 x 10, then 64 x 16 x 8 x 10.
  assert rows.num_weights.unique().tolist() == [1580, 1232]
  assert rows.weights_remaining.unique().tolist() == [1, 1232 / 1580]
  assert set(rows.epochs_trained) == {3}


def test_full_width_is_the_dense_network_of_the_chain(workdir):
  wide = results.read_level(workdir, 'width', 0)['cross_entropy']
  chain = results.read_level(workdir, 'chain', 0)['cross_entropy']
  members = results.read_members(workdir, 'chain')
  np.testing.assert_allclose(wide, chain[members.arm == 'pruning'], rtol=1e-4)


def test_el2n_is_a_mean_over_networks_of_the_same_labels(workdir, table):
  members = results.read_members(workdir, 'el2n')
  assert members.replicate.tolist() == [0, 0, 0, 1, 1, 1]
  assert members.network.tolist() == [1, 2, 3] * 2
  arrays = results.read_level(workdir, 'el2n', 0)['el2n']
  scores = results.read_el2n(workdir)
  assert list(scores) == [(0.2, 0), (0.2, 1)]
  np.testing.assert_allclose(scores[0.2, 1], arrays[3:].mean(axis=0), rtol=1e-6)
  # Networks of one label set differ; the labels are those of the chain.
  assert (arrays[0] != arrays[1]).any()
  noisy = results.read_labels(workdir, 'el2n')['labels'][3]
  np.testing.assert_array_equal(
    noisy, results.read_labels(workdir, 'chain')['labels'][2]
  )
  assert scores[0.2, 1].dtype == np.float32
  rows = table[table.experiment == 'el2n']
  assert set(rows.epochs_trained) == {1}


def test_without_noise_replicates_share_the_el2n_networks(empty_run):
  run = empty_run
  run.config.noise_fractions = (0.0, 0.2)
  members = el2n.list_members(run.config)
  label_sets = [(m.noise_fraction, m.replicate) for m in members]
  assert label_sets == [(0.0, 0)] * 3 + [(0.2, 0)] * 3 + [(0.2, 1)] * 3
  roster.add(run.workdir, 'el2n', members, {})
  scores = np.arange(18, dtype=np.float32).reshape(9, 2)
  results.write_level(run.workdir, 'el2n', 0, {'el2n': scores})
  el2n.write_scores(run)
  found = results.read_el2n(run.workdir)
  assert {key: mean.tolist() for key, mean in found.items()} == {
    (0.0, 0): [2, 3],
    (0.0, 1): [2, 3],
    (0.2, 0): [8, 9],
    (0.2, 1): [14, 15],
  }


def test_el2n_without_noise_is_the_same_however_replicates_are_shared_out():
  config = make_config()
  config.noise_fractions, config.first_replicate = (0.0,), 1
  assert {member.replicate for member in el2n.list_members(config)} == {0}


def test_el2n_alone_ends_without_a_report(empty_run):
  config, workdir = empty_run.config, empty_run.workdir
  config.replicates = config.el2n.networks = 1
  config.experiments = ('el2n',)
  runner.run_experiments(empty_run)
  assert results.EL2N.exists(workdir)
  assert not results.report_dir(workdir).exists()


def test_el2n_leaves_out_networks_that_diverged(empty_run):
  config, workdir = empty_run.config, empty_run.workdir
  config.replicates = 1
  roster.add(workdir, 'el2n', el2n.list_members(config), {})
  scores = np.array([[1, 2], [np.nan, np.nan], [5, 4]], np.float32)
  results.write_level(workdir, 'el2n', 0, {'el2n': scores})
  el2n.write_scores(empty_run)
  assert results.read_el2n(workdir)[0.2, 0].tolist() == [3, 3]
  assert 'networks\n0.2,0,2\n' in (workdir / 'el2n/scores.csv').read_text()

  results.write_level(workdir, 'el2n', 0, {'el2n': scores * np.nan})
  with pytest.raises(UserError, match=r'noise 0\.2, replicate 0\b'):
    el2n.write_scores(empty_run)


def diverge(workdir, *replicates):
  """Let replicates of a finished chain diverge at its last level."""
  table = pd.read_csv(workdir / 'results.csv')
  lost = table.arm.eq('pruning') & table.replicate.isin(replicates)
  lost &= table.level.eq(1)
  table.loc[lost, 'diverged'] = 1
  table.loc[lost, ['validation_error', 'train_cross_entropy']] = np.nan
  table.to_csv(workdir / 'results.csv', index=False)


def test_no_examples_are_chosen_by_a_network_that_diverged(
  workdir, tmp_path, digits
):
  diverged = shutil.copytree(workdir, tmp_path / 'run')
  diverge(diverged, 0)
  run = small_chain.make_run(make_config(), diverged, digits)
  assert effects.known_label_sets(run) == [(0.2, 1)]
  members = leave_out.list_parts(run)[160][0].members
  assert {member.replicate for member in members} == {1}
  effects.write_most_worsened(run)
  worsened, _ = results.MOST_WORSENED.read(diverged)
  assert set(worsened.replicate) == {1}
  # Without a single network there is nothing to choose by.
  diverge(diverged, 1)
  with pytest.raises(UserError, match=r'config\.learning_rate \(now 0\.05\)'):
    effects.write_most_worsened(run)


def test_images_that_cannot_be_decoded_are_in_no_set(run, tmp_path):
  shutil.copytree(run.workdir, tmp_path, dirs_exist_ok=True)
  for level in (0, 1):
    arrays = results.read_level(tmp_path, 'chain', level)
    arrays['cross_entropy'][:, 7] = np.nan
    arrays['correct'][:, 7] = False
    results.write_level(tmp_path, 'chain', level, arrays)
  sets = leave_out.choose_sets(run._replace(workdir=tmp_path), 0.2, 1)
  for name in ('most_improved', 'most_worsened', 'misclassified'):
    assert len(sets[name, 1]) > 0 and 7 not in sets[name, 1]


def test_which_examples_each_set_has(run, workdir):
  sets = leave_out.choose_sets(run, 0.2, 1)
  row = 2
  member = results.read_members(workdir, 'chain').loc[row]
  assert (member.arm, member.noise_fraction, member.replicate) == (
    ('pruning', 0.2, 1)
  )
  dense, pruned = (
    results.read_level(workdir, 'chain', level) for level in (0, 1)
  )
  change = (pruned['cross_entropy'] - dense['cross_entropy'])[row]
  improved, worsened = sets['most_improved', 1], sets['most_worsened', 1]
  assert len(improved) == len(worsened) == 40
  assert change[improved].max() <= np.delete(change, improved).min()
  assert change[worsened].min() >= np.delete(change, worsened).max()
  np.testing.assert_array_equal(
    sets['misclassified', 1], np.flatnonzero(~pruned['correct'][row])
  )
  groups = subgroups.divide(results.read_el2n(workdir)[0.2, 1], 5)
  np.testing.assert_array_equal(
    sets['subgroup', 3], np.flatnonzero(groups == 3)
  )
  assert len(np.unique(sets['random', 40])) == 40
  sizes = {len(ids) for (kind, _), ids in sets.items() if kind != 'random'}
  assert sizes == {number for kind, number in sets if kind == 'random'}


def test_sets_are_chosen_at_the_optimal_sparsity(empty_run, monkeypatch):
  fake_runs.write_chain(empty_run.workdir)
  empty_run.config.leave_out.sets = ('most_improved', 'misclassified')
  # Of four levels; one example more is misclassified at the last.
  monkeypatch.setattr(effects, 'optimal_level', lambda *_: 2)
  sets = leave_out.choose_sets(empty_run, 0.2, 0)
  assert sets['most_improved', 2].tolist() == [19, 18, 17, 16]
  assert sets['misclassified', 2].tolist() == [0, 16, 17, 19]


def test_leave_out_trains_on_the_rest(run, workdir, table):
  rows = table[table.experiment == 'leave_out']
  assert set(rows.arm) == {'dense'}
  improved = rows[rows.left_out == 'most_improved']
  assert set(improved.chosen_at) == {1}
  assert set(improved.num_train) == {160}
  assert set(improved.replicate) == {0, 1}
  for path in (workdir / 'leave_out').iterdir():
    folder = f'leave_out/{path.name}'
    labels = results.read_labels(workdir, folder)
    members = results.read_members(workdir, folder)
    num_train = int(folder.rpartition('_')[2])
    assert ((~labels['left_out']).sum(axis=1) == num_train).all()
    losses = results.read_level(workdir, folder, 0)['cross_entropy']
    assert losses.shape == (len(members), 200)
    # Arrays are of all examples, means of those that are seen.
    for i, member in enumerate(members.itertuples()):
      (mean,) = rows[
        (rows.left_out == member.left_out)
        & (rows.chosen_at == member.chosen_at)
        & (rows.noise_fraction == member.noise_fraction)
        & (rows.replicate == member.replicate)
      ].train_cross_entropy
      seen = losses[i, ~labels['left_out'][i]]
      assert mean == pytest.approx(seen.mean(dtype=float), rel=1e-9)
  folder = 'leave_out/train_160'
  members = results.read_members(workdir, folder)
  chosen = leave_out.choose_sets(run, 0.2, 1)
  (row,) = members.index[
    (members.left_out == 'most_improved')
    & (members.noise_fraction == 0.2)
    & (members.replicate == 1)
  ]
  np.testing.assert_array_equal(
    np.flatnonzero(results.read_labels(workdir, folder)['left_out'][row]),
    np.sort(chosen['most_improved', 1]),
  )


def test_excluded_examples_end_with_a_higher_loss(workdir):
  folder = 'leave_out/train_160'
  left_out = results.read_labels(workdir, folder)['left_out']
  losses = results.read_level(workdir, folder, 0)['cross_entropy']
  members = results.read_members(workdir, folder)
  random = members.left_out == 'random'
  assert (
    losses[random][left_out[random]].mean()
    > losses[random][~left_out[random]].mean()
  )


def test_leave_out_needs_the_chain(empty_run):
  for experiments in (('leave_out',), ('leave_out', 'chain', 'el2n')):
    empty_run.config.experiments = experiments
    with pytest.raises(UserError) as error:
      runner.run_experiments(empty_run)
    message = str(error.value)
    assert f'config.experiments={experiments}' in message
    assert f'--workdir={empty_run.workdir}' in message
    assert "'chain'" in message
