"""The chain on a small ImageNet, streamed."""

from unittest import mock

import jax
import numpy as np
import pytest

from configs import resnet50
from pruning_gen import config as config_rules
from pruning_gen.data import crops
from pruning_gen.data import datasets
from pruning_gen.data import streams
from pruning_gen.engine import inputs
from pruning_gen.engine import mesh
from pruning_gen.engine import streamed
from pruning_gen.engine.inputs import Spec
from pruning_gen.experiments import build
from pruning_gen.experiments import chain
from pruning_gen.experiments import label_sets
from pruning_gen.models import MODELS
from pruning_gen.storage import results
from pruning_gen.training import epoch
from pruning_gen.training import evaluate
from pruning_gen.training import train_state
from pruning_gen.training.schedule import Schedule
from tests import small_chain
from tests import small_imagenet

pytestmark = pytest.mark.slow

BROKEN = 5


@pytest.fixture(scope='module')
def config(tmp_path_factory):
  folder = tmp_path_factory.mktemp('imagenet')

  def split(first, n):
    images = [small_imagenet.encode(first + i, 90, 70 + i) for i in range(n)]
    return images, [(first + i) % 7 for i in range(n)]

  train = split(0, 20)
  train[0][BROKEN] = b'no image'
  small_imagenet.write(folder / 'data', train=train, validation=split(100, 10))
  config = resnet50.get_config('small')
  config.data.dir = str(folder / 'data')
  config.data.cache_dir = str(folder / 'cache')
  config.data.num_train = 18
  config.data.on_broken = 'skip'
  config.model.num_filters = 1
  config.replicates = 2
  config.noise_fractions = (0.2,)
  config.batch_size = 8
  config.eval_batch_size = 8
  config.learning_rate = 0.01
  config.devices.count = 2
  config_rules.check(config)
  with mock.patch.dict(MODELS, resnet50=small_chain.shallow('resnet50')):
    yield config


@pytest.fixture(scope='module')
def spec(config):
  data = config.data
  dataset = datasets.load(data.name, data.dir, data.cache_dir, data.num_train)
  run = small_chain.make_run(config, workdir=None, dataset=dataset)
  stack = label_sets.make_stack(run, label_sets.list_members(config))
  return Spec(
    config,
    dataset,
    stack,
    build.make_model(config, dataset.num_classes),
    build.make_optimizer(config, stack),
    Schedule(config.epochs, config.rewind_epoch, config.levels),
    mesh.make_layout(config, len(stack.members), take_turns=True),
  )


@pytest.fixture(scope='module')
def programs(spec):
  run = small_chain.make_run(spec.config, workdir=None, dataset=spec.dataset)
  return build.make_programs(run, spec.stack, spec.schedule)


def test_members_take_turns_on_both_devices(spec, programs):
  (mesh_shape,) = {
    tuple(leaf.sharding.mesh.shape.items())
    for leaf in jax.tree.leaves(programs.packed)
  }
  assert mesh_shape == (('member', 1), ('data', 2))
  assert spec.stack.images_per_epoch(spec.config.batch_size) == 4 * 16
  # Of 10 stored in TFDS's validation split.
  assert len(spec.dataset.validation_labels) == 2
  assert len(spec.dataset.test_labels) == 8


def test_streams_are_those_of_the_replicates(spec):
  assert streamed.distinct_streams(spec.stack) == ([0, 2], [0, 0, 1, 1])
  for replicate in (0, 1):
    member = train_state.MemberData(
      key=streams.replicate_key(spec.config.seed, replicate),
      labels=None,
      example_ids=np.arange(18, dtype=np.int32),
    )
    expected = epoch.batch_ids(member, 1, 8)
    batches = streamed.read_epoch(spec, 2 * replicate, 1)
    ids = [batch['example_id'] for batch in batches]
    np.testing.assert_array_equal(ids, expected)


def test_chain_on_streamed_images(spec, programs, tmp_path, monkeypatch):
  monkeypatch.setattr(build, 'make_programs', lambda *_: programs)
  chain.train(small_chain.make_run(spec.config, tmp_path, spec.dataset))
  table = results.read_results(tmp_path)
  assert len(table) == 2 * 4
  assert table.epochs_trained.tolist() == [2] * 4 + [3] * 4
  losses = [
    results.read_level(tmp_path, 'chain', level)['cross_entropy']
    for level in (0, 1)
  ]
  assert np.shape(losses) == (2, 4, 18)
  assert np.isnan(losses).all(axis=(0, 1)).nonzero()[0].tolist() == [BROKEN]
  stored = results.read_level(tmp_path, 'chain', 1)
  assert (stored['prediction'][:, BROKEN] == results.UNDECODED).all()
  losses = np.delete(losses, BROKEN, axis=2)
  np.testing.assert_allclose(
    table.train_cross_entropy, losses.mean(axis=2, dtype=float).ravel()
  )
  # Arms part at the first pruning; replicates never were alike.
  np.testing.assert_array_equal(losses[0][0], losses[0][1])
  assert (losses[1][0] != losses[1][1]).any()
  assert (losses[0][0] != losses[0][2]).any()
  kept = table[(table.level == 1) & (table.arm == 'pruning')].weights_remaining
  num_weights = programs.num_weights
  assert (kept * num_weights).round().tolist() == (
    [num_weights - inputs.num_pruned_by_level(spec)[1]] * 2
  )


def test_every_example_is_evaluated_in_its_place(spec, programs):
  state = programs.create()
  found = programs.evaluate(state)['test']
  dataset, source = spec.dataset, spec.dataset.sources['test']
  images = np.stack([crops.central(source[i]['image']) for i in range(8)])
  networks = programs.networks(state)
  for member in (0, 3):
    logits = spec.eval_model.apply(
      {
        name: jax.tree.map(lambda leaf, i=member: leaf[i], networks[name])
        for name in ('params', 'batch_stats')
      },
      epoch.normalize(images, dataset.mean, dataset.std),
      train=False,
    )
    expected = evaluate.evaluate_logits(logits, dataset.test_labels)
    np.testing.assert_allclose(
      found.cross_entropy[member], expected.cross_entropy, rtol=1e-4
    )
