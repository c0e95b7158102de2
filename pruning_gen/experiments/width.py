"""Width down-scaling: dense networks, each 0.8 times as wide as the previous.

Paper, section 5.2 and appendices F and I: the other way to make a network
smaller. If size alone explained pruning's effect, this should have it too.
"""

from ml_collections import ConfigDict

from pruning_gen.engine.part import Part
from pruning_gen.engine.part import Run
from pruning_gen.engine.stack import Member
from pruning_gen.experiments import chain
from pruning_gen.experiments import label_sets
from pruning_gen.experiments.workload import Workload
from pruning_gen.training.schedule import Schedule

NAME = 'width'


def list_parts(config: ConfigDict) -> list[Part]:
  """List the widths, widest first: one network per label set and width."""
  members = [
    Member('dense', *own) for own in label_sets.list_label_sets(config)
  ]
  return [
    Part(NAME, NAME, members, level, width=config.width.fraction**level)
    for level in range(config.width.levels + 1)
  ]


def workloads(config: ConfigDict) -> list[Workload]:
  """Return the experiment's workloads, for time estimates."""
  return [
    Workload(len(part.members), config.epochs, width=part.width)
    for part in list_parts(config)
  ]


def is_finished(run: Run) -> bool:
  """Return whether every network is in results.csv."""
  return all(part.is_finished(run.workdir) for part in list_parts(run.config))


def train(run: Run) -> None:
  """Train the networks of each width that is not finished."""
  for part in list_parts(run.config):
    chain.train_levels(run, part, Schedule(run.config.epochs))
