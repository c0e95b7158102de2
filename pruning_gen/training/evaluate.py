"""Per-example scores of one member: a pass of its own, nothing averaged."""

import flax.struct
import jax
import jax.numpy as jnp
import optax

from pruning_gen.training import epoch
from pruning_gen.training import members


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

    num_examples = len(images)
    num_batches = -(-num_examples // batch_size)
    ids = jnp.arange(num_batches * batch_size).reshape(num_batches, batch_size)
    ids = jnp.where(ids < num_examples, ids, 0)
    scores = jax.lax.map(score_batch, ids)
    return jax.tree.map(lambda leaf: leaf.reshape(-1)[:num_examples], scores)

  return score
