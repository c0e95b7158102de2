"""Tests of pruning against its controls: longer training, width, leave-out.

A test takes a Case, and returns a Finding.
"""

from pruning_gen.analysis import verdicts
from pruning_gen.analysis.claims import base
from pruning_gen.analysis.claims.base import Finding
from pruning_gen.analysis.claims.base import Undecided
from pruning_gen.analysis.claims.case import Case
from pruning_gen.analysis.claims.case import Test

_ERROR = 'test_error'


def extended_dense(case: Case) -> Finding:
  """Test extended dense training against pruning, each at its optimum (5.1)."""
  curve = 'extended_dense'
  own, pruned = case.best(curve), case.best()
  pairs = {
    'at equal epochs': (pruned, pruned),
    'least against least test error': (case.lowest(curve), case.lowest()),
  }
  others = [
    f'{name} {_minus(case, curve, *levels)}' for name, levels in pairs.items()
  ]
  return base.measure(
    case.values(_ERROR, own, curve),
    case.values(_ERROR, pruned),
    'points',
    f'{_name(own)} minus pruning {_name(pruned)}; {"; ".join(others)}',
  )


def _name(level):
  return f'level {level}' if level else 'level 0 (dense)'


def _minus(case, curve, level, pruned):
  found = base.measure(
    case.values(_ERROR, level, curve), case.values(_ERROR, pruned), 'points'
  )
  verdict = f' ({found.paired})' if found.paired else ''
  return f'{found.mean:+.2f}{verdict}'


def width(case: Case) -> Finding:
  """Test the least test error of narrower networks against pruning's (5.2)."""
  own, pruned = case.lowest('width'), case.lowest()
  found = base.measure(
    case.values(_ERROR, own, 'width'),
    case.values(_ERROR, pruned),
    'points',
    f'width level {own} minus pruning level {pruned}',
  )
  if own and own == case.last('width') and found.paired == 'worse':
    # A narrower one may be better.
    return base.withhold(found, 'the narrowest is best', found.detail)
  return found


def width_without_noise(case: Case) -> Finding:
  """As `width`; the paper finds it worse on four of five."""
  found = width(case)
  if found.paired in ('match', 'better'):
    why = 'the paper does not name the benchmark of five that is not worse'
    return base.withhold(found, why, found.detail)
  return found


def width_of_same_size(case: Case) -> Finding:
  """Test the training loss of a narrower network of as many weights."""
  level = case.optimum()
  case.summary('width')
  own = case.same_size(level)
  if own is None:
    raise Undecided('no narrower network has about as many weights')
  return base.measure(
    case.values('train_cross_entropy', own, 'width'),
    case.values('train_cross_entropy', level),
    detail=f'width level {own} minus pruning level {level}',
  )


def _nearest(case, left_out):
  """Return the set that the level nearest to L* chose: level, rows."""
  sets = case.left_out(left_out)
  best = case.optimum()
  level = min(sets, key=lambda level: abs(level - best))
  rows = sets[level]
  # Jobs of one replicate each choose by their own validation error.
  if len(rows) < case.num_replicates:
    raise Undecided(
      f'level {level}: sets of {len(rows)} of {case.num_replicates} replicates'
    )
  return level, rows


def leave_out(left_out: str, against: str) -> Test:
  """Test dense training without a set of examples.

  Args:
    against: 'random_error', without as many random examples; 'dense_error',
      with all; or 'pruning', the optimally sparse network.
  """

  def test(case: Case) -> Finding:
    level, rows = _nearest(case, left_out)
    if against == 'pruning':
      baseline = case.values(_ERROR, case.optimum())
    else:
      baseline = rows[against]
    return base.measure(
      rows.test_error,
      baseline,
      'points',
      f'{rows.num_left_out.mean():.0f} examples, chosen at level {level}',
    )

  return test


def leave_out_at_every_level(case: Case) -> Finding:
  """Count the levels whose most improved examples are needed more (D)."""
  sets = case.left_out('most_improved')
  if len(sets) < 2:
    raise Undecided('sets of one level only (leave_out.levels)')
  found = [
    base.measure(rows.test_error, rows.random_error) for rows in sets.values()
  ]
  better = sum(each.paired == 'better' for each in found)
  counted = base.count(
    found,
    lambda verdict: verdict == 'worse',
    f'better: {better}; levels {", ".join(map(str, sorted(sets)))}',
  )
  if counted.verdict:
    return counted
  allowed = verdicts.allowed_by_chance(len(found), counted.n, sides=1)
  if better > allowed:
    verdict = base.CONTRADICTS
  else:
    verdict = base.AGREES if counted.mean > allowed else base.UNDECIDED
  return counted._replace(
    verdict=verdict, detail=f'{allowed} may by chance; {counted.detail}'
  )
