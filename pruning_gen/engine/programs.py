"""The compiled programs that train and evaluate one stack of networks."""

import functools
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from pruning_gen.data import augment
from pruning_gen.data import streams
from pruning_gen.engine import memory
from pruning_gen.engine import mesh
from pruning_gen.engine import packing
from pruning_gen.engine.mesh import Layout
from pruning_gen.engine.over_members import over_members
from pruning_gen.engine.stack import Stack
from pruning_gen.pruning import arms
from pruning_gen.pruning import masks
from pruning_gen.training import epoch
from pruning_gen.training import evaluate
from pruning_gen.training import level
from pruning_gen.training import step
from pruning_gen.training import train_state
from pruning_gen.training.schedule import Schedule
from pruning_gen.training.train_state import MemberData


class Network(NamedTuple):
  """A model and its optimizer, of one member."""

  model: nn.Module
  optimizer: optax.GradientTransformation


class Spec(NamedTuple):
  """What the programs of a stack are compiled from."""

  config: ConfigDict
  dataset: Any
  stack: Stack
  network: Network
  schedule: Schedule
  layout: Layout

  @property
  def arms(self) -> list[arms.Arm]:
    """The arm of each member."""
    return [arms.arm_of(member.arm) for member in self.stack.members]

  @property
  def eval_batch_size(self) -> int:
    """Rounded up to what the devices can share; it changes no result."""
    batch_size = self.config.eval_batch_size
    return batch_size + -batch_size % self.layout.mesh.shape['data']

  @property
  def eval_model(self) -> nn.Module:
    """The model in float32, whatever it trains in."""
    model = self.network.model
    has_dtype = hasattr(model, 'dtype')
    return model.clone(dtype=jnp.float32) if has_dtype else model

  def prepare(self, images: jax.Array) -> jax.Array:
    """Spread a batch of uint8 images over the devices, and normalize it."""
    images = mesh.spread_batch(images)
    return epoch.normalize(images, self.dataset.mean, self.dataset.std)


class Programs(NamedTuple):
  """The compiled functions of a stack, and what is known of it.

  A state is a TrainState with a leading [members] axis, on the devices; the
  functions that take one and return another use it up. Everything else that
  they return is NumPy, with one row per member.

  Attributes:
    create: () -> the dense networks at initialization.
    train_epoch: (state, global_epoch) -> (state, losses), the cross-entropy
      before each step, float32 [members, steps].
    start_level: (state, level) -> state, pruned and rewound as each arm does.
    set_rewind_point: (state) -> state, which arms that rewind weights return
      to.
    evaluate: (state) -> {split: PerExample [members, N]}, on the training
      split by the training labels, noisy where they are noisy.
    num_kept: (state) -> int [members], the kept weights in all kernels.
    pack: (state) -> PackedState, independent of the devices.
    unpack: (packed) -> (state, whether it is bit for bit what was packed).
    packed: what `pack` returns, without values.
    num_weights: weights in all kernels of one member.
    memory: what training needs of the devices' memory.
  """

  create: Callable
  train_epoch: Callable
  start_level: Callable
  set_rewind_point: Callable
  evaluate: Callable
  num_kept: Callable
  pack: Callable
  unpack: Callable
  packed: Any
  num_weights: int
  memory: str


def build(spec: Spec) -> Programs:
  """Build the programs of a stack whose images fit on the devices.

  Raises:
    UserError: there is too little memory.
  """
  dataset, layout = spec.dataset, spec.layout
  train = lower(spec).compile()
  memory_needed = memory.check(train, layout)
  data = place_members(spec)
  images = mesh.broadcast(dataset.train_images, layout)
  # Evaluated in one pass, since every program costs seconds to compile.
  held_out = mesh.broadcast(
    (
      np.append(dataset.validation_labels, dataset.test_labels),
      np.concatenate([dataset.validation_images, dataset.test_images]),
    ),
    layout,
  )
  evaluate_split = evaluate.make_evaluate(
    spec.eval_model,
    spec.eval_batch_size,
    spec.prepare,
    spec.config.eval_precision,
  )
  evaluate_train, evaluate_held_out = (
    over_members(evaluate_split, layout, axes, skip_copies=True)
    for axes in ((0, 0, None), (0, None, None))
  )
  own = functools.partial(mesh.gather_members, layout=layout)

  def train_epoch(state, global_epoch):
    state, losses = train(state, data, images, np.int32(global_epoch))
    return state, own(losses)

  def evaluate_splits(state):
    results = (
      evaluate_train(state, data.labels, images),
      evaluate_held_out(state, *held_out),
    )
    on_train, on_held_out = jax.tree.map(own, results)
    cut = len(dataset.validation_labels)
    return {
      'train': on_train,
      'validation': jax.tree.map(lambda array: array[:, :cut], on_held_out),
      'test': jax.tree.map(lambda array: array[:, cut:], on_held_out),
    }

  return assemble(
    spec,
    data,
    images,
    train_epoch=train_epoch,
    evaluate=evaluate_splits,
    memory=memory_needed,
  )


