"""The landscape around networks: in closed form, and of a small chain."""

import functools
import re
import types
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from flax import linen as nn
from jax import flatten_util

from configs import resnet50
from pruning_gen import config as config_rules
from pruning_gen import export
from pruning_gen import runner
from pruning_gen.analysis import load as load_lib
from pruning_gen.analysis.figures import landscape as figures
from pruning_gen.analysis.figures import style
from pruning_gen.engine import loss_surfaces
from pruning_gen.engine.part import Run
from pruning_gen.errors import Preempted
from pruning_gen.errors import UserError
from pruning_gen.experiments import landscape as experiment
from pruning_gen.experiments import twins
from pruning_gen.models import layers
from pruning_gen.models import lenet
from pruning_gen.pruning import masks
from pruning_gen.storage import level_tables
from pruning_gen.storage import networks
from pruning_gen.storage import results
from pruning_gen.training import evaluate
from pruning_gen.training import loss_surface
from pruning_gen.training import train_state
from tests import fake_runs
from tests import restarts
from tests import small_chain


def make_state(params, batch_stats=None, kept=None):
  kept = masks.all_kept(params) if kept is None else kept
  return train_state.TrainState(params, batch_stats or {}, kept, ())


@pytest.mark.parametrize('curvature', [-2.0, 0.0, 3.0])
def test_barrier_of_a_quadratic(curvature):
  one, other = (
    make_state({'w': jnp.float32(w)}) for w in ([-1.0, 2.0], [3.0, 5.0])
  )

  def measure(state):
    return curvature / 2 * jnp.sum(state.params['w'] ** 2)

  values = np.asarray(loss_surface.measure_line(measure, one, other, 11), float)
  np.testing.assert_allclose(values[[0, -1]], curvature / 2 * np.array([5, 34]))
  (found,) = loss_surfaces.barrier(values[None])
  # Midway, where a parabola is |length|^2 / 8 times its curvature away from its
  # chord; one that is convex is nowhere above it.
  assert found == pytest.approx(max(-curvature, 0) * 25 / 8, abs=1e-5)


def test_barriers_between_equal_ends_are_of_the_highest_point():
  values = np.array([[1.0, 5.0, 2.0, 1.0], [2.0, 1.0, 1.0, 2.0]])
  assert loss_surfaces.barrier(values).tolist() == [4.0, 0.0]


def symmetric(eigenvalues):
  rng = np.random.default_rng(0)
  size = len(eigenvalues)
  directions, _ = np.linalg.qr(rng.normal(size=(size, size)))
  return jnp.float32(directions * eigenvalues @ directions.T)


@pytest.mark.parametrize(
  'eigenvalues, largest',
  [
    (np.linspace(-3, 2, 30), 2),
    (-np.linspace(1, 2, 30), -1),
    # The subspace ends early: after one direction, two, and none.
    (np.full(30, 4.0), 4),
    (np.append(np.zeros(29), 7.0), 7),
    (np.append(np.zeros(29), -7.0), 0),
    (np.zeros(30), 0),
  ],
)
@pytest.mark.parametrize('num_iterations', [30, 60])
def test_largest_eigenvalue_of_a_matrix(eigenvalues, largest, num_iterations):
  matrix = symmetric(eigenvalues)
  start = jax.random.normal(jax.random.key(0), (30,))
  found = loss_surface.find_largest_eigenvalue(
    lambda vector: matrix @ vector, start, num_iterations
  )
  assert found.eigenvalue == pytest.approx(largest, abs=1e-4)
  assert found.residual < 1e-3


def test_residual_bounds_the_error():
  eigenvalues = np.linspace(0, 1, 100) ** 3
  matrix = symmetric(eigenvalues)
  start = jax.random.normal(jax.random.key(0), (100,))
  residuals = []
  for num_iterations in (1, 16):
    found = loss_surface.find_largest_eigenvalue(
      lambda vector: matrix @ vector, start, num_iterations
    )
    nearest = np.abs(eigenvalues - found.eigenvalue).min()
    assert nearest <= found.residual + 1e-6
    residuals.append(found.residual)
  assert residuals[0] > 0.1 and residuals[1] < 0.05


def make_data(num_images, num_classes, shape=(3, 3, 1)):
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (num_images, *shape)).astype(np.uint8)
  labels = rng.integers(0, num_classes, num_images).astype(np.int32)
  return jnp.asarray(images), jnp.asarray(labels)


