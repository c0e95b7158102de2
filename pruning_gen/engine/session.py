"""One experiment under way: train, measure, save, stop and go on."""

import contextlib
from typing import NamedTuple

import numpy as np

from pruning_gen import processes
from pruning_gen.engine import measure
from pruning_gen.engine import progress
from pruning_gen.errors import Preempted
from pruning_gen.errors import UserError
from pruning_gen.storage import checkpoint
from pruning_gen.storage import results
from pruning_gen.training import schedule as schedules


class Stage(NamedTuple):
  """A part of an experiment that trains as one stack, and where it is kept.

  Attributes:
    experiment: str, its name in results.csv.
    folder: str, the folder of its arrays.
    level: int, what its first level is called.
    arrays: the arrays of `measure.measure` that are kept.
  """

  experiment: str
  folder: str
  level: int = 0
  arrays: tuple[str, ...] = ('cross_entropy', 'prediction', 'correct')

  @property
  def name(self):
    """Names it to users, and the folder of its checkpoints."""
    return f'{self.folder}-{self.level}' if self.level else self.folder

  def is_finished(self, workdir, members, levels=0):
    """Tell whether results.csv has its members, at its first level or all."""
    wanted = {
      (*member, self.level + level)
      for member in members
      for level in range(levels + 1)
    }
    return wanted <= results.finished_rows(workdir, self.experiment)


def train_dense(config, workdir, stage, engine, should_stop, columns=None):
  """Train dense networks from scratch, once, measure them, keep no checkpoint.

  Args:
    config: the config, whose `epochs` are trained.
    workdir: path.
    stage: Stage.
    engine: Engine.
    should_stop: () -> bool, whether the run was asked to stop.
    columns: dict, what results.csv has in place of what is measured.
  """
  with Session(config, workdir, stage, engine, should_stop) as session:
    state, epoch = session.resume()
    state = session.train_level(state, 0, epoch)
    session.finish_level(state, 0, columns)
  # Other processes read what the first has written.
  processes.wait_for_all(stage.name)
  results.remove_checkpoints(workdir, stage.name)
  stop_if_asked(should_stop, f'{stage.name} after its end')


def stop_if_asked(should_stop, where):
  """End the run where there is nothing to save; called by all processes.

  Args:
    should_stop: () -> bool, whether the run was asked to stop.
    where: str, tells the user.

  Raises:
    Preempted: it was, on any process.
  """
  if processes.any_process(should_stop()):
    raise Preempted(f'{where}: stopped')


def once(config, epochs=None):
  """Return a config of one standard training run, without levels.

  Args:
    config: the config.
    epochs: int, to stop early; the schedule stays the same. None for all.
  """
  config = config.copy_and_resolve_references()
  config.levels = 0
  config.epochs = epochs or config.epochs
  return config


