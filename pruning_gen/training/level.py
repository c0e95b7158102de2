"""What happens to one network between two levels: rank, prune, rewind."""

import functools
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from pruning_gen.pruning import masks
from pruning_gen.pruning.scores import Context
from pruning_gen.pruning.scores import Score
from pruning_gen.pruning.scores import SCORES
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
    uint8 [num_train, height, width, channels], or None if no score needs them.
  """
  used = [SCORES[name] for name in names]

  def score_weights(state, member, level, images):
    context = Context(
      model,
      state.params,
      state.batch_stats,
      state.masks,
      member.key,
      level,
      image_shape,
      loss_gradient=lambda: loss_gradient(
        state, member.labels, member.example_ids, images
      ),
    )
    branches = [functools.partial(_evaluate, score, context) for score in used]
    return jax.lax.switch(member.score, branches)

  return score_weights


def _evaluate(score: Score, context: Context) -> Any:
  """Evaluate a score in float32: branches of a switch must agree in type."""
  return jax.tree.map(
    lambda leaf: jnp.asarray(leaf, jnp.float32), score.function(context)
  )


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