def prepare(images):
  return images.astype(jnp.float32) / 255


def find_curvature(model, state, data, example_ids, num_iterations, batch=4):
  images, labels = data
  gradient = evaluate.make_loss_gradient(model, batch, prepare)
  key = jax.random.key(3)
  curvature = loss_surface.make_curvature(gradient, num_iterations, key)
  return jax.jit(curvature)(state, labels, jnp.int32(example_ids), images)


def test_hessian_of_a_linear_network_at_zero():
  """All classes are alike: the inputs' own, times that of the softmax."""
  model, ids = lenet.LeNet(4, ()), [0, 2, 3, 7, 8]
  data = make_data(10, 4)
  variables = model.init(jax.random.key(0), prepare(data[0]), train=False)
  state = make_state(jax.tree.map(jnp.zeros_like, variables['params']))
  found = find_curvature(model, state, data, ids, 20)
  inputs = np.asarray(prepare(data[0]), float).reshape(10, -1)[ids]
  inputs = np.hstack([inputs, np.ones((5, 1))])
  expected = np.linalg.eigvalsh(inputs.T @ inputs / 5)[-1] / 4
  assert found.eigenvalue == pytest.approx(expected, rel=1e-5)
  assert found.residual < 1e-4 * expected


def test_hessian_of_the_kept_weights():
  model, ids = lenet.LeNet(3, (4,)), [1, 2, 4, 5, 6, 9]
  images, labels = data = make_data(10, 3)
  params = model.init(jax.random.key(1), prepare(images), train=False)['params']
  rng = np.random.default_rng(1)
  kept = jax.tree.map(
    lambda leaf: jnp.array(rng.random(leaf.shape) < 0.6), params
  )
  params = masks.apply(params, kept)
  flat, unravel = flatten_util.ravel_pytree(params)

  def loss(flat):
    logits = model.apply(
      {'params': unravel(flat)}, prepare(images[np.array(ids)]), train=False
    )
    own = jax.nn.log_softmax(logits)[np.arange(6), labels[np.array(ids)]]
    return -own.mean()

  mask = np.asarray(flatten_util.ravel_pytree(kept)[0])
  hessian = np.asarray(jax.hessian(loss)(flat), float)
  expected = np.linalg.eigvalsh(hessian[np.ix_(mask, mask)])[-1]
  of_all = np.linalg.eigvalsh(hessian)[-1]
  found = find_curvature(model, make_state(params, kept=kept), data, ids, 30)
  assert found.eigenvalue == pytest.approx(expected, rel=1e-4)
  assert expected < 0.99 * of_all
  dense = find_curvature(model, make_state(params), data, ids, 30)
  assert dense.eigenvalue == pytest.approx(of_all, rel=1e-4)


class Convolutional(nn.Module):
  """One convolution, computed by a method, and perhaps BatchNorm."""

  method: str = 'plain'
  has_batch_norm: bool = False

  @nn.compact
  def __call__(self, images, train):
    x = layers.Conv(8, size=3, method=self.method)(images)
    if self.has_batch_norm:
      x = layers.batch_norm(train, 'uniform')()(x)
    x = nn.relu(x).mean(axis=(1, 2))
    return layers.dense(x, 3, 'output')


def make_convolutional(**settings):
  model = Convolutional(**settings)
  data = make_data(8, 3, (8, 8, 8))
  variables = model.init(jax.random.key(1), prepare(data[0]), train=False)
  stats = variables.get('batch_stats')
  return model, make_state(variables['params'], stats), data


def test_batch_norm_is_estimated_again():
  model, state, (images, _) = make_convolutional(has_batch_norm=True)
  images = prepare(images)
  found = loss_surface.estimate_statistics(model, state, images)
  by_batch, _ = model.apply(
    train_state.variables(state), images, train=True, mutable=['batch_stats']
  )
  by_average, before = (
    model.apply(train_state.variables(own), images, train=False)
    for own in (found, state)
  )
  np.testing.assert_allclose(by_average, by_batch, rtol=1e-4, atol=1e-4)
  assert np.abs(before - by_batch).max() > 0.1


