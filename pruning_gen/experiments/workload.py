"""What an experiment trains, to estimate how long it takes."""

from typing import NamedTuple

from ml_collections import ConfigDict


class Workload(NamedTuple):
  """Networks that train as one stack.

  Attributes:
    networks: how many.
    epochs: how long each trains, over all levels.
    levels: how often each is evaluated.
    fraction: of the training set that each trains on.
    width: the multiplier of every layer's width.
  """

  networks: int
  epochs: int
  levels: int = 1
  fraction: float = 1.0
  width: float = 1.0

  def num_trained(self, num_train: int, batch_size: int) -> int:
    """Count images through a training step of each network."""
    steps = round(self.fraction * num_train) // batch_size
    return self.epochs * steps * batch_size

  def num_images(self, num_train: int, num_other: int, config: ConfigDict):
    """Count images through a training step of the full network.

    Args:
      num_train: examples in the training set.
      num_other: examples that networks are only evaluated on.
    """
    trained = self.num_trained(num_train, config.batch_size)
    # A forward pass is a third of a step.
    evaluated = self.levels * (num_train + num_other) / 3
    # The operations of a layer grow with the square of the width.
    return self.networks * (trained + evaluated) * self.width**2
