"""A chain small enough to run often: seconds, on scikit-learn's digits."""

from configs import default
from pruning_gen.engine.part import Run
from pruning_gen.models import MODELS
from pruning_gen.models import resnet


def make_config():
  """Return a config of 4 members, 3 levels and 6 steps per epoch."""
  config = default.get_config()
  config.noise_fractions = (0.0, 0.2)
  config.replicates = 1
  config.levels = 2
  config.epochs = 3
  config.rewind_epoch = 1
  config.batch_size = 32
  config.momentum = 0.9
  config.learning_rate = 0.05
  config.weight_decay = 1e-4
  config.data.num_train = 200
  config.model.widths = (20, 10)
  config.eval_batch_size = 64
  config.checkpoint.every_epochs = 1
  config.tensorboard = False
  return config


def shallow(name):
  """Return an entry of `MODELS` of 8 layers: deeper ones compile for minutes.

  Args:
    name: the entry that it stands in for.
  """

  def build(config, num_classes, width, convolution):
    return resnet.CifarResNet(
      num_classes,
      blocks_per_stage=1,
      num_filters=config.model.num_filters,
      width_multiplier=width,
      batch_norm_scale_init=config.model.batch_norm_scale_init,
      convolution=convolution,
    )

  return MODELS[name]._replace(build=build)


def make_run(config, workdir, dataset=None):
  """Return a run that is never asked to stop."""
  return Run(config, workdir, dataset, lambda: False)
