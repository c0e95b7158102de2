"""Per-example scores of one member: a pass of its own, nothing averaged."""

import flax.struct
import jax
import jax.numpy as jnp
import optax

from pruning_gen.engine import over_members as members
from pruning_gen.training import epoch


@flax.struct.dataclass
class ExampleScores:
  """What one network makes of each example, indexed by example_id.

  Attributes:
    cross_entropy: float32 [N], on the given label, in nats.
    prediction: int32 [N], the class of the largest logit.
    el2n: float32 [N], L2 norm of softmax(logits) - one-hot(label) (Paul et
      al. 2021).
  """

  cross_entropy: jax.Array
  prediction: jax.Array
  el2n: jax.Array


def score_logits(logits, labels):
  """Score a batch.

  Args:
    logits: [batch, classes]; everything below is float32.
    labels: int32 [batch].

  Returns:
    ExampleScores of the batch.
  """
  logits = logits.astype(jnp.float32)
  one_hot = jax.nn.one_hot(labels, logits.shape[-1])
  error = jax.nn.softmax(logits) - one_hot
  return ExampleScores(
    cross_entropy=optax.softmax_cross_entropy_with_integer_labels(
      logits, labels
    ),
    prediction=jnp.argmax(logits, axis=-1).astype(jnp.int32),
    el2n=jnp.linalg.norm(error, axis=-1),
  )


def make_score(model, batch_size, mean, std):
  """Return the pure function that scores a whole split.

  Evaluation mode, images as they are (no augmentation), every example exactly
  once: the last batch is filled up with example 0, and what that adds is cut.

  Args:
    model: Linen module, called as model(images, train).
    batch_size: int, examples a forward pass; it changes memory, not results.
    mean: the data set's mean by channel.
    std: likewise.

  Returns:
    score(state, labels, images) -> ExampleScores [N], for labels int32 [N]
    and images uint8 [N, height, width, channels].
  """

  def score(state, labels, images):
    variables = {'params': state.params, 'batch_stats': state.batch_stats}

    def score_batch(ids):
      batch = members.spread_batch(images[ids])
      batch = epoch.normalize(batch, mean, std)
      return score_logits(
        model.apply(variables, batch, train=False), labels[ids]
      )

    ids, _ = _padded_batches(len(images), batch_size)
    scores = jax.lax.map(score_batch, ids)
    return jax.tree.map(lambda leaf: leaf.reshape(-1)[: len(images)], scores)

  return score


def make_loss_gradient(model, batch_size, mean, std):
  """Return the pure function of the training loss's gradient.

  Of the mean cross-entropy over all of a member's examples, in evaluation
  mode and without augmentation, like every measure of the training set here.

  Args:
    model: Linen module, called as model(images, train).
    batch_size: int, examples a forward pass; it changes memory, not results.
    mean: the data set's mean by channel.
    std: likewise.

  Returns:
    loss_gradient(state, labels, example_ids, images) -> tree of float32 like
    the parameters, for labels int32 [num_train], example_ids int32 [N] and
    images uint8 [num_train, height, width, channels].
  """

  def loss_gradient(state, labels, example_ids, images):
    def loss(params, ids, valid):
      variables = {'params': params, 'batch_stats': state.batch_stats}
      batch = epoch.normalize(members.spread_batch(images[ids]), mean, std)
      logits = model.apply(variables, batch, train=False).astype(jnp.float32)
      losses = optax.softmax_cross_entropy_with_integer_labels(
        logits, labels[ids]
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


def _padded_batches(num_examples, batch_size):
  """Return ids and valid [batches, batch_size]; padding is example 0."""
  num_batches = -(-num_examples // batch_size)
  ids = jnp.arange(num_batches * batch_size).reshape(num_batches, batch_size)
  valid = ids < num_examples
  return jnp.where(valid, ids, 0), valid
