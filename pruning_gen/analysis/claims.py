"""The paper's sentences that a run can test, and whether it agrees.

A sentence on better or worse agrees where the paired verdict says so
(`statistics.judge`). A number or range agrees where this run's mean is inside,
or outside by less than its own standard deviation. One replicate cannot tell.
"""

from typing import NamedTuple

import pandas as pd

from pruning_gen.analysis import statistics

AGREES, DISAGREES, CANNOT_TELL = 'agrees', 'does not agree', 'cannot tell'

# By how many points pruning improves the test error (section 4).
IMPROVEMENT = {'vgg16': {0.15: 5.2, 0.3: 16.1, 0.6: 34.6}}
# By how many points extended dense training is worse under noise (5.1).
EXTENDED_DENSE_WORSE = {
  'lenet': (0, 2.6),
  'resnet20': (0.4, 14.5),
  'vgg16': (3.6, 34.2),
  'resnet32': (0, 4.8),
}
# Change of the top 20 % by EL2N over that of the rest (section 3).
CONCENTRATION = (3.5, 71)
# Loss of noisy examples minus that of original ones, in nats (section 4).
DENSE_GAP = (0.03, 0.13)
PRUNED_GAP = (1.38, 2.97)


class Claim(NamedTuple):
  """One sentence of the paper beside this run.

  Attributes:
    sentence: str, what the paper says.
    noise_fraction: float.
    verdict: str, `AGREES`, `DISAGREES` or `CANNOT_TELL`.
    mean: float, this run's.
    std: float (n - 1).
    unit: str, of mean and std: 'points', 'nats' or 'times'.
    n: int, how many replicates.
    paper: str, the paper's number, or its word on the difference.
    detail: str, at which level, by how much, or why it cannot tell.
  """

  sentence: str
  noise_fraction: float
  verdict: str
  mean: float
  std: float
  unit: str
  n: int
  paper: str
  detail: str


def tabulate(panel):
  """Test every sentence at every noise level.

  Args:
    panel: Panel.

  Returns:
    DataFrame with the columns of `Claim`. A sentence whose experiment the run
    does not have has no row.
  """
  levels = statistics.optimal_levels(panel.summary, 'chain', 'pruning')
  claims = []
  for noise_fraction, level in sorted(levels.items()):
    own = panel.results[panel.results.noise_fraction == noise_fraction]
    chain = own[own.experiment == 'chain']
    claims += _pruning_improves(panel, chain, noise_fraction, level)
    if noise_fraction > 0:
      claims.append(_gap(chain, noise_fraction, 'dense', 0, DENSE_GAP))
    at_optimum = [
      *_training_loss(chain, noise_fraction, level),
      *_extended_dense(panel, chain, noise_fraction, level),
      *_concentration(panel, noise_fraction, level),
      *_width(own, noise_fraction, level),
    ]
    if level == 0:
      at_optimum = [_withdraw(claim) for claim in at_optimum]
    claims += at_optimum
    claims += _leave_out(panel, noise_fraction, level)
  return pd.DataFrame(claims, columns=list(Claim._fields))


def _pruning_improves(panel, chain, noise_fraction, level):
  difference = statistics.compare(
    _select(chain, 'test_error', 'pruning', level),
    _select(chain, 'test_error', 'pruning', 0),
  )
  paper = IMPROVEMENT.get(panel.config['model']['name'], {}).get(noise_fraction)
  where = f'level {level} against dense'
  claims = [
    _judge_direction(
      'Pruning to the optimal sparsity improves the test error.',
      noise_fraction,
      _in_points(difference),
      'points',
      ('better',),
      where,
    )
  ]
  if paper is not None:
    claims.append(
      _judge_range(
        'By how much pruning improves the test error.',
        noise_fraction,
        _in_points(difference),
        'points',
        (-paper, -paper),
        where,
      )
    )
  return claims


def _extended_dense(panel, chain, noise_fraction, level):
  extended = _select(chain, 'test_error', 'extended_dense', level)
  if extended.empty:
    return []
  difference = _in_points(
    statistics.compare(extended, _select(chain, 'test_error', 'pruning', level))
  )
  where = f'minus pruning, both after the epochs of level {level}'
  if noise_fraction == 0:
    return [
      _judge_direction(
        'Without noise, extended dense training matches pruning.',
        noise_fraction,
        difference,
        'points',
        ('match',),
        where,
      )
    ]
  paper = EXTENDED_DENSE_WORSE.get(panel.config['model']['name'])
  # Where the paper's range begins at 0, it found matches too.
  has_matches = paper is not None and paper[0] == 0
  claims = [
    _judge_direction(
      'Under noise, extended dense training is worse than pruning.',
      noise_fraction,
      difference,
      'points',
      ('worse', 'match') if has_matches else ('worse',),
      where,
    )
  ]
  if paper:
    claims.append(
      _judge_range(
        'By how much extended dense training is worse than pruning.',
        noise_fraction,
        difference,
        'points',
        paper,
        where,
      )
    )
  return claims


