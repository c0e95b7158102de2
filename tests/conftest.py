"""Strict JAX, several fake devices, and what many tests share."""

import pathlib

import jax
import pytest

from pruning_gen.data import datasets
from tests import small_chain

jax.config.update('jax_num_cpu_devices', 8)
jax.config.update('jax_numpy_dtype_promotion', 'strict')
jax.config.update('jax_numpy_rank_promotion', 'raise')

SHARED = pathlib.Path(__file__).parents[2] / 'shared'


@pytest.fixture(scope='session')
def digits():
  return datasets.load('digits', num_train=200)


@pytest.fixture
def config():
  return small_chain.make_config()
