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
from pruning_gen.experiments import EXPERIMENTS

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


class Needs(NamedTuple):
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
    raise UserError(f'{name} must be one of: {choices}')
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
  for name in config.experiments:
    for workload in EXPERIMENTS[name].workloads(config):
      images = workload.num_trained(info.num_train, config.batch_size)
      trained += workload.networks * images * workload.width**2
      orders = _num_orders(name, workload, config)
      decoded += orders * images if info.is_streamed else 0
  return Work(trained, decoded)


def _num_orders(name, workload, config):
  """Return in how many orders the networks of a stack read the images."""
  return {
    # Networks of one number in different label sets read in the same order.
    'el2n': config.replicates * config.el2n.networks,
    # Each network reads images of its own.
    'leave_out': workload.networks,
  }.get(name, config.replicates)


def network(config: ml_collections.ConfigDict) -> Needs:
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
  # Accelerators count no operations of a program that is not compiled.
  with jax.default_device(jax.devices('cpu')[0]):
    step = jax.jit(jax.grad(loss)).lower(*arguments)
  forward = jax.make_jaxpr(loss)(*arguments)
  outputs = _layer_outputs(forward.jaxpr) / traced
  parameters = sum(x.size for x in jax.tree.leaves(arguments[0]['params']))
  return Needs(
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
