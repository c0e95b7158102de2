"""What a job costs, estimated: images through a network, hours, dollars.

Accelerators are lines of accelerators.csv, one per generation. Speeds and
machine types are those of Google's documentation, read on 2026-11-27; prices,
in dollars per chip and hour, those of SkyPilot's catalogue v8 of 2026-11-23 for
the zone named, the cheapest for each.

Nothing here was measured on a TPU. Work is counted from the config. Speed is
bounded by arithmetic, by memory and, for ImageNet, by the host that decodes the
images; operations and bytes come from the traced program, and how much of the
bound is reached is assumed. Evaluation, about 1 % of the work, is left out.
"""

import csv
import functools
import json
import pathlib
from typing import NamedTuple

import jax
import jax.extend
import jax.numpy as jnp
import ml_collections

from pruning_gen import estimate
from pruning_gen.data import datasets
from pruning_gen.errors import UserError
from pruning_gen.experiments import build
from pruning_gen.experiments import el2n
from pruning_gen.experiments import label_sets
from pruning_gen.training.schedule import Schedule

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


class Slice(NamedTuple):
  """A slice of one accelerator type, as 'v4-8'; speeds and prices per chip."""

  name: str
  chips: int
  cpus: int  # Of all hosts together.
  zone: str
  on_demand: float
  spot: float
  peak_teraflops: float  # bfloat16.
  gigabytes_per_second: float  # To and from memory.


class Work(NamedTuple):
  """Images; narrower networks count by their operations."""

  trained: float  # Through a training step.
  decoded: float  # Read from disk by the host.


class Network(NamedTuple):
  """What one network needs."""

  parameters: int
  flops: float  # Of a training step, per image.
  bytes: float  # Moved by a training step, per image.


def find_slice(name: str) -> Slice:
  """Look up an accelerator type, as 'v4-8'.

  Raises:
    UserError: there is no such generation, or it has no such size.
  """
  prefix, _, size = name.partition('-')
  with pathlib.Path(__file__).with_name('accelerators.csv').open() as file:
    rows = {row.pop('prefix'): row for row in csv.DictReader(file)}
  if prefix not in rows or not size.isdigit():
    choices = ', '.join(f'{prefix}-SIZE' for prefix in rows)
    raise UserError(f'--accelerator={name} must be one of: {choices}')
  zone = rows[prefix].pop('zone')
  row = {key: float(value) for key, value in rows[prefix].items()}
  chips = int(size) // int(row.pop('cores_per_chip'))
  # A host with fewer chips has fewer CPUs.
  cpus = row.pop('host_cpus') * chips / row.pop('one_host_chips')
  return Slice(name, chips, int(cpus), zone, **row)


def job_work(config: ml_collections.ConfigDict) -> Work:
  """Count the work of a config's experiments."""
  info = datasets.info_in(config.data)
  trained = decoded = 0.0
  for networks, streams, epochs, fraction in _stacks(config):
    steps = round(fraction * info.num_train) // config.batch_size
    images = epochs * steps * config.batch_size
    trained += networks * images
    decoded += streams * images if info.is_streamed else 0
  return Work(trained, decoded)


def _stacks(config):
  """List what is trained together.

  Yields:
    How many networks, in units of the full network; how many orders of the
    images they read; their epochs; and the fraction of the examples they see.
  """
  label_set_count = len(label_sets.list_label_sets(config))
  if 'chain' in config.experiments:
    members = label_sets.list_members(config)
    yield len(members), config.replicates, chain_epochs(config), 1
  if 'width' in config.experiments:
    for level in range(config.width.levels + 1):
      # The operations of a layer grow with the square of the width.
      networks = label_set_count * config.width.fraction ** (2 * level)
      yield networks, config.replicates, config.epochs, 1
  if 'el2n' in config.experiments:
    networks = len(el2n.list_members(config))
    # Networks of one number in different label sets read in the same order.
    streams = config.replicates * config.el2n.networks
    yield networks, streams, config.el2n.epoch, 1
  if 'leave_out' in config.experiments:
    for left_out in _left_out(config):
      # Each network reads images of its own.
      yield label_set_count, label_set_count, config.epochs, 1 - left_out


def _left_out(config):
  """List the fraction of the examples that each network is trained without."""
  wanted, left_out = config.leave_out.sets, []
  by_effect = {'most_improved', 'most_worsened'} & set(wanted)
  if by_effect:
    # And a random set of the same size.
    count = len(by_effect) * (len(config.leave_out.levels) or 1) + 1
    left_out += [config.leave_out.fraction] * count
  if 'misclassified' in wanted:
    # Unknown before a run; assume none are left out (an upper bound).
    left_out += [0.0, 0.0]
  if 'subgroups' in wanted:
    left_out += [1 / config.num_subgroups] * (config.num_subgroups + 1)
  return left_out


def chain_epochs(config: ml_collections.ConfigDict) -> int:
  """Return how many epochs a member of the chain trains."""
  schedule = Schedule(config.epochs, config.rewind_epoch, config.levels)
  return schedule.epochs_by(config.levels)


def network(config: ml_collections.ConfigDict) -> Network:
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
  # Accelerators take no CPU's algorithm.
  model = build.make_model(config, num_classes, convolution='plain')
  traced = 8
  loss, arguments = estimate.abstract_loss(model, image_shape, traced)
  step = jax.jit(jax.grad(loss)).lower(*arguments)
  forward = jax.make_jaxpr(loss)(*arguments)
  outputs = _layer_outputs(forward.jaxpr) / traced
  parameters = sum(x.size for x in jax.tree.leaves(arguments[0]['params']))
  return Network(
    parameters,
    step.cost_analysis()['flops'] / traced,
    ACTIVATION_PASSES * outputs * jnp.dtype(config.dtype).itemsize
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


def images_per_second(config: ml_collections.ConfigDict, chip: Slice) -> float:
  """Return how many images per second one chip is assumed to train on."""
  needs = network(config)
  seconds = max(
    needs.flops / (chip.peak_teraflops * 1e12),
    needs.bytes / (chip.gigabytes_per_second * 1e9),
  )
  return REACHED / seconds


def hours(config: ml_collections.ConfigDict, slice_: Slice) -> float:
  """Estimate how long a job takes, including the machine's setup."""
  work = job_work(config)
  on_chips = work.trained / images_per_second(config, slice_) / slice_.chips
  on_host = work.decoded / (DECODED_PER_CPU_SECOND * slice_.cpus)
  return max(on_chips, on_host) / 3600 + SETUP_HOURS
