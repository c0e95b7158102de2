"""Each recipe of README and CONTRIBUTING, followed on the digits.

What a test adds to a table is gone after it.
"""

import functools
import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from configs import quickstart
from pruning_gen import command_line
from pruning_gen import config as config_rules
from pruning_gen import report
from pruning_gen import runner
from pruning_gen.analysis import claims
from pruning_gen.analysis import figures
from pruning_gen.analysis.figures import base
from pruning_gen.data import splits
from pruning_gen.data.datasets import DatasetInfo
from pruning_gen.data.datasets import DATASETS
from pruning_gen.engine.part import Part
from pruning_gen.engine.stack import Member
from pruning_gen.errors import UserError
from pruning_gen.experiments import build
from pruning_gen.experiments import chain
from pruning_gen.experiments import Experiment
from pruning_gen.experiments import EXPERIMENTS
from pruning_gen.experiments import label_sets
from pruning_gen.models import Model
from pruning_gen.models import MODELS
from pruning_gen.pruning import masks
from pruning_gen.pruning.arms import Arm
from pruning_gen.pruning.arms import ARMS
from pruning_gen.pruning.scores import Score
from pruning_gen.pruning.scores import SCORES
from pruning_gen.storage import results
from pruning_gen.training.schedule import Schedule
from tests import small_chain

GUIDE = (pathlib.Path(__file__).parents[1] / 'CONTRIBUTING.md').read_text()


def make_config():
  config = small_chain.make_config()
  config.experiments = ('chain',)
  config.noise_fractions = (0.2,)
  config.levels = 1
  config.devices.count = 1
  return config


@pytest.fixture
def config():
  return make_config()


@pytest.fixture
def register(monkeypatch):
  """Return a function that adds an entry to a table until the test ends."""
  return monkeypatch.setitem


@pytest.fixture
def short_report(monkeypatch):
  """Leave one figure in the report: all of them take seconds."""
  monkeypatch.setattr(figures, 'FIGURES', figures.FIGURES[:1])


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """The workdir of a finished chain of two replicates."""
  config = make_config()
  config.replicates = 2
  workdir = tmp_path_factory.mktemp('finished')
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(figures, 'FIGURES', figures.FIGURES[:1])
    run_all(config, workdir)
  return workdir


def run_all(config, workdir):
  """Run the experiments and the report, as the program does."""
  config_rules.check(config)
  runner.run_experiments(small_chain.make_run(config, workdir))
  return results.read_results(workdir)


def test_an_arm(config, register, tmp_path):
  register(
    ARMS,
    'random_rewound',
    Arm(
      score='random',
      rewinds_weights=True,
      dense_control='weight_rewinding_dense',
      label='random, rewound',
      color='#123456',
    ),
  )
  # Everything but its name is optional.
  register(ARMS, 'bare', Arm())
  config.arms = ('pruning', 'extended_dense', 'random_rewound', 'bare')
  table = run_all(config, tmp_path)
  last = table[table.level == 1].set_index('arm')
  assert last.weights_remaining['random_rewound'] == 1264 / 1580
  assert last.train_cross_entropy['bare'] == last.train_cross_entropy['pruning']
  assert len(set(last.train_cross_entropy)) == 3
  drawn = pd.read_csv(tmp_path / 'report/tables/appendix_j1_rewinding.csv')
  assert set(drawn.arm) == {'pruning', 'random_rewound', 'bare'}


def test_a_pruning_score(config, digits, register):
  """One that is the same for all members, next to one that is not."""

  def ranks(params):
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(7), len(leaves))
    return jax.tree.unflatten(
      structure,
      [
        jnp.argsort(jax.random.uniform(key, leaf.size)).reshape(leaf.shape)
        for key, leaf in zip(keys, leaves)
      ],
    )

  register(SCORES, 'ranks', Score(lambda context: ranks(context.params)))
  register(ARMS, 'ranks', Arm(score='ranks', dense_control='extended_dense'))
  config.arms = ('pruning', 'ranks')
  # Two members on each of two devices.
  config.replicates = config.devices.count = 2
  config_rules.check(config)
  run = small_chain.make_run(config, workdir=None, dataset=digits)
  stack = label_sets.make_stack(run, label_sets.list_members(config))
  programs = build.make_programs(run, stack, Schedule(epochs=1, levels=1))
  before = jax.device_get(programs.create())
  after = jax.device_get(programs.start_level(programs.create(), 1))
  for row, member in enumerate(stack.members):
    params, kept, found = (
      jax.tree.map(lambda leaf, row=row: leaf[row], tree)
      for tree in (before.params, before.masks, after.masks)
    )
    magnitudes = jax.tree.map(jnp.abs, params)
    score = magnitudes if member.arm == 'pruning' else ranks(params)
    score = jax.tree.map(jnp.float32, score)
    prunable = masks.prunable(params, prune_output=False)
    # A fifth of 1,580 weights.
    expected = masks.prune(kept, score, prunable, jnp.int32(316))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_a_data_set(config, register, short_report, tmp_path):
  """Two classes of images that are not square: dark and bright ones."""

  def read(data_dir, cache_dir, num_train):
    del data_dir, cache_dir, num_train
    rng = np.random.default_rng(0)

    def draw(n):
      labels = np.arange(n, dtype=np.int32) % 2
      noise = rng.integers(0, 100, (n, 6, 5, 1))
      images = noise + 100 * labels[:, None, None, None]
      return images.astype(np.uint8), labels

    return *draw(80), *draw(50)

  register(
    DATASETS,
    'brightness',
    DatasetInfo(
      read,
      num_classes=2,
      num_train=80,
      image_shape=(6, 5, 1),
      mean=(0.4,),
      std=(0.25,),
    ),
  )
  config.data.name = 'brightness'
  config.data.num_train = 0
  config.noise_fractions = (0.0,)
  table = run_all(config, tmp_path)
  labels = results.read_labels(tmp_path, 'chain')
  np.testing.assert_array_equal(labels['true_labels'], np.arange(80) % 2)
  assert len(labels['validation_labels']) == 10
  assert (table.num_train == 80).all()
  assert table.test_error.max() < 0.1


