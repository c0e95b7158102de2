"""Tests by group of examples: subgroups by EL2N, and classes.

A test takes a Case, and returns a Finding.
"""

import numpy as np
import pandas as pd

from pruning_gen.analysis import examples
from pruning_gen.analysis import fairness
from pruning_gen.analysis import verdicts
from pruning_gen.analysis.claims import base
from pruning_gen.analysis.claims.base import Finding
from pruning_gen.analysis.claims.base import Undecided
from pruning_gen.analysis.claims.case import At
from pruning_gen.analysis.claims.case import Case
from pruning_gen.analysis.claims.case import Test


def top_minus_rest(at: At) -> Test:
  """Test the change of the top 20 % by EL2N minus that of the rest."""

  def test(case: Case) -> Finding:
    level = at(case)
    return base.measure(
      case.concentration('top_effect', level),
      case.concentration('rest_effect', level),
      detail=f'top minus rest: {case.describe(level, at)}',
    )

  return test


def no_group_worse(case: Case) -> Finding:
  """Count the subgroups whose training loss is worse at L*."""
  level = case.optimum()
  found = _judge_groups(case.effects(level))
  worse = [str(group) for group, each in found.items() if _is_worse(each)]
  counted = base.count(
    list(found.values()),
    lambda verdict: verdict == 'worse',
    f'worse: {", ".join(worse) or "none"}; {case.describe(level)}',
  )
  if counted.verdict or not worse:
    return counted._replace(verdict=counted.verdict or base.AGREES)
  # The paper says none, and three replicates may call some worse by chance.
  limited = base.limit_to_chance(counted, len(found), sides=1)
  if limited.verdict == base.AGREES:
    return base.withhold(limited, limited.detail)
  return limited


def most_groups(wanted: str, at: At) -> Test:
  """Test whether more than half of the subgroups are better, or worse."""

  def test(case: Case) -> Finding:
    level = at(case)
    found = list(_judge_groups(case.effects(level)).values())
    counted = base.count(
      found, lambda verdict: verdict == wanted, case.describe(level, at)
    )
    return base.decide_majority(counted, len(found))

  return test


def _judge_groups(effects):
  return {group: base.measure(row) for group, row in effects.iterrows()}


def _is_worse(finding):
  return finding.paired == 'worse'


def top_group_improves_most(case: Case) -> Finding:
  """Test the subgroup of the highest EL2N against the mean of the others."""
  level = case.optimum()
  effects = case.effects(level)
  group = effects.mean(axis=1).idxmin()
  found = base.measure(
    effects.iloc[-1],
    effects.iloc[:-1].mean(axis=0, skipna=False),
    detail=f'group {group} of 0 to {len(effects) - 1} improves most; '
    f'{case.describe(level)}',
  )
  if found.paired and group != effects.index[-1]:
    return found._replace(verdict=base.CONTRADICTS)
  return found


def _magnitudes(share):
  """Return the mean |effect| of the top 20 % over that of the rest.

  Args:
    share: the top's share of the sum of |effect|; a Series or DataFrame.
  """
  others = examples.TOP_DIVISOR - 1
  with np.errstate(divide='ignore'):
    return others * share / (1 - share)


def concentration(at: At) -> Test:
  """Measure how many times as much the top 20 % by EL2N change (3)."""

  def test(case: Case) -> Finding:
    level = at(case)
    of_means = case.concentration('ratio', level).mean()
    ratio = _magnitudes(case.concentration('share', level))
    detail = f'of mean changes: {of_means:.3g} times; '
    return base.measure(
      ratio, unit='times', detail=detail + case.describe(level, at)
    )._replace(paired='')

  return test


def concentrated_at_every_level(case: Case) -> Finding:
  """Test whether the top 20 % by EL2N change more at every level."""
  shares = case.concentration('share')
  total, n = shares.shape
  # Shares compare as ratios do, and are never infinite.
  found = verdicts.judge_rows(shares - 1 / examples.TOP_DIVISOR)
  result = Finding(unit=f'of {total}', n=n)
  if (found == '').any():
    return base.withhold(result, base.explain(result))
  ratios = _magnitudes(shares).mean(axis=1)
  above, below = (ratios > 1).sum(), (found == 'better').sum()
  allowed = verdicts.allowed_by_chance(total, n, sides=1)
  if above == total:
    verdict = base.AGREES
  else:
    verdict = base.CONTRADICTS if below > allowed else base.UNDECIDED
  return result._replace(
    mean=above,
    paired=f'{(found == "worse").sum()} of {total}',
    verdict=verdict,
    detail=f'smallest: {ratios.min():.3g} times, at level '
    f'{int(ratios.idxmin())}; the rest changes more: {below}, {allowed} may by '
    'chance',
  )


