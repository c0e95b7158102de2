import ast

import pytest

from configs import default
from configs import lenet
from configs import quickstart
from configs import resnet20
from configs import resnet32
from configs import resnet50
from configs import vgg16
from pruning_gen import config as config_rules
from pruning_gen.errors import UserError
from pruning_gen.models import MODELS
from pruning_gen.storage import provenance


@pytest.mark.parametrize(
  'module', [default, lenet, quickstart, resnet20, resnet32, resnet50, vgg16]
)
def test_configs_obey_the_rules(module):
  config_rules.check(module.get_config())


@pytest.mark.parametrize('module', [resnet20, resnet32, vgg16])
def test_small_variants_obey_the_rules(module):
  config = module.get_config('small')
  config_rules.check(config)
  assert config.data.num_train == 10_000
  assert config.model.num_filters == 8


def test_the_variant_for_a_cpu_obeys_the_rules():
  config = resnet20.get_config('cpu')
  config_rules.check(config)
  # Two of the paper's steps at once.
  assert config.prune_fraction == pytest.approx(1 - 0.8**2)
  assert 0.01 < (1 - config.prune_fraction) ** config.levels < 0.02


def test_the_small_imagenet_obeys_the_rules():
  config_rules.check(resnet50.get_config('small'))


@pytest.mark.parametrize('module', [resnet20, resnet32, resnet50, vgg16])
@pytest.mark.parametrize('size', ['smal', 'Small', ''])
def test_a_misspelt_size_is_not_the_papers(module, size):
  assert module.get_config('paper').to_dict() == module.get_config().to_dict()
  with pytest.raises(ValueError, match=f"'{size}' .*'small'"):
    module.get_config(size)


@pytest.mark.parametrize(
  'key, value, remedy',
  [
    ('prune_fraction', 1.0, '(0, 1)'),
    # An arm that prunes would remove nothing.
    ('prune_fraction', 0.0, '(0, 1)'),
    ('prune_fraction', -0.1, '(0, 1)'),
    ('levels', -1, 'at least 0'),
    ('noise_fractions', (0.0, 1.5), '[0, 1]'),
    ('noise_fractions', (-0.1,), '[0, 1]'),
    ('noise_fractions', (), 'at least one'),
    ('noise_fractions', (0.1, 0.1), 'at most once'),
    ('noise_fractions', (0.0, 0.0001), '1437'),
    ('rewind_epoch', 40, 'below epochs (40)'),
    ('rewind_epoch', -1, 'at least 0'),
    ('batch_size', 2000, 'at most 1437'),
    ('batch_size', 0, 'at least 1'),
    ('num_subgroups', 1438, 'at most 1437'),
    ('arms', (), 'pruning, extended_dense'),
    ('arms', ('pruning', 'pruning'), 'at most once'),
    ('leave_out.sets', ('hard',), 'most_improved, most_worsened'),
    ('noise.kind', 'gaussian', 'other, uniform, permuted, pair'),
    ('data.num_train', 1438, '1437'),
    ('data.num_train', -1, '1437'),
    ('model.name', 'vgg16', '16x16'),
    ('model.num_filters', 0, 'at least 1'),
    ('data.dir', 'gs://bucket/tfds', 'folder'),
    ('data.cache_dir', 'gs://bucket', 'folder'),
    ('dtype', 'float16', 'float32, bfloat16'),
    ('eval_precision', 'low', 'default, high, highest'),
    ('devices.count', -1, 'at least 0'),
    ('model.widths', (300, 0), 'at least 1'),
    ('model.widths', (), 'hidden layer'),
    ('replicates', 0, 'at least 1'),
    ('first_replicate', 2**16, '65536'),
    ('epochs', 0, 'at least 1'),
    ('learning_rate', 0.0, 'above 0'),
    ('momentum', 1.0, '[0, 1)'),
    ('width.fraction', 1.0, '(0, 1)'),
    ('stacking', 'scan', 'auto, vmap, map'),
    ('checkpoint.every_epochs', 0, 'at least 1'),
    ('checkpoint.keep_levels', (0, 21), '0 to 20'),
    ('checkpoint.keep_levels', ('best',), "'optimal' or 'all'"),
    ('checkpoint.keep_levels', ([0],), "'optimal' or 'all'"),
    ('experiments', (['chain'],), 'chain, width'),
    ('noise_fractions', ('a',), 'numbers'),
    ('noise_fractions', (True,), 'numbers'),
    ('noise_fractions', ([0.1],), 'numbers'),
    ('milestones', ('a',), 'whole numbers'),
    ('milestones', (1.5,), 'whole numbers'),
    ('milestones', (True,), 'whole numbers'),
    ('model.widths', ('x',), 'whole numbers'),
    ('model.widths', (300.5, 100), 'whole numbers'),
    ('leave_out.levels', ('x',), 'whole numbers'),
    ('leave_out.levels', (2.5,), 'whole numbers'),
    ('leave_out.levels', (21,), '1 to 20'),
    ('seed', -1, 'at least 0'),
    ('seed', 2**32, '4294967296'),
    ('seed', 2**70, '4294967296'),
    ('warmup_epochs', 40, 'below epochs (40)'),
    ('warmup_epochs', 40, '--config.warmup_epochs=4'),
    ('milestones', (20, 40), 'below epochs (40)'),
    ('milestones', (20, 40), "--config.milestones='(20,30)'"),
    ('milestones', (30, 20), 'rising'),
    ('milestones', (0,), 'above 0'),
    ('el2n.epoch', 41, 'at most epochs (40)'),
  ],
)
def test_a_broken_rule_names_key_value_and_remedy(key, value, remedy):
  config = default.get_config()
  with config.ignore_type():
    config.update_from_flattened_dict({key: value})
  with pytest.raises(UserError) as error:
    config_rules.check(config)
  message = str(error.value)
  assert message.startswith(f'config.{key}={value!r} ')
  assert remedy in message.removeprefix(f'config.{key}={value!r} ')


