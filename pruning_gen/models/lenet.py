"""LeNet-300-100, the fully connected network of LeCun et al. (1998)."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array
from jaxtyping import Float

from pruning_gen.models import layers


class LeNet(nn.Module):
  """A multi-layer perceptron with ReLU, two hidden layers by default.

  Images are normalized already; the logits are float32.

  Attributes:
    num_classes: how many logits.
    widths: units of each hidden layer.
    width_multiplier: the factor of every hidden layer's width.
    dtype: of the computation; parameters are float32.
  """

  num_classes: int
  widths: tuple[int, ...] = (300, 100)
  width_multiplier: float = 1.0
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, images: Float[Array, 'batch height width channels'], train: bool
  ) -> Float[Array, 'batch num_classes']:
    """Return the logits of a batch."""
    del train  # Nothing here behaves differently in training.
    x = images.reshape(len(images), -1)
    for i, width in enumerate(self.widths):
      width = layers.scale_width(width, self.width_multiplier)
      x = nn.relu(layers.dense(x, width, f'dense_{i}', self.dtype))
    return layers.dense(x, self.num_classes, 'output')
