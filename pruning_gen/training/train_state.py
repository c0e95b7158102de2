"""The state of one network, and its initialization."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array
from jaxtyping import Bool
from jaxtyping import Int
from jaxtyping import Key

from pruning_gen.data import streams
from pruning_gen.pruning import masks


@flax.struct.dataclass
class TrainState:
  """What training changes.

  Attributes:
    params: tree of float32 arrays; exactly 0.0 wherever the mask is False.
    batch_stats: BatchNorm's running averages; empty for networks without.
    masks: tree of bool like `params`, True where a weight is kept.
    opt_state: the optax state; its schedule's `count` is a step of standard
      training: later levels begin at the rewind step (`schedule.rewind`).
    rewind_point: (params, batch_stats) at the rewind epoch of level 0, for
      arms that rewind weights; empty if no network of the stack does.
  """

  params: Any
  batch_stats: Any
  masks: Any
  opt_state: optax.OptState
  rewind_point: Any = ()


@flax.struct.dataclass
class MemberData:
  """What distinguishes one network from another, and training never changes.

  Attributes:
    key: the replicate's PRNG key (`streams.replicate_key`).
    labels: training labels by example_id.
    example_ids: the examples it trains on.
    num_pruned: how many weights are removed before each level; all 0 in an
      arm that does not prune.
    score: which of the stack's pruning scores ranks its weights.
    rewinds_weights: whether its weights are rewound.
  """

  key: Key[Array, '']
  labels: Int[Array, ' num_train']
  example_ids: Int[Array, ' num_examples']
  num_pruned: Int[Array, ' levels'] | None = None
  score: Int[Array, ''] | None = None
  rewinds_weights: Bool[Array, ''] | None = None


def create(
  model: nn.Module,
  optimizer: optax.GradientTransformation,
  image_shape: tuple[int, int, int],
  has_rewind_point: bool,
  key: Key[Array, ''],
) -> TrainState:
  """Initialize a dense network; networks of one key start out identical."""
  init_key = streams.draw_key(key, 'init', 0)
  images = jnp.zeros((1, *image_shape), jnp.float32)
  variables = model.init(init_key, images, train=False)
  params = variables['params']
  state = TrainState(
    params=params,
    batch_stats=variables.get('batch_stats', {}),
    masks=masks.all_kept(params),
    opt_state=optimizer.init(params),
  )
  return set_rewind_point(state) if has_rewind_point else state


def set_rewind_point(state: TrainState) -> TrainState:
  """Store the current weights as those to rewind to."""
  return state.replace(rewind_point=(state.params, state.batch_stats))


def variables(state: TrainState) -> dict[str, Any]:
  """Return the variables that a Linen module is applied to."""
  return {'params': state.params, 'batch_stats': state.batch_stats}


def shapes(tree: Any, sharding: jax.sharding.Sharding | None = None) -> Any:
  """Return a tree's shapes and dtypes without its values."""
  return jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding
    ),
    tree,
  )
