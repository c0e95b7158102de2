"""Progress of training: a bar, printed lines, TensorBoard scalars."""

import sys
from typing import Any

import numpy as np
import pandas as pd
import tqdm
from jaxtyping import Float

from pruning_gen import processes
from pruning_gen.engine import scalars
from pruning_gen.engine.stack import Stack
from pruning_gen.storage import results
from pruning_gen.training.schedule import Schedule


class Progress:
  """Shows a part in progress; of several processes only the first does."""

  def __init__(self, run: Any, name: str, stack: Stack, schedule: Schedule):
    """Show the bar of a part by name."""
    config = run.config
    self._name = name
    self._members = stack.members
    self._schedule = schedule
    self._images_per_epoch = stack.images_per_epoch(config.batch_size)
    self._writer = None
    if config.tensorboard and processes.is_primary():
      self._writer = scalars.Writer(results.tensorboard_dir(run.workdir, name))
    self._bar = tqdm.tqdm(
      total=schedule.epochs_by(schedule.levels) * self._images_per_epoch,
      desc=name,
      unit='image',
      unit_scale=True,
      dynamic_ncols=True,
      # Without a terminal every refresh is a line of a log.
      mininterval=0.1 if sys.stderr.isatty() else 30,
      disable=not processes.is_primary(),
    )

  def say(self, message: str) -> None:
    """Print a line above the bar."""
    if processes.is_primary():
      tqdm.tqdm.write(f'{self._name}: {message}')

  def start_after(self, num_epochs: int) -> None:
    """Show the epochs of earlier starts as done, outside the speed."""
    self._bar.reset()
    self._bar.initial = num_epochs * self._images_per_epoch
    self._bar.n = self._bar.last_print_n = self._bar.initial

  def show_epoch(
    self,
    losses: Float[np.ndarray, 'members steps'],
    level: int,
    epoch: int,
    num_epochs: int,
  ) -> None:
    """Show that an epoch is done, the last of `num_epochs` over all levels."""
    self._bar.set_postfix_str(
      f'level {level}/{self._schedule.levels}, '
      f'epoch {epoch + 1}/{self._schedule.epochs}, '
      f'loss {np.nanmean(losses):.4f}',
      refresh=False,
    )
    self._bar.update(self._images_per_epoch)
    self._write_scalars(num_epochs, {'train_loss': losses.mean(axis=1)})

  def show_level(self, rows: list[dict[str, Any]], num_epochs: int) -> None:
    """Print the results of a level, the rows that results.csv gets."""
    table = pd.DataFrame(rows)
    names = ['test_error', 'train_cross_entropy', 'weights_remaining']
    self._write_scalars(num_epochs, table[names])
    for (noise, arm), group in table.groupby(['noise_fraction', 'arm']):
      # Networks that diverged have no error.
      self.say(
        f'level {group.level.iloc[0]:2d}, noise {noise:g}, {arm}: '
        f'{group.weights_remaining.mean():.2%} of the weights, test error '
        f'{group.test_error.mean():.2%} (n={group.test_error.count()})'
      )

  def _write_scalars(self, step: int, values: Any) -> None:
    """Write TensorBoard scalars, {name: [members]}, if the config asks."""
    if self._writer is not None:
      self._writer.write(
        step,
        {
          f'{name}/{member}': float(value)
          for name, column in values.items()
          for member, value in zip(self._members, column)
        },
      )

  def close(self) -> None:
    """Close the bar and the scalars."""
    self._bar.close()
    if self._writer is not None:
      self._writer.close()
