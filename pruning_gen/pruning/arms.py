"""The arms of the chain: what is done to a network between two levels."""

from typing import NamedTuple


class Arm(NamedTuple):
  """What an arm does at the start of a level.

  Attributes:
    prunes: bool, whether weights go.
    score: a function of `scores`, by name; the lowest go.
    rewinds_weights: bool, whether weights go back to the rewind epoch of
      level 0, as the learning rate always does.
  """

  prunes: bool = True
  score: str = 'magnitude'
  rewinds_weights: bool = False


ARMS = {
  # Iterative magnitude pruning with learning-rate rewinding (section 2).
  'pruning': Arm(),
  # The very same with nothing removed (section 5.1).
  'extended_dense': Arm(prunes=False),
  # The ablations of appendix J; the twin of the weight-rewinding arm retrains
  # from the rewind epoch with nothing removed.
  'weight_rewinding': Arm(rewinds_weights=True),
  'weight_rewinding_dense': Arm(prunes=False, rewinds_weights=True),
  'random': Arm(score='random'),
  'gradient': Arm(score='gradient'),
  'synflow': Arm(score='synflow'),
}

# What is trained once from scratch, in every experiment but the chain.
DENSE = Arm(prunes=False)


def arm_of(member):
  """Return the Arm of a member."""
  return ARMS.get(member.arm, DENSE)
