"""Width, EL2N and leave-out behind a small chain, as `main.run` runs them."""

import shutil

import numpy as np
import pandas as pd
import pytest

from pruning_gen import config as protocol
from pruning_gen import main
from pruning_gen.data import subgroups
from pruning_gen.errors import UserError
from pruning_gen.experiments import effects as selection
from pruning_gen.experiments import el2n
from pruning_gen.experiments import leave_out
from pruning_gen.storage import results


def make_config():
  from tests import conftest

  config = conftest.config.__wrapped__()
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
  protocol.check(config)
  workdir = tmp_path_factory.mktemp('experiments')
  main.run(config, workdir, lambda: False)
  return workdir


@pytest.fixture(scope='module')
def table(workdir):
  return results.read_results(workdir)


def test_all_are_finished(workdir, capsys):
  main.run(make_config(), workdir, lambda: False)
  assert 'nothing to do' in capsys.readouterr().out
  # Only the chain's may be needed again.
  left = [path.name for path in (workdir / 'checkpoints').rglob('*')]
  assert '3' not in [name for name in left if 'width' in name]
  assert not (workdir / 'checkpoints' / 'width').exists()
  assert not (workdir / 'checkpoints' / 'el2n').exists()


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


def test_without_noise_replicates_share_the_el2n_networks(tmp_path):
  config = make_config()
  config.noise_fractions = (0.0, 0.2)
  members = el2n.list_members(config)
  label_sets = [(m.noise_fraction, m.replicate) for m in members]
  assert label_sets == [(0.0, 0)] * 3 + [(0.2, 0)] * 3 + [(0.2, 1)] * 3
  results.write_members(tmp_path, 'el2n', members, {})
  scores = np.arange(18, dtype=np.float32).reshape(9, 2)
  results.write_level(tmp_path, 'el2n', 0, {'el2n': scores})
  el2n.write_scores(config, tmp_path)
  means = {
    key: mean.tolist() for key, mean in results.read_el2n(tmp_path).items()
  }
  assert means == {
    (0.0, 0): [2, 3],
    (0.0, 1): [2, 3],
    (0.2, 0): [8, 9],
    (0.2, 1): [14, 15],
  }


def test_el2n_without_noise_is_the_same_however_replicates_are_shared_out():
  config = make_config()
  config.noise_fractions, config.first_replicate = (0.0,), 1
  assert {member.replicate for member in el2n.list_members(config)} == {0}


def test_el2n_alone_ends_without_a_report(tmp_path, capsys):
  config = make_config()
  config.replicates = config.el2n.networks = 1
  config.experiments = ('el2n',)
  main.run(config, tmp_path, lambda: False)
  assert 'a report needs other experiments' in capsys.readouterr().out
  assert results.has_el2n(tmp_path)


def test_el2n_leaves_out_networks_that_diverged(tmp_path):
  config = make_config()
  config.replicates = 1
  results.write_members(tmp_path, 'el2n', el2n.list_members(config), {})
  scores = np.array([[1, 2], [np.nan, np.nan], [5, 4]], np.float32)
  results.write_level(tmp_path, 'el2n', 0, {'el2n': scores})
  el2n.write_scores(config, tmp_path)
  assert results.read_el2n(tmp_path)[0.2, 0].tolist() == [3, 3]
  assert 'networks\n0.2,0,2\n' in (tmp_path / 'el2n/scores.csv').read_text()

  results.write_level(tmp_path, 'el2n', 0, {'el2n': scores * np.nan})
  with pytest.raises(UserError, match='all networks of noise'):
    el2n.write_scores(config, tmp_path)


@pytest.fixture
def diverged(workdir, tmp_path):
  """A finished chain in which replicate 0 diverged at its last level."""
  shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
  table = pd.read_csv(tmp_path / 'results.csv')
  lost = table.arm.eq('pruning') & table.replicate.eq(0) & table.level.eq(1)
  table.loc[lost, 'diverged'] = 1
  table.loc[lost, ['validation_error', 'train_cross_entropy']] = np.nan
  table.to_csv(tmp_path / 'results.csv', index=False)
  return tmp_path


