"""The rules a config must obey, and the members and labels it stands for."""

import functools
import hashlib
import operator

import numpy as np

from pruning_gen.data import datasets
from pruning_gen.data import label_noise
from pruning_gen.data import streams
from pruning_gen.engine import over_members as members_lib
from pruning_gen.errors import UserError
from pruning_gen.pruning import arms
from pruning_gen.storage import files

EXPERIMENTS = ('chain', 'width', 'el2n', 'leave_out')
LEAVE_OUT_SETS = (
  'most_improved',
  'most_worsened',
  'misclassified',
  'subgroups',
)
MODELS = ('lenet', 'resnet20', 'resnet32', 'resnet50', 'vgg16')
STACKINGS = ('auto', 'vmap', 'map')
ON_BROKEN = ('stop', 'skip')
ON_DIVERGENCE = ('stop', 'continue')
DTYPES = ('float32', 'bfloat16')
PRECISIONS = ('default', 'high', 'highest')
BATCH_NORM_SCALES = ('uniform', 'ones')
# The smallest image whose last stage is left a pixel: a network halves its
# image so many times.
SMALLEST_IMAGES = {'vgg16': 16, 'resnet50': 32}
# Data sets that the host reads batch by batch.
STREAMED = ('imagenet2012',)
AT_LEAST = {
  'replicates': 1,
  'first_replicate': 0,
  'seed': 0,
  'levels': 0,
  'epochs': 1,
  'rewind_epoch': 0,
  'batch_size': 1,
  'eval_batch_size': 1,
  'warmup_epochs': 0,
  'weight_decay': 0,
  'num_subgroups': 1,
  'checkpoint.every_epochs': 1,
  'checkpoint.keep': 1,
  'data.num_workers': 0,
  'devices.count': 0,
  'devices.data_parallel': 0,
  'model.num_filters': 1,
  'width.levels': 0,
  'el2n.epoch': 1,
  'el2n.networks': 1,
}


def check(config):
  """Check every rule a config must obey, before anything is loaded or run.

  Raises:
    UserError: names the key, its value and what would be right.
  """
  _check_names(config)
  _check_elements(config)
  _check_ranges(config)
  _check_tuples(config)
  _check_schedule(config)
  _check_data(config)
  _check_experiments(config)


def _check_names(config):
  """Check keys whose values are names: of what there is."""
  _check_choices('experiments', config.experiments, EXPERIMENTS)
  _check_choices('arms', config.arms, tuple(arms.ARMS))
  _check_choices('leave_out.sets', config.leave_out.sets, LEAVE_OUT_SETS)
  _check_choice('data.name', config.data.name, tuple(datasets.DATASETS))
  _check_choice('model.name', config.model.name, MODELS)
  _check_choice('stacking', config.stacking, STACKINGS)
  _check_choice('data.on_broken', config.data.on_broken, ON_BROKEN)
  _check_choice('on_divergence', config.on_divergence, ON_DIVERGENCE)
  _check_choice('dtype', config.dtype, DTYPES)
  _check_choice('matmul_precision', config.matmul_precision, PRECISIONS)
  _check_choice(
    'model.batch_norm_scale_init',
    config.model.batch_norm_scale_init,
    BATCH_NORM_SCALES,
  )


def _check_elements(config):
  """Check the types of what tuples hold; ml_collections does not."""
  for key, types, rule in (
    ('noise_fractions', (int, float), 'hold numbers only'),
    ('milestones', (int,), 'hold whole numbers only'),
    ('model.widths', (int,), 'hold whole numbers only'),
    ('leave_out.levels', (int,), 'hold whole numbers only'),
  ):
    values = _get(config, key)
    # Not `isinstance`, to which a bool is an int.
    _check(all(type(value) in types for value in values), key, values, rule)


