"""What happens to one network between two levels: rank, prune, rewind."""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from pruning_gen.pruning import masks
from pruning_gen.pruning import scores
from pruning_gen.training import schedule


def make_score_weights(
  model: nn.Module,
  names: Sequence[str],
  image_shape: tuple[int, int, int],
  loss_gradient: Callable,
) -> Callable:
  """Return the pure function that scores the weights of one network.

  Args:
    model: called as model(images, train).
    names: the scores that the networks of the stack are ranked by.
    image_shape: (height, width, channels).
    loss_gradient: from `evaluate.make_loss_gradient`.

  Returns:
    score_weights(state, member, level, images) -> tree of float32 like the
    parameters, by `names[member.score]`. level is an int32 scalar; images are
    uint8 [num_train, height, width, channels], which only 'gradient' needs.
  """

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


def make_start_level(
  optimizer: optax.GradientTransformation,
  score_weights: Callable,
  prunable: Any,
  rewind_step: int,
) -> Callable:
  """Return the pure function that starts a level.

  It prunes, then rewinds the learning rate, and the weights if the arm does.
  Otherwise weights and BatchNorm statistics carry over. Momentum starts at 0.

  Args:
    optimizer: its schedule counts from `rewind_step` again.
    score_weights: from `make_score_weights`.
    prunable: tree of Python bool, from `masks.prunable`.
    rewind_step: the step of the schedule to restart from.

  Returns:
    start_level(state, member, level, images) -> the state before the first
    step of the level, for the state at the end of the level before.
  """

  def start_level(state, member, level, images):
    kept = masks.prune(
      state.masks,
      score_weights(state, member, level, images),
      prunable,
      member.num_pruned[level],
    )
    params, batch_stats = state.params, state.batch_stats
    if state.rewind_point:
      params, batch_stats = jax.tree.map(
        lambda before, now: jnp.where(member.rewinds_weights, before, now),
        state.rewind_point,
        (params, batch_stats),
      )
    params = masks.apply(params, kept)
    return state.replace(
      params=params,
      batch_stats=batch_stats,
      masks=kept,
      opt_state=schedule.rewind(optimizer, params, rewind_step),
    )

  return start_level
