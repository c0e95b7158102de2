"""LeNet-300-100, the fully connected network of LeCun et al. (1998)."""

from flax import linen as nn

from pruning_gen.models import initializers


class LeNet(nn.Module):
  """A multi-layer perceptron with ReLU, two hidden layers by default.

  Called with images [batch, height, width, channels], float32, already
  normalised; returns logits [batch, num_classes], float32.

  Attributes:
    num_classes: how many logits.
    widths: units of each hidden layer.
  """

  num_classes: int
  widths: tuple[int, ...] = (300, 100)

  @nn.compact
  def __call__(self, images, train):
    """Return the logits of a batch; see the class."""
    del train  # Nothing here behaves differently in training.
    x = images.reshape(len(images), -1)
    for i, width in enumerate(self.widths):
      x = nn.relu(_dense(x, width, f'dense_{i}'))
    return _dense(x, self.num_classes, 'output')


def _dense(x, features, name):
  layer = nn.Dense(
    features,
    kernel_init=initializers.he_normal,
    bias_init=initializers.fan_in_uniform(x.shape[-1]),
    name=name,
  )
  return layer(x)
