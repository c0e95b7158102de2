"""VGG-16 (Simonyan and Zisserman 2015) with BatchNorm, for small images."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array
from jaxtyping import Float

from pruning_gen.models import layers

# (convolutions, channels in units of `num_filters`) of each stage.
_STAGES = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))


class VGG16(nn.Module):
  """13 3x3 convolutions in five stages, then one dense layer.

  After each stage except the last a 2x2 max pool; after the last the average
  of all positions, instead of the original's dense layers (as in OpenLTH).

  Images are normalized already, their height and width at least 16; the logits
  are float32.

  Attributes:
    num_classes: how many logits.
    num_filters: channels of the first stage; the stages have 1, 2, 4, 8 and 8
      times as many.
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
    norm = layers.batch_norm(train, self.batch_norm_scale_init, self.dtype)
    x = images
    for stage, (num_convs, factor) in enumerate(_STAGES):
      if stage > 0:
        x = nn.max_pool(x, (2, 2), (2, 2))
      width = layers.scale_width(
        self.num_filters * factor, self.width_multiplier
      )
      for i in range(num_convs):
        x = layers.Conv(
          width,
          3,
          use_bias=True,
          method=self.convolution,
          dtype=self.dtype,
          name=f'conv_{stage}_{i}',
        )(x)
        x = nn.relu(norm(name=f'norm_{stage}_{i}')(x))
    x = x.mean(axis=(1, 2))
    return layers.dense(x, self.num_classes, 'output')
