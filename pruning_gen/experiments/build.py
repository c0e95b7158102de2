"""From the keys of a config to a model, an optimizer and an engine."""

import functools

import jax.numpy as jnp

from pruning_gen.data import datasets
from pruning_gen.experiments.engine import Engine
from pruning_gen.models import lenet
from pruning_gen.models import resnet
from pruning_gen.models import vgg
from pruning_gen.pruning import schedules
from pruning_gen.training import step

CONVOLUTIONAL = {
  'resnet20': functools.partial(resnet.CifarResNet, blocks_per_stage=3),
  'resnet32': functools.partial(resnet.CifarResNet, blocks_per_stage=5),
  'resnet50': resnet.ResNet50,
  'vgg16': vgg.VGG16,
}


def make_model(config, num_classes, width_multiplier=1.0):
  """Build the model that a config names.

  Args:
    config: the config.
    num_classes: int.
    width_multiplier: float, what every layer's width is multiplied by.
  """
  shared = {
    'num_classes': num_classes,
    'width_multiplier': width_multiplier,
    'dtype': jnp.dtype(config.dtype),
  }
  if config.model.name == 'lenet':
    return lenet.LeNet(widths=tuple(config.model.widths), **shared)
  return CONVOLUTIONAL[config.model.name](
    num_filters=config.model.num_filters,
    batch_norm_scale_init=config.model.batch_norm_scale_init,
    **shared,
  )


def make_optimizer(config, steps_per_epoch):
  """Build the optimizer of one level, with its learning-rate schedule."""
  schedule = schedules.learning_rate(
    config.learning_rate,
    config.milestones,
    config.warmup_epochs,
    steps_per_epoch,
  )
  return step.sgd(schedule, config.momentum, config.weight_decay)


def make_engine(config, dataset, members):
  """Build the engine of a stack of members.

  Args:
    config: the config.
    dataset: Dataset, or StreamedDataset.
    members: list of Member.
  """
  if isinstance(dataset, datasets.Dataset):
    engine = Engine
  else:
    from pruning_gen.experiments.streamed_engine import StreamedEngine

    engine = StreamedEngine
  return engine(
    config,
    dataset,
    members,
    make_model(config, dataset.num_classes),
    make_optimizer(config, len(dataset.train_labels) // config.batch_size),
  )
