import numpy as np
import pytest

from configs import default
from configs import lenet
from configs import quickstart
from configs import resnet20
from configs import resnet32
from configs import vgg16
from pruning_gen.errors import UserError
from pruning_gen.experiments import protocol


@pytest.mark.parametrize(
  'module', [default, lenet, quickstart, resnet20, resnet32, vgg16]
)
def test_configs_obey_the_rules(module):
  protocol.check(module.get_config())


@pytest.mark.parametrize('module', [resnet20, resnet32, vgg16])
def test_small_variants_obey_the_rules(module):
  config = module.get_config('small')
  protocol.check(config)
  assert config.data.num_train == 10_000
  assert config.model.num_filters == 8


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
