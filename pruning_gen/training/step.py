"""One step of masked SGD, for one member."""

import jax
import jax.numpy as jnp
import optax

from pruning_gen.pruning import masks as masks_lib


def sgd(schedule, momentum, weight_decay):
  """Return PyTorch's SGD as an optax transformation.

  Weight decay is added to the gradient of every parameter, biases and
  BatchNorm too, before momentum; no dampening, no Nesterov.

  Args:
    schedule: optax schedule of the learning rate.
    momentum: float in [0, 1).
    weight_decay: float >= 0.
  """
  nothing = optax.identity()
  return optax.chain(
    optax.add_decayed_weights(weight_decay) if weight_decay else nothing,
    optax.trace(momentum) if momentum else nothing,
    optax.scale_by_learning_rate(schedule),
  )


def make_train_step(model, tx):
  """Return the pure function of one training step.

  Args:
    model: Linen module, called as model(images, train).
    tx: optax transformation.

  Returns:
    train_step(state, images, labels, valid=None) -> (state, loss), where
    images are float32 [batch, height, width, channels], labels int32 [batch],
    valid bool [batch] (False: padding, without weight), and loss is the mean
    cross-entropy *before* the step, float32 scalar.
  """

  def loss_fn(params, batch_stats, images, labels, valid):
    logits, updated = model.apply(
      {'params': params, 'batch_stats': batch_stats},
      images,
      train=True,
      mutable=['batch_stats'],
    )
    losses = optax.softmax_cross_entropy_with_integer_labels(
      logits.astype(jnp.float32), labels
    )
    loss = losses.mean() if valid is None else losses.mean(where=valid)
    return loss, updated.get('batch_stats', {})

  def train_step(state, images, labels, valid=None):
    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
    (loss, batch_stats), grads = grad_fn(
      state.params, state.batch_stats, images, labels, valid
    )
    # Masked twice: before, so that momentum never stirs at a pruned weight;
    # after, so that no transformation can revive one.
    updates, opt_state = tx.update(
      masks_lib.apply(grads, state.masks), state.opt_state, state.params
    )
    updates = masks_lib.apply(updates, state.masks)
    return (
      state.replace(
        params=optax.apply_updates(state.params, updates),
        batch_stats=batch_stats,
        opt_state=opt_state,
      ),
      loss,
    )

  return train_step
