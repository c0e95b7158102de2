"""From a config to a model, an optimizer and compiled programs."""

from types import ModuleType
from typing import Any

import optax
from flax import linen as nn
from ml_collections import ConfigDict

from pruning_gen.data.datasets import Dataset
from pruning_gen.engine import inputs
from pruning_gen.engine import mesh
from pruning_gen.engine import programs
from pruning_gen.engine.inputs import Spec
from pruning_gen.engine.part import Run
from pruning_gen.engine.programs import Programs
from pruning_gen.engine.stack import Stack
from pruning_gen.models import model_of
from pruning_gen.pruning import masks
from pruning_gen.training import schedule as schedule_lib
from pruning_gen.training import step
from pruning_gen.training.schedule import Schedule


def make_programs(
  run: Run, stack: Stack, schedule: Schedule, width: float = 1.0
) -> Programs:
  """Compile the programs of a stack.

  Args:
    width: the multiplier of every layer's width.
  """
  spec = make_spec(run, stack, schedule, width)
  return builder(run.dataset).build(spec)


def make_spec(
  run: Run, stack: Stack, schedule: Schedule, width: float = 1.0
) -> Spec:
  """Return what the programs of a stack are compiled from."""
  config, dataset = run.config, run.dataset
  return Spec(
    config,
    dataset,
    stack,
    make_model(config, dataset.num_classes, width),
    make_optimizer(config, stack),
    schedule,
    mesh.make_layout(
      config,
      len(stack.members),
      num_together=stack.num_together,
      take_turns=not isinstance(dataset, Dataset),
    ),
  )


def builder(dataset: Any) -> ModuleType:
  """Return the module with `lower` and `build` for a data set."""
  if isinstance(dataset, Dataset):
    return programs
  # Grain takes a second to import, and no other data set needs it.
  from pruning_gen.engine import streamed

  return streamed


def make_optimizer(
  config: ConfigDict, stack: Stack
) -> optax.GradientTransformation:
  """Build the optimizer of the networks of a stack."""
  rate = schedule_lib.learning_rate(
    config.learning_rate,
    config.milestones,
    config.warmup_epochs,
    stack.steps_per_epoch(config.batch_size),
  )
  return OPTIMIZERS[config.optimizer](rate, config)


# What `config.optimizer` chooses from.
OPTIMIZERS = {
  'sgd': lambda rate, c: step.sgd(rate, c.momentum, c.weight_decay),
  'adam': lambda rate, c: step.adam(rate, c.weight_decay),
}


def num_weights(config: ConfigDict, data: Any, width: float = 1.0) -> int:
  """Count the weights in all kernels of a network, without using a device.

  Args:
    data: has `num_classes` and `image_shape`: a data set, or its entry of
      `DATASETS`.
    width: the multiplier of every layer's width.
  """
  # 'auto' would ask which devices there are.
  model = make_model(config, data.num_classes, width, 'plain')
  variables = inputs.abstract_variables(model, data.image_shape)
  return masks.num_weights(variables['params'])


def make_model(
  config: ConfigDict,
  num_classes: int,
  width: float = 1.0,
  convolution: str = 'auto',
) -> nn.Module:
  """Build the model that a config names."""
  model = model_of(config.model.name)
  return model.build(config, num_classes, width, convolution)
