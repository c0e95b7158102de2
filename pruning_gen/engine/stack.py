"""A stack: the networks that train together, and the data of each."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool
from jaxtyping import Int

from pruning_gen.pruning.arms import ARMS


class Member(NamedTuple):
  """One network of a stack, identified by what distinguishes it in comparisons.

  Attributes:
    arm: a name in `arms.ARMS`, or 'dense'.
    noise_fraction: the fraction of training labels that are changed.
    replicate: which draw of the labels, the initial weights and the order.
    network: 0 except for the networks that EL2N averages over (1, 2, ...),
      which share its labels and nothing else.
    left_out: in leave-out, the kind of examples it does not train on.
    chosen_at: the chain level whose losses chose them, the subgroup, or the
      size of a random set; in extended_width, the level that it is as large as.
  """

  arm: str
  noise_fraction: float
  replicate: int
  network: int = 0
  left_out: str = ''
  chosen_at: int = -1

  @property
  def identity(self) -> tuple[str, float, int]:
    """What identifies a network of the chain, without a level."""
    return self.arm, self.noise_fraction, self.replicate

  def __str__(self) -> str:
    text = (
      f'{self.arm}, noise {self.noise_fraction:g}, replicate {self.replicate}'
    )
    if self.network:
      text += f', network {self.network}'
    if self.left_out:
      text += f', without {self.left_out} {self.chosen_at}'
    return text


def in_order(members: Iterable[Member]) -> list[Member]:
  """Sort members as all tables and arrays have them, arms innermost.

  Neighbors are thus comparable: the arms of one noise level and replicate see
  the same labels, in the same order.
  """
  arms = {name: i for i, name in enumerate(ARMS)}
  return sorted(
    (Member(*member) for member in members),
    key=lambda member: (
      member.noise_fraction,
      member.replicate,
      arms.get(member.arm, len(arms)),
      member,
    ),
  )


class Stack(NamedTuple):
  """Members, and the examples and labels that each trains on.

  Attributes:
    members: identify the rows of all arrays of the stack.
    labels: training labels by example_id.
    is_noisy: whether a label was changed.
    example_ids: the examples that each member trains on.
    num_together: how many networks the devices are arranged for; by default
      those of the stack.
  """

  members: list[Member]
  labels: Int[np.ndarray, 'member num_train']
  is_noisy: Bool[np.ndarray, 'member num_train']
  example_ids: Int[np.ndarray, 'member num_examples']
  num_together: int = 0

  def steps_per_epoch(self, batch_size: int) -> int:
    """Return how many whole batches an epoch has."""
    return self.example_ids.shape[1] // batch_size

  def images_per_epoch(self, batch_size: int) -> int:
    """Return how many images all members together see in an epoch."""
    steps = self.steps_per_epoch(batch_size)
    return len(self.members) * steps * batch_size
