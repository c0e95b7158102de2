"""Pruning scores: how important each weight is; the lowest are pruned.

A new score is a function of a `Context` and one entry of `SCORES`; an arm
(`arms.ARMS`) chooses from its names. A function returns a tree of arrays like
the parameters; only the scores of kept kernels are compared, over all layers.
"""

import math
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array
from jaxtyping import Int
from jaxtyping import Key

from pruning_gen.data import streams
from pruning_gen.pruning import masks

# An image so dark that no network's outputs leave the range of float32.
_DARK = 1e-15


class Context(NamedTuple):
  """What a score may depend on: one network before a level begins.

  Attributes:
    model: called as model(images, train).
    params: tree of float32 arrays.
    batch_stats: BatchNorm's running averages.
    masks: tree of bool like `params`, True where a weight is kept.
    key: the replicate's PRNG key.
    level: the level that begins.
    image_shape: (height, width, channels).
    loss_gradient: returns the gradient of the network's mean training loss, a
      tree like `params`; only a score that calls it pays for it.
  """

  model: nn.Module
  params: Any
  batch_stats: Any
  masks: Any
  key: Key[Array, '']
  level: Int[Array, '']
  image_shape: tuple[int, int, int]
  loss_gradient: Callable[[], Any]


class Score(NamedTuple):
  """One entry of `SCORES`.

  Attributes:
    function: Context -> tree of arrays like the parameters; higher means more
      important.
    needs_images: whether it calls `loss_gradient`, for which all training
      images must be on the devices.
  """

  function: Callable[[Context], Any]
  needs_images: bool = False


def magnitude(context: Context) -> Any:
  """Return |w| of every parameter, the paper's score (section 2)."""
  return jax.tree.map(jnp.abs, context.params)


def random(context: Context) -> Any:
  """Return uniform scores in [0, 1), fresh for each level and replicate."""
  leaves, structure = jax.tree.flatten(context.params)
  key = streams.draw_key(context.key, 'prune', context.level)
  keys = jax.random.split(key, len(leaves))
  return jax.tree.unflatten(
    structure,
    [jax.random.uniform(k, leaf.shape) for k, leaf in zip(keys, leaves)],
  )


def gradient(context: Context) -> Any:
  """Return |w dL/dw|: to first order, how much each weight moves the loss."""
  return _times_gradient(context.params, context.loss_gradient())


def synflow(context: Context) -> Any:
  """Return each weight's share of the flow through the network.

  |w dR/dw| for R, the sum of the outputs for an image of ones, when every
  weight is replaced by its absolute value and nothing is added anywhere:
  biases, shifts and running means are left out, so that what flows into a
  layer flows out of it (Tanaka et al. 2020, whose networks have no biases);
  BatchNorm's variances still divide. One shot for each level. Scores are
  fractions of R, and so sum to 1 over a layer that no other bypasses; this
  changes no ranking.
  """

  def without_shifts(path, leaf):
    return jnp.zeros_like(leaf) if path[-1].key in ('bias', 'mean') else leaf

  kept = masks.apply(context.params, context.masks)
  linear = jax.tree.map_with_path(without_shifts, jax.tree.map(jnp.abs, kept))
  statistics = jax.tree.map_with_path(without_shifts, context.batch_stats)

  def flow(weights, brightness):
    variables = {'params': weights, 'batch_stats': statistics}
    image = jnp.full((1, *context.image_shape), brightness, jnp.float32)
    outputs = context.model.apply(variables, image, train=False)
    return outputs.astype(jnp.float32).sum()

  # ResNet-50 multiplies what flows through it by more than float32 can hold,
  # and so does its backward pass. Half of that is divided out at either end.
  arrived = flow(linear, _DARK)
  root = jnp.sqrt(_DARK) / jnp.sqrt(jnp.where(arrived > 0, arrived, _DARK))
  grads = jax.grad(lambda weights: root * flow(weights, root))(linear)
  return _times_gradient(linear, grads)


def _times_gradient(params: Any, grads: Any) -> Any:
  return jax.tree.map(lambda w, g: jnp.abs(w * g), params, grads)


def lamp(context: Context) -> Any:
  """Return w^2 over the sum of all w'^2 >= w^2 in its layer (Lee et al. 2021).

  The sum is of kept weights. The largest of each layer has 1, so that no layer
  is emptied before all others are down to one.
  """

  def score(weight, mask):
    squares = jnp.square(jnp.where(mask, weight, 0))
    rising = jnp.sort(squares.ravel())
    not_smaller = jnp.cumsum(rising[::-1])[::-1]
    total = not_smaller[jnp.searchsorted(rising, squares)]
    # A layer may be all zeros.
    return squares / jnp.where(total > 0, total, 1)

  return jax.tree.map(score, context.params, context.masks)


def uniform(context: Context) -> Any:
  """Score weights to keep the largest of each layer, in equal fractions."""
  return _share_out(context, math.prod)


def erk(context: Context) -> Any:
  """Score weights to keep the largest of each layer, as many as ERK allots.

  Erdos-Renyi kernel (Evci et al. 2020): numbers in proportion to the sum of the
  kernel's dimensions, but no more than the layer has; what remains is shared
  out among the others.
  """
  return _share_out(context, sum)


def _share_out(
  context: Context, share_of: Callable[[tuple[int, ...]], int]
) -> Any:
  """Score weights so that layers keep numbers in proportion to their shares.

  The j-th largest kept weight of a layer has (1/2 - j) / share, so a threshold
  of -c leaves each layer its round(c * share) largest, or all that it has.
  Pruning to a total finds the c that belongs to it: quotas that sum up exactly
  (Webster's method). From level to level c falls, and with it every quota.

  Args:
    share_of: kernel's shape -> its layer's share.
  """

  def score(weight, mask):
    # Of equal weights the first goes first, as in `masks.prune`.
    order = jnp.argsort(jnp.where(mask, jnp.abs(weight), -1), axis=None)
    place = (
      jnp.zeros(weight.size, jnp.int32)
      .at[order]
      .set(jnp.arange(weight.size, dtype=jnp.int32))
    )
    rank = (weight.size - place.reshape(weight.shape)).astype(jnp.float32)
    return (0.5 - rank) / max(share_of(weight.shape), 1)

  return jax.tree.map(score, context.params, context.masks)


SCORES = {
  'magnitude': Score(magnitude),
  # The ablations of appendix J.
  'random': Score(random),
  'gradient': Score(gradient, needs_images=True),
  'synflow': Score(synflow),
  # Not in the paper: layer by layer.
  'uniform': Score(uniform),
  'erk': Score(erk),
  'lamp': Score(lamp),
}