@pytest.mark.long
def test_data_of_your_own(short_report, tmp_path):
  """The digits from a file, at the quickstart's sizes: the same results."""
  digits = DATASETS['digits']
  np.savez(tmp_path / 'own.npz', **dict(zip(splits.ARRAYS, digits.read())))
  stated = {'mean': digits.mean, 'std': digits.std}
  for name, data in (
    ('digits', {'name': 'digits'}),
    ('own', {'name': f'npz:{tmp_path}/own.npz', **stated}),
  ):
    config = quickstart.get_config()
    config.experiments = ('chain', 'el2n')
    config.noise_fractions = (0.3,)
    config.replicates = config.levels = config.devices.count = 1
    config.epochs = 3
    config.rewind_epoch = config.el2n.epoch = config.el2n.networks = 1
    config.data.update(data)
    run_all(config, tmp_path / name)
  paths = [
    path.relative_to(tmp_path / 'digits')
    for suffix in ('*.csv', '*.npz')
    for path in (tmp_path / 'digits').rglob(suffix)
    # The report's tables hold the name, and so do networks.
    if not {'report', 'networks'} & set(path.parts)
  ]
  names = {path.name for path in paths}
  assert {'results.csv', 'scores.npz', 'level_001.npz'} <= names
  for path in paths:
    contents = [
      (tmp_path / name / path).read_bytes() for name in ('digits', 'own')
    ]
    assert contents[0] == contents[1], path
  page = (tmp_path / 'own' / 'report' / 'index.html').read_text()
  assert 'LeNet-300-100 on own.npz' in page


def follow(recipe, names):
  """Run a block of CONTRIBUTING.md, the one below <!-- recipe: NAME -->."""
  (block,) = re.findall(
    rf'<!-- recipe: {recipe} -->\n```python\n(.*?)```', GUIDE, re.DOTALL
  )
  exec(block, names)


@pytest.fixture
def perceptron(monkeypatch):
  """The model of CONTRIBUTING.md, until the test ends."""
  models = dict(MODELS)
  names = {'__name__': 'perceptron', 'MODELS': models, 'Model': Model}
  follow('a model', names)
  follow('its entry', names)
  monkeypatch.setitem(MODELS, 'perceptron', models['perceptron'])


def test_a_model(config, perceptron, short_report, tmp_path):
  config.model.name = 'perceptron'
  config.model.units = 10
  config.experiments = ('chain', 'width')
  config.width.levels = 1
  table = run_all(config, tmp_path)
  # 64 x 10 x 10 x 10 x 10, and with 8 instead of 10 units.
  widths = table[table.experiment == 'width']
  assert widths.num_weights.tolist() == [940, 720]
  pruning = table[table.arm == 'pruning']
  assert pruning.weights_remaining.tolist() == [1, (940 - 188) / 940]
  stored = json.loads((tmp_path / 'config.json').read_text())['model']
  assert (stored['units'], stored['depth']) == (10, 3)


@pytest.mark.parametrize('value', ['deep', 2.5, (3,)])
def test_a_hyperparameter_of_another_type(config, perceptron, value):
  config.model.name = 'perceptron'
  config.model.depth = value
  with pytest.raises(UserError) as error:
    config_rules.check(config)
  assert str(error.value).startswith(f'config.model.depth={value!r} ')


def test_a_hyperparameter_that_no_model_has(config, perceptron):
  config.model.depth = 4
  with pytest.raises(UserError, match=r'no key model\.depth'):
    # It is the perceptron's, and this is a LeNet.
    command_line.check_keys(config)
  config.model.name = 'perceptron'
  command_line.check_keys(config)
  config.model.dpeth = 5
  with pytest.raises(UserError, match=r'model\.dpeth.*\bmodel\.depth\?'):
    command_line.check_keys(config)


