"""Initial weights, as PyTorch and OpenLTH draw them."""

import math
from collections.abc import Callable

import jax
from flax import linen as nn

# He normal on the fan-in, not truncated: OpenLTH's `kaiming_normal`.
he_normal = nn.initializers.variance_scaling(2.0, 'fan_in', 'normal')


def fan_in_uniform(fan_in: int) -> Callable:
  """Return PyTorch's default bias initializer for a layer.

  It draws uniformly from [-1/sqrt(fan_in), 1/sqrt(fan_in)).

  Args:
    fan_in: how many inputs one output of the layer has.
  """
  bound = 1 / math.sqrt(fan_in)

  def initialize(key, shape, dtype):
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return initialize


# Of BatchNorm's scale: uniform on [0, 1) as in OpenLTH, or 1 as in PyTorch.
BATCH_NORM_SCALES = {
  'uniform': nn.initializers.uniform(scale=1.0),
  'ones': nn.initializers.ones,
}
