"""How a part that has begun, or is finished, grows by more networks."""

import itertools

from pruning_gen import processes
from pruning_gen.engine.part import Part
from pruning_gen.engine.part import Run
from pruning_gen.engine.stack import in_order
from pruning_gen.engine.stack import Member
from pruning_gen.storage import roster


def list_unfinished(run: Run, part: Part, levels: int = 0) -> list[Part]:
  """Divide a part into those that are left to train, each as one stack.

  Networks that an earlier start began continue together, with checkpoints of
  their own, and those that are new form another stack. If nothing has begun,
  that is the whole part.

  Args:
    part: the networks that are wanted.
    levels: how many levels follow level 0.
  """
  wanted = part.unfinished(run.workdir, levels)
  there = roster.read(run.workdir, part.folder)
  part = part._replace(num_together=len({*there, *part.members}))
  stacks = roster.read_stacks(run.workdir, part.name)
  unfinished = []
  for index, begun in stacks.items():
    if wanted.intersection(begun):
      members = [Member(*own) for own in begun]
      unfinished.append(part._replace(members=members, stack_index=index))
    wanted.difference_update(begun)
  if wanted:
    unused = next(i for i in itertools.count() if i not in stacks)
    unfinished.append(
      part._replace(members=in_order(wanted), stack_index=unused)
    )
  # Before any process writes: all must divide it alike.
  processes.wait_for_all(part.name)
  return unfinished
