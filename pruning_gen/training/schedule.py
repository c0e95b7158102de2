"""The learning rate over one level, and how rewinding replays it."""

import jax.numpy as jnp
import optax


def learning_rate(base, milestones, warmup_epochs, steps_per_epoch):
  """Return the schedule of one standard training run.

  Linear warm-up from 0, then `base`, divided by 10 at each milestone
  (OpenLTH `training/optimizers.py`).

  Args:
    base: float, the learning rate after warm-up.
    milestones: epochs at which the rate is divided by 10.
    warmup_epochs: number of epochs of warm-up; 0 for none.
    steps_per_epoch: int.

  Returns:
    An optax schedule: step in the level -> learning rate.
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


def rewind(tx, params, step):
  """Return the optimizer's state of a run that restarts at `step`.

  Momentum starts at zero; the schedules of `tx` count on from `step`, and so
  replay the learning rate from there (learning-rate rewinding, Renda et al.
  2020).

  Args:
    tx: optax transformation.
    params: tree of parameters.
    step: int, where in the schedule to restart.
  """
  return optax.tree.set(tx.init(params), count=jnp.int32(step))


def global_epoch(level, epoch, epochs, rewind_epoch):
  """Count the epochs a network has seen before epoch `epoch` of a level.

  Level 0 trains epochs 0 to `epochs`, every later level `rewind_epoch` to
  `epochs`. No two epochs of a chain share a global epoch, so none is a copy
  of another.
  """
  if level == 0:
    return epoch
  return epochs + (level - 1) * (epochs - rewind_epoch) + epoch - rewind_epoch


def locate(global_epoch_, epochs, rewind_epoch):
  """Invert `global_epoch` for a number of *finished* epochs.

  Returns:
    (level, epoch): the level of the last finished epoch, and how far that
    level has come: `epoch == epochs` where the level is trained to its end.
    For 0 finished epochs (0, 0).
  """
  if global_epoch_ <= epochs:
    return 0, global_epoch_
  beyond = global_epoch_ - epochs - 1
  level, offset = divmod(beyond, epochs - rewind_epoch)
  return level + 1, rewind_epoch + offset + 1
