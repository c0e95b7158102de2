"""Every arm of the chain in one stack."""

import numpy as np
import pandas as pd
import pytest

from pruning_gen.experiments import chain
from pruning_gen.experiments import effects
from pruning_gen.pruning import arms
from pruning_gen.storage import results
from tests import small_chain


@pytest.fixture(scope='module')
def workdir(tmp_path_factory, digits):
  config = small_chain.make_config()
  config.arms = tuple(arms.ARMS)
  config.noise_fractions = (0.2,)
  workdir = tmp_path_factory.mktemp('arms')
  chain.train(small_chain.make_run(config, workdir, digits))
  return workdir


@pytest.fixture
def losses(workdir):
  names = results.read_members(workdir, 'chain').arm

  def read(level):
    array = results.read_level(workdir, 'chain', level)['cross_entropy']
    return dict(zip(names, array))

  return [read(level) for level in range(3)]


def test_all_begin_with_one_dense_network(losses):
  for name in arms.ARMS:
    np.testing.assert_array_equal(losses[0][name], losses[0]['pruning'])


def test_who_loses_weights(workdir):
  table = results.read_results(workdir)
  last = table[table.level == 2].set_index('arm').weights_remaining
  for name, arm in arms.ARMS.items():
    # 1,580 weights, of which 316 and then 253 go.
    assert last[name] == (1011 / 1580 if arm.prunes else 1)


def test_arms_part_where_they_should(losses):
  for level in (1, 2):
    together = list(losses[level].values())
    for i, one in enumerate(together):
      for other in together[:i]:
        assert (one != other).any()


def test_weight_rewinding_is_training_from_earlier_weights(losses):
  # It starts from the weights of epoch 1 again, so it fits far less well than
  # networks that continue from those of the level before.
  dense, rewound = (
    losses[2][name].mean()
    for name in ('extended_dense', 'weight_rewinding_dense')
  )
  assert rewound > dense + 0.05


def test_the_most_worsened_examples_are_kept_with_their_images(workdir, digits):
  table, images = results.MOST_WORSENED.read(workdir)
  np.testing.assert_array_equal(images, digits.train_images[table.example_id])
  np.testing.assert_array_equal(
    table.true_label, digits.train_labels[table.example_id]
  )
  row = results.read_members(workdir, 'chain').arm.tolist().index('pruning')
  dense = results.read_level(workdir, 'chain', 0)['cross_entropy'][row]
  for level, rows in table.groupby('level'):
    pruned = results.read_level(workdir, 'chain', level)['cross_entropy'][row]
    worst = np.sort(pruned - dense)[::-1][:24]
    np.testing.assert_allclose(rows.effect, worst, rtol=1e-6)


def test_the_most_worsened_examples_are_of_two_sparsities(workdir, monkeypatch):
  run = small_chain.make_run(small_chain.make_config(), workdir, None)
  # Test errors of level 0, 1 and 2; two replicates, so that there are verdicts.
  curve = pd.DataFrame(
    {
      'noise_fraction': 0.2,
      'replicate': [0, 1] * 3,
      'level': [0, 0, 1, 1, 2, 2],
      'test_error': [0.3, 0.4, 0.2, 0.31, 0.3, 0.41],
      'validation_error': [0.3, 0.4, 0.2, 0.3, 0.1, 0.2],
    }
  )
  monkeypatch.setattr(effects, '_read_curve', lambda *_: curve)
  assert effects.optimal_level(run, 0.2) == 2
  assert effects.highest_improving_level(run, 0.2) == 1
  assert effects._worsened_networks(run) == [
    (0.2, replicate, level) for replicate in (0, 1) for level in (1, 2)
  ]
