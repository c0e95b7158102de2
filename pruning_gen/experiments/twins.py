"""Twins: networks of a level that differ in the order of their data only.

From what a level of the chain began with, on the same labels and with the same
schedule, but on batches in another order (and, with augmentation, other crops).
"""

import functools
from typing import Any

from ml_collections import ConfigDict

from pruning_gen import processes
from pruning_gen.engine import loss_surfaces
from pruning_gen.engine.inputs import Spec
from pruning_gen.engine.part import Part
from pruning_gen.engine.part import Run
from pruning_gen.engine.programs import Programs
from pruning_gen.engine.stack import Member
from pruning_gen.experiments import chain
from pruning_gen.experiments import label_sets
from pruning_gen.experiments.workload import Workload
from pruning_gen.pruning import arms
from pruning_gen.storage import level_tables
from pruning_gen.training.schedule import Schedule
from pruning_gen.training.train_state import TrainState

# The experiment, and its folder.
FOLDER = 'landscape'
# Further than any chain trains: the epochs from here on have their own batches.
FIRST_EPOCH = 2**30


def has_one(member: Member) -> bool:
  """Return whether it is known what a level of a network begins with."""
  return not arms.arm_of(member.arm).rewinds_weights


def make_schedule(config: ConfigDict, level: int) -> Schedule:
  """Return how long the twins of a level train: as long as the level does."""
  own = chain.make_schedule(config)
  return Schedule(own.epochs - (own.rewind_epoch if level else 0))


def workloads(config: ConfigDict) -> list[Workload]:
  """Return the workloads of the twins, for time estimates."""
  members = list(filter(has_one, label_sets.list_members(config)))
  return [
    Workload(len(members), make_schedule(config, level).epochs)
    for level in config.landscape.twin_levels
  ]


def list_needed(config: ConfigDict, member: Member) -> set[int]:
  """List the levels of a network that its twins begin with, and end next to."""
  if not has_one(member):
    return set()
  levels = config.landscape.twin_levels
  return {k for level in levels for k in (max(level - 1, 0), level)}


def list_unfinished(run: Run, kept: dict[Member, set[int]]) -> list[Part]:
  """List the twins that are left to train, level by level.

  Args:
    kept: the levels at which each network was kept; others diverged.
  """
  parts = [
    Part(
      FOLDER,
      FOLDER,
      [own for own in kept if has_one(own) and level in kept[own]],
      level,
    )
    for level in sorted(run.config.landscape.twin_levels)
  ]
  return [part for part in parts if not part.is_finished(run.workdir)]


def train(run: Run, part: Part) -> None:
  """Train the twins of a level, and measure the paths to their networks."""
  config, level = run.config, part.level
  schedule = make_schedule(config, level)
  # The epochs of the chain's own level, but on batches of others.
  begin = chain.make_schedule(config).epochs_by(level) - schedule.epochs
  begin += FIRST_EPOCH

  def adapt(programs: Programs) -> Programs:
    return programs._replace(
      create=(
        functools.partial(_start_level, run, programs.spec, level)
        if level
        else programs.create
      ),
      train_epoch=lambda state, epoch: programs.train_epoch(
        state, begin + epoch
      ),
    )

  def watch(programs: Programs, state: Any, num_epochs: int) -> None:
    if num_epochs == schedule.epochs:
      _measure(run, programs.spec, state, level)

  chain.train_levels(run, part, schedule, watch=watch, adapt=adapt)


def _start_level(run: Run, spec: Spec, level: int) -> TrainState:
  """Return what the networks of a level begin with."""
  before, after = (
    loss_surfaces.read_networks(run.workdir, spec.stack.members, at)
    for at in (level - 1, level)
  )
  state = loss_surfaces.place(
    spec, list(map(loss_surfaces.prune, before, after))
  )
  steps = spec.stack.steps_per_epoch(spec.config.batch_size)
  return loss_surfaces.start_training(
    spec, state, spec.config.rewind_epoch * steps
  )


def _measure(run: Run, spec: Spec, state: TrainState, level: int) -> None:
  """Measure the paths to twins at their end, before that is saved."""
  members = spec.stack.members
  kept = loss_surfaces.read_networks(run.workdir, members, level)
  barriers = loss_surfaces.build(spec).barriers(
    loss_surfaces.place(spec, kept), state.replace(opt_state=())
  )
  table = loss_surfaces.identify(members, level).assign(**barriers)
  if processes.is_primary():
    level_tables.write(run.workdir, level_tables.TWINS, table)
