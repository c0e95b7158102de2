"""The paper's sentences that a run can test, and whether it agrees.

A sentence on better or worse agrees where the paired verdict says so
(`statistics.judge`). A number or range agrees where this run's mean is inside,
or outside by less than its own standard deviation; if that is above the paper's
largest number, it cannot tell. Neither can one replicate, a chain that is not
finished, or, against a number, a run that is not of the paper's size.
"""

from typing import NamedTuple

import pandas as pd

from pruning_gen.analysis import paired
from pruning_gen.analysis import statistics
from pruning_gen.storage import provenance

AGREES, DISAGREES, CANNOT_TELL = 'agrees', 'does not agree', 'cannot tell'

# What a run must be to be held against the paper's numbers.
PANELS = {
  ('lenet', 'mnist'): {'epochs': 40, 'model.widths': [300, 100]},
  ('resnet20', 'cifar10'): {'epochs': 160, 'model.num_filters': 16},
  ('vgg16', 'cifar10'): {'epochs': 160, 'model.num_filters': 64},
  ('resnet32', 'cifar100'): {'epochs': 160, 'model.num_filters': 32},
  ('resnet50', 'imagenet2012'): {'epochs': 90, 'model.num_filters': 64},
}
# By how many points pruning improves the test error (section 4), and by how
# many extended dense training is worse under noise (5.1).
IMPROVEMENT = {('vgg16', 'cifar10'): {0.15: 5.2, 0.3: 16.1, 0.6: 34.6}}
EXTENDED_DENSE_WORSE = {
  ('lenet', 'mnist'): (0, 2.6),
  ('resnet20', 'cifar10'): (0.4, 14.5),
  ('vgg16', 'cifar10'): (3.6, 34.2),
  ('resnet32', 'cifar100'): (0, 4.8),
}
# Over panels: change of the top 20 % by EL2N over that of the rest (section 3).
CONCENTRATION = (3.5, 71)
# Loss of noisy examples minus that of original ones, in nats, of the dense and
# the optimally sparse network (section 4). Whether it is of VGG-16 or of all
# panels we do not know, so that it binds VGG-16 alone.
GAPS = {('vgg16', 'cifar10'): ((0.03, 0.13), (1.38, 2.97))}

NOISY = 'train_cross_entropy_noisy'
# The arm and level of the dense network, which all arms share.
DENSE = ('pruning', 0)


class Claim(NamedTuple):
  """One sentence of the paper beside this run.

  Attributes:
    sentence: str, what the paper says.
    verdict: str, `AGREES`, `DISAGREES` or `CANNOT_TELL`.
    mean: float, this run's.
    std: float (n - 1).
    unit: str, of mean and std: 'points', 'nats' or 'times'.
    n: int, how many replicates.
    paper: str, the verdicts on a difference that agree, as 'worse or match'; or
      (low, high), the range of the paper's numbers.
    detail: str, at which level, by how much, or why it cannot tell.
  """

  sentence: str
  verdict: str
  mean: float
  std: float
  unit: str
  n: int
  paper: str | tuple
  detail: str


def tabulate(panel):
  """Test every sentence at every noise level.

  Args:
    panel: Panel.

  Returns:
    DataFrame with noise_fraction and the columns of `Claim`. A sentence whose
    experiment the run does not have has no row.
  """
  levels = statistics.optimal_levels(panel.summary, 'chain', 'pruning')
  rows = [
    {'noise_fraction': noise_fraction}
    | claim._asdict()
    | {'paper': _paper_text(claim.paper)}
    for noise_fraction, level in sorted(levels.items())
    for claim in _test(panel, noise_fraction, level)
  ]
  sentence, *others = Claim._fields
  return pd.DataFrame(rows, columns=[sentence, 'noise_fraction', *others])