@pytest.mark.slow
def test_curvature_through_the_convolutions_for_cpus():
  """Their gradients are custom, and are differentiated forward here."""
  found = {}
  for method in ('plain', 'im2col', 'winograd'):
    model, state, data = make_convolutional(method=method)
    found[method] = find_curvature(model, state, data, np.arange(6), 3, batch=6)
  expected = float(found.pop('plain').eigenvalue)
  assert expected > 0.01
  for own in found.values():
    assert own.eigenvalue == pytest.approx(expected, rel=1e-3)


ARMS = ('pruning', 'extended_dense', 'weight_rewinding')
TWIN_LEVELS = (0, 2)


def make_config(**changes):
  config = small_chain.make_config()
  config.experiments = ('chain', 'landscape')
  config.arms = ARMS
  config.devices.count = 2
  config.checkpoint.keep_levels = ('all',)
  config.landscape.num_examples = 50
  config.landscape.num_points = 4
  config.landscape.num_iterations = 8
  config.landscape.twin_levels = TWIN_LEVELS
  config.update_from_flattened_dict(changes)
  config_rules.check(config)
  return config


@pytest.fixture(scope='module', autouse=True)
def compiled_once():
  """Compile the measures of a stack once, however often a run starts."""
  compiled, build = {}, loss_surfaces.build

  def make(spec):
    keys = ('levels', 'twin_levels')
    settings = {k: v for k, v in spec.config.landscape.items() if k not in keys}
    key = str((spec.stack.members, spec.layout, settings))
    if key not in compiled:
      compiled[key] = build(spec)
    return compiled[key]

  with (
    restarts.compiled_once(),
    mock.patch.object(loss_surfaces, 'build', make),
  ):
    yield


@pytest.fixture(scope='module')
def workdir(tmp_path_factory, digits):
  workdir = tmp_path_factory.mktemp('landscape')
  restarts.start(make_config(), workdir, digits)
  return workdir


def load(workdir, arm, noise_fraction, level):
  return export.load_network(
    networks.path_of(workdir, arm, noise_fraction, 0, level)
  )


def with_params(network, params):
  return network._replace(variables=network.variables | {'params': params})


@pytest.mark.slow
def test_columns_of_a_run(workdir):
  table = level_tables.read(workdir, level_tables.LANDSCAPE)
  assert tuple(table.columns) == level_tables.COLUMNS[level_tables.LANDSCAPE]
  networks_ = list(zip(table.noise_fraction, table.arm, table.level))
  assert networks_ == [
    (noise, arm, level)
    for level in range(3)
    for noise in (0.0, 0.2)
    for arm in ARMS
  ]
  compared = table[list(level_tables.COMPARED)]
  assert compared[table.level == 0].isna().all(axis=None)
  rewound = table.arm == 'weight_rewinding'
  after = compared[list(level_tables.AFTER_PRUNING)]
  assert after[rewound].isna().all(axis=None)
  assert compared[(table.level > 0) & ~rewound].notna().all(axis=None)
  assert (
    compared[level_tables.BARRIERS[1]][(table.level > 0) & rewound].max() > 0
  )
  assert (table.hessian_residual < 0.1 * table.hessian_eigenvalue).all()
  assert (table.hessian_eigenvalue > 0).all()

  errors = results.read_results(workdir)
  errors = (
    errors[errors.experiment == 'chain']
    .set_index(['arm', 'noise_fraction', 'level'])
    .test_error
  )
  for row in table[(table.level > 0) & ~rewound].itertuples():
    before = errors[row.arm, row.noise_fraction, row.level - 1]
    assert row.test_error_before_pruning == before
    if row.arm == 'extended_dense':
      assert row.test_error_after_pruning == before