def _check_ranges(config):
  """Check the numbers that have bounds of their own."""
  for key, least in AT_LEAST.items():
    value = _get(config, key)
    _check(value >= least, key, value, f'be at least {least}')
  _check(
    config.seed < 2**32,
    'seed',
    config.seed,
    f'be below {2**32}: JAX takes 32 bits, and would repeat a smaller seed',
  )
  _check(
    config.first_replicate + config.replicates <= streams.MAX_REPLICATES,
    'first_replicate',
    config.first_replicate,
    f'leave all replicates below {streams.MAX_REPLICATES}',
  )
  _check(
    0 <= config.prune_fraction < 1,
    'prune_fraction',
    config.prune_fraction,
    'be in [0, 1): the part of the remaining weights that goes at a level',
  )
  _check(0 <= config.momentum < 1, 'momentum', config.momentum, 'be in [0, 1)')
  _check(
    config.learning_rate > 0,
    'learning_rate',
    config.learning_rate,
    'be above 0',
  )
  for key in ('width.fraction', 'leave_out.fraction'):
    value = _get(config, key)
    _check(0 < value < 1, key, value, 'be between 0 and 1')


def _check_tuples(config):
  """Check the numbers that tuples hold."""
  for fraction in config.noise_fractions:
    _check(0 <= fraction <= 1, 'noise_fractions', fraction, 'be in [0, 1]')
  _check(
    len(set(config.noise_fractions)) == len(config.noise_fractions) > 0,
    'noise_fractions',
    config.noise_fractions,
    'name at least one fraction, each once',
  )
  milestones = list(config.milestones)
  _check(
    milestones == sorted(set(milestones)) and min(milestones, default=1) > 0,
    'milestones',
    config.milestones,
    'be epochs above 0, in rising order',
  )
  _check(
    all(width >= 1 for width in config.model.widths),
    'model.widths',
    config.model.widths,
    'have at least 1 unit in every layer',
  )