def _test(panel, noise_fraction, level):
  """Test every sentence at one noise level and its optimal sparsity."""
  own = panel.results[panel.results.noise_fraction == noise_fraction]
  chain = own[own.experiment == 'chain']
  name = panel.config['model']['name'], panel.config['data']['name']
  improvement = _improvement(
    chain, level, IMPROVEMENT.get(name, {}), noise_fraction
  )
  of_dense = []
  of_pruning = [] if noise_fraction else _better_training(chain, level)
  if noise_fraction > 0:
    dense_gap, pruned_gap = GAPS.get(name, (None, None))
    of_dense += _gap(chain, 'dense', 0, dense_gap)
    of_pruning += _regularization(chain, level)
    of_pruning += _gap(chain, 'optimally sparse', level, pruned_gap)
  of_pruning += [
    *_extended_dense(
      chain, level, noise_fraction, EXTENDED_DENSE_WORSE.get(name)
    ),
    *_influential(panel, noise_fraction, level),
    *_width(panel, own, noise_fraction, level),
    *_leave_out(panel, chain, noise_fraction, level),
  ]
  finished = chain[chain.arm == 'pruning'].level.max()
  if finished < panel.config['levels']:
    # The optimal sparsity may be at a level that is still to come.
    why = f'the chain has finished level {finished} of {panel.config["levels"]}'
    improvement = [_withhold(claim, why) for claim in improvement]
    of_pruning = [_withhold(claim, why) for claim in of_pruning]
  elif level == 0:
    # What pruning does, the dense network cannot show.
    why = 'the optimal sparsity is level 0, the dense network'
    of_pruning = [_withhold(claim, why) for claim in of_pruning]
  return _withhold_numbers(improvement + of_dense + of_pruning, panel.config)


def _withhold(claim, why):
  return claim._replace(verdict=CANNOT_TELL, detail=why)


def _withhold_numbers(claims, config):
  """Withhold what is held against the paper's numbers, of another run."""
  name = config['model']['name'], config['data']['name']
  if name not in PANELS:
    why = f'the paper has no {name[0]} on {name[1]}'
  else:
    found = provenance.flatten(config)
    wanted = PANELS[name] | {'data.num_train': 0, 'prune_fraction': 0.2}
    other = [key for key, value in wanted.items() if found.get(key) != value]
    if not other:
      return claims
    words = ', '.join(f'{key}={found.get(key)}' for key in other)
    why = f"the run is not of the paper's size: {words}"
  return [
    claim if isinstance(claim.paper, str) else _withhold(claim, why)
    for claim in claims
  ]


def _improvement(chain, level, paper, noise_fraction):
  """Test what the optimal sparsity does to the test error (section 4)."""
  found = _points(_compare(chain, 'test_error', ('pruning', level), DENSE))
  where = f'level {level} against dense'
  claims = [
    _judge(
      'Pruning to the optimal sparsity improves the test error.',
      found,
      'points',
      'better',
      where,
    )
  ]
  if noise_fraction in paper:
    claims.append(
      _judge(
        'By how much pruning to the optimal sparsity changes the test error.',
        found,
        'points',
        (-paper[noise_fraction],) * 2,
        where,
      )
    )
  return claims


def _better_training(chain, level):
  """Test better training, which shows without noise (section 3)."""
  claims = [
    _judge(
      'Without noise, pruning to the optimal sparsity lowers the training '
      'loss.',
      _compare(chain, 'train_cross_entropy', ('pruning', level), DENSE),
      'nats',
      'better',
      f'level {level} against dense',
    )
  ]
  if _has_extended_dense(chain):
    claims.append(
      _judge(
        'Without noise, extended dense training lowers the training loss.',
        _compare(
          chain, 'train_cross_entropy', ('extended_dense', level), DENSE
        ),
        'nats',
        'better',
        f'after the epochs of level {level}, against dense',
      )
    )
  return claims


def _regularization(chain, level):
  """Test additional regularization, which shows under noise (section 4)."""
  claims = [
    _judge(
      'Pruning to the optimal sparsity raises the loss of noisy examples.',
      _compare(chain, NOISY, ('pruning', level), DENSE),
      'nats',
      'worse',
      f'level {level} against dense',
    ),
    _judge(
      'Pruning to the optimal sparsity widens the gap between the losses of '
      'noisy and original examples.',
      statistics.compare(_gaps(chain, level), _gaps(chain, 0)),
      'nats',
      'worse',
      f'gap at level {level} minus that of dense',
    ),
  ]
  if _has_extended_dense(chain):
    claims.append(
      _judge(
        'Extended dense training does not raise the loss of noisy examples.',
        _compare(chain, NOISY, ('extended_dense', level), DENSE),
        'nats',
        'better or match',
        f'after the epochs of level {level}, against dense',
      )
    )
  return claims