@pytest.mark.slow
def test_after_pruning_by_another_evaluation(workdir, digits):
  table = level_tables.read(workdir, level_tables.LANDSCAPE).set_index(
    list(level_tables.IDENTITY)
  )
  labels = results.read_labels(workdir, 'chain')['labels']
  members = results.read_members(workdir, 'chain')
  (row,) = np.flatnonzero(
    (members.arm == 'pruning') & (members.noise_fraction == 0.2)
  )
  before, after = (load(workdir, 'pruning', 0.2, level) for level in (1, 2))
  params = before.variables['params']
  changed = jax.tree.map(
    lambda w, kept: np.where(kept, w, 0), params, after.masks
  )
  pruned = with_params(before, changed)
  on_test = pruned.evaluate(digits.test_images, digits.test_labels)
  on_train = pruned.evaluate(digits.train_images, labels[row])
  own = table.loc['pruning', 0.2, 0, 2]
  wrong = np.mean(on_test.prediction != digits.test_labels)
  assert own.test_error_after_pruning == wrong
  assert own.train_cross_entropy_after_pruning == pytest.approx(
    on_train.cross_entropy.mean(), rel=1e-5
  )
  assert not np.array_equal(
    changed['dense_0']['kernel'], params['dense_0']['kernel']
  )

  # And the barriers, on the examples that are drawn.
  spec = types.SimpleNamespace(config=make_config(), dataset=digits)
  ids = loss_surfaces.choose_examples(spec)
  assert len(set(ids)) == 50
  errors, losses = [], []
  for t in np.linspace(0, 1, 4, dtype=np.float32):
    mixed = with_params(
      before,
      jax.tree.map(
        lambda one, two, t=t: (1 - t) * one + t * two,
        params,
        after.variables['params'],
      ),
    )
    on_test = mixed.evaluate(digits.test_images, digits.test_labels)
    on_train = mixed.evaluate(digits.train_images[ids], labels[row][ids])
    errors.append(np.mean(on_test.prediction != digits.test_labels))
    losses.append(on_train.cross_entropy.mean(dtype=float))
  expected = loss_surfaces.barrier(np.array([errors, losses]))
  assert own.barrier_test_error == pytest.approx(expected[0], abs=1e-12)
  assert own.barrier_train_cross_entropy == pytest.approx(
    expected[1], rel=1e-2, abs=1e-6
  )


@pytest.mark.slow
def test_twins_end_somewhere_else(workdir):
  table = level_tables.read(workdir, level_tables.TWINS)
  assert set(table.arm) == {'pruning', 'extended_dense'}
  assert sorted(set(table.level)) == [0, 2] and len(table) == 8
  assert (table.barrier_train_cross_entropy >= 0).all()
  for level in TWIN_LEVELS:
    own, chain = (
      results.read_level(workdir, folder, level)['cross_entropy'][0]
      for folder in ('landscape', 'chain')
    )
    assert not np.array_equal(own, chain)


@pytest.mark.slow
def test_a_twin_on_the_same_batches_is_the_network_itself(
  workdir, digits, tmp_path, monkeypatch
):
  restarts.start(make_config(experiments=('chain',)), tmp_path, digits)
  monkeypatch.setattr(twins, 'FIRST_EPOCH', 0)
  restarts.start(make_config(), tmp_path, digits)
  table = level_tables.read(tmp_path, level_tables.TWINS)
  # Between equal weights, points differ by rounding.
  assert (table[list(level_tables.BARRIERS)] < 1e-6).all(axis=None)
  members = results.read_members(tmp_path, 'chain')
  rows = np.flatnonzero(members.arm != 'weight_rewinding')
  for level in TWIN_LEVELS:
    own, chain = (
      results.read_level(tmp_path, folder, level)
      for folder in ('landscape', 'chain')
    )
    assert own.keys() == chain.keys()
    for name, array in own.items():
      np.testing.assert_array_equal(array, chain[name][rows])


def read(workdir):
  """Read every result of the experiment, byte for byte."""
  return restarts.read_files(workdir, 'landscape', 'results.csv')


@pytest.mark.slow
@pytest.mark.parametrize('every', [2, 3])
def test_stopped_and_resumed_to_the_same_bytes(
  workdir, digits, tmp_path, every
):
  config = make_config()
  restarts.start(make_config(experiments=('chain',)), tmp_path, digits)
  stops, finished = 0, False
  while not finished:
    polls = iter([False] * every)
    run = Run(config, tmp_path, digits, functools.partial(next, polls, True))
    try:
      experiment.train(run)
      finished = True
    except Preempted:
      stops += 1
    assert stops < 20
  assert stops > 2 and experiment.is_finished(run)
  assert read(tmp_path) == read(workdir)


@pytest.mark.slow
def test_killed_at_every_file_that_is_written(workdir, digits, tmp_path):
  config = make_config()
  restarts.start(make_config(experiments=('chain',)), tmp_path, digits)
  number, finished = 0, False
  # What is there stays, so that each kill comes later.
  while not finished:
    number += 1
    with restarts.kill_at(number):
      try:
        restarts.start(config, tmp_path, digits)
        finished = True
      except restarts.Killed:
        assert number < 30
  assert number > 5
  assert read(tmp_path) == read(workdir)


