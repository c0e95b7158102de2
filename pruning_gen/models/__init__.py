"""The paper's networks, as Flax Linen modules. NHWC, float32 parameters."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from pruning_gen.models import lenet
from pruning_gen.models import resnet
from pruning_gen.models import vgg


class Model(NamedTuple):
  """One entry of `MODELS`."""

  build: Callable
  smallest_image: int = 1
  has_convolutions: bool = True


def _lenet(config, num_classes, width, convolution):
  del convolution
  return lenet.LeNet(
    num_classes,
    tuple(config.model.widths),
    width,
    dtype=jnp.dtype(config.dtype),
  )


def _convolutional(module, **fixed):
  def build(config, num_classes, width, convolution):
    return module(
      num_classes=num_classes,
      num_filters=config.model.num_filters,
      width_multiplier=width,
      batch_norm_scale_init=config.model.batch_norm_scale_init,
      convolution=convolution,
      dtype=jnp.dtype(config.dtype),
      **fixed,
    )

  return build


MODELS = {
  'lenet': Model(_lenet, has_convolutions=False),
  'resnet20': Model(_convolutional(resnet.CifarResNet, blocks_per_stage=3)),
  'resnet32': Model(_convolutional(resnet.CifarResNet, blocks_per_stage=5)),
  'resnet50': Model(_convolutional(resnet.ResNet50), smallest_image=32),
  'vgg16': Model(_convolutional(vgg.VGG16), smallest_image=16),
}
