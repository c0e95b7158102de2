"""Augmentation of images on the device, inside the jitted step."""

import jax
import jax.numpy as jnp

PADDING = 4


def flip_and_crop(key, images, example_ids):
  """Flip and shift each image on its own, as is usual for CIFAR.

  Half of the images are mirrored; each is padded by 4 black pixels a side and
  cropped back at a random place. Before normalisation, so black is 0.

  Args:
    key: PRNG key of the epoch; with it and its example_id an image's
      augmentation is fixed, whatever batch it is in.
    images: uint8 [batch, height, width, channels].
    example_ids: int32 [batch].

  Returns:
    uint8 like `images`.
  """
  return jax.vmap(_flip_and_crop_one, (None, 0, 0))(key, images, example_ids)


def _flip_and_crop_one(key, image, example_id):
  flip_key, crop_key = jax.random.split(jax.random.fold_in(key, example_id))
  height, width, _ = image.shape
  shift = jax.random.randint(crop_key, (2,), 0, 2 * PADDING + 1) - PADDING
  rows = jnp.arange(height) + shift[0]
  columns = jnp.arange(width) + shift[1]
  is_flipped = jax.random.bernoulli(flip_key)
  columns = jnp.where(is_flipped, width - 1 - columns, columns)
  # Products that pick one pixel each, exactly: 8 bits fit any type of float. A
  # slice at a place of its own would be a loop over the images on a TPU, as
  # long as half of ResNet-20's step. What is outside picks nothing: black.
  return jnp.einsum(
    'ai,bj,ijc->abc',
    jax.nn.one_hot(rows, height),
    jax.nn.one_hot(columns, width),
    image.astype(jnp.float32),
  ).astype(image.dtype)
