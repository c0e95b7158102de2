"""The paper's experiments, each written to read like its text."""

from collections.abc import Callable
from typing import NamedTuple

from ml_collections import ConfigDict

from pruning_gen.engine.part import Run
from pruning_gen.experiments import chain
from pruning_gen.experiments import difficulty
from pruning_gen.experiments import el2n
from pruning_gen.experiments import extended_width
from pruning_gen.experiments import landscape
from pruning_gen.experiments import leave_out
from pruning_gen.experiments import width
from pruning_gen.experiments.workload import Workload


class Experiment(NamedTuple):
  """One experiment: `config.experiments` chooses it by name.

  Attributes:
    train: trains, measures and writes everything that is unfinished.
    is_finished: whether everything is written.
    needs: the experiments whose results it reads.
    workloads: returns what it trains, for time estimates.
  """

  train: Callable[[Run], None]
  is_finished: Callable[[Run], bool]
  needs: Callable[[ConfigDict], tuple[str, ...]] = lambda config: ()
  workloads: Callable[[ConfigDict], list[Workload]] = lambda config: []


EXPERIMENTS = {
  # Sections 2 to 5.
  'chain': Experiment(
    chain.train, chain.is_finished, workloads=chain.workloads
  ),
  # Section 5.2.
  'width': Experiment(
    width.train, width.is_finished, workloads=width.workloads
  ),
  # Section 3.
  'el2n': Experiment(el2n.train, el2n.is_finished, workloads=el2n.workloads),
  # Sections 3 and 4.
  'leave_out': Experiment(
    leave_out.train,
    leave_out.is_finished,
    leave_out.needs,
    leave_out.workloads,
  ),
  'difficulty': Experiment(
    difficulty.train, difficulty.is_finished, workloads=difficulty.workloads
  ),
  'extended_width': Experiment(
    extended_width.train,
    extended_width.is_finished,
    extended_width.needs,
    extended_width.workloads,
  ),
  'landscape': Experiment(
    landscape.train,
    landscape.is_finished,
    landscape.needs,
    landscape.workloads,
  ),
}
