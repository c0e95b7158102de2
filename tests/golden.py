"""Rebuilds what the arrays of golden_arrays/ were computed from.

The recipe is in the README of that folder: weights, inputs, labels and masks
come from numbered NumPy generators, taken in the order of the forward pass.
"""

import math
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from pruning_gen.models import layers

FOLDER = pathlib.Path(__file__).parent / 'golden_arrays'
_SEED = 20221


class Golden(NamedTuple):
  """One network of the reference.

  Attributes:
    expected: dict of the peer's arrays, by the names of the README.
    params: parameters, NumPy.
    batch_stats: BatchNorm's running averages, NumPy; {} where there are none.
    masks: like params, True = kept; half of every kernel.
    images: float32 [steps, batch, height, width, channels].
    labels: int32 [steps, batch].
    kernels: path of every kernel, in forward order.
    norms: path of every BatchNorm, in forward order.
    norm_sizes: how many numbers each of them averages in a training pass.
  """

  expected: dict
  params: dict
  batch_stats: dict
  masks: dict
  images: np.ndarray
  labels: np.ndarray
  kernels: list
  norms: list
  norm_sizes: list


def load(name, model, image_shape, batch_size):
  """Rebuild the inputs of one file.

  Args:
    name: of the file, without its suffix.
    model: Linen module.
    image_shape: (height, width, channels).
    batch_size: int.
  """
  with np.load(FOLDER / f'{name}.npz') as file:
    expected = dict(file)
  steps = len(expected['masked_sgd_losses'])
  kernels, norms, shapes, norm_sizes = _trace(model, (batch_size, *image_shape))
  params, batch_stats, masks = {}, {}, {}
  for i, path in enumerate(kernels):
    shape = shapes[(*path, 'kernel')]
    fan_in = math.prod(shape[:-1])
    kernel = _rng(0, i).standard_normal(shape).astype(np.float32)
    params[(*path, 'kernel')] = kernel * np.float32(np.sqrt(2 / fan_in))
    masks[(*path, 'kernel')] = _rng(6, i).random(shape) < 0.5
    if (*path, 'bias') in shapes:
      bias = _rng(1, i).standard_normal(shape[-1]).astype(np.float32)
      params[(*path, 'bias')] = bias * np.float32(0.01)
  for j, path in enumerate(norms):
    (width,) = shapes[(*path, 'scale')]
    scale = _rng(2, j).uniform(0.5, 1.5, width)
    bias = _rng(3, j).standard_normal(width) * 0.1
    params[(*path, 'scale')] = scale.astype(np.float32)
    params[(*path, 'bias')] = bias.astype(np.float32)
    batch_stats[(*path, 'mean')] = np.zeros(width, np.float32)
    batch_stats[(*path, 'var')] = np.ones(width, np.float32)
  for path, param in params.items():
    masks.setdefault(path, np.ones(param.shape, bool))
  num_classes = expected['eval_logits'].shape[-1]
  images = _rng(4).standard_normal((steps, batch_size, *image_shape))
  labels = _rng(5).integers(0, num_classes, (steps, batch_size))
  return Golden(
    expected=expected,
    params=traverse_util.unflatten_dict(params),
    batch_stats=traverse_util.unflatten_dict(batch_stats),
    masks=traverse_util.unflatten_dict(masks),
    images=images.astype(np.float32),
    labels=labels.astype(np.int32),
    kernels=kernels,
    norms=norms,
    norm_sizes=norm_sizes,
  )


def _rng(*numbers):
  return np.random.default_rng([_SEED, *numbers])


def _trace(model, images_shape):
  """Walk through a network.

  Returns:
    kernels: path of every module with a kernel, in forward order.
    norms: path of every BatchNorm, in forward order.
    shapes: dict from the path of each parameter to its shape.
    norm_sizes: batch * height * width at each BatchNorm.
  """
  kernels, norms, norm_sizes = [], [], []

  def record(next_function, args, kwargs, context):
    if isinstance(context.module, layers.Conv | nn.Dense):
      kernels.append(context.module.path)
    elif isinstance(context.module, nn.BatchNorm):
      norms.append(context.module.path)
      norm_sizes.append(math.prod(args[0].shape[:-1]))
    return next_function(*args, **kwargs)

  def init(key):
    return model.init(key, jnp.zeros(images_shape), train=False)

  with nn.intercept_methods(record):
    params = jax.eval_shape(init, jax.random.key(0))['params']
  shapes = {
    path: leaf.shape
    for path, leaf in traverse_util.flatten_dict(params).items()
  }
  return kernels, norms, shapes, norm_sizes
