"""Residual networks (He et al. 2016): ResNet-20 and -32, and ResNet-50 v1.5."""

import functools
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array
from jaxtyping import Float

from pruning_gen.models import layers


class CifarResNet(nn.Module):
  """Three stages of basic blocks, for small images.

  Depth 6 n + 2: n = 3 blocks per stage make ResNet-20, 5 make ResNet-32. If a
  block changes the shape, its shortcut is a 1x1 convolution with BatchNorm, as
  in OpenLTH, and not the zero padding of He et al.

  Images are normalized already; the logits are float32.

  Attributes:
    num_classes: how many logits.
    blocks_per_stage: n above.
    num_filters: channels of the first stage; they double with each stage.
    width_multiplier: the factor of every layer's width.
    batch_norm_scale_init: 'uniform' or 'ones'.
    convolution: how convolutions are computed; see `conv.conv2d`.
    dtype: of the computation; parameters are float32.
  """

  num_classes: int
  blocks_per_stage: int = 3
  num_filters: int = 16
  width_multiplier: float = 1.0
  batch_norm_scale_init: str = 'uniform'
  convolution: str = 'auto'
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, images: Float[Array, 'batch height width channels'], train: bool
  ) -> Float[Array, 'batch num_classes']:
    """Return the logits of a batch."""
    conv = functools.partial(
      layers.Conv, method=self.convolution, dtype=self.dtype
    )
    norm = layers.batch_norm(train, self.batch_norm_scale_init, self.dtype)
    widths = [
      layers.scale_width(self.num_filters * 2**stage, self.width_multiplier)
      for stage in range(3)
    ]
    x = conv(widths[0], 3, name='conv_stem')(images)
    x = nn.relu(norm(name='norm_stem')(x))
    for stage, width in enumerate(widths):
      for i in range(self.blocks_per_stage):
        stride = 2 if stage > 0 and i == 0 else 1
        block = BasicBlock(conv, norm, width, stride, name=f'block_{stage}_{i}')
        x = block(x)
    x = x.mean(axis=(1, 2))
    return layers.dense(x, self.num_classes, 'output')


class BasicBlock(nn.Module):
  """Two 3x3 convolutions next to a shortcut.

  Attributes:
    conv: layers.Conv with the arguments that all convolutions share.
    norm: nn.BatchNorm likewise.
    width: channels out.
    stride: of the first convolution and of the shortcut.
  """

  conv: Any
  norm: Any
  width: int
  stride: int

  @nn.compact
  def __call__(
    self, x: Float[Array, 'batch height width channels']
  ) -> Float[Array, 'batch height_out width_out width']:
    """Return the output of the block."""
    y = self.conv(self.width, 3, self.stride, name='conv_0')(x)
    y = nn.relu(self.norm(name='norm_0')(y))
    y = self.conv(self.width, 3, name='conv_1')(y)
    y = self.norm(name='norm_1')(y)
    if self.stride != 1 or x.shape[-1] != self.width:
      x = self.conv(self.width, 1, self.stride, name='conv_shortcut')(x)
      x = self.norm(name='norm_shortcut')(x)
    return nn.relu(x + y)


class ResNet50(nn.Module):
  """ResNet-50 v1.5, for ImageNet: four stages of 3, 4, 6, 3 bottleneck blocks.

  In v1.5 the stride of a block is in its 3x3 convolution, as in PyTorch, not in
  the 1x1 before it.

  Images are normalized already; the logits are float32.

  Attributes:
    num_classes: how many logits.
    num_filters: channels of the stem; 4 times as many leave the first stage,
      and they double with each stage.
    width_multiplier: the factor of every layer's width.
    batch_norm_scale_init: 'uniform' or 'ones'.
    convolution: how convolutions are computed; see `conv.conv2d`.
    dtype: of the computation; parameters are float32.
  """

  num_classes: int
  num_filters: int = 64
  width_multiplier: float = 1.0
  batch_norm_scale_init: str = 'uniform'
  convolution: str = 'auto'
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, images: Float[Array, 'batch height width channels'], train: bool
  ) -> Float[Array, 'batch num_classes']:
    """Return the logits of a batch."""
    conv = functools.partial(
      layers.Conv, method=self.convolution, dtype=self.dtype
    )
    norm = layers.batch_norm(train, self.batch_norm_scale_init, self.dtype)

    def scaled(width):
      return layers.scale_width(width, self.width_multiplier)

    x = conv(scaled(self.num_filters), 7, 2, name='conv_stem')(images)
    x = nn.relu(norm(name='norm_stem')(x))
    x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
    for stage, num_blocks in enumerate((3, 4, 6, 3)):
      width = self.num_filters * 2**stage
      for i in range(num_blocks):
        x = BottleneckBlock(
          conv,
          norm,
          width=scaled(width),
          width_out=scaled(4 * width),
          stride=2 if stage > 0 and i == 0 else 1,
          name=f'block_{stage}_{i}',
        )(x)
    x = x.mean(axis=(1, 2))
    return layers.dense(x, self.num_classes, 'output')


class BottleneckBlock(nn.Module):
  """A 1x1, a 3x3 and a 1x1 convolution next to a shortcut.

  Attributes:
    conv: layers.Conv with the arguments that all convolutions share.
    norm: nn.BatchNorm likewise.
    width: channels within.
    width_out: channels out.
    stride: of the 3x3 convolution and of the shortcut.
  """

  conv: Any
  norm: Any
  width: int
  width_out: int
  stride: int

  @nn.compact
  def __call__(
    self, x: Float[Array, 'batch height width channels']
  ) -> Float[Array, 'batch height_out width_out channels_out']:
    """Return the output of the block."""
    y = self.conv(self.width, 1, name='conv_0')(x)
    y = nn.relu(self.norm(name='norm_0')(y))
    y = self.conv(self.width, 3, self.stride, name='conv_1')(y)
    y = nn.relu(self.norm(name='norm_1')(y))
    y = self.conv(self.width_out, 1, name='conv_2')(y)
    y = self.norm(name='norm_2')(y)
    if self.stride != 1 or x.shape[-1] != self.width_out:
      x = self.conv(self.width_out, 1, self.stride, name='conv_shortcut')(x)
      x = self.norm(name='norm_shortcut')(x)
    return nn.relu(x + y)