def test_a_key_that_is_missing():
  config = default.get_config()
  with config.unlocked():
    del config.el2n.epoch
  with pytest.raises(UserError, match=r'config\.el2n\.epoch '):
    config_rules.check(config)


def test_whole_numbers_are_fractions_too():
  config = default.get_config()
  config.noise_fractions = (0, 0.5, 1)
  config_rules.check(config)


def test_the_largest_seed():
  config = default.get_config()
  config.seed = 2**32 - 1
  config_rules.check(config)


@pytest.mark.parametrize('epochs', range(1, 9))
def test_the_milestones_to_pass_can_be_passed(epochs):
  config = default.get_config()
  config.experiments = ('chain',)
  config.epochs = epochs
  config.milestones = (epochs,)
  with pytest.raises(UserError) as error:
    config_rules.check(config)
  value = str(error.value).partition("--config.milestones='")[2].rstrip("'")
  config.milestones = ast.literal_eval(value)
  config_rules.check(config)


def test_what_el2n_needs_is_asked_of_el2n():
  config = default.get_config()
  config.epochs = 1
  config.experiments = ('chain', 'width')
  config_rules.check(config)
  config.experiments = ('el2n',)
  with pytest.raises(UserError, match=r'config\.el2n\.epoch=2 .*\(1\)'):
    config_rules.check(config)


def test_streamed_images_have_no_arm_gradient():
  config = resnet50.get_config()
  config.arms = ('pruning', 'gradient')
  with pytest.raises(UserError) as error:
    config_rules.check(config)
  message = str(error.value)
  assert message.startswith("config.arms=('pruning', 'gradient') ")
  assert 'leave out gradient,' in message and 'imagenet2012' in message
  # Of the experiments the chain alone has arms.
  config.experiments = ('width', 'el2n')
  config_rules.check(config)


def test_the_subset_is_the_training_set():
  config = default.get_config()
  config.data.num_train = 100
  with pytest.raises(UserError, match=r'config\.batch_size=128 .*\b100\b'):
    config_rules.check(config)


@pytest.mark.parametrize(
  'key, value', [('arms', ('extended_dense',)), ('levels', 0)]
)
def test_leave_out_needs_a_chain_that_prunes(key, value):
  config = default.get_config()
  config.leave_out.levels = ()
  config[key] = value
  with pytest.raises(UserError) as error:
    config_rules.check(config)
  message = str(error.value)
  assert message.startswith(f'config.experiments={config.experiments!r} ')
  assert f'config.{key}={value!r}' in message and "'pruning'" in message
  config.experiments = ('chain', 'width', 'el2n')
  config_rules.check(config)


def test_defaults_are_of_every_key_also_of_a_model_of_its_own(monkeypatch):
  own = MODELS['lenet']._replace(hyperparameters={'depth': 3})
  monkeypatch.setitem(MODELS, 'lenet', own)
  config = default.get_config()
  config.model.depth = 5
  config.epochs = 7
  defaults = provenance.flatten(config_rules.defaults(config))
  assert defaults.keys() == provenance.flatten(config.to_dict()).keys()
  assert (defaults['model.depth'], defaults['epochs']) == (3, 40)
