"""What a person sees of training: a bar with the time left, lines, scalars."""

import sys

import numpy as np
import pandas as pd
import tqdm

from pruning_gen import processes
from pruning_gen.engine import scalars
from pruning_gen.storage import results


class Progress:
  """Shows one stage under way; of several processes only the first does."""

  def __init__(self, config, workdir, name, engine, num_epochs):
    """Show the bar.

    Args:
      config: the config.
      workdir: path, where TensorBoard's scalars go.
      name: str, of the stage.
      engine: Engine.
      num_epochs: int, how many all levels take together.
    """
    self._config = config
    self._directory = results.tensorboard_dir(workdir, name)
    self._name = name
    self._engine = engine
    self._writer = None
    self._bar = tqdm.tqdm(
      total=num_epochs * engine.images_per_epoch,
      desc=name,
      unit='image',
      unit_scale=True,
      dynamic_ncols=True,
      # Without a terminal every refresh is a line of a log.
      mininterval=0.1 if sys.stderr.isatty() else 30,
      disable=not processes.is_primary(),
    )

  def say(self, message):
    """Print a line above the bar."""
    if processes.is_primary():
      tqdm.tqdm.write(f'{self._name}: {message}')

  def start_after(self, num_epochs):
    """Show epochs as done that were not done at this run's speed."""
    self._bar.reset()
    self._bar.initial = num_epochs * self._engine.images_per_epoch
    self._bar.n = self._bar.last_print_n = self._bar.initial

  def show_epoch(self, losses, level, epoch, num_epochs):
    """Show that an epoch is done.

    Args:
      losses: float32 [members, steps].
      level: int.
      epoch: int, within the level.
      num_epochs: int, done in all levels together.
    """
    self._bar.set_postfix_str(
      f'level {level}/{self._config.levels}, '
      f'epoch {epoch + 1}/{self._config.epochs}, '
      f'loss {np.nanmean(losses):.4f}',
      refresh=False,
    )
    self._bar.update(self._engine.images_per_epoch)
    self._write_scalars(num_epochs, {'train_loss': losses.mean(axis=1)})

  def show_level(self, rows, num_epochs):
    """Say what a level came to.

    Args:
      rows: list of dicts, what results.csv gets.
      num_epochs: int, done in all levels together.
    """
    table = pd.DataFrame(rows)
    names = ['test_error', 'train_cross_entropy', 'weights_remaining']
    self._write_scalars(num_epochs, table[names])
    for (noise, arm), group in table.groupby(['noise_fraction', 'arm']):
      # Those that diverged have no error.
      self.say(
        f'level {group.level.iloc[0]:2d}, noise {noise:g}, {arm}: '
        f'{group.weights_remaining.mean():.2%} of the weights, test error '
        f'{group.test_error.mean():.2%} (n={group.test_error.count()})'
      )

  def _write_scalars(self, step, values):
    """Write TensorBoard scalars, {name: [members]}, if the config wants."""
    if not (self._config.tensorboard and processes.is_primary()):
      return
    if self._writer is None:
      self._writer = scalars.Writer(self._directory)
    self._writer.write(
      step,
      {
        f'{name}/{member}': float(value)
        for name, column in values.items()
        for member, value in zip(self._engine.members, column)
      },
    )

  def close(self):
    """Close the bar and the scalars."""
    self._bar.close()
    if self._writer is not None:
      self._writer.close()
