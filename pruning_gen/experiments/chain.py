"""The pruning chain: iterative magnitude pruning with learning-rate rewinding.

Paper, sections 2 to 5. Train a dense network; then, level after level, remove
a fraction of the remaining weights, rewind the learning rate and train again.
The arm `extended_dense` does the same and removes nothing (section 5.1);
`arms.ARMS` has the ablations (appendices C and J).
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from pruning_gen.analysis import statistics
from pruning_gen.engine import growth
from pruning_gen.engine import progress
from pruning_gen.engine.part import Part
from pruning_gen.engine.part import Run
from pruning_gen.engine.session import Session
from pruning_gen.engine.stack import Member
from pruning_gen.engine.stack import Stack
from pruning_gen.experiments import build
from pruning_gen.experiments import effects
from pruning_gen.experiments import label_sets
from pruning_gen.experiments.workload import Workload
from pruning_gen.training.schedule import Schedule

NAME = 'chain'


def make_part(config: ConfigDict) -> Part:
  """Return the networks of the chain."""
  members = label_sets.list_members(config)
  return Part(
    NAME,
    NAME,
    members,
    keeps_checkpoints=True,
    find_optima=statistics.find_optima,
  )


def is_finished(run: Run) -> bool:
  """Return whether all networks are in results.csv, and all else is written."""
  config = run.config
  return make_part(config).is_finished(run.workdir, config.levels) and (
    effects.has_most_worsened(run) or not prunes(config)
  )


def prunes(config: ConfigDict) -> bool:
  """Return whether any network of the arm `pruning` is pruned."""
  return 'pruning' in config.arms and config.levels > 0


def make_schedule(config: ConfigDict) -> Schedule:
  """Return how long the chain trains."""
  return Schedule(config.epochs, config.rewind_epoch, config.levels)


def workloads(config: ConfigDict) -> list[Workload]:
  """Return the experiment's workloads, for time estimates."""
  epochs = make_schedule(config).epochs_by(config.levels)
  return [Workload(len(make_part(config).members), epochs, config.levels + 1)]


def train(run: Run) -> None:
  """Train the chain from where it stopped."""
  config = run.config
  train_levels(run, make_part(config), make_schedule(config))
  if prunes(config):
    effects.write_most_worsened(run)


def train_levels(
  run: Run,
  part: Part,
  schedule: Schedule,
  example_ids: dict[Member, Int[np.ndarray, ' num_examples']] | None = None,
  watch: Callable | None = None,
  adapt: Callable | None = None,
) -> None:
  """Train and measure the unfinished levels of a part, of any experiment.

  Args:
    part: the networks, and where their results go.
    example_ids: the examples that each trains on; all of them by default.
    watch: called after every epoch, before it is saved, with the programs of a
      stack, their state, and the number of epochs trained.
    adapt: called with the programs of a stack, returns those to train with.

  Raises:
    Preempted: stopped on request, with everything saved.
    UserError: a loss is not finite, memory is short, or nothing can be saved.
  """
  for unfinished in growth.list_unfinished(run, part, schedule.levels):
    stack = label_sets.make_stack(
      run, unfinished.members, example_ids, unfinished.num_together
    )
    train_stack(run, unfinished, stack, schedule, watch, adapt)


def train_stack(
  run: Run,
  part: Part,
  stack: Stack,
  schedule: Schedule,
  watch: Callable | None,
  adapt: Callable | None,
) -> None:
  """Train and measure the levels of a stack that are not finished.

  This is the paper's algorithm (section 2); every experiment trains by it,
  most of them at level 0 only.
  """
  progress.say(part.name, f'compiling for {len(stack.members)} networks')
  programs = build.make_programs(run, stack, schedule, part.width)
  num_weights = build.num_weights(run.config, run.dataset)
  part = part._replace(full_num_weights=num_weights)
  if adapt:
    programs = adapt(programs)
  with Session(run, part, programs, schedule) as session:
    state, done = session.restore_or_create()
    for level, epochs in schedule.remaining(done):
      if level and epochs.start == schedule.rewind_epoch:
        state = programs.start_level(state, level)
      for epoch in epochs:
        if level == 0 and epoch == schedule.rewind_epoch:
          state = programs.set_rewind_point(state)
        global_epoch = schedule.global_epoch(level, epoch)
        state, losses = programs.train_epoch(state, global_epoch)
        if watch:
          watch(programs, state, global_epoch + 1)
        session.end_epoch(state, losses, level, epoch)
      session.end_level(state, level)
  session.finish()
