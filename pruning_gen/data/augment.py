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
  image = jnp.where(jax.random.bernoulli(flip_key), image[:, ::-1], image)
  border = (PADDING, PADDING)
  padded = jnp.pad(image, (border, border, (0, 0)))
  row, column = jax.random.randint(crop_key, (2,), 0, 2 * PADDING + 1)
  return jax.lax.dynamic_slice(padded, (row, column, 0), image.shape)
