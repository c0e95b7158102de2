"""Tests by group of examples: subgroups by EL2N, and classes.

A test takes a Case, and returns a Finding.
"""

import numpy as np
import pandas as pd

from pruning_gen.analysis import examples
from pruning_gen.analysis import fairness
from pruning_gen.analysis import verdicts
from pruning_gen.analysis.claims import base
from pruning_gen.analysis.claims import levels
from pruning_gen.analysis.claims.base import Finding
from pruning_gen.analysis.claims.base import Undecided
from pruning_gen.analysis.claims.case import Case


def top_minus_rest(at):
  """Test the change of the top 20 % by EL2N minus that of the rest."""

  def test(case: Case) -> Finding:
    level = at(case)
    table = case.concentration(level)
    return base.measure(
      table.top_effect,
      table.rest_effect,
      detail=f'change of the top minus that of the rest, {case.describe(level)}',
    )

  return test


def no_group_worse(case: Case) -> Finding:
  """Count the subgroups whose training loss is worse at L*."""
  level = case.optimum()
  found = _judge_groups(case.effects(level))
  worse = [str(group) for group, each in found.items() if _is_worse(each)]
  return levels.count(
    found,
    lambda verdict: verdict == 'worse',
    f'worse: {", ".join(worse) or "none"}; level {level}',
    sides=1,
  )


def most_groups(verdict, at):
  """Test whether more than half of the subgroups are better, or worse."""

  def test(case: Case) -> Finding:
    level = at(case)
    found = _judge_groups(case.effects(level))
    num = sum(each.paired == verdict for each in found.values())
    n = min(each.n for each in found.values())
    result = Finding(
      num, unit=f'of {len(found)}', n=n, detail=case.describe(level)
    )
    if not all(each.paired for each in found.values()):
      bad = next(each for each in found.values() if not each.paired)
      return base.withhold(
        result._replace(mean=np.nan), f'{base.explain(bad)}; {result.detail}'
      )
    is_most = num > len(found) / 2
    return result._replace(
      paired=f'{num} of {len(found)}',
      verdict=base.AGREES if is_most else base.CONTRADICTS,
    )

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


def _magnitudes(table):
  """Return the mean |effect| of the top 20 % over that of the rest."""
  # The top's share of the sum, and a fifth of the examples.
  others = examples.TOP_DIVISOR - 1
  with np.errstate(divide='ignore'):
    return others * table.share / (1 - table.share)


def concentration(at):
  """Measure how many times as much the top 20 % by EL2N change (3)."""

  def test(case: Case) -> Finding:
    level = at(case)
    table = case.concentration(level)
    detail = f'of mean changes: {table.ratio.mean():.3g} times; '
    return base.measure(
      _magnitudes(table), unit='times', detail=detail + case.describe(level)
    )._replace(paired='')

  return test


def concentrated_at_every_level(case: Case) -> Finding:
  """Test whether the top 20 % change more at every level."""
  found, means = {}, {}
  for level in case.levels():
    ratio = _magnitudes(case.concentration(level))
    # Shares compare as ratios do, and are never infinite.
    share = case.concentration(level).share - 1 / examples.TOP_DIVISOR
    found[level] = base.measure(share, words=base.SIZE)
    means[level] = ratio.mean()
  if not found:
    raise Undecided('the chain has no pruned level')
  least = min(means, key=means.get)
  above = sum(ratio > 1 for ratio in means.values())
  smaller = sum(each.paired == 'smaller' for each in found.values())
  n = min(each.n for each in found.values())
  result = Finding(
    above,
    unit=f'of {len(found)}',
    n=n,
    paired=f'{sum(x.paired == "larger" for x in found.values())} larger',
    detail=f'least: {means[least]:.3g} times, at level {least}',
  )
  if n < 2 or not all(each.paired for each in found.values()):
    bad = next(each for each in found.values() if not each.paired)
    return base.withhold(result, f'{base.explain(bad)}; {result.detail}')
  allowed = verdicts.allowed_by_chance(len(found), n, sides=1)
  if above == len(found):
    verdict = base.AGREES
  else:
    verdict = base.CONTRADICTS if smaller > allowed else base.UNDECIDED
  return result._replace(verdict=verdict)


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


def harmed_late(by, split):
  """Test whether pruning harms a group only at more than the optimal sparsity.

  A group is harmed from the first level whose error, and that of every sparser
  level, is worse than that of dense.
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
    return Finding(
      first,
      unit='level',
      n=int(compared.n.max()),
      detail=f'first harmed: {by} {groups}; optimal sparsity: level {optimum}; '
      f'harmed at the last level: {len(harmed)} of {compared.group.nunique()}',
      verdict=base.AGREES if first > optimum else base.CONTRADICTS,
    )

  return test


def harmed_by_size(by, split):
  """Test whether what pruning harms, a network of its size harms too.

  Compared at the sparsest level that has a narrower network of about as many
  weights: the changes in error of all groups are correlated, and more than half
  of those that pruning harms must be harmed.
  """

  def test(case: Case) -> Finding:
    errors = case.group_errors(by, split)
    sizes = {level: case.same_size(level) for level in case.levels()}
    shared = [level for level, width in sizes.items() if width is not None]
    if 'width' not in set(errors.experiment) or not shared:
      raise Undecided('no narrower network has about as many weights')
    level = max(shared)
    pruned = _change(errors, 'chain', level)
    narrow = _change(errors, 'width', sizes[level])
    harmed, harmed_too = (
      set(table.index[verdicts.judge_rows(table) == 'worse'])
      for table in (pruned, narrow)
    )
    found = base.measure(
      _correlate(pruned, narrow),
      unit='r',
      detail=f'harmed by both: {len(harmed & harmed_too)} of {len(harmed)}; '
      f'level {level} and width level {sizes[level]}',
      words=base.SIGN,
    )
    if found.paired and not harmed:
      return base.withhold(found, f'no {by} is harmed at level {level}')
    if found.paired == 'match':
      return base.withhold(found, found.detail)
    if found.paired and len(harmed & harmed_too) <= len(harmed) / 2:
      return found._replace(verdict=base.CONTRADICTS)
    return found

  return test


def _change(errors, experiment, level):
  """Return errors minus those of level 0, [group, replicate]."""
  errors = errors[errors.experiment == experiment]
  table = errors.set_index(['level', 'group', 'replicate']).error
  if level not in table.index or 0 not in table.index:
    return pd.DataFrame()
  return table[level].unstack() - table[0].unstack()
