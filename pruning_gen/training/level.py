"""What happens to one member between two levels: score, prune, rewind."""

import jax
import jax.numpy as jnp

from pruning_gen.pruning import masks as masks_lib
from pruning_gen.pruning import scores
from pruning_gen.training import evaluate
from pruning_gen.training import schedule as schedules


def make_score_weights(model, names, image_shape, batch_size, mean, std):
  """Return the pure function that scores the weights of one member.

  Args:
    model: Linen module, called as model(images, train).
    names: list of str, the functions of `scores` that the stack's members go
      by.
    image_shape: (height, width, channels).
    batch_size: int, examples a forward pass where the score needs the loss.
    mean: the data set's mean by channel.
    std: likewise.

  Returns:
    score_weights(state, member, level, images) -> tree of float32 like the
    parameters, by `names[member.score]`. level is an int32 scalar, images are
    uint8 [num_train, height, width, channels], which 'gradient' alone needs.
  """
  loss_gradient = evaluate.make_loss_gradient(model, batch_size, mean, std)

  def score_weights(state, member, level, images):
    params = state.params
    functions = {
      'magnitude': lambda: scores.magnitude(params),
      'random': lambda: scores.random(params, member.key, level),
      'gradient': lambda: scores.gradient(
        params,
        loss_gradient(state, member.labels, member.example_ids, images),
      ),
      'synflow': lambda: scores.synflow(
        model, params, state.batch_stats, state.masks, image_shape
      ),
    }
    return jax.lax.switch(member.score, [functions[name] for name in names])

  return score_weights


def start_level(
  tx, prunable, rewind_step, state, weight_scores, num_pruned, rewinds_weights
):
  """Prune, then rewind the learning rate, and the weights where an arm does.

  Without that, weights and BatchNorm statistics carry over. Momentum starts
  at zero.

  Args:
    tx: optax transformation.
    prunable: tree of Python bool, from `masks.prunable`.
    rewind_step: int, the step of the schedule to restart from.
    state: TrainState at the end of the level before.
    weight_scores: tree like the parameters; the lowest go.
    num_pruned: int32 scalar, how many weights go; 0 in extended dense training.
    rewinds_weights: bool scalar; without effect where `state.early` is empty.

  Returns:
    The TrainState before the first step of the level.
  """
  masks = masks_lib.prune(state.masks, weight_scores, prunable, num_pruned)
  params, batch_stats = state.params, state.batch_stats
  if state.early:
    params, batch_stats = jax.tree.map(
      lambda early, now: jnp.where(rewinds_weights, early, now),
      state.early,
      (params, batch_stats),
    )
  params = masks_lib.apply(params, masks)
  return state.replace(
    params=params,
    batch_stats=batch_stats,
    masks=masks,
    opt_state=schedules.rewind(tx, params, rewind_step),
  )
