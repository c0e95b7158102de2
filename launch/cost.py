"""What a job costs, estimated: images through a network, chip-hours, dollars.

Nothing here was measured on a TPU. Work is counted exactly, but for one set of
leave_out whose size only a run can tell; speed is `UTILIZATION` times the
chip's peak, and that is an assumption.
"""

import dataclasses
import itertools

import numpy as np

from pruning_gen.data import datasets

# Multiply-adds of one image's forward pass in the paper's network.
FORWARD_MACS = {
  'lenet': 784 * 300 + 300 * 100 + 100 * 10,
  'resnet20': 40.8e6,
  'vgg16': 313.2e6,
  'resnet32': 275.5e6,
  'resnet50': 4.09e9,
}
# All of them; what is called num_weights elsewhere is kernels alone.
NUM_PARAMETERS = {
  'lenet': 266_610,
  'resnet20': 272_474,
  'vgg16': 14_728_266,
  'resnet32': 1_872_132,
  'resnet50': 25_557_032,
}
# Channels of the first stage for which those hold; both grow by the square.
NUM_FILTERS = {'resnet20': 16, 'vgg16': 64, 'resnet32': 32, 'resnet50': 64}
# Assumed part of a TPU's bfloat16 peak. A matrix unit has 128 columns; a layer
# of c < 128 channels fills c / 128 of them, which bounds ResNet-20 (16, 32 and
# 64 channels) to 0.21 and ResNet-32 (32, 64 and 128) to 0.43. A quarter of that
# bound is assumed. LeNet's steps are so short that starting them counts most.
UTILIZATION = {
  'lenet': 0.01,
  'resnet20': 0.05,
  'vgg16': 0.25,
  'resnet32': 0.10,
  'resnet50': 0.30,
}
# Making a machine ready and compiling, once a job: assumed.
SETUP_HOURS = 1 / 6
# Examples of validation and test split together.
NUM_TEST = {'digits': 360, 'imagenet2012': 50_000}


@dataclasses.dataclass(frozen=True)
class Work:
  """Images that networks see, in units of the full-width network.

  Attributes:
    trained: float, images through a training step.
    scored: float, images through a forward pass alone.
  """

  trained: float
  scored: float

  def __add__(self, other):
    """Add work done one after the other."""
    return Work(self.trained + other.trained, self.scored + other.scored)


def job_work(config):
  """Count the work of a config's experiments."""
  count = {
    'chain': _chain,
    'width': _width,
    'el2n': _el2n,
    'leave_out': _leave_out,
  }
  return sum((count[name](config) for name in config.experiments), Work(0, 0))


def num_train(config):
  """Return how many examples a config trains on."""
  return config.data.num_train or datasets.DATASETS[config.data.name].num_train


def _full_batches(config, examples):
  return examples // config.batch_size * config.batch_size


def _scored(config):
  return num_train(config) + NUM_TEST.get(config.data.name, 10_000)


def _label_sets(config):
  return len(config.noise_fractions) * config.replicates


def chain_epochs(config):
  """Return how many epochs a member of the chain trains."""
  return config.epochs + config.levels * (config.epochs - config.rewind_epoch)


def _chain(config):
  members = len(config.arms) * _label_sets(config)
  epoch = _full_batches(config, num_train(config))
  return Work(
    members * chain_epochs(config) * epoch,
    members * (config.levels + 1) * _scored(config),
  )


def _width(config):
  # Multiply-adds of a layer go with the square of the width; the first layer's
  # only with the width, which is left out.
  scale = sum(
    config.width.fraction ** (2 * level)
    for level in range(config.width.levels + 1)
  )
  networks = _label_sets(config) * scale
  epoch = _full_batches(config, num_train(config))
  return Work(networks * config.epochs * epoch, networks * _scored(config))


def _el2n(config):
  # Without noise all replicates share one set of networks.
  sets = sum(
    config.replicates if fraction > 0 else 1
    for fraction in config.noise_fractions
  )
  networks = sets * config.el2n.networks
  epoch = _full_batches(config, num_train(config))
  return Work(networks * config.el2n.epoch * epoch, networks * _scored(config))


def _leave_out(config):
  left_out = []  # The part that each network does without.
  wanted = config.leave_out.sets
  levels = len(config.leave_out.levels) or 1
  chosen = [
    name for name in ('most_improved', 'most_worsened') if name in wanted
  ]
  if chosen:
    # A random set of the same size is beside them.
    left_out += [config.leave_out.fraction] * (len(chosen) * levels + 1)
  if 'misclassified' in wanted:
    # How many those are, a run must tell: at most all are trained on.
    left_out += [0.0, 0.0]
  if 'subgroups' in wanted:
    left_out += [1 / config.num_subgroups] * (config.num_subgroups + 1)
  images = sum(
    _full_batches(config, round((1 - part) * num_train(config)))
    for part in left_out
  )
  sets = _label_sets(config)
  return Work(
    sets * config.epochs * images, sets * len(left_out) * _scored(config)
  )


def forward_macs(config):
  """Return the multiply-adds of one image's forward pass."""
  name = config.model.name
  if name == 'lenet':
    shape = datasets.DATASETS[config.data.name]
    sizes = [
      int(np.prod(shape.image_shape)),
      *config.model.widths,
      shape.num_classes,
    ]
    return sum(a * b for a, b in itertools.pairwise(sizes))
  return (
    FORWARD_MACS[name] * (config.model.num_filters / NUM_FILTERS[name]) ** 2
  )


def images_per_second(config, accelerator):
  """Return how many images a chip is assumed to train on in a second."""
  flops = accelerator.peak_teraflops * 1e12 * UTILIZATION[config.model.name]
  # Forward pass, weight gradient, input gradient; two operations each.
  return flops / (6 * forward_macs(config))


def chip_hours(config, accelerator):
  """Estimate the chip-hours of a job, the machine's setup included.

  Args:
    config: as `plan.job_config` returns.
    accelerator: accelerators.Accelerator.
  """
  work = job_work(config)
  images = work.trained + work.scored / 3
  seconds = images / images_per_second(config, accelerator)
  return seconds / 3600 + SETUP_HOURS * accelerator.chips
