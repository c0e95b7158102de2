"""What every experiment does after each epoch: check, show, save, stop."""

import contextlib
import sys

import numpy as np
import pandas as pd
import tqdm

from pruning_gen.errors import Preempted
from pruning_gen.errors import UserError
from pruning_gen.storage import checkpoint
from pruning_gen.storage import results
from pruning_gen.storage import scalars


class Session(contextlib.AbstractContextManager):
  """One experiment under way: its checkpoints, progress bar and scalars."""

  def __init__(self, config, workdir, experiment, members, should_stop):
    """Open the experiment's checkpoints.

    Args:
      config: the config.
      workdir: path.
      experiment: str, its name.
      members: list of Member.
      should_stop: () -> bool, whether the run was asked to stop.
    """
    self._config = config
    self._experiment = experiment
    self._members = members
    self._should_stop = should_stop
    self._workdir = workdir
    self._checkpoints = checkpoint.Checkpoints(
      results.checkpoint_dir(workdir, experiment), config.checkpoint.keep
    )
    self._writer = None
    self._bar = None

  def resume(self, engine):
    """Return the newest saved stack, or a new one, and its epochs trained."""
    newest = self._checkpoints.latest()
    if newest is None:
      return engine.create(), 0
    self.say(f'resuming after {newest} epochs')
    return self._checkpoints.restore(newest, engine.abstract_state()), newest

  def start_progress(self, finished_epochs, total_epochs, images_per_epoch):
    """Show the progress bar; images count those of all members."""
    self._images_per_epoch = images_per_epoch
    self._bar = tqdm.tqdm(
      total=total_epochs * images_per_epoch,
      initial=finished_epochs * images_per_epoch,
      desc=self._experiment,
      unit='image',
      unit_scale=True,
      dynamic_ncols=True,
      # Without a terminal every refresh is a line of a log.
      mininterval=0.1 if sys.stderr.isatty() else 30,
    )

  def after_epoch(self, state, losses, level, epoch, global_epoch):
    """Check an epoch's losses, shows it, saves where due, stops where asked.

    Args:
      state: the stack after the epoch.
      losses: float32 [members, steps].
      level: int.
      epoch: int, which epoch of the level it was.
      global_epoch: int, which epoch since the beginning it was.

    Raises:
      UserError: a loss is not finite.
      Preempted: the run was asked to stop; the state is saved.
    """
    self._check_finite(losses, level, epoch)
    self._bar.set_postfix_str(
      f'level {level}/{self._config.levels}, '
      f'epoch {epoch + 1}/{self._config.epochs}, loss {losses.mean():.4f}',
      refresh=False,
    )
    self._bar.update(self._images_per_epoch)
    finished = global_epoch + 1
    self._write_scalars(finished, {'train_loss': losses.mean(axis=1)})
    due = finished % self._config.checkpoint.every_epochs == 0
    ends_level = epoch + 1 == self._config.epochs
    stop = self._should_stop()
    if due or ends_level or stop:
      self._checkpoints.save(finished, state)
    if stop:
      raise Preempted(
        f'{self._experiment} stopped after level {level}, epoch {epoch}'
      )

  def after_level(self, rows, finished_epochs):
    """Show a finished level: its rows of results.csv, in a line each arm."""
    names = ('test_error', 'train_cross_entropy', 'weights_remaining')
    self._write_scalars(
      finished_epochs, {name: [row[name] for row in rows] for name in names}
    )
    table = pd.DataFrame(rows)
    for (noise, arm), group in table.groupby(['noise_fraction', 'arm']):
      self.say(
        f'level {group.level.iloc[0]:2d}, noise {noise:g}, {arm}: '
        f'{group.weights_remaining.mean():.2%} of the weights, test error '
        f'{group.test_error.mean():.2%} (n={len(group)})'
      )

  def _write_scalars(self, step, values):
    """Write TensorBoard scalars, {name: [members]}, if the config wants."""
    if not self._config.tensorboard:
      return
    if self._writer is None:
      self._writer = scalars.Writer(
        results.tensorboard_dir(self._workdir, self._experiment)
      )
    self._writer.write(
      step,
      {
        f'{name}/{member}': float(value)
        for name, column in values.items()
        for member, value in zip(self._members, column)
      },
    )

  def say(self, message):
    """Print a line above the progress bar."""
    tqdm.tqdm.write(f'{self._experiment}: {message}')

  def __exit__(self, *exception):
    if self._bar is not None:
      self._bar.close()
    if self._writer is not None:
      self._writer.close()
    # Waits until the last save is committed.
    self._checkpoints.close()

  def _check_finite(self, losses, level, epoch):
    broken = np.argwhere(~np.isfinite(losses))
    if not len(broken):
      return
    # The earliest step first; its member is the one to look at.
    row, step = min(broken.tolist(), key=lambda position: position[1])
    raise UserError(
      f'{self._experiment}: the loss is {losses[row, step]} for member '
      f'({self._members[row]}) at level {level}, epoch {epoch}, step {step}: '
      f'lower config.learning_rate (now {self._config.learning_rate:g}); '
      f'finished levels stay in results.csv'
    )
