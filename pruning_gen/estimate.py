"""What a run will need: --dry_run, and a warning if it would take weeks."""

import time
from collections.abc import Callable
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from pruning_gen import environment
from pruning_gen import processes
from pruning_gen.engine import inputs
from pruning_gen.engine import measure
from pruning_gen.engine import memory
from pruning_gen.engine import packing
from pruning_gen.engine.inputs import Spec
from pruning_gen.engine.part import Run
from pruning_gen.experiments import build
from pruning_gen.experiments import chain
from pruning_gen.experiments import EXPERIMENTS
from pruning_gen.experiments import label_sets
from pruning_gen.models import model_of
from pruning_gen.training.schedule import Schedule

# Operations per second that no core of a CPU exceeds.
PEAK = 1e11
DAY = 24 * 3600
# A run whose lower bound exceeds this gets a warning.
LONG = 7 * DAY


def warn_if_long(run: Run) -> None:
  """Warn of a run that takes weeks even at the peak of the CPU."""
  # Accelerators count no operations of a program that is not compiled.
  if jax.devices()[0].platform != 'cpu':
    return
  peak = environment.cores() * PEAK
  seconds = sum(_count_images(run).values()) * _count_flops(run) / peak
  if seconds > LONG and processes.is_primary():
    print(
      f'warning: this config trains for at least {format_time(seconds)} on '
      f'these devices ({environment.check_devices()}), from start to end: '
      '--dry_run measures how long; lower config.levels, epochs or replicates, '
      'choose another --config, or split the work (docs/launch.md)',
      flush=True,
    )


def _count_images(run: Run) -> dict[str, float]:
  """Count the images through the full network, by experiment."""
  dataset, config = run.dataset, run.config
  num_train = len(dataset.train_labels)
  num_other = len(dataset.validation_labels) + len(dataset.test_labels)
  return {
    name: sum(
      each.num_images(num_train, num_other, config)
      for each in EXPERIMENTS[name].workloads(config)
    )
    for name in config.experiments
  }


def _count_flops(run: Run) -> float:
  """Count the operations of a training step, per image."""
  num_images = 8
  model = build.make_model(run.config, run.dataset.num_classes)
  loss, arguments = abstract_loss(model, run.dataset.image_shape, num_images)
  step = jax.jit(jax.grad(loss)).lower(*arguments)
  return step.cost_analysis()['flops'] / num_images


def abstract_loss(
  model: nn.Module, image_shape: Sequence[int], num_images: int
) -> tuple[Callable, tuple]:
  """Return a network's training loss, and the shapes of its arguments.

  Returns:
    loss(variables, images, labels) and (variables, images, labels), to trace it
    with.
  """
  images = jax.ShapeDtypeStruct((num_images, *image_shape), jnp.float32)
  labels = jax.ShapeDtypeStruct((num_images,), jnp.int32)
  variables = inputs.abstract_variables(model, image_shape)

  def loss(variables, images, labels):
    logits, _ = model.apply(variables, images, True, mutable=['batch_stats'])
    return optax.softmax_cross_entropy_with_integer_labels(
      logits.astype(jnp.float32), labels
    ).mean()

  return loss, (variables, images, labels)


def describe(run: Run) -> str:
  """Describe what a run trains and needs, and measure how long it takes.

  Leaves nothing in a workdir. The chain's program, which is compiled here, is
  in the cache when the run starts.

  Raises:
    UserError: there is too little memory.
  """
  # It takes seconds to import.
  from clu import parameter_overview

  config, members = run.config, label_sets.list_members(run.config)
  spec = build.make_spec(
    run, label_sets.make_stack(run, members), chain.make_schedule(config)
  )
  overview = parameter_overview.get_parameter_overview(
    inputs.abstract_params(spec), include_stats=False
  )
  about_chain = []
  if chain.NAME in config.experiments:
    about_chain = _describe_chain(spec)
  speed = _measure(run, spec)
  counts = _count_images(run)
  workloads = {name: EXPERIMENTS[name].workloads(config) for name in counts}
  num_stacks = sum(map(len, workloads.values()))
  seconds = {
    name: count / speed.images_per_second
    + len(workloads[name]) * speed.compile_seconds
    for name, count in counts.items()
  }
  lines = [
    overview,
    *about_chain,
    f'speed: {speed.images_per_second:,.0f} images per second, all networks '
    f'together; compiling takes {format_time(speed.compile_seconds)} for each '
    f'of {num_stacks} stacks of networks',
    *(
      f'{name}: {sum(each.networks for each in workloads[name])} networks, '
      f'{max(each.epochs for each in workloads[name]):,} epochs each: '
      f'{format_time(seconds[name])}'
      for name in counts
    ),
    f'about {format_time(sum(seconds.values()))} in all, on '
    f'{environment.check_devices()}',
  ]
  return '\n'.join(lines)


def _describe_chain(spec: Spec) -> list[str]:
  """Describe the networks of the chain, and what a stack of them needs."""
  config = spec.config
  compiled = build.builder(spec.dataset).lower(spec).compile()
  return [
    f'chain: {len(spec.stack.members)} networks: {len(config.arms)} arms x '
    f'{len(config.noise_fractions)} noise fractions x {config.replicates} '
    'replicates',
    f'device memory: {memory.check(compiled, spec.layout)}',
    f'a checkpoint of the chain: {_count_checkpoint(spec) / 1e6:.1f} MB before '
    f'compression; {config.checkpoint.keep} are kept',
  ]


class Speed(NamedTuple):
  """What a few steps of training took.

  Attributes:
    images_per_second: through a training step, of all networks together.
    compile_seconds: until the first step.
  """

  images_per_second: float
  compile_seconds: float


def _measure(run: Run, spec: Spec) -> Speed:
  """Measure a few steps of a part of the chain's networks."""
  config, layout = run.config, spec.layout
  members = spec.stack.members
  if not layout.vectorize:
    # Each device trains one network after the other: one will do.
    members = members[: layout.mesh.shape['member']]
  # Few, since a step of ResNet-50 takes minutes on a CPU.
  steps = 2 if model_of(config.model.name).has_convolutions else 20
  num_images = min(steps * config.batch_size, len(run.dataset.train_labels))
  ids = np.arange(num_images, dtype=np.int32)
  stack = label_sets.make_stack(
    run, members, dict.fromkeys(members, ids), len(spec.stack.members)
  )
  begin = time.perf_counter()
  programs = build.make_programs(run, stack, Schedule(1))
  state, seconds = programs.create(), []
  compile_seconds = time.perf_counter() - begin
  while sum(seconds) < 1:
    begin = time.perf_counter()
    state, _ = programs.train_epoch(state, len(seconds))
    seconds.append(time.perf_counter() - begin)
  images = stack.images_per_epoch(config.batch_size)
  return Speed(images / min(seconds), compile_seconds)


def _count_checkpoint(spec: Spec) -> int:
  """Count the bytes of a checkpoint, before compression."""
  state = inputs.abstract_state(spec)
  size = measure.count_bytes(jax.eval_shape(jax.vmap(packing.pack), state))
  # Padding is not saved.
  return size * spec.layout.num_members // len(spec.layout.rows)


def format_time(seconds: float) -> str:
  """Return a time in the unit that suits it, with two digits."""
  for unit, size in (
    ('years', 365 * DAY),
    ('weeks', 7 * DAY),
    ('days', DAY),
    ('hours', 3600),
    ('minutes', 60),
  ):
    if seconds >= 2 * size:
      return f'{seconds / size:,.{0 if seconds >= 10 * size else 1}f} {unit}'
  return f'{seconds:.0f} s'
