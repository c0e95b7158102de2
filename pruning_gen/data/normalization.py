"""The mean and the standard deviation that images are normalized with."""

import numpy as np
from jaxtyping import UInt8

from pruning_gen.errors import UserError


def mean_and_std(
  images: UInt8[np.ndarray, 'n height width channels'],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """Return both per channel, of pixels in [0, 1].

  Raises:
    UserError: in one channel all pixels are the same.
  """
  levels = np.arange(256) / 255
  means, stds = [], []
  for channel in np.moveaxis(images, -1, 0):
    # Exact, and in parts: bincount copies what it counts, to int64.
    counts = sum(
      np.bincount(part.ravel(), minlength=256)
      for part in np.array_split(channel, len(channel) // 100 + 1)
    )
    mean = np.average(levels, weights=counts)
    variance = np.average((levels - mean) ** 2, weights=counts)
    means.append(float(mean))
    stds.append(float(np.sqrt(variance)))
  if 0 in stds:
    raise UserError(
      'all pixels of a channel of the training images are the same: leave the '
      'channel out, or pass --config.data.mean and --config.data.std'
    )
  return tuple(means), tuple(stds)
