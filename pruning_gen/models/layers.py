"""The layers the networks share, with PyTorch's padding and initial weights."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array
from jaxtyping import Float

from pruning_gen.models import conv
from pruning_gen.models import initializers

# Of the running averages: how much of them stays at every step of training.
BATCH_NORM_MOMENTUM = 0.9


def scale_width(width: int, multiplier: float) -> int:
  """Return the width of one layer in a network `multiplier` times as wide.

  Rounded half up, and at least 1.

  Args:
    width: units or channels of the layer at multiplier 1.
    multiplier: above 0; 0.8**k for level k of the width experiment.
  """
  return max(1, int(width * multiplier + 0.5))


class Conv(nn.Module):
  """A square convolution as PyTorch defines it, with `(size - 1) / 2` padding.

  The padding is the same on both sides. That of 'SAME' is not: if the stride
  is 2 and the image even, it pads only the far side.

  Attributes:
    features: channels out.
    size: height and width of the kernel, odd.
    stride: int.
    use_bias: whether a bias is added.
    method: how to compute it; see `conv.conv2d`.
    dtype: of the computation; parameters are float32.
  """

  features: int
  size: int
  stride: int = 1
  use_bias: bool = False
  method: str = 'auto'
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, x: Float[Array, 'batch height width channels']
  ) -> Float[Array, 'batch height_out width_out features']:
    """Return the convolution, in `dtype`."""
    shape = (self.size, self.size, x.shape[-1], self.features)
    kernel = self.param('kernel', initializers.he_normal, shape, jnp.float32)
    x = conv.conv2d(
      x.astype(self.dtype), kernel.astype(self.dtype), self.stride, self.method
    )
    if self.use_bias:
      bias_init = initializers.fan_in_uniform(self.size**2 * shape[2])
      bias = self.param('bias', bias_init, (self.features,), jnp.float32)
      x += bias.astype(self.dtype)[None, None, None]
    return x


def dense(
  x: Float[Array, 'batch features_in'],
  features: int,
  name: str,
  dtype: Any = jnp.float32,
) -> Float[Array, 'batch features']:
  """Apply a dense layer.

  Args:
    name: of the module; 'output' for the network's last.
    dtype: of the computation; parameters are float32.
  """
  layer = nn.Dense(
    features,
    kernel_init=initializers.he_normal,
    bias_init=initializers.fan_in_uniform(x.shape[-1]),
    dtype=dtype,
    name=name,
  )
  return layer(x)


def batch_norm(
  train: bool, scale_init: str, dtype: Any = jnp.float32
) -> Callable:
  """Return the BatchNorm of a whole network, to be called as nn.BatchNorm.

  The running variance is the biased one, as Flax has it; PyTorch's is
  n/(n-1) times that.

  Args:
    train: whether to normalize by the batch instead of the running averages.
    scale_init: a name in `initializers.BATCH_NORM_SCALES`.
    dtype: of the result; statistics and parameters are float32.
  """
  return functools.partial(
    nn.BatchNorm,
    use_running_average=not train,
    momentum=BATCH_NORM_MOMENTUM,
    epsilon=1e-5,
    scale_init=initializers.BATCH_NORM_SCALES[scale_init],
    dtype=dtype,
  )
