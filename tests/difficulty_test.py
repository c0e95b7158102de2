"""Other scores of difficulty, from training to the report."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from configs import resnet50
from pruning_gen import config as config_rules
from pruning_gen import runner
from pruning_gen.analysis import difficulty as analysis
from pruning_gen.analysis import figures
from pruning_gen.analysis import load
from pruning_gen.engine.part import Run
from pruning_gen.errors import Preempted
from pruning_gen.errors import UserError
from pruning_gen.experiments import difficulty
from pruning_gen.models import lenet
from pruning_gen.storage import difficulty_scores
from pruning_gen.storage import results
from pruning_gen.training import evaluate
from pruning_gen.training import train_state
from tests import restarts
from tests import small_chain


def make_config():
  config = small_chain.make_config()
  config.experiments = ('el2n', 'difficulty', 'chain')
  config.noise_fractions = (0.2,)
  config.levels = 1
  config.devices.count = 1
  config.el2n.epoch = 2
  config.el2n.networks = config.difficulty.networks = 2
  config.difficulty.epochs = (1, 2)
  config.checkpoint.every_epochs = 2
  config_rules.check(config)
  return config


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('difficulty')
  with pytest.MonkeyPatch.context() as patch:
    # All figures of the report take seconds.
    own = (figures.difficulty.EFFECTS, figures.difficulty.RANKINGS)
    patch.setattr(figures, 'FIGURES', own)
    runner.run_experiments(small_chain.make_run(make_config(), workdir))
  return workdir


def make_scores_config(*noise_fractions):
  config = make_config()
  config.experiments = ('difficulty',)
  config.noise_fractions = noise_fractions
  return config


@pytest.fixture(scope='module')
def complete(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('complete')
  runner.run_experiments(
    small_chain.make_run(make_scores_config(0.0, 0.2), workdir)
  )
  return workdir


def test_forgetting_by_hand():
  history = np.array(
    [
      # Once learned, never forgotten; forgotten twice; forgotten once; never
      # learned; learned at the end.
      [0, 1, 1, 0, 0],
      [1, 0, 1, 0, 0],
      [1, 1, 1, 0, 0],
      [1, 0, 0, 0, 1],
    ],
    bool,
  )
  assert difficulty.count_forgetting(history).tolist() == [0, 2, 1, 4, 0]


@pytest.mark.parametrize('batch_size', [2, 8])
def test_gradient_norms_by_finite_differences(batch_size):
  model = lenet.LeNet(num_classes=3, widths=(4,))
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (5, 2, 2, 1)).astype(np.uint8)
  labels = np.array([0, 2, 1, 1, 0], np.int32)
  variables = model.init(jax.random.key(1), jnp.zeros((1, 2, 2, 1)), train=True)
  state = train_state.TrainState(variables['params'], {}, {}, ())
  norms = evaluate.make_gradient_norms(
    model, batch_size, lambda images: images.astype(jnp.float32) / 100
  )
  found = jax.jit(norms)(state, jnp.asarray(labels), jnp.asarray(images))

  leaves, structure = jax.tree.flatten(variables['params'])
  flat = np.concatenate([np.ravel(leaf) for leaf in leaves]).astype(float)
  ends = np.cumsum([leaf.size for leaf in leaves])[:-1]

  def loss(flat, i):
    parts = np.split(flat, ends)
    params = jax.tree.unflatten(
      structure, [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves)]
    )
    hidden, output = params['dense_0'], params['output']
    x = np.maximum(
      images[i].ravel() / 100 @ hidden['kernel'] + hidden['bias'], 0
    )
    logits = x @ output['kernel'] + output['bias']
    return np.log(np.exp(logits).sum()) - logits[labels[i]]

  for i, norm in enumerate(found):
    steps = 1e-6 * np.eye(len(flat))
    slopes = [(loss(flat + s, i) - loss(flat - s, i)) / 2e-6 for s in steps]
    assert norm == pytest.approx(np.linalg.norm(slopes), rel=1e-4)


@pytest.mark.slow
def test_scores_of_a_run(workdir):
  table, scores = difficulty_scores.SCORES.read(workdir)
  rows = list(zip(table.score, table.epoch, table.networks))
  assert rows == [
    ('el2n', 1, 2),
    ('grand', 1, 2),
    ('el2n', 2, 2),
    ('grand', 2, 2),
    ('forgetting', 3, 2),
    ('loss', 3, 2),
  ]
  assert scores.shape == (6, 200) and np.isfinite(scores).all()
  by_row = dict(zip(zip(table.score, table.epoch), scores))
  # The same networks as those of el2n, which stop earlier.
  (paper,) = results.read_el2n(workdir).values()
  np.testing.assert_array_equal(by_row['el2n', 2], paper)
  assert by_row['forgetting', 3].max() <= 3
  losses = results.read_level(workdir, 'difficulty', 0)['cross_entropy']
  np.testing.assert_allclose(by_row['loss', 3], losses.mean(axis=0), 1e-6)


@pytest.mark.slow
def test_stopped_and_resumed_to_the_same_bytes(workdir, tmp_path):
  config = make_config()
  config.experiments = ('difficulty',)
  # At the end of the second of three epochs.
  polls = iter([False] * 4 + [True])
  with pytest.raises(Preempted, match='level 0, epoch 2'):
    runner.run_experiments(Run(config, tmp_path, None, lambda: next(polls)))
  assert not difficulty_scores.SCORES.exists(tmp_path)
  runner.run_experiments(small_chain.make_run(config, tmp_path))
  for name in ('scores.npz', 'scores.csv'):
    own, unbroken = (
      (folder / 'difficulty' / name).read_bytes()
      for folder in (tmp_path, workdir)
    )
    assert own == unbroken
  runner.run_experiments(small_chain.make_run(config, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize('named', [(0.0, 0.2), (0.0,)])
def test_grown_by_a_label_set(workdir, complete, tmp_path, named):
  """What is there stays, whether the config names it or not."""
  grown = shutil.copytree(workdir, tmp_path / 'grown')
  runner.run_experiments(
    small_chain.make_run(make_scores_config(*named), grown)
  )
  found, expected = (
    restarts.read_files(folder, 'difficulty/') for folder in (grown, complete)
  )
  assert found == expected


@pytest.mark.slow
def test_the_report_compares_rankings(workdir):
  benchmark = load.read(str(workdir))
  # Its networks are in no other figure.
  assert set(benchmark.results.experiment) == {'chain'}
  rankings = benchmark.rankings.set_index(['score', 'other']).correlation
  assert len(rankings) == 7 * 7
  assert rankings['EL2N, epoch 2', analysis.OF_EL2N] == pytest.approx(1)
  path = workdir / 'report' / 'tables' / 'more_difficulty_rankings.csv'
  assert set(pd.read_csv(path).score) == {score for score, _ in rankings.index}


@pytest.mark.slow
def test_effects_by_other_scores(workdir):
  table = pd.concat(
    {str(workdir): results.read_results(workdir)}, names=['workdir', 'row']
  )
  scores = analysis.read([str(workdir)], {})
  effects = analysis.tabulate_effects(table, {0.2: 1}, scores, num_subgroups=2)
  assert len(effects) == 6 * 2
  before, after = (
    results.read_level(workdir, 'chain', level)['cross_entropy'][0]
    for level in (0, 1)
  )
  order = np.argsort(scores['forgetting events'][0.2, 0], kind='stable')
  halves = (after.astype(float) - before)[order].reshape(2, 100).mean(axis=1)
  own = effects[effects.score == 'forgetting events'].effect
  np.testing.assert_allclose(own, halves, rtol=1e-6)
  benchmark = load.read(str(workdir))._replace(score_effects=effects)
  drawn = figures.difficulty.EFFECTS.tabulate([benchmark])
  (axes,) = figures.difficulty.draw_effects(drawn).axes
  assert len(axes.get_legend().texts) == 6
  # Where pruning is never better there is nothing to show.
  nothing = analysis.tabulate_effects(table, {0.2: 0}, scores, num_subgroups=2)
  assert nothing.empty


def test_rank_correlations_by_hand():
  scores = {
    'a': {(0.0, 0): np.array([1.0, 2, 3, 4])},
    'b': {(0.0, 0): np.array([10.0, 30, 20, 40])},
    # Three ties: the ranks 2, 2, 2 and 4.
    'c': {(0.0, 0): np.array([0.0, 0, 0, 5])},
  }
  table = analysis.correlate(scores).set_index(['score', 'other']).correlation
  assert table['a', 'a'] == pytest.approx(1)
  # 1 - 6 (0 + 1 + 1 + 0) / (4 (16 - 1)).
  assert table['a', 'b'] == table['b', 'a'] == pytest.approx(0.8)
  ranks = np.corrcoef([1, 2, 3, 4], [2, 2, 2, 4])[0, 1]
  assert table['a', 'c'] == pytest.approx(ranks)


@pytest.mark.parametrize('epochs', [(), (0,), (1, 4), (-1,)])
def test_epochs_that_are_not_trained_are_refused(epochs):
  config = make_config()
  config.difficulty.epochs = epochs
  with pytest.raises(UserError, match=r'difficulty\.epochs=.* 1 to 3'):
    config_rules.check(config)
  config.experiments = ('chain',)
  config_rules.check(config)


def test_streamed_images_have_no_gradients():
  config = resnet50.get_config()
  config.experiments = ('difficulty',)
  with pytest.raises(UserError, match=r"data\.name='imagenet2012' is streamed"):
    config_rules.check(config)
