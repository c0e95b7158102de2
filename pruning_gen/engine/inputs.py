"""The inputs of a stack's programs: what they are compiled from, and data."""

import functools
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from pruning_gen.data import streams
from pruning_gen.engine import mesh
from pruning_gen.engine.mesh import Layout
from pruning_gen.engine.over_members import over_members
from pruning_gen.engine.stack import Stack
from pruning_gen.pruning import arms
from pruning_gen.pruning import masks
from pruning_gen.training import epoch
from pruning_gen.training import train_state
from pruning_gen.training.schedule import Schedule
from pruning_gen.training.train_state import MemberData


class Spec(NamedTuple):
  """What the programs of a stack are compiled from."""

  config: ConfigDict
  dataset: Any
  stack: Stack
  model: nn.Module
  optimizer: optax.GradientTransformation
  schedule: Schedule
  layout: Layout

  @property
  def arms(self) -> list[arms.Arm]:
    """The arm of each member."""
    return [arms.arm_of(member.arm) for member in self.stack.members]

  @property
  def eval_batch_size(self) -> int:
    """At most a split, rounded up to a multiple of the axis `data`."""
    dataset = self.dataset
    largest = max(len(dataset.train_labels), len(dataset.test_labels))
    batch_size = min(self.config.eval_batch_size, largest)
    return batch_size + -batch_size % self.layout.mesh.shape['data']

  @property
  def eval_model(self) -> nn.Module:
    """The model in float32, whatever it trains in."""
    has_dtype = hasattr(self.model, 'dtype')
    return self.model.clone(dtype=jnp.float32) if has_dtype else self.model

  def prepare(self, images: jax.Array) -> jax.Array:
    """Spread a batch of uint8 images over the devices, and normalize it."""
    images = mesh.spread_batch(images)
    return epoch.normalize(images, self.dataset.mean, self.dataset.std)


def has_rewind_point(spec: Spec) -> bool:
  """Return whether the states of a stack hold weights to rewind to."""
  return any(arm.rewinds_weights for arm in spec.arms)


def make_create(spec: Spec) -> Callable:
  """Compile the initialization of a stack, a function of its keys."""
  create = functools.partial(
    train_state.create,
    spec.model,
    spec.optimizer,
    spec.dataset.image_shape,
    has_rewind_point(spec),
  )
  return over_members(create, spec.layout, (0,), optimize=False)


def score_names(spec: Spec) -> list[str]:
  """List the pruning scores in use, which `MemberData.score` indexes."""
  return sorted({arm.score for arm in spec.arms})


def abstract_params(spec: Spec) -> Any:
  """Return the parameters of one member, without values."""
  return abstract_variables(spec.model, spec.dataset.image_shape)['params']


def abstract_variables(model: nn.Module, image_shape: Sequence[int]) -> Any:
  """Return the variables of a network, without values."""
  images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
  init = functools.partial(model.init, train=False)
  return jax.eval_shape(init, jax.random.key(0), images)


def layer_names(spec: Spec) -> list[str]:
  """List the layers that have a kernel, as 'block/conv', input first."""
  names = []

  def find(tree: dict[str, Any], outer: tuple[str, ...] = ()) -> None:
    for name, inner in tree.items():
      if isinstance(inner, dict):
        find(inner, (*outer, name))
      elif name == 'kernel':
        names.append('/'.join(outer))

  def init(key, images):
    # Outside of here, JAX sorts the layers by name.
    variables = spec.model.init(key, images, train=False)
    find(variables['params'])
    return variables

  images = jax.ShapeDtypeStruct((1, *spec.dataset.image_shape), jnp.float32)
  jax.eval_shape(init, jax.random.key(0), images)
  return names


def num_pruned_by_level(spec: Spec) -> list[int]:
  """Count the weights that an arm that prunes removes before each level."""
  params, config = abstract_params(spec), spec.config
  prunable = masks.prunable(params, config.prune_output)
  return masks.num_pruned_by_level(
    masks.num_weights(params),
    masks.num_prunable(params, prunable),
    config.prune_fraction,
    spec.schedule.levels,
  )


def _member_arrays(spec: Spec) -> dict[str, np.ndarray]:
  """Return what distinguishes the members, as stacked NumPy arrays."""
  stack, rows, names = spec.stack, spec.layout.rows, score_names(spec)
  members = [stack.members[row] for row in rows]
  own_arms = [arms.arm_of(member.arm) for member in members]
  counts = num_pruned_by_level(spec)
  return {
    'replicate': np.int32([member.replicate for member in members]),
    'network': np.int32([member.network for member in members]),
    'labels': stack.labels[rows],
    'example_ids': stack.example_ids[rows],
    'num_pruned': np.int32(
      [np.multiply(counts, arm.prunes) for arm in own_arms]
    ),
    'score': np.int32([names.index(arm.score) for arm in own_arms]),
    'rewinds_weights': np.array([arm.rewinds_weights for arm in own_arms]),
  }


def _make_keys(spec: Spec) -> Callable:
  make_key = functools.partial(streams.replicate_key, spec.config.seed)
  return over_members(make_key, spec.layout, (0, 0), optimize=False)


def place_members(spec: Spec) -> MemberData:
  """Put what distinguishes the members on the devices."""
  arrays = mesh.shard(_member_arrays(spec), spec.layout)
  key = _make_keys(spec)(arrays.pop('replicate'), arrays.pop('network'))
  return MemberData(key=key, **arrays)


def abstract_members(spec: Spec) -> MemberData:
  """Return what `place_members` does, without values."""
  arrays = train_state.shapes(_member_arrays(spec))
  key = jax.eval_shape(
    _make_keys(spec), arrays.pop('replicate'), arrays.pop('network')
  )
  return MemberData(key=key, **arrays)


def abstract_state(spec: Spec) -> Any:
  """Return the shapes, dtypes and shardings of a stack's state."""
  state = jax.eval_shape(make_create(spec), abstract_members(spec).key)
  return train_state.shapes(state, spec.layout.stacked)
