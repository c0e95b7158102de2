"""The state of one member, and how it begins."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from pruning_gen.data import streams
from pruning_gen.pruning import masks as masks_lib


@flax.struct.dataclass
class TrainState:
  """What training changes. Every leaf gets a leading [members] axis in a stack.

  Attributes:
    params: tree of float32 arrays; exactly 0.0 wherever its mask is False.
    batch_stats: BatchNorm's running averages; empty where there are none.
    masks: tree of bool like `params`, True = kept.
    opt_state: the optax state; its `count` is the step within the level.
    early: (params, batch_stats) at the rewind epoch of level 0, for arms that
      rewind weights; empty where no member of the stack does.
  """

  params: Any
  batch_stats: Any
  masks: Any
  opt_state: optax.OptState
  early: Any = ()


@flax.struct.dataclass
class MemberData:
  """What tells one member from another, and training leaves as it is.

  Attributes:
    key: the replicate's PRNG key (`streams.replicate_key`).
    labels: int32 [num_train], training labels by example_id.
    example_ids: int32 [num_examples], the examples it trains on.
    score: int32 scalar, which of the stack's pruning scores it goes by.
    rewinds_weights: bool scalar.
  """

  key: jax.Array
  labels: jax.Array
  example_ids: jax.Array
  score: jax.Array | None = None
  rewinds_weights: jax.Array | None = None


def create(model, tx, image_shape, keeps_early, key):
  """Initialise a dense network.

  Args:
    model: Linen module, called as model(images, train).
    tx: optax transformation.
    image_shape: (height, width, channels).
    keeps_early: bool, whether to keep weights to rewind to.
    key: the replicate's key; arms of one replicate begin alike.

  Returns:
    A TrainState.
  """
  init_key = streams.draw_key(key, 'init', 0)
  images = jnp.zeros((1, *image_shape), jnp.float32)
  variables = model.init(init_key, images, train=False)
  params = variables['params']
  state = TrainState(
    params=params,
    batch_stats=variables.get('batch_stats', {}),
    masks=masks_lib.all_kept(params),
    opt_state=tx.init(params),
  )
  return remember(state) if keeps_early else state


def remember(state):
  """Keep the weights as they are now, to be rewound to later."""
  return state.replace(early=(state.params, state.batch_stats))
