"""The state of one member, and how it begins."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from pruning_gen.data import streams
from pruning_gen.pruning import masks as masks_lib
from pruning_gen.pruning import schedules
from pruning_gen.pruning import scores


@flax.struct.dataclass
class TrainState:
  """What training changes. Every leaf gets a leading [members] axis in a stack.

  Attributes:
    params: tree of float32 arrays; exactly 0.0 wherever its mask is False.
    batch_stats: BatchNorm's running averages; empty where there are none.
    masks: tree of bool like `params`, True = kept.
    opt_state: the optax state; its `count` is the step within the level.
  """

  params: Any
  batch_stats: Any
  masks: Any
  opt_state: optax.OptState


@flax.struct.dataclass
class MemberData:
  """What tells one member from another, and training leaves as it is.

  Attributes:
    key: the replicate's PRNG key (`streams.replicate_key`).
    labels: int32 [num_train], training labels by example_id.
    example_ids: int32 [num_examples], the examples it trains on.
  """

  key: jax.Array
  labels: jax.Array
  example_ids: jax.Array


def create(model, tx, image_shape, key):
  """Initialise a dense network.

  Args:
    model: Linen module, called as model(images, train).
    tx: optax transformation.
    image_shape: (height, width, channels).
    key: the replicate's key; arms of one replicate begin alike.

  Returns:
    A TrainState.
  """
  init_key = streams.draw_key(key, 'init', 0)
  images = jnp.zeros((1, *image_shape), jnp.float32)
  variables = model.init(init_key, images, train=False)
  params = variables['params']
  return TrainState(
    params=params,
    batch_stats=variables.get('batch_stats', {}),
    masks=masks_lib.all_kept(params),
    opt_state=tx.init(params),
  )


def start_level(tx, prunable, rewind_step, num_pruned, state):
  """Prune by magnitude, then rewinds the learning rate.

  Weights and BatchNorm statistics carry over, momentum starts at zero.

  Args:
    tx: optax transformation.
    prunable: tree of Python bool, from `masks.prunable`.
    rewind_step: int, the step of the schedule to restart from.
    num_pruned: int32 scalar, how many weights go; 0 in extended dense training.
    state: TrainState at the end of the level before.

  Returns:
    The TrainState before the first step of the level.
  """
  masks = masks_lib.prune(
    state.masks, scores.magnitude(state.params), prunable, num_pruned
  )
  params = masks_lib.apply(state.params, masks)
  return state.replace(
    params=params,
    masks=masks,
    opt_state=schedules.rewind(tx, params, rewind_step),
  )
