"""The networks, as Flax Linen modules, and the one table of them.

A new model is a function that builds it and one entry of `MODELS`;
`config.model.name` chooses from its names. Images are NHWC, parameters float32.
CONTRIBUTING.md has an example.
"""

import types
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from pruning_gen.errors import lookup
from pruning_gen.errors import UserError
from pruning_gen.models import lenet
from pruning_gen.models import resnet
from pruning_gen.models import vgg


class Model(NamedTuple):
  """One entry of `MODELS`.

  Attributes:
    build: (config, num_classes, width_multiplier, convolution) -> a module
      that is called as module(images, train). It reads the keys of
      `config.model` that it wants; `convolution` is a method of `conv.conv2d`.
      Its last layer is named 'output'.
    smallest_image: the least height and width it takes.
    has_convolutions: networks without convolutions train faster stacked in one
      large matrix product, if they are on an accelerator.
    hyperparameters: the model's own keys of `config.model`, with their
      defaults.
  """

  build: Callable[[ConfigDict, int, float, str], nn.Module]
  smallest_image: int = 1
  has_convolutions: bool = True
  hyperparameters: Mapping[str, Any] = types.MappingProxyType({})


def _build_lenet(
  config: ConfigDict,
  num_classes: int,
  width_multiplier: float,
  convolution: str,
) -> nn.Module:
  del convolution
  return lenet.LeNet(
    num_classes=num_classes,
    widths=tuple(config.model.widths),
    width_multiplier=width_multiplier,
    dtype=jnp.dtype(config.dtype),
  )


def _convolutional(module: type[nn.Module], **fixed: Any) -> Callable:
  """Return the `Model.build` of a convolutional network."""

  def build(config, num_classes, width_multiplier, convolution):
    return module(
      num_classes=num_classes,
      num_filters=config.model.num_filters,
      width_multiplier=width_multiplier,
      batch_norm_scale_init=config.model.batch_norm_scale_init,
      convolution=convolution,
      dtype=jnp.dtype(config.dtype),
      **fixed,
    )

  return build


MODELS = {
  'lenet': Model(_build_lenet, has_convolutions=False),
  'resnet20': Model(_convolutional(resnet.CifarResNet, blocks_per_stage=3)),
  'resnet32': Model(_convolutional(resnet.CifarResNet, blocks_per_stage=5)),
  'resnet50': Model(_convolutional(resnet.ResNet50)),
  # It halves an image four times, rounding down, and one pixel must be left.
  'vgg16': Model(_convolutional(vgg.VGG16), smallest_image=16),
}


def model_of(name: str) -> Model:
  """Return an entry of `MODELS`.

  Raises:
    UserError: there is none of that name.
  """
  return lookup(MODELS, name, 'config.model.name')


def add_hyperparameters(config: ConfigDict) -> None:
  """Add to `config.model` its model's hyperparameters that it does not set.

  Raises:
    UserError: there is no such model, or one that it sets has a wrong type.
  """
  model = config.model
  for key, default in model_of(model.name).hyperparameters.items():
    value = model.get(key, default)
    typed = ConfigDict({key: default})
    try:
      typed[key] = value
    except TypeError as error:
      raise UserError(
        f'config.model.{key}={value!r} must be of the type of {default!r}, its '
        'default'
      ) from error
    with model.unlocked(), model.ignore_type():
      model[key] = typed[key]
