"""From the keys of a config to a model, an optimizer and an engine."""

import functools

import jax
import jax.numpy as jnp

from pruning_gen.data import datasets
from pruning_gen.engine.programs import Engine
from pruning_gen.models import lenet
from pruning_gen.models import resnet
from pruning_gen.models import vgg
from pruning_gen.pruning import masks
from pruning_gen.training import schedule as schedules
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


def make_engine(config, dataset, members, example_ids=None, width=1.0):
  """Build the engine of a stack of members.

  Args:
    config: the config.
    dataset: Dataset, or StreamedDataset.
    members: list of Member.
    example_ids: int32 [members, n], the examples each trains on; None for all
      of them.
    width: float, what every layer's width is multiplied by.
  """
  if isinstance(dataset, datasets.Dataset):
    engine = Engine
  else:
    from pruning_gen.engine.streamed import StreamedEngine

    engine = StreamedEngine
  num_train = len(dataset.train_labels)
  if example_ids is not None:
    num_train = example_ids.shape[1]
  return engine(
    config,
    dataset,
    members,
    make_model(config, dataset.num_classes, width),
    make_optimizer(config, num_train // config.batch_size),
    example_ids,
  )


def num_weights(config, dataset):
  """Count the weights in all kernels of a network of full width."""
  model = make_model(config, dataset.num_classes)
  images = jax.ShapeDtypeStruct((1, *dataset.image_shape), jnp.float32)
  variables = jax.eval_shape(
    functools.partial(model.init, train=False), jax.random.key(0), images
  )
  return masks.num_weights(variables['params'])