def _gap(chain, name, level, paper):
  """Test the gap itself, where there is a number of the paper."""
  if paper is None:
    return []
  return [
    _judge(
      f'Loss of noisy examples minus that of original ones, {name} network.',
      statistics.judge(_gaps(chain, level)),
      'nats',
      paper,
      f'level {level}',
    )
  ]


def _gaps(chain, level):
  """Return by replicate how much more noisy examples lose than original."""
  noisy, original = (
    statistics.select(chain, metric, arm='pruning', level=level)
    for metric in (NOISY, 'train_cross_entropy_clean')
  )
  return noisy - original


def _extended_dense(chain, level, noise_fraction, paper):
  """Test whether training as long is enough (section 5.1)."""
  if not _has_extended_dense(chain):
    return []
  found = _points(
    _compare(chain, 'test_error', ('extended_dense', level), ('pruning', level))
  )
  where = f'minus pruning, both after the epochs of level {level}'
  if noise_fraction == 0:
    return [
      _judge(
        'Without noise, extended dense training matches pruning.',
        found,
        'points',
        'match',
        where,
      )
    ]
  # Where the paper's range begins at 0, it found matches too.
  has_matches = paper is not None and paper[0] == 0
  claims = [
    _judge(
      'Under noise, extended dense training is worse than pruning.',
      found,
      'points',
      'worse or match' if has_matches else 'worse',
      where,
    )
  ]
  if paper:
    claims.append(
      _judge(
        'By how much extended dense training is worse than pruning.',
        found,
        'points',
        paper,
        where,
      )
    )
  return claims


def _influential(panel, noise_fraction, level):
  """Test on which examples the effect of pruning falls (section 3)."""
  table = panel.concentration
  if table.empty:
    return []
  ratio, top, rest = (
    statistics.select(
      table, column, arm='pruning', noise_fraction=noise_fraction, level=level
    )
    for column in ('ratio', 'top_effect', 'rest_effect')
  )
  claims = [
    _judge(
      'How many times as much pruning changes the top 20 % by EL2N as the '
      'rest.',
      statistics.judge(ratio),
      'times',
      CONCENTRATION,
      f'level {level}',
    )
  ]
  if noise_fraction == 0:
    claims.append(
      _judge(
        'Without noise, pruning improves the top 20 % by EL2N more than the '
        'rest.',
        statistics.compare(top, rest),
        'nats',
        'better',
        f'change of the top minus that of the rest, level {level}',
      )
    )
  return claims


def _width(panel, own, noise_fraction, level):
  """Test whether being smaller is enough (section 5.2)."""
  narrow = own[own.experiment == 'width']
  if narrow.empty:
    return []
  chain = own[own.experiment == 'chain']

  def compare(metric, narrow_level):
    return statistics.compare(
      statistics.select(narrow, metric, level=narrow_level),
      statistics.select(chain, metric, arm='pruning', level=level),
    )

  best = statistics.optimal_level(narrow[narrow.level > 0])
  improves = _judge(
    'Narrower networks do not improve as pruning does.',
    _points(compare('test_error', best)),
    'points',
    'worse',
    f'best narrower width (level {best}) minus pruning (level {level})',
  )
  no_size = 'no narrower network has about as many weights'
  as_small = paired.find_same_size(panel.summary, noise_fraction, level)
  pruning = _compare(chain, 'test_error', ('pruning', level), DENSE)
  finished, widths = narrow.level.max(), panel.config['width']['levels']
  if finished < widths:
    why = f'width has finished level {finished} of {widths}'
    improves = _withhold(improves, why)
  elif pruning.verdict in ('match', 'worse'):
    improves = _withhold(improves, 'pruning does not improve')
  elif as_small is None and improves.verdict == AGREES:
    # A narrower one yet may improve; one that does improve, does.
    improves = _withhold(improves, no_size)
  if noise_fraction > 0:
    return [improves]
  same_size = _judge(
    'Without noise, a narrower network of about as many weights has a higher '
    'training loss than the pruned one.',
    compare('train_cross_entropy', as_small),
    'nats',
    'worse',
    f'width level {as_small} minus pruning level {level}',
  )
  if as_small is None:
    same_size = _withhold(same_size, no_size)
  return [improves, same_size]