LESS = {
  'a level': {'levels': 1, 'landscape.twin_levels': (0,)},
  'an arm': {'arms': ('pruning', 'weight_rewinding')},
  'levels to measure': {
    'landscape.levels': (0, 2),
    'landscape.twin_levels': (),
  },
}


@pytest.mark.slow
@pytest.mark.parametrize('what', LESS)
def test_a_landscape_grown_by(workdir, digits, tmp_path, what):
  restarts.start(make_config(**LESS[what]), tmp_path, digits)
  assert read(tmp_path) != read(workdir)
  restarts.start(make_config(), tmp_path, digits)
  assert read(tmp_path) == read(workdir)


@pytest.mark.slow
def test_the_report_draws_a_run(workdir):
  benchmark = load_lib.read(str(workdir))
  # Twins are in no other figure.
  assert set(benchmark.results.experiment) == {'chain'}
  table = benchmark.landscape
  assert len(table) == 18
  twins_there = table[table.twin_barrier_test_error.notna()]
  assert set(zip(twins_there.arm, twins_there.level)) == {
    (arm, level) for arm in ARMS[:2] for level in TWIN_LEVELS
  }
  for figure in (
    figures.INSTABILITY,
    figures.ERROR_BARRIERS,
    figures.LOSS_BARRIERS,
    figures.CURVATURE,
  ):
    drawn = figure.draw(figure.tabulate([benchmark]))
    assert all(axes.lines for axes in drawn.axes)
  # What is known of both levels of pruning, and of extended dense training.
  instability = figures.INSTABILITY.tabulate([benchmark])
  assert len(instability) == 2 * 2 * 2
  assert len(figures.ERROR_BARRIERS.tabulate([benchmark])) == 2 * (2 * 3 + 2)
  assert len(figures.CURVATURE.tabulate([benchmark])) == 18


def make_landscape():
  """Make a table of pruning without noise: levels 0 to 2, two replicates."""
  rows = [
    {
      'arm': 'pruning',
      'noise_fraction': 0.0,
      'replicate': replicate,
      'level': level,
      'test_error': 0.3 - 0.1 * level,
      'test_error_before_pruning': 0.4 - 0.1 * level if level else np.nan,
      'test_error_after_pruning': 0.5 + 0.2 * replicate if level else np.nan,
      'barrier_test_error': 0.02 * level if level else np.nan,
      'twin_barrier_test_error': 0.01 if level == 0 else np.nan,
      'hessian_eigenvalue': 3.0 + 2 * replicate - level,
    }
    for level in range(3)
    for replicate in range(2)
  ]
  return pd.DataFrame(rows)


@pytest.fixture(scope='module')
def benchmark(tmp_path_factory):
  folder = tmp_path_factory.mktemp('fake')
  fake_runs.write_all(folder)
  return load_lib.read(folder)._replace(landscape=make_landscape())


def test_instability_by_hand(benchmark):
  table = figures.INSTABILITY.tabulate([benchmark])
  assert table.level.tolist() == [1, 2] and table.n.tolist() == [2, 2]
  # 0.5 and 0.7 after an error of 0.3; then after one of 0.2.
  assert table.instability_mean.tolist() == pytest.approx([0.3, 0.4])
  assert table.instability_std.tolist() == pytest.approx([0.2 / 2**0.5] * 2)
  assert table.change_mean.tolist() == pytest.approx([-0.1, -0.1])
  (axes,) = figures.draw_instability(table).axes
  # The last level.
  assert [text.get_text() for text in axes.texts] == ['2']


def test_barriers_and_curvature_by_hand(benchmark):
  table = figures.ERROR_BARRIERS.tabulate([benchmark])
  assert table.weights_remaining.tolist() == pytest.approx([1, 0.8, 0.64])
  name = 'barrier_test_error_mean'
  assert table[f'twin_{name}'][0] == 0.01 and np.isnan(table[name][0])
  assert table[name].tolist()[1:] == pytest.approx([0.02, 0.04])
  (axes,) = figures.draw_barriers(table, 'test_error').axes
  curves = [line for line in axes.lines if line.get_gid() == style.CURVE]
  # A curve, and the twin's point and its error bar.
  assert [len(line.get_xdata()) for line in curves] == [2, 1, 1, 1]
  table = figures.CURVATURE.tabulate([benchmark])
  assert table.hessian_eigenvalue_mean.tolist() == pytest.approx([4, 3, 2])
  assert figures.draw_curvature(table).axes[0].get_yscale() == 'log'