def test_no_examples_are_chosen_by_a_network_that_diverged(diverged, digits):
  config = make_config()
  assert selection.label_sets(config, diverged) == [(0.2, 1)]
  members, _ = leave_out.list_stacks(config, diverged)[160]
  assert {member.replicate for member in members} == {1}
  selection.write_most_worsened(config, diverged, digits)
  worsened, _ = results.read_most_worsened(diverged)
  assert set(worsened.replicate) == {1}
  # Without a single network there is nothing to choose by.
  config.replicates = 1
  with pytest.raises(UserError, match='every network of arm pruning diverged'):
    selection.write_most_worsened(config, diverged, digits)


def test_images_that_cannot_be_decoded_are_in_no_set(workdir, tmp_path):
  config = make_config()
  shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
  for level in (0, 1):
    arrays = results.read_level(tmp_path, 'chain', level)
    arrays['cross_entropy'][:, 7] = np.nan
    arrays['correct'][:, 7] = False
    results.write_level(tmp_path, 'chain', level, arrays)
  sets = leave_out.choose_sets(config, tmp_path, 0.2, 1)
  for name in ('most_improved_1', 'most_worsened_1', 'misclassified_1'):
    assert len(sets[name]) > 0 and 7 not in sets[name]


def test_leave_out_sets_are_what_they_say(workdir):
  config = make_config()
  sets = leave_out.choose_sets(config, workdir, 0.2, 1)
  row = 2
  assert results.read_members(workdir, 'chain').loc[row].to_dict() == {
    'arm': 'pruning',
    'noise_fraction': 0.2,
    'replicate': 1,
    'network': 0,
  }
  dense, pruned = (
    results.read_level(workdir, 'chain', level) for level in (0, 1)
  )
  change = (pruned['cross_entropy'] - dense['cross_entropy'])[row]
  improved, worsened = sets['most_improved_1'], sets['most_worsened_1']
  assert len(improved) == len(worsened) == 40
  assert change[improved].max() <= np.delete(change, improved).min()
  assert change[worsened].min() >= np.delete(change, worsened).max()
  np.testing.assert_array_equal(
    sets['misclassified_1'], np.flatnonzero(~pruned['correct'][row])
  )
  groups = subgroups.divide(results.read_el2n(workdir)[0.2, 1], 5)
  np.testing.assert_array_equal(
    sets['subgroup_03'], np.flatnonzero(groups == 3)
  )
  assert len(np.unique(sets['random_40'])) == 40
  sizes = {len(ids) for name, ids in sets.items() if 'random' not in name}
  assert {f'random_{size}' for size in sizes} <= set(sets)


def test_leave_out_trains_on_the_rest(workdir, table):
  rows = table[table.experiment == 'leave_out']
  assert set(rows[rows.arm == 'most_improved_1'].num_train) == {160}
  assert set(rows[rows.arm == 'most_improved_1'].replicate) == {0, 1}
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
        (rows.arm == member.arm)
        & (rows.noise_fraction == member.noise_fraction)
        & (rows.replicate == member.replicate)
      ].train_cross_entropy
      seen = losses[i, ~labels['left_out'][i]]
      assert mean == pytest.approx(seen.mean(dtype=float), rel=1e-9)
  folder = 'leave_out/train_160'
  members = results.read_members(workdir, folder)
  chosen = leave_out.choose_sets(make_config(), workdir, 0.2, 1)
  row = members.index[
    (members.arm == 'most_improved_1')
    & (members.noise_fraction == 0.2)
    & (members.replicate == 1)
  ]
  np.testing.assert_array_equal(
    np.flatnonzero(results.read_labels(workdir, folder)['left_out'][row[0]]),
    np.sort(chosen['most_improved_1']),
  )


def test_excluded_examples_end_with_a_higher_loss(workdir):
  folder = 'leave_out/train_160'
  left_out = results.read_labels(workdir, folder)['left_out']
  losses = results.read_level(workdir, folder, 0)['cross_entropy']
  members = results.read_members(workdir, folder)
  random = members.arm == 'random_40'
  assert (
    losses[random][left_out[random]].mean()
    > losses[random][~left_out[random]].mean()
  )


def test_leave_out_needs_the_chain(tmp_path):
  config = make_config()
  config.experiments = ('leave_out',)
  with pytest.raises(UserError, match='leave_out reads what chain leaves'):
    main.run(config, tmp_path, lambda: False)
  config.experiments = ('leave_out', 'chain', 'el2n')
  with pytest.raises(UserError, match="put 'chain' before it"):
    main.run(config, tmp_path, lambda: False)
