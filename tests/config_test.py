import ast

import numpy as np
import pytest

from configs import default
from configs import lenet
from configs import quickstart
from configs import resnet20
from configs import resnet32
from configs import resnet50
from configs import vgg16
from pruning_gen import config as protocol
from pruning_gen.errors import UserError


@pytest.mark.parametrize(
  'module', [default, lenet, quickstart, resnet20, resnet32, resnet50, vgg16]
)
def test_configs_obey_the_rules(module):
  protocol.check(module.get_config())


@pytest.mark.parametrize('module', [resnet20, resnet32, vgg16])
def test_small_variants_obey_the_rules(module):
  config = module.get_config('small')
  protocol.check(config)
  assert config.data.num_train == 10_000
  assert config.model.num_filters == 8


def test_the_small_imagenet_obeys_the_rules():
  protocol.check(resnet50.get_config('small'))


@pytest.mark.parametrize('module', [resnet20, resnet32, resnet50, vgg16])
@pytest.mark.parametrize('size', ['smal', 'Small', ''])
def test_a_misspelt_size_is_not_the_papers(module, size):
  assert module.get_config('paper').to_dict() == module.get_config().to_dict()
  with pytest.raises(ValueError, match=f"size '{size}' must be 'small'"):
    module.get_config(size)


@pytest.mark.parametrize(
  'key, value, rule',
  [
    ('prune_fraction', 1.0, 'be in [0, 1)'),
    ('prune_fraction', -0.1, 'be in [0, 1)'),
    ('levels', -1, 'be at least 0'),
    ('noise_fractions', (0.0, 1.5), 'be in [0, 1]'),
    ('noise_fractions', (-0.1,), 'be in [0, 1]'),
    ('noise_fractions', (), 'name at least one fraction'),
    ('noise_fractions', (0.1, 0.1), 'each once'),
    ('rewind_epoch', 40, 'be below epochs (40)'),
    ('rewind_epoch', -1, 'be at least 0'),
    ('batch_size', 2000, 'be at most 1437, the size of the training set'),
    ('batch_size', 0, 'be at least 1'),
    ('arms', ('pruning', 'lottery'), 'be one of: pruning, extended_dense'),
    ('arms', (), 'name at least one of: pruning, extended_dense'),
    ('experiments', ('chains',), 'be one of: chain'),
    ('data.name', 'cifar', 'be one of: digits, mnist, cifar10'),
    ('data.num_train', 1438, 'at most 1437, the size of digits'),
    ('model.name', 'resnet', 'be one of: lenet, resnet20'),
    ('model.name', 'vgg16', 'images of at least 16x16 pixels; those of digits'),
    ('model.num_filters', 0, 'be at least 1'),
    ('data.dir', 'gs://bucket/tfds', 'be a folder of this machine'),
    ('data.cache_dir', 'gs://bucket', 'copy the bucket, or mount it'),
    ('dtype', 'float16', 'be one of: float32, bfloat16'),
    ('devices.count', -1, 'be at least 0'),
    ('model.widths', (300, 0), 'at least 1 unit in every layer'),
    ('replicates', 0, 'be at least 1'),
    ('epochs', 0, 'be at least 1'),
    ('learning_rate', 0.0, 'be above 0'),
    ('momentum', 1.0, 'be in [0, 1)'),
    ('stacking', 'scan', 'be one of: auto, vmap, map'),
    ('checkpoint.every_epochs', 0, 'be at least 1'),
    ('experiments', (['chain'],), 'be one of: chain'),
    ('noise_fractions', ('a',), 'hold numbers only'),
    ('noise_fractions', (True,), 'hold numbers only'),
    ('noise_fractions', ([0.1],), 'hold numbers only'),
    ('milestones', ('a',), 'hold whole numbers only'),
    ('milestones', (1.5,), 'hold whole numbers only'),
    ('milestones', (True,), 'hold whole numbers only'),
    ('model.widths', ('x',), 'hold whole numbers only'),
    ('model.widths', (300.5, 100), 'hold whole numbers only'),
    ('leave_out.levels', ('x',), 'hold whole numbers only'),
    ('leave_out.levels', (2.5,), 'hold whole numbers only'),
    ('leave_out.levels', (21,), 'be levels of the chain, 1 to 20'),
    ('seed', -1, 'be at least 0'),
    ('seed', 2**32, 'be below 4294967296'),
    ('seed', 2**70, 'be below 4294967296'),
    ('warmup_epochs', 40, 'below epochs (40), or learning_rate is never'),
    ('warmup_epochs', 40, 'pass, say, --config.warmup_epochs=4'),
    ('milestones', (20, 40), 'be below epochs (40), or the learning rate'),
    ('milestones', (20, 40), "pass, say, --config.milestones='(20,30)'"),
    ('milestones', (30, 20), 'be epochs above 0, in rising order'),
    ('el2n.epoch', 41, 'be at most epochs (40)'),
  ],
)
def test_a_broken_rule_names_key_value_and_remedy(key, value, rule):
  config = default.get_config()
  with config.ignore_type():
    config.update_from_flattened_dict({key: value})
  with pytest.raises(UserError) as error:
    protocol.check(config)
  message = str(error.value)
  # The value itself, or the one of several that breaks the rule.
  shown = [value, *value] if isinstance(value, tuple) else [value]
  assert any(message.startswith(f'config.{key}={v!r} must ') for v in shown)
  assert rule in message


