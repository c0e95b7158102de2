"""Progress of training: a bar or lines of a log, and TensorBoard scalars."""

import sys
import time
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

# What matters most comes first: a narrow terminal cuts the end off.
BAR = '{desc} {percentage:3.0f}%|{bar}|{remaining} left, {rate_fmt}{postfix}'
# Seconds between lines of a log, in which there is no bar.
LINES_EVERY = 300


def say(name: str, message: str) -> None:
  """Print a line above the bar, of the part of a name."""
  if processes.is_primary():
    tqdm.tqdm.write(f'{name}: {message}')


class Progress:
  """Shows a part in progress; of several processes only the first does."""

  def __init__(self, run: Any, name: str, stack: Stack, schedule: Schedule):
    """Show the bar of a part by name, or none in a log."""
    config = run.config
    self._name = name
    self._schedule = schedule
    self._images_per_epoch = stack.images_per_epoch(config.batch_size)
    self._writer = None
    if config.tensorboard and processes.is_primary():
      self._writer = scalars.Writer(
        results.tensorboard_dir(run.workdir, name),
        [
          str(member).replace(', ', '/').replace(' ', '_')
          for member in stack.members
        ],
      )
    self._is_log = not sys.stderr.isatty()
    self._first = self._last_line = None
    self._epochs_before = 0
    self._bar = tqdm.tqdm(
      total=self._num_epochs * self._images_per_epoch,
      desc=f'{name}:',
      unit='image',
      unit_scale=True,
      dynamic_ncols=True,
      bar_format=BAR,
      # Levels end with an evaluation, which takes time of its own.
      smoothing=0.1,
      disable=self._is_log or not processes.is_primary(),
    )

  @property
  def _num_epochs(self) -> int:
    return self._schedule.epochs_by(self._schedule.levels)

  def say(self, message: str) -> None:
    """Print a line above the bar."""
    say(self._name, message)

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
    where = f'epoch {epoch + 1}/{self._schedule.epochs}'
    if self._schedule.levels:
      where = f'level {level}/{self._schedule.levels}, {where}'
    loss = f'loss {np.nanmean(losses):.3g}'
    self._bar.set_description_str(f'{self._name}: {where}', refresh=False)
    self._bar.set_postfix_str(loss, refresh=False)
    self._bar.update(self._images_per_epoch)
    if self._is_log:
      self._log_epoch(f'{where}, {loss}', num_epochs)
    self._write_scalars(num_epochs, {'train_loss': losses.mean(axis=1)})

  def _log_epoch(self, text: str, num_epochs: int) -> None:
    """Print a line of a log: after the first epoch, then at intervals."""
    now = time.monotonic()
    if self._first is None:
      # Its time is not typical, since programs are loaded in it.
      self._first = self._last_line = now
      self._epochs_before = num_epochs
      self.say(text)
    elif now - self._last_line >= LINES_EVERY:
      self._last_line = now
      epoch = (now - self._first) / (num_epochs - self._epochs_before)
      left = tqdm.tqdm.format_interval(epoch * (self._num_epochs - num_epochs))
      self.say(f'{text}, about {left} left')

  def show_level(self, rows: list[dict[str, Any]], num_epochs: int) -> None:
    """Print the results of a level, the rows that results.csv gets."""
    table = pd.DataFrame(rows)
    names = ['test_error', 'train_cross_entropy', 'weights_remaining']
    self._write_scalars(num_epochs, {name: table[name] for name in names})
    for (noise, arm), group in table.groupby(['noise_fraction', 'arm']):
      # Networks that diverged have no error.
      self.say(
        f'level {group.level.iloc[0]:2d}, noise {noise:g}, {arm}: '
        f'{group.weights_remaining.mean():.2%} of the weights, test error '
        f'{group.test_error.mean():.2%} (n={group.test_error.count()})'
      )

  def _write_scalars(self, step: int, values: dict[str, Any]) -> None:
    """Write TensorBoard scalars, {name: [members]}, if the config asks."""
    if self._writer is not None:
      self._writer.write(step, values)

  def close(self) -> None:
    """Close the bar and the scalars."""
    self._bar.close()
    if self._writer is not None:
      self._writer.close()
