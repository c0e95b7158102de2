"""One part of an experiment in progress: measure, save, stop and resume."""

import contextlib
from typing import Any

import numpy as np
from jaxtyping import Float

from pruning_gen import processes
from pruning_gen.engine import keep
from pruning_gen.engine import measure
from pruning_gen.engine import progress
from pruning_gen.engine.part import Part
from pruning_gen.engine.part import Run
from pruning_gen.engine.programs import Programs
from pruning_gen.engine.stack import in_order
from pruning_gen.errors import Preempted
from pruning_gen.errors import UserError
from pruning_gen.storage import checkpoint
from pruning_gen.storage import epochs
from pruning_gen.storage import results
from pruning_gen.storage import roster
from pruning_gen.training.schedule import Schedule


class Session(contextlib.AbstractContextManager):
  """Saves, reports and measures while a part trains.

  Epochs are saved every `checkpoint.every_epochs` and at the end of a level,
  while training continues; leaving the session waits for the last save.
  """

  def __init__(
    self, run: Run, part: Part, programs: Programs, schedule: Schedule
  ):
    """Open the stack's checkpoints, and write members.csv and labels.npz."""
    self._run = run
    self._part = part
    self._stack = stack = programs.spec.stack
    self._programs = programs
    self._schedule = schedule
    # Read once, before any process writes: all must decide alike.
    self._finished = results.finished_rows(run.workdir, part.experiment)
    self._directory = results.checkpoint_dir(run.workdir, part.name)
    # Labels first: a stack that is recorded can be continued.
    self._everyone = roster.add(
      run.workdir,
      part.folder,
      stack.members,
      measure.label_arrays(programs.spec),
      in_order,
    )
    roster.write_stack(run.workdir, part.name, stack.members)
    self._checkpoints = checkpoint.Checkpoints(
      self._directory, run.config.checkpoint.keep
    )
    self._diverged = set()
    self._progress = progress.Progress(run, part.name, stack, schedule)
    size = measure.count_bytes(programs.packed)
    kept = keep.count_bytes(run.config, programs) if part.find_optima else 0
    self._epochs = epochs.Epochs(run.workdir, part.folder, self._everyone)
    self._progress.say(
      f'{len(stack.members)} members of {programs.num_weights:,} weights, '
      f'device memory {programs.memory}; a checkpoint takes {size / 1e6:.1f} '
      f'MB before compression, {run.config.checkpoint.keep} are kept'
      + (f'; the networks to export, at most {kept / 1e6:.1f} MB' * (kept > 0))
    )

  def restore_or_create(self) -> tuple[Any, int]:
    """Return the newest saved state and its epochs, or new networks and 0.

    Raises:
      UserError: results and checkpoints do not match.
      Preempted: the run was asked to stop.
    """
    self._stop_if_asked('before training')
    done, state = self._checkpoints.restore_newest(
      self._programs.packed, self._programs.unpack
    )
    first = self._part.level
    levels = range(first, first + self._schedule.levels + 1)
    self._epochs.drop(self._stack.members, levels, done or 0)
    if done is None:
      self._check_nothing_is_finished()
      self._progress.say('no checkpoint yet, starting from the beginning')
      return self._programs.create(), 0
    self._check_nothing_is_missing(done)
    self._progress.say(f'resuming after {done} epochs')
    self._progress.start_after(done)
    return state, done

  def _stop_if_asked(self, where: str) -> None:
    self._run.stop_if_asked(f'{self._part.name} {where}')

  def _check_nothing_is_finished(self) -> None:
    levels = range(self._schedule.levels + 1)
    finished = [k for k in levels if self._part.rows_of(k) & self._finished]
    if finished:
      raise UserError(
        f'results.csv has level {self._part.level + finished[-1]} of '
        f'{self._part.name}, but {self._directory} has no checkpoint: restore '
        'it from a copy, or start in another --workdir'
      )

  def _check_nothing_is_missing(self, done: int) -> None:
    """Check that results.csv has the levels before a checkpoint's."""
    levels = range(self._schedule.level_of(done))
    missing = [level for level in levels if not self._is_finished(level)]
    if missing:
      raise UserError(
        f'{results.results_path(self._run.workdir)} has no level '
        f'{self._part.level + missing[0]} of {self._part.name}, but the '
        'checkpoints are beyond it: restore the file from a copy, or start in '
        'another --workdir'
      )

  def _is_finished(self, level: int) -> bool:
    return self._part.rows_of(level) <= self._finished

  def end_epoch(
    self,
    state: Any,
    losses: Float[np.ndarray, 'members steps'],
    level: int,
    epoch: int,
  ) -> None:
    """Check an epoch's losses, report it, save if due, stop if asked.

    Raises:
      UserError: a loss is not finite.
      Preempted: the run was asked to stop; the state is saved.
    """
    done = self._schedule.global_epoch(level, epoch) + 1
    self._check_finite(losses, level, epoch)
    self._progress.show_epoch(losses, level, epoch, done)
    self._log_epoch(state, losses, level, done)
    due = done % self._run.config.checkpoint.every_epochs == 0
    ends_level = epoch + 1 == self._schedule.epochs
    stop = processes.any_process(self._run.should_stop())
    if due or ends_level or stop:
      self._epochs.write()
      self._checkpoints.save(done, self._programs.pack(state))
    if stop:
      where = self._describe(level, epoch)
      raise Preempted(f'{self._part.name} stopped after {where}')

  def _describe(self, level: int, epoch: int) -> str:
    """Name an epoch as results.csv and the progress bar count."""
    return f'level {self._part.level + level}, epoch {epoch + 1}'

  def _log_epoch(
    self, state: Any, losses: np.ndarray, level: int, done: int
  ) -> None:
    every, errors = self._run.config.validate_every_epochs, None
    if every and done % every == 0:
      errors = measure.held_out_errors(self._programs, state)
    losses = losses.mean(axis=1)
    shown = self._part.level + level
    self._epochs.add(self._stack.members, shown, done, losses, errors)

  def end_level(self, state: Any, level: int) -> None:
    """Measure a trained level and write its results, unless they are there.

    Raises:
      Preempted: the run was asked to stop; the trained level is saved.
    """
    shown = self._part.level + level
    if not self._is_finished(level):
      self._stop_if_asked(f'before evaluating level {shown}')
      self._write_level(state, level)
    if level < self._schedule.levels:
      self._stop_if_asked(f'after level {shown}')

  def _write_level(self, state: Any, level: int) -> None:
    part, shown = self._part, self._part.level + level
    epochs = self._schedule.epochs_by(level)
    arrays, rows = measure.measure(self._programs, state)
    for i in np.flatnonzero([row['diverged'] for row in rows]):
      self._lose(i, f'is not finite at the end of level {shown}')
    rows = [
      row
      | {
        'experiment': part.experiment,
        'level': shown,
        'width': part.width,
        'weights_remaining': row['num_kept'] / part.full_num_weights,
        'epochs_trained': epochs,
      }
      for row in rows
    ]
    roster.write_level(
      self._run.workdir,
      part.folder,
      shown,
      {name: arrays[name] for name in part.arrays},
      self._stack.members,
      self._everyone,
    )
    # The rows last: they mark the level as finished, and without its
    # checkpoint a later start could not continue from it.
    self._checkpoints.wait()
    if part.find_optima:
      keep.write_level(self._run, part, self._programs, state, rows)
    results.write_rows(self._run.workdir, rows, self._everyone)
    self._progress.show_level(rows, epochs)

  def __exit__(self, kind, *exception):
    """Close the progress bar, the scalars and, once saved, the checkpoints."""
    try:
      self._progress.close()
    finally:
      if kind in (None, Preempted):
        self._checkpoints.close()
      # All processes finish a save together. Where one of them fails the
      # others are elsewhere, and it must end instead of waiting for them.
      elif not processes.are_several():
        # The user must see the error that ended the run, not a later one.
        with contextlib.suppress(UserError):
          self._checkpoints.close()

  def finish(self) -> None:
    """Remove the checkpoints of a part that keeps none; called at its end."""
    # Other processes read what the first has written.
    processes.wait_for_all(self._part.name)
    if not self._part.keeps_checkpoints:
      results.remove_checkpoints(self._run.workdir, self._part.name)
      self._stop_if_asked('after its end')

  def _check_finite(self, losses: np.ndarray, level: int, epoch: int) -> None:
    """Report which members diverged in this epoch, or end the run.

    Members do not communicate: one that diverged harms no other.
    """
    broken = ~np.isfinite(losses)
    for i in np.flatnonzero(broken.any(axis=1)):
      step = int(broken[i].argmax())
      where = f'{self._describe(level, epoch)}, step {step + 1}'
      self._lose(i, f'is {losses[i, step]} at {where}')

  def _lose(self, i: int, how: str) -> None:
    """Report, once, that a member diverged, or end the run."""
    if i in self._diverged:
      return
    config = self._run.config
    message = f'the loss of ({self._stack.members[i]}) {how}'
    if config.on_divergence == 'stop':
      raise UserError(
        f'{self._part.name}: {message}: lower config.learning_rate (now '
        f'{config.learning_rate:g}), or pass --config.on_divergence=continue '
        'to continue without such networks; finished levels stay in '
        'results.csv'
      )
    self._diverged.add(i)
    if len(self._diverged) < len(self._stack.members):
      self._progress.say(
        f'{message}: dropping this network and continuing with the others'
      )
    else:
      self._progress.say(
        f'{message}: every network has diverged; stop, and lower '
        f'config.learning_rate (now {config.learning_rate:g}) in another '
        '--workdir'
      )