def test_sentences_below_the_figures(benchmark):
  """Of the table above, whose optimal sparsity is level 2."""
  summary = benchmark.summary
  is_curve = (summary.experiment == 'chain') & (summary.noise_fraction == 0)
  best = summary.is_optimal.mask(is_curve, summary.level == 2)
  benchmark = benchmark._replace(summary=summary.assign(is_optimal=best))
  table = figures.INSTABILITY.tabulate([benchmark]).assign(change_mean=[0, -1])
  (instability,) = figures.INSTABILITY.notes([benchmark], table)
  barriers, curvature = (
    note
    for figure in (figures.ERROR_BARRIERS, figures.CURVATURE)
    for note in figure.notes([benchmark], figure.tabulate([benchmark]))
  )
  # Rank correlations, over both levels and up to the optimal one.
  assert re.search(r'-1\.00\b.*\b2 levels\b.*-1\.00\b.*level 2', instability)
  # The highest, and that up to the optimal level; then that of a twin.
  found = re.findall(r'\d points|level \d', barriers)
  assert found == [*['4 points', 'level 2'] * 2, '1 points', 'level 0']
  assert re.search(r'dense 4\b.*\b2 .*level 2\b.*\b3\b.*level 1', curvature)
  for note in (instability, barriers, curvature):
    assert note.startswith(f'{benchmark.title}, 0 % noise: ')


@pytest.mark.slow
def test_levels_that_were_not_kept_are_refused_at_the_start(digits, tmp_path):
  kept = {'checkpoint.keep_levels': (0, 2), 'landscape.twin_levels': (0,)}
  restarts.start(make_config(**kept), tmp_path, digits)
  table = level_tables.read(tmp_path, level_tables.LANDSCAPE)
  assert sorted(set(table.level)) == [0, 2]
  assert table[list(level_tables.COMPARED)].isna().all(axis=None)
  for wrong in ({'landscape.levels': (1,)}, {'landscape.twin_levels': (2,)}):
    run = small_chain.make_run(make_config(**wrong), tmp_path)
    with pytest.raises(UserError, match=r'level 1 of .*keep_levels'):
      runner.run_experiments(run)
  for path in networks.folder_of(tmp_path).glob('*'):
    path.unlink()
  with pytest.raises(UserError, match=r'level 0 of .*it has none'):
    runner.run_experiments(small_chain.make_run(make_config(), tmp_path))


@pytest.mark.parametrize(
  'changes, message',
  [
    (
      {'checkpoint.keep_levels': (0, 1), 'landscape.levels': (2,)},
      r'landscape\.levels=\(2,\) .* 0 to 2.*keep_levels=\(0, 1\)',
    ),
    ({'landscape.levels': (3,)}, r'landscape\.levels=\(3,\) .* 0 to 2'),
    ({'landscape.levels': (-1,)}, r'landscape\.levels'),
    (
      {'checkpoint.keep_levels': (0, 2), 'landscape.twin_levels': (2,)},
      r'twin_levels=\(2,\) .*keep_levels=\(0, 2\)',
    ),
    ({'landscape.num_examples': 201}, r'num_examples=201 .*at most 200'),
    ({'landscape.num_examples': 0}, 'num_examples=0'),
    ({'landscape.num_points': 2}, r'num_points=2 .*at least 3'),
    ({'landscape.num_iterations': 0}, 'num_iterations=0'),
    ({'landscape.twin_levels': (0.5,)}, r'twin_levels=.*whole numbers'),
  ],
)
def test_bad_input_is_named(changes, message):
  with pytest.raises(UserError, match=message):
    make_config(**changes)


def test_keeping_nothing_is_refused():
  with pytest.raises(UserError, match=r'keep_levels=\(\)'):
    make_config(**{'checkpoint.keep_levels': (), 'landscape.twin_levels': ()})


def test_it_needs_a_chain(tmp_path):
  config = make_config(experiments=('landscape',))
  with pytest.raises(UserError, match='landscape reads the results of chain'):
    runner.run_experiments(small_chain.make_run(config, tmp_path))


def test_streamed_images_are_refused():
  config = resnet50.get_config()
  config.experiments = ('chain', 'landscape')
  with pytest.raises(UserError, match=r"data\.name='imagenet2012' is streamed"):
    config_rules.check(config)
