"""Strict JAX, several fake devices, and what many tests share."""

import pathlib

import jax
import pytest

from pruning_gen.data import datasets
from pruning_gen.data import imagenet
from tests import small_chain

jax.config.update('jax_num_cpu_devices', 8)
jax.config.update('jax_numpy_dtype_promotion', 'strict')
jax.config.update('jax_numpy_rank_promotion', 'raise')

SHARED = pathlib.Path(__file__).parents[2] / 'shared'


@pytest.fixture(scope='session')
def digits():
  return datasets.load('digits', num_train=200)


@pytest.fixture(scope='session')
def data_dir(tmp_path_factory):
  """A folder of TFDS with a small ImageNet."""
  # Its imports take seconds.
  from tests import small_imagenet

  folder = tmp_path_factory.mktemp('tensorflow_datasets')
  small_imagenet.write_all_shapes(folder)
  return folder


@pytest.fixture(scope='session')
def train(data_dir):
  """Its training split."""
  return imagenet.open_split(data_dir, 'train')


@pytest.fixture
def config():
  return small_chain.make_config()
