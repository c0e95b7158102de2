"""The epochs of a chain of levels, and the learning rate that they replay."""

from collections.abc import Iterator
from typing import Any
from typing import NamedTuple

import jax.numpy as jnp
import optax


class Schedule(NamedTuple):
  """How long each level trains: E epochs, then E - t after each rewinding.

  Level 0 trains epochs 0 to `epochs`, every later level `rewind_epoch` to
  `epochs`. Global epochs number all of them, so that no two epochs of a chain
  draw the same batches.

  Attributes:
    epochs: E, of one standard training run.
    rewind_epoch: t, which every later level rewinds the learning rate to.
    levels: how many levels follow level 0.
  """

  epochs: int
  rewind_epoch: int = 0
  levels: int = 0

  def global_epoch(self, level: int, epoch: int) -> int:
    """Return how many epochs precede an epoch of a level."""
    if level == 0:
      return epoch
    # Each later level trains E - t epochs, from epoch t on.
    return level * (self.epochs - self.rewind_epoch) + epoch

  def epochs_by(self, level: int) -> int:
    """Return how many epochs a network has trained at the end of a level."""
    return self.global_epoch(level, self.epochs)

  def level_of(self, done: int) -> int:
    """Return the level of the last of `done` finished epochs."""
    if done <= self.epochs:
      return 0
    return 1 + (done - self.epochs - 1) // (self.epochs - self.rewind_epoch)

  def remaining(self, done: int) -> Iterator[tuple[int, range]]:
    """List what is left to do after `done` finished epochs.

    Yields:
      (level, its epochs still to train), from the level of the last finished
      epoch on. The first range is empty if that level is trained to its end.
    """
    first = self.level_of(done)
    start = done - self.global_epoch(first, 0)
    for level in range(first, self.levels + 1):
      yield level, range(start, self.epochs)
      start = self.rewind_epoch


def learning_rate(
  base: float,
  milestones: tuple[int, ...],
  warmup_epochs: int,
  steps_per_epoch: int,
) -> optax.Schedule:
  """Return the learning rate of one standard training run, by step.

  Linear warm-up from 0, then `base`, divided by 10 at each milestone (OpenLTH
  `training/optimizers.py`).
  """
  drops = optax.piecewise_constant_schedule(
    base, {epoch * steps_per_epoch: 0.1 for epoch in milestones}
  )
  rise = optax.constant_schedule(1.0)
  if warmup_epochs:
    rise = optax.linear_schedule(0.0, 1.0, warmup_epochs * steps_per_epoch)

  def schedule(step):
    # optax mixes int and float here, which strict promotion forbids; float32
    # counts steps exactly up to 16 million.
    step = jnp.asarray(step, jnp.float32)
    return rise(step) * drops(step)

  return schedule


def rewind(
  optimizer: optax.GradientTransformation, params: Any, step: int
) -> optax.OptState:
  """Return the optimizer's state of a run that restarts at `step`.

  Momentum and Adam's moments start at zero; the schedule counts from `step`,
  and so replays the learning rate from there (learning-rate rewinding, Renda
  et al. 2020).
  """

  def is_schedule(path, value):
    # Adam has a count of its own, for the bias of its moments.
    del value
    return path[-1].tuple_name == 'ScaleByScheduleState'

  return optax.tree.set(
    optimizer.init(params), is_schedule, count=jnp.int32(step)
  )
