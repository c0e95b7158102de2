import numpy as np
import pandas as pd
import pytest

from pruning_gen.analysis import examples
from pruning_gen.errors import UserError
from pruning_gen.storage import results
from tests import fake_runs


@pytest.fixture
def run(tmp_path):
  fake_runs.write_chain(tmp_path)
  fake_runs.write_el2n(tmp_path)
  return tmp_path


def networks(*levels):
  rows = [
    (arm, noise_fraction, replicate, level)
    for arm in ('pruning', 'extended_dense')
    for noise_fraction in fake_runs.NOISE_FRACTIONS
    for replicate in fake_runs.REPLICATES
    for level in levels
  ]
  return pd.DataFrame(rows, columns=[*results.CHAIN_NETWORK, 'level'])


def test_effects_on_subgroups(run):
  effects, concentration, *_ = examples.tabulate(
    run, 'chain', networks(0, 2), results.read_el2n(run), 4
  )
  # 8 members, 2 levels, 4 subgroups.
  assert len(effects) == 64
  one = effects[(effects.arm == 'pruning') & (effects.noise_fraction == 0.2)]
  one = one[one.replicate == 1].set_index(['level', 'subgroup']).effect
  assert one[0].tolist() == [0, 0, 0, 0]
  # -0.1 x 2 x the mean rank of five: 2, 7, 12, 17.
  assert one[2].tolist() == pytest.approx([-0.4, -1.4, -2.4, -3.4])

  row = concentration.iloc[0]
  assert len(concentration) == 8 and row.level == 2
  # The mean rank of the top four is 17.5, of the other sixteen 7.5.
  assert row.top_effect == pytest.approx(-3.5)
  assert row.rest_effect == pytest.approx(-1.5)
  assert row.ratio == pytest.approx(17.5 / 7.5)
  assert row.share == pytest.approx(70 / 190)


def test_errors_of_groups(run):
  table = examples.tabulate(
    run, 'chain', networks(0, 1, 2), results.read_el2n(run), 4
  ).group_errors
  table = table[(table.arm == 'pruning') & (table.replicate == 0)]
  table = table.set_index(['noise_fraction', 'split', 'by', 'level']).error
  clean, noisy = table[0.0].sort_index(), table[0.2].sort_index()
  # Class 0: test examples 0 and 4, of which 0 is wrong from level 1 on.
  assert clean['test', 'class', 0].tolist() == [0, 0.5, 0, 0]
  assert clean['test', 'class', 1].tolist() == [0.5, 0.5, 0, 0]
  # Training example 0 is in subgroup 0 and, one of five, in class 0.
  assert clean['train', 'subgroup', 1].tolist() == [0, 0, 0, 0]
  assert clean['train', 'subgroup', 2].tolist() == [0.2, 0, 0, 0]
  assert clean['train', 'class', 2].tolist() == [0.2, 0, 0, 0]
  # The noisy ones, 16 to 19, are of the true classes 0 to 3; wrong at level 2:
  # 16 and 17, predicted as the true label, and 19, as another.
  assert noisy['train', 'subgroup', 2].tolist() == [0.2, 0, 0, 0.6]
  assert noisy['train', 'class', 2].tolist() == [0.4, 0.2, 0, 0.2]


def test_what_noisy_examples_are_predicted_as(run):
  table = examples.tabulate(run, 'chain', networks(0, 1, 2), {}, 4).memorization
  assert set(table.noise_fraction) == {0.2}
  table = table[table.replicate == 1].drop_duplicates('level')
  assert table.level.tolist() == [0, 1, 2]
  assert table.as_noisy.tolist() == [1, 0.75, 0.25]
  assert table.as_true.tolist() == [0, 0.25, 0.5]
  assert table.as_other.tolist() == [0, 0, 0.25]


def test_runs_without_scores(run):
  found = examples.tabulate(run, 'chain', networks(0, 1), {}, 4)
  # Nothing is by subgroup.
  assert set(found.group_errors.by) == {'class'}
  assert set(found.group_errors.split) == {'train', 'test'}
  assert found.effects.empty and found.concentration.empty


