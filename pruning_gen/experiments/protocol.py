"""The rules a config must obey, and the members and labels it stands for."""

import functools
import hashlib

import numpy as np

from pruning_gen.data import datasets
from pruning_gen.data import label_noise
from pruning_gen.data import streams
from pruning_gen.errors import UserError
from pruning_gen.experiments import arms
from pruning_gen.storage import files
from pruning_gen.training import members as members_lib

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


def check(config):
  """Check every rule a config must obey, before anything is loaded or run.

  Raises:
    UserError: names the key, its value and what would be right.
  """
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
  size = min(datasets.DATASETS[config.data.name].image_shape[:2])
  smallest = SMALLEST_IMAGES.get(config.model.name, 1)
  _check(
    size >= smallest,
    'model.name',
    config.model.name,
    f'see images of at least {smallest}x{smallest} pixels; those of '
    f'{config.data.name} have {size}x{size}: choose another data.name or model',
  )
  for fraction in config.noise_fractions:
    _check(0 <= fraction <= 1, 'noise_fractions', fraction, 'be in [0, 1]')
  _check(
    len(set(config.noise_fractions)) == len(config.noise_fractions) > 0,
    'noise_fractions',
    config.noise_fractions,
    'name at least one fraction, each once',
  )
  at_least = {
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
  }
  for key, least in at_least.items():
    _check(config[key] >= least, key, config[key], f'be at least {least}')
  for section, key, least in (
    ('checkpoint', 'every_epochs', 1),
    ('checkpoint', 'keep', 1),
    ('data', 'num_workers', 0),
    ('devices', 'count', 0),
    ('devices', 'data_parallel', 0),
    ('model', 'num_filters', 1),
    ('width', 'levels', 0),
    ('el2n', 'epoch', 1),
    ('el2n', 'networks', 1),
  ):
    value = config[section][key]
    _check(value >= least, f'{section}.{key}', value, f'be at least {least}')
  _check(
    0 <= config.prune_fraction < 1,
    'prune_fraction',
    config.prune_fraction,
    'be in [0, 1): the part of the remaining weights that goes at a level',
  )
  _check(
    config.rewind_epoch < config.epochs,
    'rewind_epoch',
    config.rewind_epoch,
    f'be below epochs ({config.epochs}), or a level has nothing to train',
  )
  _check(
    config.first_replicate + config.replicates <= streams.MAX_REPLICATES,
    'first_replicate',
    config.first_replicate,
    f'leave all replicates below {streams.MAX_REPLICATES}',
  )
  _check(
    config.el2n.epoch <= config.epochs,
    'el2n.epoch',
    config.el2n.epoch,
    f'be at most epochs ({config.epochs})',
  )
  milestones = list(config.milestones)
  _check(
    milestones == sorted(set(milestones)) and min(milestones, default=1) > 0,
    'milestones',
    config.milestones,
    'be epochs above 0, in rising order',
  )
  for section, key in (('width', 'fraction'), ('leave_out', 'fraction')):
    value = config[section][key]
    _check(0 < value < 1, f'{section}.{key}', value, 'be between 0 and 1')
  if 'leave_out' in config.experiments:
    _check_leave_out(config)
  _check(0 <= config.momentum < 1, 'momentum', config.momentum, 'be in [0, 1)')
  _check(
    config.learning_rate > 0,
    'learning_rate',
    config.learning_rate,
    'be above 0',
  )
  _check(
    all(width >= 1 for width in config.model.widths),
    'model.widths',
    config.model.widths,
    'have at least 1 unit in every layer',
  )
  for key in ('dir', 'cache_dir'):
    value = config.data[key]
    _check(
      not files.is_in_bucket(value),
      f'data.{key}',
      value,
      'be a folder of this machine: copy the bucket, or mount it',
    )
  available = datasets.DATASETS[config.data.name].num_train
  _check(
    0 <= config.data.num_train <= available,
    'data.num_train',
    config.data.num_train,
    f'be 0 (all) or at most {available}, the size of {config.data.name}',
  )
  num_train = config.data.num_train or available
  _check(
    config.batch_size <= num_train,
    'batch_size',
    config.batch_size,
    f'be at most {num_train}, the size of the training set',
  )
  _check(
    config.num_subgroups <= num_train,
    'num_subgroups',
    config.num_subgroups,
    f'be at most {num_train}, the size of the training set',
  )


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


def _check(holds, key, value, rule):
  if not holds:
    raise UserError(f'config.{key}={value!r} must {rule}')


def _check_choice(key, value, choices):
  _check(value in choices, key, value, f'be one of: {", ".join(choices)}')


def _check_choices(key, values, choices):
  _check(
    len(set(values)) == len(values) > 0,
    key,
    values,
    f'name at least one of: {", ".join(choices)}; each once',
  )
  for value in values:
    _check_choice(key, value, choices)


def load_dataset(config):
  """Load the data set that a config names: a Dataset, or a StreamedDataset."""
  data = config.data
  if data.name == 'imagenet2012':
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
