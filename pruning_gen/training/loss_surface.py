"""The loss around one network: on the line to another, and its curvature."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import flatten_util
from jaxtyping import Array
from jaxtyping import Float
from jaxtyping import Int
from jaxtyping import Key

from pruning_gen.models import layers
from pruning_gen.training.train_state import TrainState

# Below this fraction of the largest product so far, what is left of a vector is
# rounding.
_ROUNDING = 1e-6


@flax.struct.dataclass
class Path:
  """What is measured at points on the line between two networks.

  Attributes:
    num_wrong: test examples that are classified wrong.
    train_cross_entropy: mean over some training examples, in nats.
  """

  num_wrong: Int[Array, ' points']
  train_cross_entropy: Float[Array, ' points']


@flax.struct.dataclass
class Curvature:
  """The largest eigenvalue of a Hessian.

  Attributes:
    eigenvalue: v H v of the unit vector v that comes nearest.
    residual: |H v - eigenvalue v|; H has an eigenvalue within this distance.
  """

  eigenvalue: Float[Array, '']
  residual: Float[Array, '']


def measure_line(
  measure: Callable[[TrainState], Any],
  state: TrainState,
  other: TrainState,
  num_points: int,
) -> Any:
  """Measure networks on the line from one to another, both ends included.

  Args:
    measure: state -> tree of scalars.
    state: where the line begins.
    other: where it ends.
    num_points: how many, evenly spaced.

  Returns:
    The tree of arrays [point].
  """

  def measure_point(fraction):
    params, batch_stats = jax.tree.map(
      lambda one, two: (1 - fraction) * one + fraction * two,
      (state.params, state.batch_stats),
      (other.params, other.batch_stats),
    )
    return measure(state.replace(params=params, batch_stats=batch_stats))

  return jax.lax.map(measure_point, jnp.linspace(0, 1, num_points))


def make_path(
  model: nn.Module,
  num_points: int,
  evaluate_train: Callable,
  evaluate_test: Callable,
  prepare: Callable,
) -> Callable:
  """Return the pure function that measures the path between two networks.

  Args:
    model: called as model(images, train).
    num_points: on the line.
    evaluate_train: from `evaluate.make_evaluate`.
    evaluate_test: likewise; the batches may differ in size.
    prepare: uint8 images -> float32 images, normalized.

  Returns:
    path(state, other, labels, example_ids, images, test_labels, test_images)
    -> Path; the loss is of the examples that example_ids [n] chooses.
    BatchNorm's statistics are estimated again at every point, from these: on
    the line they are not those between the statistics of its ends.
  """

  def path(state, other, labels, example_ids, images, *test):
    own = labels[example_ids], images[example_ids]

    def measure(state):
      state = estimate_statistics(model, state, prepare(own[1]))
      num_wrong = jnp.sum(evaluate_test(state, *test).prediction != test[0])
      return Path(num_wrong, evaluate_train(state, *own).cross_entropy.mean())

    return measure_line(measure, state, other, num_points)

  return path


def estimate_statistics(
  model: nn.Module,
  state: TrainState,
  images: Float[Array, 'batch height width channels'],
) -> TrainState:
  """Set BatchNorm's averages to the statistics of a batch of images."""
  if not state.batch_stats:
    return state
  variables = {
    'params': state.params,
    'batch_stats': jax.tree.map(jnp.zeros_like, state.batch_stats),
  }
  _, updated = model.apply(
    variables, images, train=True, mutable=['batch_stats']
  )
  # From zero, one step of the running average goes this far.
  step = 1 - layers.BATCH_NORM_MOMENTUM
  return state.replace(
    batch_stats=jax.tree.map(lambda leaf: leaf / step, updated['batch_stats'])
  )


def make_curvature(
  loss_gradient: Callable,
  num_iterations: int,
  key: Key[Array, ''],
  precision: str = 'highest',
) -> Callable:
  """Return the pure function of the largest eigenvalue of the loss's Hessian.

  In evaluation mode, and only in the directions of weights that are kept. The
  Hessian is never formed: its products are the forward-mode derivatives of the
  gradient.

  Args:
    loss_gradient: from `evaluate.make_loss_gradient`.
    num_iterations: of `find_largest_eigenvalue`.
    key: draws the vector to begin with.
    precision: of float32 matrix products on accelerators, as JAX names it.

  Returns:
    curvature(state, labels, example_ids, images) -> Curvature; the loss is the
    mean over the examples that example_ids [n] chooses.
  """

  def curvature(state, labels, example_ids, images):
    params, unravel = flatten_util.ravel_pytree(state.params)
    kept, _ = flatten_util.ravel_pytree(state.masks)

    def gradient(params):
      own = state.replace(params=unravel(params))
      grads = loss_gradient(own, labels, example_ids, images)
      return flatten_util.ravel_pytree(grads)[0]

    def multiply(vector):
      _, product = jax.jvp(gradient, (params,), (vector,))
      return jnp.where(kept, product, 0)

    start = jnp.where(kept, jax.random.normal(key, params.shape), 0)
    with jax.default_matmul_precision(precision):
      return find_largest_eigenvalue(multiply, start, num_iterations)

  return curvature


def find_largest_eigenvalue(
  multiply: Callable[[Float[Array, ' n']], Float[Array, ' n']],
  start: Float[Array, ' n'],
  num_iterations: int,
) -> Curvature:
  """Find the largest eigenvalue of a symmetric matrix, by Lanczos' algorithm.

  Every vector is orthogonalized against all earlier ones, twice: in float32 the
  short recurrence alone would find the same eigenvalue again and again.

  Args:
    multiply: vector -> matrix @ vector; called once more than num_iterations.
    start: any vector that is not zero.
    num_iterations: the size of the subspace, in memory all at once.
  """

  def extend(carry, i):
    basis, vector, scale = carry
    basis = basis.at[i].set(vector)
    product = multiply(vector)
    scale = jnp.maximum(scale, jnp.linalg.norm(product))
    rest = product
    for _ in range(2):
      rest = rest - basis.T @ (basis @ rest)
    length = jnp.linalg.norm(rest)
    # The space has no further directions: what follows are zeros.
    length = jnp.where(length > _ROUNDING * scale, length, 0)
    following = rest / jnp.where(length > 0, length, jnp.inf)
    return (basis, following, scale), (product @ vector, length)

  basis = jnp.zeros((num_iterations, len(start)))
  (basis, _, _), (diagonal, off_diagonal) = jax.lax.scan(
    extend,
    (basis, start / jnp.linalg.norm(start), jnp.float32(0)),
    jnp.arange(num_iterations),
  )
  # Zeros have no eigenvalue, and must not have the largest.
  is_there = jnp.append(True, off_diagonal[:-1] > 0)
  smallest = jnp.min(diagonal, where=is_there, initial=jnp.inf)
  diagonal = jnp.where(is_there, diagonal, smallest - 1)
  sides = jnp.diag(off_diagonal[:-1], 1)
  _, vectors = jnp.linalg.eigh(jnp.diag(diagonal) + sides + sides.T)
  vector = vectors[:, -1] @ basis
  vector = vector / jnp.linalg.norm(vector)
  product = multiply(vector)
  eigenvalue = vector @ product
  residual = jnp.linalg.norm(product - eigenvalue * vector)
  return Curvature(eigenvalue, residual)
