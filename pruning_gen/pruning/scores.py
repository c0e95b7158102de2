"""How much each weight is worth keeping: the lowest scores are pruned.

A score is a tree of float32 arrays like the parameters. Only the scores of
kept kernels are ever compared, over all layers at once.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pruning_gen.data import streams
from pruning_gen.pruning import masks as masks_lib

# An image so dark that no network's outputs leave the range of float32.
_DARK = 1e-15


def magnitude(params):
  """Return |w| of every parameter, the paper's score (section 2)."""
  return jax.tree.map(jnp.abs, params)


def random(params, key, level):
  """Return uniform scores in [0, 1).

  Args:
    params: tree of parameters.
    key: the replicate's key.
    level: int32 scalar, the level that begins.
  """
  leaves, structure = jax.tree.flatten(params)
  keys = jax.random.split(streams.draw_key(key, 'prune', level), len(leaves))
  return jax.tree.unflatten(
    structure,
    [jax.random.uniform(k, leaf.shape) for k, leaf in zip(keys, leaves)],
  )


def gradient(params, grads):
  """Return |w dL/dw|, how much the loss moves with each weight, to first order.

  Args:
    params: tree of parameters.
    grads: tree, the gradient of the training loss.
  """
  return jax.tree.map(lambda w, g: jnp.abs(w * g), params, grads)


def synflow(model, params, batch_stats, masks, image_shape):
  """Return each weight's part in the flow through the network.

  |w dR/dw| for R, the sum of the outputs for an image of ones, when every
  weight is replaced by its absolute value and nothing is added anywhere:
  biases, shifts and running means are left out, so that what flows into a
  layer flows out of it (Tanaka et al. 2020, whose network has no biases). One
  shot for each level. Scores are parts of R, and so sum to 1 over a layer that
  no other bypasses; that changes no ranking.

  Args:
    model: Linen module, called as model(images, train).
    params: tree of parameters.
    batch_stats: BatchNorm's running averages; variances still divide.
    masks: tree of bool, True = kept.
    image_shape: (height, width, channels).
  """

  def without_shifts(path, leaf):
    return jnp.zeros_like(leaf) if path[-1].key in ('bias', 'mean') else leaf

  linear = jax.tree.map_with_path(
    without_shifts, jax.tree.map(jnp.abs, masks_lib.apply(params, masks))
  )
  statistics = jax.tree.map_with_path(without_shifts, batch_stats)

  def flow(weights, brightness):
    variables = {'params': weights, 'batch_stats': statistics}
    image = jnp.full((1, *image_shape), brightness, jnp.float32)
    return model.apply(variables, image, train=False).astype(jnp.float32).sum()

  # ResNet-50 multiplies what flows through it by more than float32 can hold,
  # and so does its backward pass. Half of that is taken off at either end.
  arrived = flow(linear, _DARK)
  root = jnp.sqrt(_DARK) / jnp.sqrt(jnp.where(arrived > 0, arrived, _DARK))
  grads = jax.grad(lambda weights: root * flow(weights, root))(linear)
  return gradient(linear, grads)


class Score(NamedTuple):
  """Stub."""

  function: object
  needs_images: bool = False


SCORES = {
  'magnitude': Score(magnitude),
  'random': Score(random),
  'gradient': Score(gradient, needs_images=True),
  'synflow': Score(synflow),
}