def _leave_out(panel, chain, noise_fraction, level):
  """Test which examples a dense network needs (sections 3 and 4)."""
  table = panel.leave_out
  if table.empty:
    return []
  with_noise = {
    'most_worsened': 'the examples that pruning worsens most',
    'misclassified': (
      'the examples that the optimally sparse network misclassifies'
    ),
  }
  if noise_fraction > 0:
    sentences = {
      left_out: f'Under noise, leaving out {examples} is better than leaving '
      'out as many at random.'
      for left_out, examples in with_noise.items()
    }
  else:
    sentences = {
      'most_improved': 'Without noise, leaving out the examples that pruning '
      'improves most hurts more than leaving out as many at random.'
    }
  claims = []
  num_replicates = chain[chain.arm == 'pruning'].replicate.nunique()
  for left_out, sentence in sentences.items():
    rows = table[
      (table.left_out == left_out) & (table.noise_fraction == noise_fraction)
    ]
    if rows.empty:
      continue
    # The set that the optimally sparse network chose, or the nearest there is.
    row = rows.loc[(rows.number - level).abs().idxmin()]
    difference = statistics.Comparison(
      row.difference_mean, row.difference_std, row.n, row.verdict
    )
    claim = _judge(
      sentence,
      _points(difference),
      'points',
      'better' if noise_fraction > 0 else 'worse',
      f'{row.num_left_out:.0f} examples, chosen at level {row.number}',
    )
    # Jobs of one replicate each choose by their own validation error.
    if row.n < num_replicates:
      why = (
        f'level {row.number}: sets of {row.n} of {num_replicates} replicates'
      )
      claim = _withhold(claim, why)
    claims.append(claim)
  return claims


def _has_extended_dense(chain):
  return 'extended_dense' in set(chain.arm)


def _compare(chain, metric, network, baseline):
  """Compare two networks of the chain, each (arm, level)."""
  values, others = (
    statistics.select(chain, metric, arm=arm, level=level)
    for arm, level in (network, baseline)
  )
  return statistics.compare(values, others)


def _points(difference):
  return difference._replace(
    mean=100 * difference.mean, std=100 * difference.std
  )


def _judge(sentence, found, unit, paper, where):
  """Return the Claim that this run's number is as the paper says.

  Args:
    sentence: str.
    found: Comparison, this run's.
    unit: str.
    paper: str, the verdicts it may have, as 'worse or match'; or (low, high),
      the range of the paper's numbers.
    where: str, what was compared.
  """
  if not found.verdict:
    verdict, how = CANNOT_TELL, _why_not(found)
  elif not isinstance(paper, str):
    verdict, how = _judge_range(found, unit, *paper)
  else:
    verdict = AGREES if found.verdict in paper.split(' or ') else DISAGREES
    how = found.verdict
  return Claim(
    sentence,
    verdict,
    found.mean,
    found.std,
    unit,
    found.n,
    paper,
    f'{how}; {where}',
  )


def _judge_range(found, unit, low, high):
  """Return the verdict on a mean by a range, and by how much it is outside."""
  outside = max(low - found.mean, found.mean - high, 0)
  side = 'below' if found.mean < low else 'above'
  how = f'{outside:.3g} {unit} {side}' if outside else 'inside'
  if outside and outside >= found.std:
    return DISAGREES, how
  # Else the wider the spread, the more would agree.
  if found.std > max(abs(low), abs(high)):
    return CANNOT_TELL, f"{how}, and the spread is above the paper's number"
  return AGREES, how


def _paper_text(paper):
  if isinstance(paper, str):
    return paper
  low, high = paper
  return f'{low:g}' if low == high else f'{low:g} to {high:g}'


def _why_not(found):
  if found.n < 1:
    return 'not finished'
  return 'one replicate' if found.n == 1 else 'a value is missing or infinite'
