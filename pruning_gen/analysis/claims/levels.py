"""Tests by level: errors, losses and the gap between noisy and clean examples.

A test takes a Case, and returns a Finding.
"""

import math

import pandas as pd

from pruning_gen.analysis.claims import base
from pruning_gen.analysis.claims.base import Finding
from pruning_gen.analysis.claims.base import Undecided
from pruning_gen.analysis.claims.case import At
from pruning_gen.analysis.claims.case import Case
from pruning_gen.analysis.claims.case import GAP
from pruning_gen.analysis.claims.case import NOISY_LOSS
from pruning_gen.analysis.claims.case import Test

LOSS = 'train_cross_entropy'

# The paper's "many" and "few" weights of ResNet-20.
MANY = 0.1
# Levels by which L^ may be off; ours.
LEVEL_TOLERANCE = 2


def change(metric: str, at: At, curve: str = 'pruning') -> Test:
  """Test a metric at a level against the dense network of the same curve."""

  def test(case: Case) -> Finding:
    if curve == 'width':
      level = at(case, curve)
      detail = f'width level {level} against the full one'
    else:
      level = at(case)
      detail = f'against dense: {case.describe(level, at)}'
    found = _compare(case, metric, curve, level, curve, 0)
    return found._replace(detail=detail)

  return test


def _compare(case, metric, curve, level, baseline, baseline_level):
  return base.measure(
    case.values(metric, level, curve),
    case.values(metric, baseline_level, baseline),
    'points' if metric == 'test_error' else 'nats',
    words=base.SIZE if metric == GAP else base.ERROR,
  )


def size_of_gap(at: At) -> Test:
  """Measure G, the loss of noisy minus that of clean examples."""

  def test(case: Case) -> Finding:
    level = at(case)
    return base.measure(
      case.values(GAP, level), detail=case.describe(level), words=base.SIZE
    )

  return test


def longer_training(metric: str) -> Test:
  """Test extended dense training as long as pruning took, against dense."""

  def test(case: Case) -> Finding:
    level = case.optimum()
    found = _compare(case, metric, 'extended_dense', level, 'pruning', 0)
    return found._replace(detail=f'the epochs of level {level} against dense')

  return test


def matches_extended_dense(case: Case) -> Finding:
  """Count the levels above 1 % of the weights where the two differ."""
  weights = case.summary().weights_remaining
  levels = [level for level in case.levels() if weights[level] > 0.01]
  case.summary('extended_dense')
  removed = case.benchmark.config['prune_fraction']
  total = int(math.log(0.01) / math.log(1 - removed))
  found = {
    level: base.measure(
      case.values('test_error', level, 'extended_dense'),
      case.values('test_error', level),
      'points',
    )
    for level in levels
  }
  if not found:
    raise Undecided('the chain has no pruned level')
  widest = max(found, key=lambda level: abs(found[level].mean))
  counted = base.count(
    list(found.values()),
    lambda verdict: verdict != 'match',
    f'largest difference {found[widest].mean:+.2f} points, at level {widest}',
  )
  counted = base.limit_to_chance(counted, len(found), sides=2)
  if len(found) < total:
    why = f'{len(found)} of {total} levels with more than 1 % of the weights'
    return base.withhold(counted, why, counted.detail)
  return counted


def highest_improving(paper: dict[str, int]) -> Test:
  """Test where L^ is, next to the end of the unbroken improving levels."""

  def test(case: Case) -> Finding:
    level, unbroken = case.highest(), case.unbroken()
    wanted = paper[case.name[0]]
    detail = case.describe(level, Case.highest)
    if abs(level - wanted) <= LEVEL_TOLERANCE:
      verdict = base.AGREES
    elif level < wanted and level == case.last():
      verdict = base.UNDECIDED
      detail = f'the chain ends before level {wanted}; {detail}'
    elif unbroken is not None and abs(unbroken - wanted) <= LEVEL_TOLERANCE:
      # An isolated level beyond it may be called better by chance.
      verdict = base.UNDECIDED
    else:
      verdict = base.CONTRADICTS
    return Finding(
      level,
      unit='level',
      n=case.num_replicates,
      detail=detail,
      verdict=verdict,
    )

  return test


def grows_with_noise(case: Case) -> Finding | None:
  """Test the change in test error against that at the next lower noise."""
  if case.lower is None:
    return None
  changes, levels = [], []
  for each in (case, case.lower):
    level = each.best()
    levels.append(level)
    errors = each.values('test_error', level), each.values('test_error', 0)
    changes.append(errors[0] - errors[1])
  low = f'at {100 * case.lower.noise_fraction:g}% noise'
  found = base.measure(
    *changes, 'points', f'level {levels[0]} against level {levels[1]} {low}'
  )
  last, planned = case.lower.last(), case.benchmark.config['levels']
  if last < planned:
    why = f'the chain has finished level {last} of {planned} {low}'
    return base.withhold(found, why, found.detail)
  return found


def noisy_loss(few: bool) -> Test:
  """Test the mean loss of noisy examples over many or few weights (4).

  Args:
    few: whether over levels below `MANY` weights; otherwise above.
  """

  def test(case: Case) -> Finding:
    weights = case.summary().weights_remaining
    levels = [x for x in case.levels() if (weights[x] < MANY) == few]
    if not levels:
      raise Undecided(
        f'no level has {"less" if few else "more"} than {MANY:.0%} of the '
        'weights'
      )
    dense = case.values(NOISY_LOSS, 0)
    mean = pd.concat([case.values(NOISY_LOSS, x) for x in levels], axis=1).mean(
      axis=1, skipna=False
    )
    return base.measure(
      mean,
      dense,
      detail=f'mean over {len(levels)} levels, {levels[0]} to {levels[-1]}',
    )

  return test


def gap_where_improving(case: Case) -> Finding:
  """Count the levels with a better test error whose gap is larger."""
  levels = case.improving()
  found = [
    base.measure(case.values(GAP, level), case.values(GAP, 0), words=base.SIZE)
    for level in levels
  ]
  counted = base.count(
    found,
    lambda verdict: verdict == 'larger',
    f'improving levels {levels[0]} to {levels[-1]}',
  )
  return base.decide_majority(counted, len(found))


def gap_shrinks(case: Case) -> Finding:
  """Test the gap at the last level against the largest."""
  gaps = {level: case.values(GAP, level) for level in case.levels()}
  if not gaps:
    raise Undecided('the chain has no pruned level')
  largest = max(gaps, key=lambda level: gaps[level].mean())
  last = case.last()
  if largest == last:
    raise Undecided(f'the gap is largest at level {last}, the last')
  return base.measure(
    gaps[last],
    gaps[largest],
    detail=f'level {last}, the last, against level {largest}, the largest',
    words=base.SIZE,
  )


def little_room(cases: list[Case]) -> Finding:
  """Test the dense network's loss of noisy examples, 60 % against 30 %.

  Noisy examples are those of the highest EL2N.
  """
  by_noise = {case.noise_fraction: case for case in cases}
  missing = [noise for noise in (0.3, 0.6) if noise not in by_noise]
  if missing:
    raise Undecided(f'this run has no noise level {100 * missing[0]:g}%')
  high, low = (by_noise[noise].values(NOISY_LOSS, 0) for noise in (0.6, 0.3))
  return base.measure(high, low, detail='dense, 60% against 30% noise')