class Session(contextlib.AbstractContextManager):
  """Drives an engine through levels, and keeps all it makes.

  Epochs are saved every `checkpoint.every_epochs` and at the end of a level,
  while training goes on; leaving the session waits for the last save.
  """

  def __init__(self, config, workdir, stage, engine, should_stop):
    """Open the stage's checkpoints and write who its members are.

    Args:
      config: the config.
      workdir: path.
      stage: Stage.
      engine: Engine.
      should_stop: () -> bool, whether the run was asked to stop.
    """
    self._config = config
    self._workdir = workdir
    self._stage = stage
    self._engine = engine
    self._should_stop = should_stop
    # Read once, before any process writes: all must decide alike.
    self._finished = results.finished_rows(workdir, stage.experiment)
    self._checkpoints = checkpoint.Checkpoints(
      results.checkpoint_dir(workdir, stage.name), config.checkpoint.keep
    )
    self._lost = set()
    self._progress = progress.Progress(
      config, workdir, stage.name, engine, self._epochs_trained(config.levels)
    )
    results.write_members(
      workdir, stage.folder, engine.members, measure.label_arrays(engine)
    )
    self._progress.say(
      f'{len(engine.members)} members of {engine.num_weights:,} weights, '
      f'device memory {engine.memory}; a checkpoint takes '
      f'{engine.checkpoint_bytes() / 1e6:.1f} MB before compression, '
      f'{config.checkpoint.keep} are kept'
    )

  def resume(self):
    """Return the newest saved stack, or a new one, and its epochs trained.

    Raises:
      UserError: results and checkpoints do not fit each other.
      Preempted: the run was asked to stop.
    """
    self.stop_if_asked('before training')
    newest, state = self._checkpoints.restore_newest(
      self._engine.abstract_packed(), self._engine.unpack
    )
    if newest is None:
      self._check_nothing_is_finished()
      self._progress.say('no checkpoint yet, starting from epoch 0')
      return self._engine.create(), 0
    self._check_nothing_is_missing(newest)
    self._progress.say(f'resuming after {newest} epochs')
    self._progress.start_after(newest)
    return state, newest

  def stop_if_asked(self, where):
    """End the run, if it was asked to stop, where all is saved already."""
    stop_if_asked(self._should_stop, f'{self._stage.name} {where}')

  def _check_nothing_is_finished(self):
    members = {tuple(member) for member in self._engine.members}
    lost = sorted(
      row[-1]
      for row in self._finished
      if row[:-1] in members and row[-1] >= self._stage.level
    )
    if lost:
      raise UserError(
        f'results.csv has level {lost[-1]} of {self._stage.name}, but '
        f'{results.checkpoint_dir(self._workdir, self._stage.name)} has no '
        'checkpoint: put it back from a copy, or start in another --workdir'
      )

  def _check_nothing_is_missing(self, newest):
    """Check that results.csv has the levels before a checkpoint's."""
    level, _ = schedules.locate(
      newest, self._config.epochs, self._config.rewind_epoch
    )
    missing = [n for n in range(level) if not self._is_finished(n)]
    if missing:
      raise UserError(
        f'{results.results_path(self._workdir)} has no level {missing[0]} of '
        f'{self._stage.name}, and the checkpoints are beyond it: put the file '
        'back from a copy, or start in another --workdir'
      )

  def _is_finished(self, level):
    shown = self._stage.level + level
    rows = {(*member, shown) for member in self._engine.members}
    return rows <= self._finished

  def train_level(self, state, level, first_epoch, last_epoch=None):
    """Train from an epoch to the end of a level.

    Args:
      state: the stack before that epoch.
      level: int.
      first_epoch: int; `epochs` where the level is trained already.
      last_epoch: int, the epoch to stop before; None for the level's end.

    Returns:
      The stack then.

    Raises:
      UserError: a loss is not finite.
      Preempted: the run was asked to stop; the state is saved.
    """
    if last_epoch is None:
      last_epoch = self._config.epochs
    for epoch in range(first_epoch, last_epoch):
      global_epoch = schedules.global_epoch(
        level, epoch, self._config.epochs, self._config.rewind_epoch
      )
      state, losses = self._engine.train_epoch(state, global_epoch)
      self._check_finite(losses, level, epoch)
      self._progress.show_epoch(losses, level, epoch, global_epoch + 1)
      self._save_and_stop(state, level, epoch, global_epoch)
    return state

  def finish_level(self, state, level, columns=None):
    """Measure a trained level and write its results, unless they are there.

    Args:
      state: the stack at the end of the level.
      level: int.
      columns: dict, what results.csv has in place of what is measured.

    Raises:
      Preempted: the run was asked to stop; the trained level is saved.
    """
    if self._is_finished(level):
      return
    self.stop_if_asked(f'before scoring level {level}')
    stage, shown = self._stage, self._stage.level + level
    arrays, rows = measure.measure(self._engine, state)
    for i in np.flatnonzero([row['diverged'] for row in rows]):
      self._lose(i, f'is not finite at the end of level {shown}')
    common = {
      'experiment': stage.experiment,
      'level': shown,
      'epochs_trained': self._epochs_trained(level),
    }
    rows = [common | row | (columns or {}) for row in rows]
    results.write_level(
      self._workdir,
      stage.folder,
      shown,
      {name: arrays[name] for name in stage.arrays},
    )
    # The rows last: they tell that the level is finished, and without its
    # checkpoint a later start could not go on behind it.
    self._checkpoints.wait()
    results.write_rows(self._workdir, rows)
    self._progress.show_level(rows, self._epochs_trained(level))

  def __exit__(self, kind, *exception):
    """Close the progress bar, the scalars and, once saved, the checkpoints."""
    try:
      self._progress.close()
    finally:
      if kind in (None, Preempted):
        self._checkpoints.close()
      # A save is finished by all processes together. Where one of them fails
      # the others are elsewhere, and it must end and not wait for them.
      elif not processes.are_several():
        # What ended the run is what the user must hear of.
        with contextlib.suppress(UserError):
          self._checkpoints.close()

  def _epochs_trained(self, level):
    epochs = self._config.epochs
    return schedules.global_epoch(
      level, epochs, epochs, self._config.rewind_epoch
    )

  def _check_finite(self, losses, level, epoch):
    """Say which members diverged in this epoch; stop unless the config goes on.

    Members do not talk: one that is lost harms no other.
    """
    broken = ~np.isfinite(losses)
    for i in np.flatnonzero(broken.any(axis=1)):
      step = int(broken[i].argmax())
      shown = self._stage.level + level
      where = f'at level {shown}, epoch {epoch}, step {step}'
      self._lose(i, f'is {losses[i, step]} {where}')

  def _lose(self, i, how):
    """Say, once, that a member diverged, or end the run."""
    if i in self._lost:
      return
    message = f'the loss of member ({self._engine.members[i]}) {how}'
    if self._config.on_divergence == 'stop':
      raise UserError(
        f'{self._stage.name}: {message}: lower config.learning_rate (now '
        f'{self._config.learning_rate:g}), or pass '
        '--config.on_divergence=continue to go on without such members; '
        'finished levels stay in results.csv'
      )
    self._progress.say(f'{message}: it is lost, the others go on')
    self._lost.add(i)

  def _save_and_stop(self, state, level, epoch, global_epoch):
    finished = global_epoch + 1
    due = finished % self._config.checkpoint.every_epochs == 0
    ends_level = epoch + 1 == self._config.epochs
    stop = processes.any_process(self._should_stop())
    if due or ends_level or stop:
      self._checkpoints.save(finished, self._engine.pack(state))
    if stop:
      raise Preempted(
        f'{self._stage.name} stopped after level {level}, epoch {epoch}'
      )
