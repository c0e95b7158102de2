"""How far the paper's rule can be trusted.

The rule (`statistics.judge`) calls two results different if the mean of their
differences is at least one standard deviation. With three replicates that is
the case for 22.5 % of pairs that do not differ at all. So a claim about many
levels or groups is judged by how many of them differ, against how many would
by chance; and the rule on unpaired results is shown next to it.
"""

import math

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import special

from pruning_gen.analysis import statistics

# Chance may exceed `allowed_by_chance` with at most this probability.
SIGNIFICANCE = 0.05


def false_rate(n: int) -> float:
  """Return the probability that the rule calls a true tie different.

  Args:
    n: number of replicates, at least 2; their differences are normal.
  """
  # |mean| >= std means |t| >= sqrt(n), with n - 1 degrees of freedom.
  return float(2 * special.stdtr(n - 1, -math.sqrt(n)))


def allowed_by_chance(count: int, n: int, sides: int = 2) -> int:
  """Return how many of `count` true ties may be called different.

  Args:
    count: number of comparisons, taken as independent.
    n: number of replicates of each, at least 2.
    sides: 2 counts 'better' and 'worse', 1 only one of them.

  Returns:
    The smallest number that chance exceeds with probability `SIGNIFICANCE` at
    most.
  """
  rate = false_rate(n) * sides / 2
  return next(
    k
    for k in range(count + 1)
    if k == count or special.bdtrc(k, count, rate) <= SIGNIFICANCE
  )


def judge_unpaired(
  values: Float[np.ndarray, ' replicate'],
  baseline: Float[np.ndarray, ' replicate'],
) -> str:
  """Apply the rule without pairing.

  Returns:
    'better', 'worse' or 'match' of the difference in means, whose standard
    deviation is that of a difference of independent results; '' where a value
    is missing or n < 2.
  """
  if min(len(values), len(baseline)) < 2:
    return ''
  with np.errstate(invalid='ignore'):
    mean = values.mean() - baseline.mean()
    std = np.hypot(values.std(ddof=1), baseline.std(ddof=1))
  return str(statistics.verdict_of(mean, std))


def judge_rows(differences: pd.DataFrame) -> pd.Series:
  """Return the rule's verdict on each row of differences, by replicate."""
  with np.errstate(invalid='ignore'):
    means = differences.mean(axis=1, skipna=False)
    stds = differences.std(axis=1, ddof=1, skipna=False)
  verdicts = statistics.verdict_of(means.to_numpy(), stds.to_numpy())
  return pd.Series(verdicts, index=differences.index)
