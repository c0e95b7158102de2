"""Tests over noise levels or benchmarks, made of tests of one Case each.

A test takes a list of Cases, and returns a Finding.
"""

from pruning_gen.analysis.claims import base
from pruning_gen.analysis.claims.base import Finding
from pruning_gen.analysis.claims.base import Undecided
from pruning_gen.analysis.claims.case import Case
from pruning_gen.analysis.claims.case import Test


def smallest(test: Test) -> Test:
  """Return the Finding with the smallest mean, and where it is."""
  return _end(test, min)


def largest(test: Test) -> Test:
  """Return the Finding with the largest mean, and where it is."""
  return _end(test, max)


def _end(test, pick):
  def over(cases: list[Case]) -> Finding:
    found = [(case, _run(test, case)) for case in cases]
    case, finding = pick(found, key=lambda pair: pair[1].mean)
    where = describe(case, len({case.name for case in cases}) > 1)
    return finding._replace(detail=f'{where}: {finding.detail}')

  return over


def count(verdict: str, test: Test, never: str = '') -> Test:
  """Count the Cases with a verdict; the paper's number is the least.

  Args:
    verdict: to count, 'better' or 'worse'.
    test: of one Case.
    never: a verdict that contradicts wherever it is.
  """

  def over(cases: list[Case]) -> Finding:
    found = {describe(case, True): _run(test, case) for case in cases}
    others = [
      f'{name}: {each.paired}'
      for name, each in found.items()
      if each.paired != verdict
    ]
    num = len(found) - len(others)
    unpaired = sum(each.unpaired == verdict for each in found.values())
    has_other = any(each.paired == never for each in found.values())
    counted = Finding(
      num,
      unit=f'of {len(found)}',
      n=min(each.n for each in found.values()),
      paired=f'{num} of {len(found)}',
      unpaired=f'{unpaired} of {len(found)}',
      detail='; '.join(others),
      # Where it is '', the number decides.
      verdict=base.CONTRADICTS if has_other and never else '',
    )
    withheld = [
      f'{name}: {each.detail}'
      for name, each in found.items()
      if each.verdict == base.UNDECIDED
    ]
    if withheld:
      return base.withhold(counted, *withheld, counted.detail)
    return counted

  return over


def _run(test, case):
  try:
    finding = test(case)
  except Undecided as reason:
    raise Undecided(f'{describe(case, True)}: {reason}') from None
  if finding.n < 2 or finding.mean != finding.mean:
    raise Undecided(f'{describe(case, True)}: {base.explain(finding)}')
  return finding


def describe(case: Case, with_name: bool) -> str:
  """Name a noise level, and the benchmark where there are several."""
  noise = f'{100 * case.noise_fraction:g}% noise'
  return f'{case.name[0]} on {case.name[1]}, {noise}' if with_name else noise