def _check_schedule(config):
  """Check that what happens at an epoch happens before the last."""
  epochs = config.epochs
  _check(
    config.rewind_epoch < epochs,
    'rewind_epoch',
    config.rewind_epoch,
    f'be below epochs ({epochs}), or a level has nothing to train',
  )
  _check(
    config.warmup_epochs < epochs,
    'warmup_epochs',
    config.warmup_epochs,
    f'be below epochs ({epochs}), or learning_rate is never reached: pass, '
    f'say, --config.warmup_epochs={epochs // 10}',
  )
  # As the CIFAR panels have them: halfway and after three quarters.
  example = str(tuple(sorted({epochs // 2, epochs * 3 // 4} - {0})))
  _check(
    all(milestone < epochs for milestone in config.milestones),
    'milestones',
    config.milestones,
    f'be below epochs ({epochs}), or the learning rate does not fall there: '
    f"pass, say, --config.milestones='{example.replace(' ', '')}'",
  )


def _check_data(config):
  """Check that the data set is where it can be, and fits what trains on it."""
  name, info = config.data.name, datasets.DATASETS[config.data.name]
  size = min(info.image_shape[:2])
  smallest = SMALLEST_IMAGES.get(config.model.name, 1)
  _check(
    size >= smallest,
    'model.name',
    config.model.name,
    f'see images of at least {smallest}x{smallest} pixels; those of {name} '
    f'have {size}x{size}: choose another data.name or model',
  )
  for key in ('data.dir', 'data.cache_dir'):
    value = _get(config, key)
    _check(
      not files.is_in_bucket(value),
      key,
      value,
      'be a folder of this machine: copy the bucket, or mount it',
    )
  _check(
    0 <= config.data.num_train <= info.num_train,
    'data.num_train',
    config.data.num_train,
    f'be 0 (all) or at most {info.num_train}, the size of {name}',
  )
  num_train = config.data.num_train or info.num_train
  for key in ('batch_size', 'num_subgroups'):
    _check(
      config[key] <= num_train,
      key,
      config[key],
      f'be at most {num_train}, the size of the training set',
    )


def _check_experiments(config):
  """Check what only one of the experiments asks for, where it is to run."""
  if 'chain' in config.experiments and config.data.name in STREAMED:
    _check(
      'gradient' not in {arms.ARMS[arm].score for arm in config.arms},
      'arms',
      config.arms,
      "leave out 'gradient', which needs all training images on the devices: "
      f'those of {config.data.name} are streamed',
    )
  if 'el2n' in config.experiments:
    _check(
      config.el2n.epoch <= config.epochs,
      'el2n.epoch',
      config.el2n.epoch,
      f'be at most epochs ({config.epochs})',
    )
  if 'leave_out' in config.experiments:
    _check_leave_out(config)


def _check_leave_out(config):
  _check(
    'pruning' in config.arms and config.levels > 0,
    'experiments',
    config.experiments,
    "have a chain with an arm 'pruning' and at least 1 level for leave_out: "
    'set config.arms and config.levels so, or drop leave_out',
  )
  for level in config.leave_out.levels:
    _check(
      1 <= level <= config.levels,
      'leave_out.levels',
      level,
      f'be levels of the chain, 1 to {config.levels}',
    )


def _get(config, key):
  return functools.reduce(operator.getitem, key.split('.'), config)


def _check(holds, key, value, rule):
  if not holds:
    raise UserError(f'config.{key}={value!r} must {rule}')


def _check_choice(key, value, choices):
  _check(value in choices, key, value, f'be one of: {", ".join(choices)}')


def _check_choices(key, values, choices):
  # First of all that they are names, which a set can hold.
  for value in values:
    _check_choice(key, value, choices)
  _check(
    len(set(values)) == len(values) > 0,
    key,
    values,
    f'name at least one of: {", ".join(choices)}; each once',
  )


def load_dataset(config):
  """Load the data set that a config names: a Dataset, or a StreamedDataset."""
  data = config.data
  if data.name in STREAMED:
    # Grain takes a second to import, and no other data set needs it.
    from pruning_gen.data import imagenet

    return imagenet.load(data.dir, data.cache_dir, data.num_train)
  return datasets.load(data.name, data.dir, data.cache_dir, data.num_train)


def describe_dataset(dataset):
  """Return what tells one version of a data set from another, for JSON.

  Args:
    dataset: Dataset, or StreamedDataset, of which labels alone are looked at.
  """
  digest = hashlib.sha256()
  for split in ('train', 'validation', 'test'):
    for kind in ('labels', 'images'):
      array = getattr(dataset, f'{split}_{kind}', None)
      if array is not None:
        digest.update(np.ascontiguousarray(array))
  return {
    'name': dataset.name,
    'num_train': len(dataset.train_labels),
    'sha256': digest.hexdigest()[:16],
  }


def label_sets(config):
  """List the draws of the labels: (noise_fraction, replicate)."""
  first = config.first_replicate
  return [
    (noise_fraction, replicate)
    for noise_fraction in config.noise_fractions
    for replicate in range(first, first + config.replicates)
  ]


def list_members(config):
  """List the members of the chain, arms innermost.

  Neighbours are thus comparable: the arms of one noise level and replicate
  see the same labels, in the same order.
  """
  return [
    members_lib.Member(arm, noise_fraction, replicate)
    for noise_fraction, replicate in label_sets(config)
    for arm in config.arms
  ]


def draw_labels(config, dataset, members):
  """Draw every member's training labels, before the run and once for all.

  Args:
    config: the config.
    dataset: Dataset.
    members: list of Member.

  Returns:
    labels: int32 [member, example_id]; the same for all arms of a replicate.
    is_noisy: bool [member, example_id].
  """

  # A stack of hundreds has a dozen draws: each is made once.
  @functools.cache
  def draw(noise_fraction, replicate):
    key = streams.replicate_key(config.seed, replicate)
    return label_noise.corrupt_labels(
      streams.draw_key(key, 'noise', 0),
      dataset.train_labels,
      dataset.num_classes,
      noise_fraction,
    )

  drawn = [draw(member.noise_fraction, member.replicate) for member in members]
  labels, is_noisy = zip(*drawn)
  return np.stack(labels), np.stack(is_noisy)