def _training_loss(chain, noise_fraction, level):
  """Test better training without noise, and additional regularization with."""
  where = f'level {level} against dense'
  if noise_fraction == 0:
    metric = 'train_cross_entropy'
    return [
      _judge_direction(
        'Without noise, pruning to the optimal sparsity lowers the mean '
        'training loss.',
        noise_fraction,
        statistics.compare(
          _select(chain, metric, 'pruning', level),
          _select(chain, metric, 'pruning', 0),
        ),
        'nats',
        ('better',),
        where,
      )
    ]
  metric = 'train_cross_entropy_noisy'
  dense = _select(chain, metric, 'pruning', 0)
  claims = [
    _judge_direction(
      'Pruning to the optimal sparsity raises the loss of noisy examples.',
      noise_fraction,
      statistics.compare(_select(chain, metric, 'pruning', level), dense),
      'nats',
      ('worse',),
      where,
    ),
    _gap(chain, noise_fraction, 'optimally sparse', level, PRUNED_GAP),
  ]
  extended = _select(chain, metric, 'extended_dense', level)
  if len(extended):
    claims.append(
      _judge_direction(
        'Extended dense training does not raise the loss of noisy examples.',
        noise_fraction,
        statistics.compare(extended, dense),
        'nats',
        ('better', 'match'),
        f'after the epochs of level {level}, against dense',
      )
    )
  return claims


def _gap(chain, noise_fraction, name, level, paper):
  return _judge_range(
    f'Loss of noisy examples minus that of original ones, {name} network.',
    noise_fraction,
    statistics.compare(
      _select(chain, 'train_cross_entropy_noisy', 'pruning', level),
      _select(chain, 'train_cross_entropy_original', 'pruning', level),
    ),
    'nats',
    paper,
    f'level {level}',
  )


def _concentration(panel, noise_fraction, level):
  table = panel.concentration
  if table.empty:
    return []
  ratios = statistics.select(
    table,
    'ratio',
    arm='pruning',
    noise_fraction=noise_fraction,
    level=level,
  )
  if ratios.empty:
    return []
  return [
    _judge_range(
      'Pruning changes the top 20 % by EL2N more than the rest.',
      noise_fraction,
      statistics.judge(ratios),
      'times',
      CONCENTRATION,
      f'level {level}',
    )
  ]


def _width(own, noise_fraction, level):
  narrow = own[own.experiment == 'width']
  if narrow.empty:
    return []
  best = statistics.optimal_level(narrow)
  chain = own[own.experiment == 'chain']
  return [
    _judge_direction(
      'Narrower networks do not improve as pruning does.',
      noise_fraction,
      _in_points(
        statistics.compare(
          statistics.select(narrow, 'test_error', level=best),
          _select(chain, 'test_error', 'pruning', level),
        )
      ),
      'points',
      ('worse',),
      f'best width (level {best}) minus pruning (level {level})',
    )
  ]


def _leave_out(panel, noise_fraction, level):
  table = panel.leave_out
  if table.empty:
    return []
  sentences = {
    'most_improved': (
      'Leaving out the examples that pruning improves most hurts more than '
      'leaving out as many at random.',
      'worse',
      noise_fraction == 0,
    ),
    'most_worsened': (
      'Under noise, leaving out the examples that pruning worsens most is '
      'better than leaving out as many at random.',
      'better',
      noise_fraction > 0,
    ),
    'misclassified': (
      'Under noise, leaving out the examples that the optimally sparse network '
      'misclassifies is better than leaving out as many at random.',
      'better',
      noise_fraction > 0,
    ),
  }
  claims = []
  for left_out, (sentence, verdict, is_claimed) in sentences.items():
    rows = table[
      (table.left_out == left_out) & (table.noise_fraction == noise_fraction)
    ]
    if rows.empty or not is_claimed:
      continue
    # The set that the optimally sparse network chose, or the nearest there is.
    row = rows.loc[(rows.number - level).abs().idxmin()]
    claim = _judge_direction(
      sentence,
      noise_fraction,
      _in_points(
        statistics.Comparison(
          row.difference_mean, row.difference_std, row.n, row.verdict
        )
      ),
      'points',
      (verdict,),
      f'{row.num_left_out:.0f} examples, chosen at level {row.number}',
    )
    claims.append(_withdraw(claim) if row.number == 0 else claim)
  return claims


def _withdraw(claim):
  """Return a claim on a pruned network that is the dense one, and matches."""
  why = 'the optimal sparsity is level 0, the dense network'
  return claim._replace(verdict=CANNOT_TELL, detail=why)


def _select(chain, metric, arm, level):
  return statistics.select(chain, metric, arm=arm, level=level)


def _in_points(difference):
  return difference._replace(
    mean=100 * difference.mean, std=100 * difference.std
  )


def _judge_direction(sentence, noise_fraction, found, unit, expected, detail):
  """Return the Claim that a difference's verdict is one of those expected."""
  if not found.verdict:
    verdict, detail = CANNOT_TELL, f'{_why_not(found)}; {detail}'
  else:
    verdict = AGREES if found.verdict in expected else DISAGREES
    detail = f'{found.verdict}; {detail}'
  return Claim(
    sentence,
    noise_fraction,
    verdict,
    found.mean,
    found.std,
    unit,
    found.n,
    ' or '.join(expected),
    detail,
  )


def _judge_range(sentence, noise_fraction, found, unit, paper, detail):
  """Return the Claim that a mean is inside a range of the paper."""
  low, high = paper
  outside = max(low - found.mean, found.mean - high, 0)
  if not found.verdict:
    verdict, detail = CANNOT_TELL, f'{_why_not(found)}; {detail}'
  elif outside == 0:
    verdict, detail = AGREES, f'inside; {detail}'
  else:
    verdict = AGREES if outside < found.std else DISAGREES
    side = 'below' if found.mean < low else 'above'
    detail = f'{outside:.3g} {unit} {side}; {detail}'
  paper = f'{low:g}' if low == high else f'{low:g} to {high:g}'
  return Claim(
    sentence,
    noise_fraction,
    verdict,
    found.mean,
    found.std,
    unit,
    found.n,
    paper,
    detail,
  )


def _why_not(found):
  if found.n < 1:
    return 'not finished'
  return 'one replicate' if found.n == 1 else 'a value is missing'
