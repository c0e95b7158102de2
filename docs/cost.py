"""What a job costs, estimated: images through a network, hours, dollars.

Nothing here was measured on a TPU. Work is counted exactly, with one exception
(see `_leave_out`). Speed is bounded by arithmetic, by memory and, for ImageNet,
by the host that decodes the images; operations and bytes come from the traced
program, and how much of the bound is reached is assumed.
"""

import functools
import json
from typing import NamedTuple

import jax
import jax.extend
import jax.numpy as jnp
import ml_collections
import optax
from pruning_gen.launch import accelerators
from pruning_gen.launch import plan

from pruning_gen.data import datasets
from pruning_gen.experiments import build

# The part of the bound by arithmetic and memory that a program reaches.
REACHED = 0.5
# How often a training step moves each output of a layer, and each parameter,
# to or from memory: chosen so that ResNet-20 and LeNet get the speed that XLA's
# cost model for v5e has for them (speed/results/tpu_compile.json).
ACTIVATION_PASSES = 10
PARAMETER_PASSES = 8
# ImageNet's, read, decoded, cropped and flipped on one CPU: measured on 2
# cores of an AMD EPYC.
DECODED_PER_CPU_SECOND = 283
# Making a machine ready and compiling, once per job: assumed.
SETUP_HOURS = 1 / 6


class Work(NamedTuple):
  """Images that networks see; narrower networks count by their operations."""

  trained: float = 0.0  # Through a training step.
  evaluated: float = 0.0  # Through a forward pass alone.
  decoded: float = 0.0  # Read from disk by the host.

  def __add__(self, other):
    """Add work done one after the other."""
    return Work(*map(sum, zip(self, other)))


class Network(NamedTuple):
  """What one network needs."""

  parameters: int
  flops: float  # Of a training step, per image.
  bytes: float  # Moved by a training step, per image.


def job_work(config) -> Work:
  """Count the work of a config's experiments."""
  count = {
    'chain': _chain,
    'width': _width,
    'el2n': _el2n,
    'leave_out': _leave_out,
  }
  work = Work()
  for name in config.experiments:
    work += count[name](config)
  return work


def num_train(config) -> int:
  """Return how many examples a config trains on."""
  return config.data.num_train or datasets.info_in(config.data).num_train


def _work(config, networks, epochs, streams, sweeps, examples=None):
  """Count the work of networks that train on the same number of examples.

  Args:
    config: the config.
    networks: how many, in units of the full network.
    epochs: how long each trains.
    streams: how many orders of the images are read.
    sweeps: how often the data set is read to evaluate; all networks of a stack
      are evaluated on what is read.
    examples: how many each trains on; None for all.
  """
  examples = num_train(config) if examples is None else examples
  epoch = examples // config.batch_size * config.batch_size
  all_splits = num_train(config) + datasets.info_in(config.data).num_test
  is_read = config.data.name == 'imagenet2012'
  return Work(
    networks * epochs * epoch,
    networks * sweeps * all_splits,
    is_read * (streams * epochs * epoch + sweeps * all_splits),
  )


def _label_sets(config):
  return len(config.noise_fractions) * config.replicates


def chain_epochs(config) -> int:
  """Return how many epochs a member of the chain trains."""
  return config.epochs + config.levels * (config.epochs - config.rewind_epoch)


def _chain(config):
  networks = len(config.arms) * _label_sets(config)
  epochs, sweeps = chain_epochs(config), config.levels + 1
  return _work(config, networks, epochs, config.replicates, sweeps)


def _width(config):
  work = Work()
  for level in range(config.width.levels + 1):
    # The operations of a layer grow with the square of the width.
    networks = _label_sets(config) * config.width.fraction ** (2 * level)
    work += _work(config, networks, config.epochs, config.replicates, 1)
  return work


def _el2n(config):
  # Without noise all replicates share one set of networks.
  sets = sum(
    config.replicates if fraction > 0 else 1
    for fraction in config.noise_fractions
  )
  networks = sets * config.el2n.networks
  # Networks of one number in different sets read in the same order.
  streams = config.replicates * config.el2n.networks
  return _work(config, networks, config.el2n.epoch, streams, 1)


def _leave_out(config):
  left_out = []  # The fraction that each network is trained without.
  wanted = config.leave_out.sets
  levels = len(config.leave_out.levels) or 1
  chosen = [s for s in ('most_improved', 'most_worsened') if s in wanted]
  if chosen:
    # And a random set of the same size.
    left_out += [config.leave_out.fraction] * (len(chosen) * levels + 1)
  if 'misclassified' in wanted:
    # Unknown before a run; assume none are left out (an upper bound).
    left_out += [0.0, 0.0]
  if 'subgroups' in wanted:
    left_out += [1 / config.num_subgroups] * (config.num_subgroups + 1)
  work = Work()
  for fraction in sorted(set(left_out)):
    networks = left_out.count(fraction) * _label_sets(config)
    examples = round((1 - fraction) * num_train(config))
    # Each network reads images of its own.
    work += _work(config, networks, config.epochs, networks, 1, examples)
  return work


