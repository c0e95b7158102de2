"""Masks: which weights are kept, and how many are removed at each level.

A mask is a bool array, True where the weight is kept. `masks` has the tree
structure of `params`; what is never pruned (biases, BatchNorm) is all True.
"""

import fractions
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import flatten_util
from jaxtyping import Array
from jaxtyping import Int


def is_kernel(path: tuple) -> bool:
  """Return whether a parameter's path names a convolution or dense kernel."""
  return path[-1].key == 'kernel'


def prunable(params: Any, prune_output: bool) -> Any:
  """Return which parameters may be pruned.

  Args:
    params: tree of parameters; the output layer is the module named 'output'.
    prune_output: whether the output layer's kernel may be pruned.

  Returns:
    A tree of bool: True at every kernel that may be pruned.
  """
  return jax.tree.map_with_path(
    lambda path, _: (
      is_kernel(path) and (prune_output or path[0].key != 'output')
    ),
    params,
  )


def all_kept(params: Any) -> Any:
  """Return the masks of a dense network: True everywhere."""
  return jax.tree.map(lambda param: jnp.ones(param.shape, bool), params)


def apply(tree: Any, masks: Any) -> Any:
  """Set pruned weights to exactly 0.0, whatever they were, even NaN."""
  return jax.tree.map(
    lambda leaf, mask: jnp.where(mask, leaf, jnp.zeros_like(leaf)), tree, masks
  )


def prune(
  masks: Any, scores: Any, prunable_tree: Any, num_pruned: Int[Array, '']
) -> Any:
  """Remove the kept weights with the smallest scores, over all layers at once.

  Ties are broken by position in the flattened tree, so that the count is
  exact: a threshold alone would remove every weight that equals it, and a
  strict comparison one too few.

  Args:
    masks: tree of bool arrays, before.
    scores: tree of float32 arrays like `masks`; higher means more important,
      and NaN counts as most important.
    prunable_tree: tree of Python bool, from `prunable`.
    num_pruned: how many weights to remove; at most as many as prunable weights
      are kept.

  Returns:
    The tree of masks after, with exactly `num_pruned` fewer True.
  """
  # Infinity marks what must stay, and no candidate may tie with it.
  candidates = jax.tree.map(
    lambda score, mask, can: jnp.where(
      mask & can,
      jnp.nan_to_num(score, nan=jnp.finfo(score.dtype).max),
      jnp.inf,
    ),
    scores,
    masks,
    prunable_tree,
  )
  flat_scores, _ = flatten_util.ravel_pytree(candidates)
  flat_masks, unravel = flatten_util.ravel_pytree(masks)
  threshold = jnp.sort(flat_scores)[jnp.maximum(num_pruned - 1, 0)]
  below = flat_scores < threshold
  tied = flat_scores == threshold
  num_tied_pruned = num_pruned - jnp.sum(below)
  goes = below | (tied & (jnp.cumsum(tied) <= num_tied_pruned))
  return unravel(flat_masks & ~(goes & (num_pruned > 0)))


def num_pruned_by_level(
  num_weights: int, num_prunable: int, prune_fraction: float, levels: int
) -> list[int]:
  """Count the weights that are removed before each level.

  Before level k exactly ceil(prune_fraction * remaining) weights are removed,
  where `remaining` counts all kernels, including the output layer even if it
  is not pruned (OpenLTH `pruning/sparse_global.py`). Computed in exact
  arithmetic: in float32, 0.2 * 266,200 rounds up to one weight too many.

  Args:
    num_weights: weights in all kernels.
    num_prunable: those of them that may be pruned.
    prune_fraction: in [0, 1).
    levels: the last level.

  Returns:
    `levels + 1` counts; the first, of the dense level, is 0. A network with no
    prunable weight left loses no more.
  """
  fraction = fractions.Fraction(str(prune_fraction))
  counts, gone = [0], 0
  for _ in range(levels):
    wanted = math.ceil(fraction * (num_weights - gone))
    counts.append(min(wanted, num_prunable - gone))
    gone += counts[-1]
  return counts


def num_weights(params: Any) -> int:
  """Count the weights in all kernels of one network."""
  return _sum_kernels(params, lambda leaf: leaf.size)


def num_kept(masks: Any) -> Int[Array, '']:
  """Count the kept weights in all kernels of one network."""
  return _sum_kernels(masks, jnp.sum)


def num_prunable(params: Any, prunable_tree: Any) -> int:
  """Count the weights that may be pruned."""
  sizes = jax.tree.map(lambda leaf, can: leaf.size * can, params, prunable_tree)
  return sum(jax.tree.leaves(sizes))


def _sum_kernels(tree: Any, measure: Callable) -> Any:
  leaves = jax.tree.leaves_with_path(tree)
  return sum(measure(leaf) for path, leaf in leaves if is_kernel(path))
