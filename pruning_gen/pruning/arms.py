"""The arms of the chain: what happens to a network between two levels.

A new arm is one entry of `ARMS`; `config.arms` chooses from its names.
"""

from typing import NamedTuple

from pruning_gen.errors import lookup
from pruning_gen.errors import UserError
from pruning_gen.pruning.scores import SCORES


class Arm(NamedTuple):
  """One arm: what it does, and how the report shows it.

  Attributes:
    prunes: whether weights are removed.
    score: which of `scores.SCORES` ranks them; the lowest are removed.
    rewinds_weights: whether the remaining weights return to their values at
      the rewind epoch of level 0, as the learning rate always does.
    dense_control: the arm that trains in the same way and removes nothing.
    label: its name in figures; the arm's own name by default.
    color: its color in figures; chosen by the report by default.
  """

  prunes: bool = True
  score: str = 'magnitude'
  rewinds_weights: bool = False
  dense_control: str | None = None
  label: str = ''
  color: str = ''


# Color-blind readers can tell these apart: at least 17 apart in CIELAB under
# simulated color blindness, and a contrast of 3 to white.
ARMS = {
  # Iterative magnitude pruning with learning-rate rewinding (section 2).
  'pruning': Arm(dense_control='extended_dense', color='#0072B2'),
  # The same training with nothing removed (section 5.1).
  'extended_dense': Arm(prunes=False, label='extended dense', color='#D55E00'),
  # The ablations of appendix J.
  'weight_rewinding': Arm(
    rewinds_weights=True,
    dense_control='weight_rewinding_dense',
    label='weight rewinding',
    color='#B478A5',
  ),
  'weight_rewinding_dense': Arm(
    prunes=False,
    rewinds_weights=True,
    label='weight rewinding, nothing removed',
    color='#690F00',
  ),
  'random': Arm(
    score='random', dense_control='extended_dense', color='#3C4B4B'
  ),
  'gradient': Arm(
    score='gradient', dense_control='extended_dense', color='#690096'
  ),
  'synflow': Arm(
    score='synflow', dense_control='extended_dense', color='#5A00F0'
  ),
  # Not in the paper: how much of each layer goes.
  'uniform': Arm(
    score='uniform',
    dense_control='extended_dense',
    label='uniform by layer',
    color='#A569FF',
  ),
  'erk': Arm(
    score='erk',
    dense_control='extended_dense',
    label='ERK',
    color='#870F78',
  ),
  'lamp': Arm(
    score='lamp',
    dense_control='extended_dense',
    label='LAMP',
    color='#965A2D',
  ),
}

# A network that is trained once from scratch: every experiment but the chain.
DENSE = Arm(prunes=False, label='dense', color='#4D4D4D')


def arm_of(name: str) -> Arm:
  """Return an arm by name; 'dense' is the one outside the chain.

  Raises:
    UserError: there is none of that name.
  """
  return DENSE if name == 'dense' else lookup(ARMS, name, 'config.arms')


def check() -> None:
  """Check that every arm has a score, and a dense control that prunes nothing.

  Raises:
    UserError: names the entry of `ARMS` and its value.
  """
  for name, arm in ARMS.items():
    lookup(SCORES, arm.score, f'ARMS[{name!r}].score')
    control = arm.dense_control
    if control is not None and (control not in ARMS or ARMS[control].prunes):
      raise UserError(
        f'ARMS[{name!r}].dense_control={control!r} must name an arm of ARMS '
        'with prunes=False'
      )
