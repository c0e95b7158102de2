"""The compiled programs that train and evaluate one stack of networks."""

import functools
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import numpy as np

from pruning_gen.data import augment
from pruning_gen.engine import inputs
from pruning_gen.engine import memory
from pruning_gen.engine import mesh
from pruning_gen.engine import packing
from pruning_gen.engine.inputs import Spec
from pruning_gen.engine.over_members import over_members
from pruning_gen.pruning import masks
from pruning_gen.training import epoch
from pruning_gen.training import evaluate
from pruning_gen.training import level
from pruning_gen.training import step
from pruning_gen.training import train_state
from pruning_gen.training.train_state import MemberData


class Programs(NamedTuple):
  """The compiled functions of a stack, and its size.

  A state is a TrainState with a leading [members] axis, on the devices; the
  functions that take one and return another donate it. Everything else that
  they return is NumPy, with one row per member.

  Attributes:
    spec: what they are compiled from.
    create: () -> the dense networks at initialization.
    train_epoch: (state, global_epoch) -> (state, losses), the cross-entropy
      before each step, float32 [members, steps].
    start_level: (state, level) -> state, pruned and rewound as each arm does.
    set_rewind_point: (state) -> state, which arms that rewind weights return
      to.
    evaluate: (state) -> {split: PerExample [members, N]}; the training split
      is evaluated against the labels trained on, including noisy ones.
    evaluate_held_out: (state) -> the same without the training split.
    num_kept: (state) -> int [members], the kept weights in all kernels.
    networks: (state) -> {'params', 'batch_stats', 'masks'}, as in a TrainState.
    pack: (state) -> PackedState, independent of the devices.
    unpack: (packed) -> (state, whether it is bit for bit what was packed).
    packed: the shapes and dtypes that `pack` returns.
    layers: the names of the layers that have a kernel, input first.
    num_weights: weights in all kernels of one member.
    memory: how much device memory training needs, as text.
    gradient_norms: (state) -> float32 [members, num_train], of each training
      example's own loss; None if images are streamed.
  """

  spec: Spec
  create: Callable
  train_epoch: Callable
  start_level: Callable
  set_rewind_point: Callable
  evaluate: Callable
  evaluate_held_out: Callable
  num_kept: Callable
  networks: Callable
  pack: Callable
  unpack: Callable
  packed: Any
  layers: list[str]
  num_weights: int
  memory: str
  gradient_norms: Callable | None = None


def build(spec: Spec) -> Programs:
  """Build the programs of a stack whose images fit on the devices.

  Raises:
    UserError: there is too little memory.
  """
  dataset, layout = spec.dataset, spec.layout
  train = lower(spec).compile()
  memory_needed = memory.check(train, layout)
  data = inputs.place_members(spec)
  images = mesh.broadcast(dataset.train_images, layout)
  gradient_norms = _make_gradient_norms(spec)
  gather = functools.partial(mesh.gather_members, layout=layout)

  def measure_gradients(state):
    return gather(gradient_norms(state, data.labels, images))

  def train_epoch(state, global_epoch):
    state, losses = train(state, data, images, np.int32(global_epoch))
    return state, gather(losses)

  return assemble(
    spec,
    data,
    images,
    train_epoch=train_epoch,
    **make_evaluate(spec, data, images),
    memory=memory_needed,
    gradient_norms=measure_gradients,
  )


def make_evaluate(
  spec: Spec, data: MemberData, images: jax.Array
) -> dict[str, Callable]:
  """Make `Programs.evaluate` and `Programs.evaluate_held_out`."""
  dataset, layout = spec.dataset, spec.layout
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
  evaluate_train, evaluate_both = (
    over_members(evaluate_split, layout, axes, skip_padding=True)
    for axes in ((0, 0, None), (0, None, None))
  )
  gather = functools.partial(mesh.gather_members, layout=layout)
  cut = len(dataset.validation_labels)

  def evaluate_held_out(state):
    both = jax.tree.map(gather, evaluate_both(state, *held_out))
    return {
      'validation': jax.tree.map(lambda array: array[:, :cut], both),
      'test': jax.tree.map(lambda array: array[:, cut:], both),
    }

  def evaluate_splits(state):
    # Both are started before the host waits for either.
    on_train = evaluate_train(state, data.labels, images)
    on_held_out = evaluate_held_out(state)
    return {'train': jax.tree.map(gather, on_train), **on_held_out}

  return {'evaluate': evaluate_splits, 'evaluate_held_out': evaluate_held_out}


