"""One start of the program, and a part of an experiment that it trains."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

from etils import epath
from ml_collections import ConfigDict

from pruning_gen import processes
from pruning_gen.engine.stack import Member
from pruning_gen.errors import Preempted
from pruning_gen.storage import results


class Run(NamedTuple):
  """One start of the program.

  Attributes:
    config: a ConfigDict that `config.check` has passed.
    workdir: held by this process (`lock.hold`).
    dataset: Dataset or StreamedDataset; None until something needs it.
    should_stop: () -> bool, whether to save and stop.
  """

  config: ConfigDict
  workdir: epath.PathLike
  dataset: Any
  should_stop: Callable[[], bool]

  def stop_if_asked(self, where: str) -> None:
    """Stop where there is nothing to save; called by all processes.

    Raises:
      Preempted: any process was asked to stop.
    """
    if processes.any_process(self.should_stop()):
      raise Preempted(f'{where}: stopped')


class Part(NamedTuple):
  """Networks of an experiment that train as one stack, and their folder.

  Attributes:
    experiment: its name in results.csv.
    folder: where its arrays are.
    members: the networks.
    level: the number of its first level in results.csv.
    width: the multiplier of every layer's width.
    full_num_weights: weights in a network of full width.
    stack_index: which of the part's stacks this is, if it has grown.
    num_together: how many networks the folder has, with all of its stacks.
    arrays: which arrays of `measure.measure` are kept.
    keeps_checkpoints: whether they stay once it is finished.
    find_optima: (rows of results.csv) -> {(arm, noise_fraction): level}, the
      optimal sparsities so far; None for a part that keeps no networks.
  """

  experiment: str
  folder: str
  members: list[Member]
  level: int = 0
  width: float = 1.0
  full_num_weights: int = 0
  stack_index: int = 0
  num_together: int = 0
  arrays: tuple[str, ...] = (
    'cross_entropy',
    'prediction',
    'correct',
    'validation_cross_entropy',
    'validation_prediction',
    'test_cross_entropy',
    'test_prediction',
  )
  keeps_checkpoints: bool = False
  find_optima: Callable | None = None

  @property
  def name(self) -> str:
    """Its name in messages, and the folder of its checkpoints."""
    level = f'-{self.level}' if self.level else ''
    stack = f'+{self.stack_index}' if self.stack_index else ''
    return f'{self.folder}{level}{stack}'

  def is_finished(self, workdir: epath.PathLike, levels: int = 0) -> bool:
    """Return whether results.csv has its members at every level."""
    return not self.unfinished(workdir, levels)

  def unfinished(self, workdir: epath.PathLike, levels: int = 0) -> set[Member]:
    """Return the members that results.csv does not have at every level."""
    finished = results.finished_rows(workdir, self.experiment)
    return {
      member
      for member in self.members
      for level in range(self.level, self.level + levels + 1)
      if (*member, level) not in finished
    }

  def rows_of(self, level: int) -> set[tuple]:
    """Return the rows of a finished level, as `results.finished_rows`."""
    return {(*member, self.level + level) for member in self.members}