def test_whole_numbers_are_fractions_too():
  config = default.get_config()
  config.noise_fractions = (0, 0.5, 1)
  protocol.check(config)


def test_the_largest_seed():
  config = default.get_config()
  config.seed = 2**32 - 1
  protocol.check(config)


@pytest.mark.parametrize('epochs', range(1, 9))
def test_the_milestones_to_pass_can_be_passed(epochs):
  config = default.get_config()
  config.experiments = ('chain',)
  config.epochs = epochs
  config.milestones = (epochs,)
  with pytest.raises(UserError) as error:
    protocol.check(config)
  value = str(error.value).partition("--config.milestones='")[2].rstrip("'")
  config.milestones = ast.literal_eval(value)
  protocol.check(config)


def test_what_el2n_needs_is_asked_of_el2n():
  config = default.get_config()
  config.epochs = 1
  config.experiments = ('chain', 'width')
  protocol.check(config)
  config.experiments = ('el2n',)
  with pytest.raises(UserError, match=r'el2n.epoch=2 must be at most epochs'):
    protocol.check(config)


def test_streamed_images_have_no_arm_gradient():
  config = resnet50.get_config()
  config.arms = ('pruning', 'gradient')
  with pytest.raises(UserError) as error:
    protocol.check(config)
  assert str(error.value) == (
    "config.arms=('pruning', 'gradient') must leave out 'gradient', which "
    'needs all training images on the devices: those of imagenet2012 are '
    'streamed'
  )
  # Of the experiments the chain alone has arms.
  config.experiments = ('width', 'el2n')
  protocol.check(config)


def test_the_subset_is_the_training_set():
  config = default.get_config()
  config.data.num_train = 100
  with pytest.raises(UserError, match=r'batch_size=128 must be at most 100'):
    protocol.check(config)


def test_members_and_their_labels(config, digits):
  config.replicates = 2
  config.first_replicate = 5
  members = protocol.list_members(config)
  assert len(members) == 8
  assert [str(member) for member in members[:3]] == [
    'pruning, noise 0, replicate 5',
    'extended_dense, noise 0, replicate 5',
    'pruning, noise 0, replicate 6',
  ]
  labels, is_noisy = protocol.draw_labels(config, digits, members)
  assert labels.shape == is_noisy.shape == (8, 200)
  assert is_noisy.sum(axis=1).tolist() == [0] * 4 + [40] * 4
  np.testing.assert_array_equal(labels[0], digits.train_labels)
  # Both arms of a replicate see the same labels; replicates differ.
  np.testing.assert_array_equal(labels[4], labels[5])
  assert (labels[4] != labels[6]).any()
  np.testing.assert_array_equal(labels[4] != digits.train_labels, is_noisy[4])