def lower(spec: Spec) -> jax.stages.Lowered:
  """Lower an epoch of training, which takes most of the time and memory."""
  images = spec.dataset.train_images
  train_epoch = epoch.make_train_epoch(
    step.make_train_step(spec.model, spec.optimizer),
    spec.config.batch_size,
    spec.prepare,
    _augment if spec.config.data.augment else None,
  )
  mapped = over_members(
    train_epoch,
    spec.layout,
    (0, 0, None, None),
    skip_padding=True,
    donate_argnums=(0,),
  )
  return mapped.lower(
    inputs.abstract_state(spec),
    inputs.abstract_members(spec),
    jax.ShapeDtypeStruct(images.shape, images.dtype),
    jax.ShapeDtypeStruct((), np.int32),
  )


def _make_gradient_norms(spec: Spec) -> Callable:
  num_weights = masks.num_weights(inputs.abstract_params(spec))
  # 64 MB of gradients for each network.
  batch_size = min(max(2**24 // num_weights, 1), spec.config.batch_size)
  norms = evaluate.make_gradient_norms(
    spec.eval_model,
    batch_size,
    # One image at a time cannot be split over devices.
    functools.partial(
      epoch.normalize, mean=spec.dataset.mean, std=spec.dataset.std
    ),
    spec.config.eval_precision,
  )
  return over_members(norms, spec.layout, (0, 0, None), skip_padding=True)


def _augment(key, images, example_ids):
  return augment.flip_and_crop(key, mesh.spread_batch(images), example_ids)


def assemble(
  spec: Spec, data: MemberData, images: jax.Array | None, **by_data: Any
) -> Programs:
  """Add the programs that do not depend on where the images are.

  Args:
    data: of the stack, on the devices.
    images: the training images on the devices, for the scores that need them.
    **by_data: the fields of `Programs` that depend on where images are.
  """
  layout = spec.layout
  create = inputs.make_create(spec)
  pack, unpack, num_kept = (
    over_members(function, layout, (0,), optimize=False)
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
  drop_padding = mesh.make_drop_padding(layout)
  add_padding = mesh.make_add_padding(layout)
  gather = functools.partial(mesh.gather_members, layout=layout)

  def unpack_all(packed):
    state, is_intact = unpack(add_padding(packed))
    return state, bool(gather(is_intact).all())

  packed = jax.eval_shape(
    drop_padding, jax.eval_shape(pack, inputs.abstract_state(spec))
  )
  return Programs(
    spec=spec,
    create=lambda: create(data.key),
    start_level=lambda state, level: start_level(
      state, data, np.int32(level), images
    ),
    set_rewind_point=(
      set_rewind_point if inputs.has_rewind_point(spec) else lambda state: state
    ),
    num_kept=lambda state: gather(num_kept(state)),
    networks=lambda state: {
      name: jax.tree.map(gather, getattr(state, name))
      for name in ('params', 'batch_stats', 'masks')
    },
    pack=lambda state: drop_padding(pack(state)),
    unpack=unpack_all,
    packed=train_state.shapes(packed, layout.without_padding),
    layers=inputs.layer_names(spec),
    num_weights=masks.num_weights(inputs.abstract_params(spec)),
    **by_data,
  )


def _make_start_level(spec: Spec) -> Callable:
  score_weights = level.make_score_weights(
    spec.model,
    inputs.score_names(spec),
    spec.dataset.image_shape,
    # Not those of evaluation, whose size may change: sums depend on it.
    evaluate.make_loss_gradient(
      spec.model, spec.config.batch_size, spec.prepare
    ),
  )
  steps = spec.stack.steps_per_epoch(spec.config.batch_size)
  start_level = level.make_start_level(
    spec.optimizer,
    score_weights,
    masks.prunable(inputs.abstract_params(spec), spec.config.prune_output),
    rewind_step=spec.schedule.rewind_epoch * steps,
  )
  return over_members(
    start_level, spec.layout, (0, 0, None, None), donate_argnums=(0,)
  )