def alike(case: Case) -> Finding:
  """Correlate how pruning and narrowing change the subgroups (I)."""
  level, width = case.optimum(), case.optimum('width')
  return base.measure(
    _correlate(case.effects(level), case.effects(width, 'width')),
    unit='r',
    detail=f'level {level} and width level {width}',
    words=base.SIGN,
  )


def _correlate(one, other):
  """Correlate two tables [group, replicate], by replicate."""
  return one.corrwith(other)


def harmed_late(by: str, split: str) -> Test:
  """Test whether pruning harms a group only at more than the optimal sparsity.

  A group is harmed from the first level whose error, and that of every sparser
  level, is worse than that of dense. At the optimal sparsity no more groups may
  be worse than by chance.
  """

  def test(case: Case) -> Finding:
    errors = case.group_errors(by, split)
    compared = fairness.compare_groups(errors[errors.experiment == 'chain'])
    if compared.n.max() < 2:
      raise Undecided('one replicate')
    optimum = case.optimum()
    harmed = fairness.find_harm(compared).set_index('group').harmed_from
    harmed = harmed.dropna()
    if harmed.empty:
      raise Undecided(f'no {by} is harmed at level {case.last()}, the last')
    first = int(harmed.min())
    groups = ', '.join(str(group) for group in harmed.index[harmed == first])
    n, total = int(compared.n.max()), compared.group.nunique()
    at_optimum = compared[compared.level == optimum]
    worse = (at_optimum.verdict == 'worse').sum()
    allowed = verdicts.allowed_by_chance(total, n, sides=1)
    is_late = first > optimum and worse <= allowed
    return Finding(
      first,
      unit='level',
      n=n,
      detail=f'first harmed: {by} {groups}; worse at the optimal sparsity, '
      f'level {optimum}: {worse} of {total} ({allowed} may by chance); harmed '
      f'at the last level: {len(harmed)} of {total}',
      verdict=base.AGREES if is_late else base.CONTRADICTS,
    )

  return test


def harmed_by_size(by: str, split: str) -> Test:
  """Test whether what pruning harms, a network of its size harms too.

  Compared at the sparsest level that has a narrower network of about as many
  weights: the changes in error of all groups are correlated, and more than half
  of those that pruning harms must be harmed.
  """

  def test(case: Case) -> Finding:
    errors = case.group_errors(by, split)
    level, width = _sparsest_with_width(case)
    pruned = _change(errors, 'chain', level)
    narrow = _change(errors, 'width', width)
    if narrow.empty:
      raise Undecided(f'narrower networks have no {split} errors by {by}')
    harmed, harmed_too = (
      set(table.index[verdicts.judge_rows(table) == 'worse'])
      for table in (pruned, narrow)
    )
    found = base.measure(
      _correlate(pruned, narrow),
      unit='r',
      detail=f'harmed by both: {len(harmed & harmed_too)} of {len(harmed)}; '
      f'level {level} and width level {width}',
      words=base.SIGN,
    )
    if found.n > 1 and not harmed:
      return base.withhold(found, f'no {by} is harmed at level {level}')
    if found.paired == 'match':
      return base.withhold(found, found.detail)
    if found.paired and len(harmed & harmed_too) <= len(harmed) / 2:
      return found._replace(verdict=base.CONTRADICTS)
    return found

  return test


def _sparsest_with_width(case):
  case.summary('width')
  for level in reversed(case.levels()):
    width = case.same_size(level)
    if width is not None:
      return level, width
  raise Undecided('no narrower network has about as many weights')


def _change(errors, experiment, level):
  """Return errors minus those of level 0, [group, replicate]."""
  errors = errors[errors.experiment == experiment]
  table = errors.set_index(['level', 'group', 'replicate']).error
  if level not in table.index or 0 not in table.index:
    return pd.DataFrame()
  change = table[level].unstack() - table[0].unstack()
  return change.dropna(axis=1, how='all')
