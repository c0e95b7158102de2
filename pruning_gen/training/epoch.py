"""One epoch of one member, from shuffling to the last step, on the device."""

import jax
import jax.numpy as jnp

from pruning_gen.data import streams
from pruning_gen.engine import over_members as members


def normalize(images, mean, std):
  """Scale uint8 images to floats of zero mean and unit variance.

  Args:
    images: uint8 [..., channels].
    mean: per channel, of images in [0, 1].
    std: likewise.

  Returns:
    float32 [..., channels].
  """
  # One multiplication and one addition a pixel, in place of three operations.
  mean, std = jnp.asarray(mean, jnp.float32), jnp.asarray(std, jnp.float32)
  scale = jnp.broadcast_to(1 / (255 * std), images.shape)
  offset = jnp.broadcast_to(mean / std, images.shape)
  return images.astype(jnp.float32) * scale - offset


def batch_ids(member, global_epoch, batch_size):
  """Return the examples of every batch of an epoch, a fresh permutation.

  Args:
    member: MemberData.
    global_epoch: int32 scalar, from `schedules.global_epoch`.
    batch_size: int.

  Returns:
    int32 [steps, batch_size], example_ids. The remainder of the permutation
    that fills no batch is left out.
  """
  key = streams.draw_key(member.key, 'order', global_epoch)
  order = jax.random.permutation(key, member.example_ids)
  steps = len(order) // batch_size
  return order[: steps * batch_size].reshape(steps, batch_size)


def make_train_epoch(train_step, batch_size, mean, std, augment=None):
  """Return the pure function of one epoch.

  Args:
    train_step: from `step.make_train_step`.
    batch_size: int.
    mean: the data set's mean by channel.
    std: likewise.
    augment: (key, uint8 images, example_ids) -> uint8 images, or None.

  Returns:
    train_epoch(state, member, images, global_epoch) -> (state, losses), where
    images are uint8 [num_train, height, width, channels] and losses float32
    [steps], the cross-entropy before each step.
  """

  def train_epoch(state, member, images, global_epoch):
    augment_key = streams.draw_key(member.key, 'augment', global_epoch)
    shape = images.shape[1:]
    if not augment:
      # Rows, which lie together. MNIST's images else lie across one another on
      # a TPU, and each is read from 28 places; CIFAR's, to be cropped, do not.
      images = images.reshape(len(images), -1)

    def one_step(state, ids):
      batch = members.spread_batch(images[ids].reshape(len(ids), *shape))
      if augment:
        batch = augment(augment_key, batch, ids)
      return train_step(state, normalize(batch, mean, std), member.labels[ids])

    ids = batch_ids(member, global_epoch, batch_size)
    return jax.lax.scan(one_step, state, ids)

  return train_epoch
