"""One training step that leaves pruned weights at zero."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array
from jaxtyping import Float
from jaxtyping import Int

from pruning_gen.pruning import masks


def sgd(
  schedule: optax.Schedule, momentum: float, weight_decay: float
) -> optax.GradientTransformation:
  """Return PyTorch's SGD as an optax transformation.

  Weight decay is added to the gradient of every parameter, biases and
  BatchNorm included, before momentum; no dampening, no Nesterov.
  """
  nothing = optax.identity()
  return optax.chain(
    optax.add_decayed_weights(weight_decay) if weight_decay else nothing,
    optax.trace(momentum) if momentum else nothing,
    optax.scale_by_learning_rate(schedule),
  )


def adam(
  schedule: optax.Schedule, weight_decay: float
) -> optax.GradientTransformation:
  """Return PyTorch's Adam, with the default betas and epsilon."""
  moments = optax.scale_by_adam()

  def update(updates, state, params=None):
    # optax mixes int and float here, which strict promotion forbids.
    with jax.numpy_dtype_promotion('standard'):
      return moments.update(updates, state, params)

  return optax.chain(
    optax.add_decayed_weights(weight_decay)
    if weight_decay
    else optax.identity(),
    optax.GradientTransformation(moments.init, update),
    optax.scale_by_learning_rate(schedule),
  )


def _cross_entropy(
  logits: Float[Array, 'batch classes'], labels: Int[Array, ' batch']
) -> Float[Array, ' batch']:
  """Return the cross-entropy of each example.

  On a TPU by one-hot labels: to look up a logit per example is five of the 28
  operations of LeNet's step (docs/speed.md). Elsewhere by integers.
  """

  def by_one_hot(logits, labels):
    one_hot = jax.nn.one_hot(labels, logits.shape[-1])
    return optax.softmax_cross_entropy(logits, one_hot)

  return jax.lax.platform_dependent(
    logits,
    labels,
    tpu=by_one_hot,
    default=optax.softmax_cross_entropy_with_integer_labels,
  )


def make_train_step(
  model: nn.Module, optimizer: optax.GradientTransformation
) -> Callable:
  """Return the pure function of one training step.

  Returns:
    train_step(state, images, labels, valid=None) -> (state, loss), where
    images are float32 [batch, height, width, channels], labels int32 [batch],
    valid bool [batch] (False for padding, which has no weight), and loss is
    the mean cross-entropy *before* the step, a float32 scalar.
  """

  def loss_fn(params, batch_stats, images, labels, valid):
    logits, updated = model.apply(
      {'params': params, 'batch_stats': batch_stats},
      images,
      train=True,
      mutable=['batch_stats'],
    )
    losses = _cross_entropy(logits.astype(jnp.float32), labels)
    loss = losses.mean() if valid is None else losses.mean(where=valid)
    return loss, updated.get('batch_stats', {})

  def train_step(state, images, labels, valid=None):
    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
    (loss, batch_stats), grads = grad_fn(
      state.params, state.batch_stats, images, labels, valid
    )
    # Masked twice: before, so that momentum never builds up at a pruned
    # weight; after, so that no transformation can revive one.
    updates, opt_state = optimizer.update(
      masks.apply(grads, state.masks), state.opt_state, state.params
    )
    updates = masks.apply(updates, state.masks)
    return (
      state.replace(
        params=optax.apply_updates(state.params, updates),
        batch_stats=batch_stats,
        opt_state=opt_state,
      ),
      loss,
    )

  return train_step
