"""What a claim is, what a run finds, and whether the two agree."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from pruning_gen.analysis import statistics
from pruning_gen.analysis import verdicts

AGREES, CONTRADICTS, UNDECIDED = 'agrees', 'contradicts', 'undecided'

# Where a claim is tested. At every noise level of a benchmark that is
CLEAN, NOISY, EACH = 'clean', 'noisy', 'each'
# or once per benchmark, over its noisy levels;
ACROSS = 'across'
# or once per report, over the paper's clean or noisy benchmarks.
ALL_CLEAN, ALL_NOISY = 'all clean', 'all noisy'

# How the verdicts 'better' and 'worse' read: of errors and losses, of sizes,
# and of correlations.
ERROR = ('better', 'worse')
SIZE = ('smaller', 'larger')
SIGN = ('negative', 'positive')


class Undecided(Exception):
  """A claim cannot be tested; the message is the reason."""


class Count(NamedTuple):
  """The paper finds it in `number` of `total` benchmarks."""

  number: int
  total: int


class Finding(NamedTuple):
  """What a run says about a claim.

  Attributes:
    mean: over replicates.
    std: n - 1.
    unit: of mean and std.
    n: number of replicates.
    paired: the paper's rule on replicate-paired differences.
    unpaired: the same rule on unpaired results; '' where they have no pair.
    detail: levels compared, and what else matters.
    verdict: '' where the paper's words or number decide (`decide`).
  """

  mean: float = np.nan
  std: float = np.nan
  unit: str = ''
  n: int = 0
  paired: str = ''
  unpaired: str = ''
  detail: str = ''
  verdict: str = ''


class Claim(NamedTuple):
  """One claim of the paper, or of ours, and its test.

  Attributes:
    section: section and figure of the paper, or 'ours'.
    text: the claim in a few words.
    scope: where it is tested, as `CLEAN`.
    paper: verdicts that agree, as 'better or match'; a number, or the range
      (low, high); a `Count`; or a dict of those by model, data set or '' for
      any other, and then perhaps by noise fraction. The claim is not about
      benchmarks that the dict lacks. Any other text is shown, and the test
      decides.
    test: returns the Finding of a Case; over noise levels or benchmarks, of a
      list of them. None where there is nothing to test.
    needs: what must be finished: 'chain' (its arm pruning), 'extended_dense' or
      'width'.
    at: the level of pruning that it depends on, 'L*', 'L^' or ''. A longer
      chain may have another one, and then agree.
  """

  section: str
  text: str
  scope: str
  paper: str | float | tuple | Count | dict
  test: Callable[..., Finding | None]
  needs: tuple[str, ...] = ('chain',)
  at: str = 'L*'


def measure(
  values: pd.Series,
  baseline: pd.Series | None = None,
  unit: str = 'nats',
  detail: str = '',
  words: tuple[str, str] = ERROR,
) -> Finding:
  """Compare paired results, or judge a quantity against zero.

  Args:
    values: one per replicate (the index).
    baseline: likewise, or None.
    unit: 'points' turns fractions into percentage points.
    words: how 'better' and 'worse' read.
  """
  unpaired = ''
  if baseline is None:
    found = statistics.judge(values)
  else:
    if not values.index.equals(baseline.index):
      values, baseline = values.align(baseline, join='inner')
    found = statistics.judge(values - baseline)
    unpaired = verdicts.judge_unpaired(values.to_numpy(), baseline.to_numpy())
  scale = 100 if unit == 'points' else 1
  read = dict(zip(ERROR, words))
  return Finding(
    found.mean * scale,
    found.std * scale,
    unit,
    found.n,
    read.get(found.verdict, found.verdict),
    read.get(unpaired, unpaired),
    detail,
  )


def explain(finding: Finding) -> str:
  """Return why a finding has no verdict of the rule."""
  if finding.n < 1:
    return 'not finished'
  return 'one replicate' if finding.n == 1 else 'a value is missing or infinite'


def withhold(finding: Finding, *reasons: str) -> Finding:
  """Leave a finding undecided; its numbers stay."""
  detail = '; '.join(filter(None, reasons))
  return finding._replace(verdict=UNDECIDED, detail=detail)


def count(
  found: list[Finding], counts: Callable[[str], bool], detail: str = ''
) -> Finding:
  """Count the findings of several levels or groups.

  Args:
    found: at least one.
    counts: returns whether a verdict of the rule counts.

  Returns:
    A Finding whose verdict is open; undecided where one has no verdict.
  """
  total = len(found)
  result = Finding(
    unit=f'of {total}', n=min(each.n for each in found), detail=detail
  )
  for each in found:
    if not each.paired:
      return withhold(result, explain(each), detail)
  num = sum(counts(each.paired) for each in found)
  unpaired = sum(counts(each.unpaired) for each in found)
  has_unpaired = all(each.unpaired for each in found)
  return result._replace(
    mean=num,
    paired=f'{num} of {total}',
    unpaired=f'{unpaired} of {total}' if has_unpaired else '',
  )


def decide_majority(counted: Finding, total: int) -> Finding:
  """Agree if more than half are counted."""
  if counted.verdict:
    return counted
  is_most = counted.mean > total / 2
  return counted._replace(verdict=AGREES if is_most else CONTRADICTS)


def limit_to_chance(counted: Finding, total: int, sides: int) -> Finding:
  """Agree if no more findings are counted than true ties may give.

  Args:
    counted: from `count`.
    sides: see `verdicts.allowed_by_chance`.
  """
  if counted.verdict:
    return counted
  allowed = verdicts.allowed_by_chance(total, counted.n, sides)
  return counted._replace(
    verdict=AGREES if counted.mean <= allowed else CONTRADICTS,
    detail=f'up to {allowed} may by chance; {counted.detail}',
  )


def decide(finding: Finding, paper: str | float | tuple | Count) -> Finding:
  """Hold a finding against the paper's verdicts, number, range or count.

  A count agrees from the paper's on: more benchmarks support it more.
  A number or range agrees where the mean is inside, or outside by less than its
  standard deviation. Where that is above the paper's largest number, more
  spread would mean more agreement, so it is undecided. Zero is a match, which
  no spread is above.
  """
  if finding.verdict:
    return finding
  if isinstance(paper, Count):
    agrees = finding.mean >= paper.number
    return finding._replace(verdict=AGREES if agrees else CONTRADICTS)
  if not np.isfinite([finding.mean, finding.std]).all():
    return withhold(finding, explain(finding), finding.detail)
  if isinstance(paper, str):
    agrees = finding.paired in paper.split(' or ')
    return finding._replace(verdict=AGREES if agrees else CONTRADICTS)
  low, high = paper if isinstance(paper, tuple) else (paper, paper)
  outside = max(low - finding.mean, finding.mean - high, 0)
  if outside <= statistics.TOLERANCE:
    outside = 0
  side = 'below' if finding.mean < low else 'above'
  how = f'{outside:.3g} {finding.unit} {side}' if outside else 'inside'
  largest = max(abs(low), abs(high))
  if outside and outside >= finding.std * (1 - statistics.TOLERANCE):
    verdict = CONTRADICTS
  elif finding.std > largest > 0:
    verdict = UNDECIDED
    how += ', and the spread is above the number of the paper'
  else:
    verdict = AGREES
  return finding._replace(verdict=verdict, detail=f'{how}; {finding.detail}')


def show(paper: str | float | tuple | Count) -> str:
  """Return the paper's verdicts or numbers as text."""
  if isinstance(paper, str):
    return paper
  if isinstance(paper, Count):
    return f'{paper.number} of {paper.total}'
  if not isinstance(paper, tuple):
    return f'{paper:g}'
  low, high = paper
  return f'at most {high:g}' if low == -np.inf else f'{low:g} to {high:g}'
