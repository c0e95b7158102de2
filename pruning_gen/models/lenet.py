"""LeNet-300-100, the fully connected network of LeCun et al. (1998)."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from pruning_gen.models import layers


class LeNet(nn.Module):
  """A multi-layer perceptron with ReLU, two hidden layers by default.

  Called with images [batch, height, width, channels], float32, already
  normalised; returns logits [batch, num_classes], float32.

  Attributes:
    num_classes: how many logits.
    widths: units of each hidden layer.
    width_multiplier: what every hidden layer's width is multiplied by.
    dtype: of the computation; parameters are float32.
  """

  num_classes: int
  widths: tuple[int, ...] = (300, 100)
  width_multiplier: float = 1.0
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, images, train):
    """Return the logits of a batch; see the class."""
    del train  # Nothing here behaves differently in training.
    x = images.reshape(len(images), -1)
    for i, width in enumerate(self.widths):
      width = layers.scale_width(width, self.width_multiplier)
      x = nn.relu(layers.dense(x, width, f'dense_{i}', self.dtype))
    return layers.dense(x, self.num_classes, 'output')