def test_concentration_where_nothing_changes():
  top = np.array([True, False, False])
  # The rest changes, and not on average.
  found = examples.concentrate(np.array([2.0, 1.0, -1.0]), top)
  assert found['ratio'] == np.inf and found['share'] == 0.5
  found = examples.concentrate(np.zeros(3), top)
  assert np.isnan(found['ratio']) and np.isnan(found['share'])


def test_noisy_share(run):
  el2n = results.read_el2n(run)
  table = examples.tabulate_noisy_share(run, el2n)
  # Noise fraction 0 has no noisy examples, and no row.
  assert table.values.tolist() == [[0.2, 0, 1.0], [0.2, 1, 1.0]]
  # Ids 16 to 19 are noisy; the scores of two of them fall to the bottom.
  el2n[0.2, 1][[16, 17]] = -1
  table = examples.tabulate_noisy_share(run, el2n)
  assert table.noisy_share.tolist() == [1.0, 0.5]
  # Another job's scores may not be there yet.
  del el2n[0.2, 0]
  table = examples.tabulate_noisy_share(run, el2n)
  assert table.values.tolist() == [[0.2, 1, 0.5]]


def write_losses(run, level, losses, undecoded=()):
  prediction = np.zeros(losses.shape, np.uint16)
  prediction[:, list(undecoded)] = results.UNDECODED
  arrays = results.read_level(run, 'chain', level)
  arrays |= {'cross_entropy': losses, 'prediction': prediction}
  results.write_level(run, 'chain', level, arrays)


def test_values_that_are_not_finite_are_named(run):
  losses = np.zeros((8, 20), np.float32)
  losses[3, :2] = np.nan
  write_losses(run, 1, losses)
  message = r'level_001.npz: cross_entropy has 2 values of 160 .* members \[3\]'
  with pytest.raises(UserError, match=message):
    examples.tabulate(run, 'chain', networks(0, 1), results.read_el2n(run), 4)


def test_networks_that_diverged_are_not_looked_at(run):
  losses = np.zeros((8, 20), np.float32)
  losses[3] = np.nan
  write_losses(run, 1, losses)
  # Row 3: extended dense, without noise, replicate 1.
  table = networks(0, 1)
  others = table[
    (table.arm == 'pruning')
    | (table.noise_fraction > 0)
    | (table.replicate < 1)
  ]
  effects, *_ = examples.tabulate(
    run, 'chain', others, results.read_el2n(run), 4
  )
  assert len(effects) == 7 * 2 * 4 and effects.effect.notna().all()


def test_images_that_cannot_be_decoded_are_in_no_mean(run):
  """The lowest and the highest score are theirs, and one of the noisy."""
  undecoded = [0, 19]
  for level, loss in ((0, 1.0), (2, 0.5)):
    losses = np.full((8, 20), loss, np.float32)
    losses[:, undecoded] = np.nan
    write_losses(run, level, losses, undecoded)
  el2n = results.read_el2n(run)
  for score in el2n.values():
    score[undecoded] = np.nan
  effects, concentration, *_ = examples.tabulate(
    run, 'chain', networks(0, 2), el2n, 3
  )
  assert effects[effects.level == 2].effect.tolist() == [-0.5] * 8 * 3
  # 3 of the 18, their top fifth.
  assert concentration.share.tolist() == pytest.approx([3 / 18] * 8)
  assert concentration.top_effect.tolist() == [-0.5] * 8
  # Of 16 to 19, the noisy ones, three are left, and have the highest scores.
  table = examples.tabulate_noisy_share(run, el2n)
  assert table.noisy_share.tolist() == [1, 1]


def test_scores_that_are_not_finite_are_named(run):
  el2n = results.read_el2n(run)
  el2n[0.2, 1][:3] = [np.nan, np.inf, 1]
  message = r'el2n has 2 values of 20 .* noise_fraction=0.2, replicate=1'
  with pytest.raises(UserError, match=message):
    examples.tabulate(run, 'chain', networks(0), el2n, 4)


def test_arrays_of_another_run(run):
  write_losses(run, 1, np.zeros((8, 3), np.float32))
  message = r"level_001.npz .*'cross_entropy': \(8, 3\).* shape \(8, 20\)"
  with pytest.raises(UserError, match=message):
    examples.read_level(run, 'chain', 1, (8, 20), [0])