def test_an_experiment(config, register, short_report, tmp_path):
  """Dense networks that train twice as long, after a chain."""

  def make_part(config):
    label_set = label_sets.list_label_sets(config)
    return Part(
      'longer', 'longer', [Member('dense', *own) for own in label_set]
    )

  def train(run):
    schedule = Schedule(2 * run.config.epochs)
    chain.train_levels(run, make_part(run.config), schedule)

  def is_finished(run):
    return make_part(run.config).is_finished(run.workdir)

  register(
    EXPERIMENTS,
    'longer',
    Experiment(train, is_finished, needs=lambda config: ('chain',)),
  )
  config.experiments = ('longer',)
  with pytest.raises(UserError, match=r"config\.experiments=.*longer.*'chain'"):
    run_all(config, tmp_path)
  config.experiments = ('chain', 'longer')
  table = run_all(config, tmp_path)
  (row,) = table[table.experiment == 'longer'].itertuples()
  assert (row.arm, row.level, row.epochs_trained) == ('dense', 0, 6)
  assert results.read_level(tmp_path, 'longer', 0)['correct'].shape == (1, 200)
  # The same command finds everything finished.
  written = (tmp_path / 'results.csv').stat().st_mtime_ns
  run_all(config, tmp_path)
  assert (tmp_path / 'results.csv').stat().st_mtime_ns == written


def test_a_figure(monkeypatch, finished):
  def tabulate(benchmark):
    return benchmark.results[['arm', 'level', 'train_error']]

  def draw(table):
    figure = Figure(figsize=(4, 3))
    figure.subplots().plot(table.level, table.train_error, 'o')
    return figure

  own = base.Figure(
    'more_training_errors',
    'Training errors',
    caption='The training error of each network.',
    needs=base.CHAIN,
    tabulate_one=tabulate,
    draw=draw,
  )
  monkeypatch.setattr(figures, 'FIGURES', (*figures.FIGURES[:1], own))
  page = report.build(finished)
  folder = page.parent
  table = pd.read_csv(folder / 'tables/more_training_errors.csv')
  # 2 replicates, 2 arms, 2 levels.
  assert len(table) == 8
  assert len((folder / 'figures/more_training_errors.png').read_bytes()) > 1000
  assert own.title in page.read_text() and own.caption in page.read_text()


def test_a_claim(monkeypatch, finished):
  text = 'More epochs lower the training error.'

  def more_epochs(case):
    later, earlier = (
      case.values('train_error', level, 'extended_dense') for level in (1, 0)
    )
    return claims.base.measure(later, earlier, unit='points')

  own = claims.Claim('ours', text, claims.base.NOISY, 'better', more_epochs)
  tabulate = functools.partial(claims.tabulate, claims=(own,))
  monkeypatch.setattr(claims, 'tabulate', tabulate)
  monkeypatch.setattr(figures, 'FIGURES', figures.FIGURES[:1])
  page = report.build(finished)
  (row,) = pd.read_csv(page.parent / 'tables/claims.csv').itertuples()
  assert (row.claim, row.noise_fraction, row.n) == (text, 0.2, 2)
  table = results.read_results(finished)
  errors = table[table.arm == 'extended_dense'].groupby('level').train_error
  change = 100 * errors.mean().diff().loc[1]
  assert row.mean == pytest.approx(change)
  assert (row.verdict == claims.base.AGREES) == (row.paired == 'better')
  assert text in page.read_text()


@pytest.mark.parametrize(
  'arm, message',
  [
    (Arm(score='weight'), r"ARMS\['toy'\]\.score='weight' .*magnitude, random"),
    (Arm(dense_control='none'), r"ARMS\['toy'\]\.dense_control='none' "),
    # It prunes.
    (Arm(dense_control='pruning'), r"ARMS\['toy'\]\.dense_control='pruning' "),
  ],
)
def test_an_arm_that_names_nothing(config, register, arm, message):
  """The run ends at its start, even if none of its networks is of that arm."""
  register(ARMS, 'toy', arm)
  with pytest.raises(UserError, match=message):
    config_rules.check(config)


@pytest.mark.parametrize(
  'key, value, names',
  [
    ('arms', ('pruning', 'toy'), ARMS),
    ('experiments', ('chain', 'toy'), EXPERIMENTS),
    ('model.name', 'toy', MODELS),
    ('data.name', 'toy', DATASETS),
  ],
)
def test_a_name_that_no_table_has(config, register, key, value, names):
  """The names that there are include those that were added."""
  register(names, 'mine', next(iter(names.values())))
  config.update_from_flattened_dict({key: value})
  with pytest.raises(UserError) as error:
    config_rules.check(config)
  message = str(error.value)
  assert message.startswith(f'config.{key}={value!r} ')
  assert ', '.join(names) in message
