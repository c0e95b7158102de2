"""ImageNet's crops: random ones to train on, central ones to evaluate on."""

import io
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from pruning_gen.data import streams

IMAGE_SIZE = 224
# Images are resized to this on their shorter side, then cropped centrally.
SHORTER_SIDE = 256
# Of a random crop: the fraction of the image's area, and width over height.
CROP_AREA = (0.1, 1.0)
CROP_RATIO = (0.8, 1.25)
CROP_TRIES = 10


def augmented(
  seed: int, replicate: int, global_epoch: int, encoded: bytes, example_id: int
) -> UInt8[np.ndarray, '224 224 3']:
  """Decode an image, crop it randomly, and flip it with probability 1/2.

  Raises:
    Exception: whatever Pillow raises for a damaged image.
  """
  flip, *crop_draws = augment_draws(seed, replicate, global_epoch, example_id)
  image = Image.open(io.BytesIO(encoded))
  left, top, width, height = random_crop(*image.size, crop_draws)
  # A JPEG decodes faster at a half, quarter or eighth of its size, as long as
  # the crop keeps at least the pixels that come out.
  reduction = _reduce(image, min(width, height) // IMAGE_SIZE)
  box = (left, top, left + width, top + height)
  pixels = _resize(image, tuple(edge / reduction for edge in box))
  return pixels[:, ::-1] if flip < 0.5 else pixels


def central(encoded: bytes) -> UInt8[np.ndarray, '224 224 3']:
  """Decode an image, resize its shorter side to 256, and crop it centrally.

  Raises:
    Exception: whatever Pillow raises for a damaged image.
  """
  image = Image.open(io.BytesIO(encoded))
  return _resize(image, center_box(*image.size))


def augment_draws(
  seed: int, replicate: int, global_epoch: int, example_id: int
) -> list[float]:
  """Draw the random numbers that determine one augmented image.

  Philox turns a key and a counter into random bits. Both name the draw here,
  so that any image of any epoch costs the same. Raw bits, because NumPy never
  changes those, but may change its distributions.

  Returns:
    1 + 4 * CROP_TRIES numbers, uniform in [0, 1).
  """
  stream = streams.STREAMS.index('augment')
  bits = np.random.Philox(
    key=np.array([seed, replicate], np.uint64),
    # The lowest word, which comes first, counts the draws.
    counter=np.array([0, stream, global_epoch, example_id], np.uint64),
  )
  raw = bits.random_raw(1 + 4 * CROP_TRIES)
  return ((raw >> 11) * 2.0**-53).tolist()


def random_crop(
  width: int, height: int, draws: Sequence[float]
) -> tuple[int, int, int, int]:
  """Choose a crop, uniform in area and in the logarithm of its ratio.

  The first of `CROP_TRIES` that fits, at a uniform place. If none does, the
  largest central crop with a ratio in range, as in torchvision.

  Args:
    draws: 4 * CROP_TRIES numbers in [0, 1).

  Returns:
    (left, top, width, height) of the crop.
  """
  low, high = CROP_AREA
  narrow, wide = CROP_RATIO
  for i in range(0, 4 * CROP_TRIES, 4):
    area_draw, ratio_draw, left_draw, top_draw = draws[i : i + 4]
    area = width * height * (low + (high - low) * area_draw)
    ratio = narrow * (wide / narrow) ** ratio_draw
    crop_width = round(math.sqrt(area * ratio))
    crop_height = round(math.sqrt(area / ratio))
    if 0 < crop_width <= width and 0 < crop_height <= height:
      left = int(left_draw * (width - crop_width + 1))
      top = int(top_draw * (height - crop_height + 1))
      return left, top, crop_width, crop_height
  crop_width = min(width, round(height * wide))
  crop_height = min(height, round(width / narrow))
  left, top = (width - crop_width) // 2, (height - crop_height) // 2
  return left, top, crop_width, crop_height


def center_box(width: int, height: int) -> tuple[float, float, float, float]:
  """Return the part of an image that a central crop shows.

  Resizing only that part gives the pixels of a crop from the resized whole.

  Returns:
    (left, top, right, bottom), in pixels of the image.
  """
  shorter = min(width, height)
  # Rounded as in torchvision.
  sides = [SHORTER_SIDE * side // shorter for side in (width, height)]
  edges = [round((side - IMAGE_SIZE) / 2) for side in sides]
  scales = [width / sides[0], height / sides[1]]
  left, top = (edge * scale for edge, scale in zip(edges, scales))
  right, bottom = (
    (edge + IMAGE_SIZE) * scale for edge, scale in zip(edges, scales)
  )
  return left, top, right, bottom


def _reduce(image: Image.Image, factor: int) -> float:
  """Have a JPEG decoded smaller, by at most `factor`; return by how much."""
  if factor < 2:
    return 1
  width, height = image.size
  drafted = image.draft(None, (width // factor, height // factor))
  if drafted is None:  # Not a JPEG.
    return 1
  _, (_, _, reduced_width, _) = drafted
  return width / reduced_width


def _resize(
  image: Image.Image, box: tuple[float, float, float, float]
) -> UInt8[np.ndarray, '224 224 3']:
  """Decode an image, and scale a part of it."""
  # One image of the original data is a PNG, 22 are CMYK and some are gray;
  # TFDS corrects the first two kinds when it prepares them.
  if image.mode != 'RGB':
    image = image.convert('RGB')
  size = (IMAGE_SIZE, IMAGE_SIZE)
  return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box))
