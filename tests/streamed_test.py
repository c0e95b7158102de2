"""The chain on a small ImageNet, streamed."""

import functools
from unittest import mock

import jax
import numpy as np
import pytest

from configs import resnet50
from pruning_gen import config as protocol
from pruning_gen.data import streams
from pruning_gen.experiments import build
from pruning_gen.experiments import chain
from pruning_gen.models import resnet
from pruning_gen.storage import results
from pruning_gen.training import epoch
from pruning_gen.training import train_state
from tests import small_imagenet


@pytest.fixture(scope='module')
def config(tmp_path_factory):
  folder = tmp_path_factory.mktemp('imagenet')

  def split(first, n):
    images = [small_imagenet.encode(first + i, 90, 70 + i) for i in range(n)]
    return images, [(first + i) % 7 for i in range(n)]

  small_imagenet.write(
    folder / 'data', train=split(0, 20), validation=split(100, 10)
  )
  config = resnet50.get_config('small')
  config.data.dir = str(folder / 'data')
  config.data.cache_dir = str(folder / 'cache')
  config.data.num_train = 18
  config.model.num_filters = 1
  config.replicates = 2
  config.noise_fractions = (0.2,)
  config.batch_size = 8
  config.eval_batch_size = 8
  config.learning_rate = 0.01
  config.devices.count = 2
  return config


@pytest.fixture(scope='module')
def engine(config):
  """Compile an engine of 8 layers: those of 50 take two minutes."""
  protocol.check(config)
  dataset = protocol.load_dataset(config)
  small = functools.partial(resnet.CifarResNet, blocks_per_stage=1)
  with mock.patch.dict(build.CONVOLUTIONAL, resnet50=small):
    return build.make_engine(config, dataset, protocol.list_members(config))


@pytest.mark.slow
def test_it_is_the_streamed_engine_over_both_devices(engine):
  assert dict(engine.mesh.shape) == {'member': 1, 'data': 2}
  assert engine.images_per_epoch == 4 * 16
  # Of 10 stored in TFDS's validation split.
  assert len(engine.dataset.validation_labels) == 2
  assert len(engine.dataset.test_labels) == 8


@pytest.mark.slow
def test_streams_are_those_of_the_replicates(engine, config):
  assert engine._streams == [0, 2]
  assert engine._stream_of == [0, 0, 1, 1]
  for replicate in (0, 1):
    member = train_state.MemberData(
      key=streams.replicate_key(config.seed, replicate),
      labels=None,
      example_ids=np.arange(18, dtype=np.int32),
    )
    expected = epoch.batch_ids(member, 1, 8)
    ids = [batch['example_id'] for batch in engine._read(2 * replicate, 1)]
    np.testing.assert_array_equal(ids, expected)


@pytest.mark.slow
def test_chain_on_streamed_images(config, engine, tmp_path, monkeypatch):
  monkeypatch.setattr(build, 'make_engine', lambda *_: engine)
  chain.run(config, tmp_path, engine.dataset, lambda: False)
  table = results.read_results(tmp_path)
  assert len(table) == 2 * 4
  assert table.epochs_trained.tolist() == [2] * 4 + [3] * 4
  losses = [
    results.read_level(tmp_path, 'chain', level)['cross_entropy']
    for level in (0, 1)
  ]
  assert losses[0].shape == (4, 18)
  assert np.isfinite(losses).all()
  # Arms part at the first pruning; replicates never were alike.
  np.testing.assert_array_equal(losses[0][0], losses[0][1])
  assert (losses[1][0] != losses[1][1]).any()
  assert (losses[0][0] != losses[0][2]).any()
  kept = table[(table.level == 1) & (table.arm == 'pruning')].weights_remaining
  assert (kept * engine.num_weights).round().tolist() == (
    [engine.num_weights - engine.num_pruned_by_level[1]] * 2
  )


@pytest.mark.slow
def test_scores_are_of_every_example_in_its_place(engine):
  state = engine.create()
  scores = engine.score(state)['test']
  assert scores.cross_entropy.shape == (4, 8)
  assert (scores.prediction >= 0).all()
  again = engine.score(state)['test']
  jax.tree.map(np.testing.assert_array_equal, scores, again)
