"""Per-example evaluation of one network: a separate pass, nothing averaged."""

from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array
from jaxtyping import Bool
from jaxtyping import Float
from jaxtyping import Int

from pruning_gen.training import train_state


@flax.struct.dataclass
class PerExample:
  """What one network predicts for each example, indexed by example_id.

  Attributes:
    cross_entropy: on the given label, in nats.
    prediction: the class of the largest logit.
    el2n: L2 norm of softmax(logits) - one-hot(label) (Paul et al. 2021).
  """

  cross_entropy: Float[Array, ' example']
  prediction: Int[Array, ' example']
  el2n: Float[Array, ' example']


def evaluate_logits(
  logits: Float[Array, 'batch classes'], labels: Int[Array, ' batch']
) -> PerExample:
  """Evaluate a batch, in float32 whatever the logits are."""
  logits = logits.astype(jnp.float32)
  one_hot = jax.nn.one_hot(labels, logits.shape[-1])
  error = jax.nn.softmax(logits) - one_hot
  return PerExample(
    cross_entropy=_exact_cross_entropy(logits, labels),
    prediction=jnp.argmax(logits, axis=-1).astype(jnp.int32),
    el2n=jnp.linalg.norm(error, axis=-1),
  )


def _exact_cross_entropy(
  logits: Float[Array, 'batch classes'], labels: Int[Array, ' batch']
) -> Float[Array, ' batch']:
  """Return the cross-entropy to float32's own resolution, however small.

  logsumexp(logits) - logit is quantized at one ulp of the logit, about 1e-6:
  0 for the logits (20, 5, 5), where 6.118e-7 is right. Here nothing cancels.
  """
  largest = jnp.argmax(logits, axis=-1, keepdims=True)
  shifted = logits - jnp.max(logits, axis=-1, keepdims=True)
  is_largest = jnp.arange(logits.shape[-1])[None] == largest
  others = jnp.where(is_largest, 0, jnp.exp(shifted)).sum(axis=-1)
  own = jnp.take_along_axis(shifted, labels[:, None], axis=-1)[:, 0]
  return jnp.log1p(others) - own


def make_evaluate(
  model: nn.Module,
  batch_size: int,
  prepare: Callable,
  precision: str = 'highest',
) -> Callable:
  """Return the pure function that evaluates a whole split.

  Evaluation mode, no augmentation, every example exactly once: the last batch
  is padded with example 0, and the padding's results are dropped.

  Args:
    model: called as model(images, train).
    batch_size: examples per forward pass; it changes memory, and rounding.
    prepare: uint8 images -> float32 images, normalized.
    precision: of float32 matrix products on accelerators, as JAX names it.

  Returns:
    evaluate(state, labels, images) -> PerExample [N], for labels int32 [N]
    and images uint8 [N, height, width, channels].
  """
  evaluate_batch = make_evaluate_batch(model, prepare, precision)

  def evaluate(state, labels, images):
    ids, _ = _padded_batches(len(images), batch_size)
    results = jax.lax.map(
      lambda ids: evaluate_batch(state, labels, images[ids], ids), ids
    )
    return jax.tree.map(lambda leaf: leaf.reshape(-1)[: len(images)], results)

  return evaluate


def make_evaluate_batch(
  model: nn.Module, prepare: Callable, precision: str = 'highest'
) -> Callable:
  """Return the pure function that evaluates one batch.

  Returns:
    evaluate_batch(state, labels, images, example_ids) -> PerExample [batch],
    for labels int32 [N], images uint8 [batch, height, width, channels] and
    example_ids int32 [batch]; results for padding are meaningless.
  """

  def evaluate_batch(state, labels, images, example_ids):
    with jax.default_matmul_precision(precision):
      logits = model.apply(
        train_state.variables(state), prepare(images), train=False
      )
    return evaluate_logits(logits, labels[example_ids])

  return evaluate_batch


def make_loss_gradient(
  model: nn.Module, batch_size: int, prepare: Callable
) -> Callable:
  """Return the pure function of the training loss's gradient.

  The loss is the mean cross-entropy over all of a network's examples, in
  evaluation mode and without augmentation, like every measure of the training
  set here. Arguments as for `make_evaluate`, but the size of batches changes
  the result, in rounding: they are added up one by one.

  Returns:
    loss_gradient(state, labels, example_ids, images) -> tree of float32 like
    the parameters, for labels int32 [num_train], example_ids int32 [N] and
    images uint8 [num_train, height, width, channels].
  """

  def loss_gradient(state, labels, example_ids, images):
    def loss(params, ids, valid):
      variables = train_state.variables(state.replace(params=params))
      logits = model.apply(variables, prepare(images[ids]), train=False)
      losses = optax.softmax_cross_entropy_with_integer_labels(
        logits.astype(jnp.float32), labels[ids]
      )
      return losses.sum(where=valid)

    def add_batch(total, batch):
      positions, valid = batch
      grads = jax.grad(loss)(state.params, example_ids[positions], valid)
      return jax.tree.map(jnp.add, total, grads), None

    zeros = jax.tree.map(jnp.zeros_like, state.params)
    total, _ = jax.lax.scan(
      add_batch, zeros, _padded_batches(len(example_ids), batch_size)
    )
    return jax.tree.map(lambda leaf: leaf / len(example_ids), total)

  return loss_gradient


def make_gradient_norms(
  model: nn.Module,
  batch_size: int,
  prepare: Callable,
  precision: str = 'highest',
) -> Callable:
  """Return the pure function of GraNd (Paul et al. 2021).

  The L2 norm of the gradient of an example's own loss, over all parameters, in
  evaluation mode.

  Args:
    model: called as model(images, train).
    batch_size: examples at once, each with a gradient as large as the network.
    prepare: uint8 images -> float32 images, normalized.
    precision: of float32 matrix products on accelerators, as JAX names it.

  Returns:
    gradient_norms(state, labels, images) -> float32 [N], for labels int32 [N]
    and images uint8 [N, height, width, channels].
  """

  def gradient_norms(state, labels, images):
    def loss(params, i):
      variables = train_state.variables(state.replace(params=params))
      logits = model.apply(variables, prepare(images[i][None]), train=False)
      return optax.softmax_cross_entropy_with_integer_labels(
        logits.astype(jnp.float32), labels[i][None]
      )[0]

    def norm(i):
      return optax.tree.norm(jax.grad(loss)(state.params, i))

    positions = jnp.arange(len(images))
    with jax.default_matmul_precision(precision):
      return jax.lax.map(norm, positions, batch_size=batch_size)

  return gradient_norms


def _padded_batches(
  num_examples: int, batch_size: int
) -> tuple[Int[Array, 'steps batch'], Bool[Array, 'steps batch']]:
  """Return the position and validity of every example; padding is 0."""
  num_batches = -(-num_examples // batch_size)
  ids = jnp.arange(num_batches * batch_size).reshape(num_batches, batch_size)
  valid = ids < num_examples
  return jnp.where(valid, ids, 0), valid
