"""One epoch, from shuffling to the last step, on the device."""

from collections.abc import Callable
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array
from jaxtyping import Float
from jaxtyping import Int
from jaxtyping import UInt8

from pruning_gen.data import streams
from pruning_gen.training.train_state import MemberData


def normalize(
  images: UInt8[Array, '... channels'],
  mean: Sequence[float],
  std: Sequence[float],
) -> Float[Array, '... channels']:
  """Scale images to zero mean and unit variance per channel.

  Args:
    mean: per channel, of images in [0, 1], like std.
  """
  # One multiplication and one addition per pixel instead of three operations.
  mean, std = jnp.asarray(mean, jnp.float32), jnp.asarray(std, jnp.float32)
  scale = jnp.broadcast_to(1 / (255 * std), images.shape)
  offset = jnp.broadcast_to(mean / std, images.shape)
  return images.astype(jnp.float32) * scale - offset


def batch_ids(
  member: MemberData, global_epoch: Int[Array, ''], batch_size: int
) -> Int[Array, 'steps batch']:
  """Return the example_ids of every batch: a fresh permutation per epoch.

  An incomplete last batch is dropped.
  """
  key = streams.draw_key(member.key, 'order', global_epoch)
  order = jax.random.permutation(key, member.example_ids)
  steps = len(order) // batch_size
  return order[: steps * batch_size].reshape(steps, batch_size)


def make_train_epoch(
  train_step: Callable,
  batch_size: int,
  prepare: Callable,
  augment: Callable | None = None,
) -> Callable:
  """Return the pure function of one epoch.

  Args:
    train_step: from `step.make_train_step`.
    batch_size: examples per step.
    prepare: uint8 images -> float32 images, normalized.
    augment: (key, uint8 images, example_ids) -> uint8 images.

  Returns:
    train_epoch(state, member, images, global_epoch) -> (state, losses), where
    images are uint8 [num_train, height, width, channels] and losses float32
    [steps], the cross-entropy before each step.
  """

  def train_epoch(state, member, images, global_epoch):
    augment_key = streams.draw_key(member.key, 'augment', global_epoch)
    shape = images.shape[1:]
    if not augment:
      # As rows, which are contiguous. On a TPU MNIST's images would otherwise
      # be interleaved, and each read from 28 places; CIFAR's are not.
      images = images.reshape(len(images), -1)

    def one_step(state, ids_and_labels):
      ids, labels = ids_and_labels
      batch = images[ids].reshape(len(ids), *shape)
      if augment:
        batch = augment(augment_key, batch, ids)
      return train_step(state, prepare(batch), labels)

    ids = batch_ids(member, global_epoch, batch_size)
    # Look labels up once per epoch: on a TPU, looking up one batch's labels
    # takes as long as a layer.
    return jax.lax.scan(one_step, state, (ids, member.labels[ids]))

  return train_epoch


def make_train_batch(train_step: Callable, prepare: Callable) -> Callable:
  """Return the pure function of one step on images from the host.

  Returns:
    train_batch(state, member, row, images, example_ids, valid) -> (state,
    loss). row is an int32 scalar, the stream that the member reads; images
    are uint8 [streams, batch, height, width, channels], already augmented;
    example_ids int32 and valid bool [streams, batch].
  """

  def train_batch(state, member, row, images, example_ids, valid):
    labels = member.labels[example_ids[row]]
    return train_step(state, prepare(images[row]), labels, valid[row])

  return train_batch