def network(config) -> Network:
  """Trace a config's network and count what it needs."""
  # All that building a model looks at.
  used = {'model': config.model.to_dict(), 'dtype': config.dtype}
  info = datasets.info_in(config.data)
  return _trace(
    json.dumps(used), info.num_classes, info.image_shape, config.batch_size
  )


@functools.cache
def _trace(used, num_classes, image_shape, batch_size):
  config = ml_collections.ConfigDict(json.loads(used))
  model = build.make_model(config, num_classes)
  traced = 8
  images = jax.ShapeDtypeStruct((traced, *image_shape), jnp.float32)
  labels = jax.ShapeDtypeStruct((traced,), jnp.int32)
  variables = jax.eval_shape(
    lambda key, x: model.init(key, x, False), jax.random.key(0), images
  )

  def loss(variables, images, labels):
    logits, _ = model.apply(variables, images, True, mutable=['batch_stats'])
    return optax.softmax_cross_entropy_with_integer_labels(
      logits.astype(jnp.float32), labels
    ).mean()

  step = jax.jit(jax.grad(loss)).lower(variables, images, labels)
  outputs = _layer_outputs(
    jax.make_jaxpr(loss)(variables, images, labels).jaxpr
  )
  parameters = sum(x.size for x in jax.tree.leaves(variables['params']))
  return Network(
    parameters,
    step.cost_analysis()['flops'] / traced,
    ACTIVATION_PASSES * outputs / traced * jnp.dtype(config.dtype).itemsize
    + PARAMETER_PASSES * parameters * 4 / batch_size,
  )


def _layer_outputs(jaxpr):
  """Count the elements that convolutions and products of a program produce."""
  total = 0
  for equation in jaxpr.eqns:
    if equation.primitive.name in ('dot_general', 'conv_general_dilated'):
      total += sum(out.aval.size for out in equation.outvars)
    for value in equation.params.values():
      if isinstance(value, jax.extend.core.ClosedJaxpr):
        total += _layer_outputs(value.jaxpr)
  return total


def images_per_second(config, chip: accelerators.Accelerator) -> float:
  """Return how many images per second one chip is assumed to train on."""
  needs = network(config)
  seconds = max(
    needs.flops / (chip.peak_teraflops * 1e12),
    needs.bytes / (chip.gigabytes_per_second * 1e9),
  )
  return REACHED / seconds


def hours(config, slice_: accelerators.Accelerator) -> float:
  """Estimate how long a job takes, including the machine's setup."""
  work = job_work(config)
  speed = images_per_second(config, slice_) * slice_.chips
  on_chips = (work.trained + work.evaluated / 3) / speed
  on_host = work.decoded / (DECODED_PER_CPU_SECOND * slice_.cpus)
  return max(on_chips, on_host) / 3600 + SETUP_HOURS


def checkpoint_bytes(config) -> int:
  """Return what one network takes in a checkpoint, before compression."""
  # A parameter, its moments, and one bit of mask. BatchNorm's averages and
  # padding, less than a hundredth, are left out.
  moments = 2 if config.optimizer == 'adam' else int(config.momentum > 0)
  return network(config).parameters * (32 * (1 + moments) + 1) // 8


def written_bytes(config) -> int:
  """Return what the chain's checkpoints add up to over a job."""
  if 'chain' not in config.experiments:
    return 0
  networks = len(config.arms) * _label_sets(config)
  epochs = chain_epochs(config)
  saves = epochs // config.checkpoint.every_epochs + config.levels
  return saves * networks * checkpoint_bytes(config)


def format_plan(jobs: list[plan.Job], accelerator: str) -> str:
  """Format a plan for people: a line per job, and one for the sum."""
  slice_ = accelerators.find(accelerator)
  taken = {job.id: hours(plan.job_config(job), slice_) for job in jobs}
  rows = [['job', 'after', 'hours', 'chip-hours', 'spot $']]
  price = slice_.spot * slice_.chips
  for job in jobs:
    time = taken[job.id]
    amounts = [time, time * slice_.chips, time * price]
    rows.append([job.id, job.needs, *map('{:,.1f}'.format, amounts)])
  total = sum(taken.values())
  longest = max(taken[job.id] + taken.get(job.needs, 0) for job in jobs)
  amounts = [longest, total * slice_.chips, total * price]
  rows.append(
    [f'{len(jobs)} jobs, all at once', '', *map('{:,.1f}'.format, amounts)]
  )
  widths = [max(map(len, column)) for column in zip(*rows)]
  lines = [
    '  '.join(
      cell.ljust(width) if i < 2 else cell.rjust(width)
      for i, (cell, width) in enumerate(zip(row, widths))
    )
    for row in rows
  ]
  note = (
    f'estimated for {slice_.name} in {slice_.zone}, not measured (see '
    'docs/scaling.md); prices of '
    f'{accelerators.PRICES_READ}: check {accelerators.PRICE_LIST}'
  )
  return '\n'.join([*lines, note])
