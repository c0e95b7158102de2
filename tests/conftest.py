"""Strict JAX, several fake devices, and a chain small enough to run often."""

import pathlib

import jax
import pytest

from configs import default
from pruning_gen.data import datasets

jax.config.update('jax_num_cpu_devices', 8)
jax.config.update('jax_numpy_dtype_promotion', 'strict')
jax.config.update('jax_numpy_rank_promotion', 'raise')

SHARED = pathlib.Path(__file__).parents[2] / 'shared'


@pytest.fixture(scope='session')
def digits():
  return datasets.load('digits', num_train=200)


@pytest.fixture
def config():
  """A chain of seconds: 4 members, 3 levels, 6 steps an epoch."""
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