def lower(spec: Spec) -> jax.stages.Lowered:
  """Lower an epoch of training, which takes most of the time and memory."""
  model, optimizer = spec.network
  images = spec.dataset.train_images
  train_epoch = epoch.make_train_epoch(
    step.make_train_step(model, optimizer),
    spec.config.batch_size,
    spec.prepare,
    _augment if spec.config.data.augment else None,
  )
  mapped = over_members(
    train_epoch,
    spec.layout,
    (0, 0, None, None),
    skip_copies=True,
    donate_argnums=(0,),
  )
  return mapped.lower(
    abstract_state(spec),
    abstract_members(spec),
    jax.ShapeDtypeStruct(images.shape, images.dtype),
    jax.ShapeDtypeStruct((), np.int32),
  )


def _augment(key, images, example_ids):
  return augment.flip_and_crop(key, mesh.spread_batch(images), example_ids)


def assemble(
  spec: Spec, data: MemberData, images: jax.Array | None, **by_data: Any
) -> Programs:
  """Add the programs that are the same however the images get there.

  Args:
    spec: what to compile from.
    data: of the stack, on the devices.
    images: the training images on the devices, for the scores that need them.
    **by_data: the fields of `Programs` that depend on where images are.
  """
  layout = spec.layout
  create = _make_create(spec)
  pack, unpack, num_kept = (
    over_members(function, layout, (0,), is_short=True)
    for function in (
      packing.pack,
      packing.unpack,
      lambda state: masks.num_kept(state.masks),
    )
  )
  set_rewind_point = over_members(
    train_state.set_rewind_point, layout, (0,), donate_argnums=(0,)
  )
  start_level = _make_start_level(spec)
  cut_copies = mesh.make_cut_copies(layout)
  add_copies = mesh.make_add_copies(layout)
  own = functools.partial(mesh.gather_members, layout=layout)

  def unpack_all(packed):
    state, is_intact = unpack(add_copies(packed))
    return state, bool(own(is_intact).all())

  packed = jax.eval_shape(
    cut_copies, jax.eval_shape(pack, abstract_state(spec))
  )
  return Programs(
    create=lambda: create(data.key),
    start_level=lambda state, level: start_level(
      state, data, np.int32(level), images
    ),
    set_rewind_point=(
      set_rewind_point if _has_rewind_point(spec) else lambda state: state
    ),
    num_kept=lambda state: own(num_kept(state)),
    pack=lambda state: cut_copies(pack(state)),
    unpack=unpack_all,
    packed=train_state.shapes(packed, layout.without_copies),
    num_weights=masks.num_weights(_abstract_params(spec)),
    **by_data,
  )


def _has_rewind_point(spec: Spec) -> bool:
  return any(arm.rewinds_weights for arm in spec.arms)


def _make_create(spec: Spec) -> Callable:
  create = functools.partial(
    train_state.create,
    *spec.network,
    spec.dataset.image_shape,
    _has_rewind_point(spec),
  )
  return over_members(create, spec.layout, (0,), is_short=True)


def _make_start_level(spec: Spec) -> Callable:
  model, optimizer = spec.network
  score_weights = level.make_score_weights(
    model,
    _score_names(spec),
    spec.dataset.image_shape,
    evaluate.make_loss_gradient(model, spec.eval_batch_size, spec.prepare),
  )
  steps = spec.stack.steps_per_epoch(spec.config.batch_size)
  start_level = level.make_start_level(
    optimizer,
    score_weights,
    masks.prunable(_abstract_params(spec), spec.config.prune_output),
    rewind_step=spec.schedule.rewind_epoch * steps,
  )
  return over_members(
    start_level, spec.layout, (0, 0, None, None), donate_argnums=(0,)
  )


def _score_names(spec: Spec) -> list[str]:
  return sorted({arm.score for arm in spec.arms})


def _abstract_params(spec: Spec) -> Any:
  """Return the parameters of one member, without values."""
  create = functools.partial(
    train_state.create, *spec.network, spec.dataset.image_shape, False
  )
  return jax.eval_shape(create, jax.random.key(0)).params


def num_pruned_by_level(spec: Spec) -> list[int]:
  """Count the weights that an arm that prunes removes before each level."""
  params, config = _abstract_params(spec), spec.config
  prunable = masks.prunable(params, config.prune_output)
  return masks.num_pruned_by_level(
    masks.num_weights(params),
    masks.num_prunable(params, prunable),
    config.prune_fraction,
    spec.schedule.levels,
  )


def _member_arrays(spec: Spec) -> dict[str, np.ndarray]:
  """Return what distinguishes the members, as stacked NumPy arrays."""
  stack, rows, names = spec.stack, spec.layout.rows, _score_names(spec)
  own_arms = [spec.arms[row] for row in rows]
  counts = num_pruned_by_level(spec)
  return {
    'replicate': np.int32([stack.members[row].replicate for row in rows]),
    'network': np.int32([stack.members[row].network for row in rows]),
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
  return over_members(make_key, spec.layout, (0, 0), is_short=True)


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
  state = jax.eval_shape(_make_create(spec), abstract_members(spec).key)
  return train_state.shapes(state, spec.layout.stacked)
