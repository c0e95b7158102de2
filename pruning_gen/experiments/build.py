"""From the keys of a config to a model and an optimizer."""

from pruning_gen.models import lenet
from pruning_gen.pruning import schedules
from pruning_gen.training import step


def make_model(config, dataset):
  """Build the model that a config names."""
  return lenet.LeNet(dataset.num_classes, tuple(config.model.widths))


def make_optimizer(config, steps_per_epoch):
  """Build the optimizer of one level, with its learning-rate schedule."""
  schedule = schedules.learning_rate(
    config.learning_rate,
    config.milestones,
    config.warmup_epochs,
    steps_per_epoch,
  )
  return step.sgd(schedule, config.momentum, config.weight_decay)
