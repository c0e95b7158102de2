"""Benchmarks in memory with the paper's settings, for which its claims hold.

Errors and losses are made up by level. Of every curve but the dense network
the three replicates are apart by `SPREAD`, alike, so that differences are
exact.
"""

import copy

import numpy as np
import pandas as pd

from pruning_gen.analysis import load
from pruning_gen.analysis import statistics
from pruning_gen.analysis.claims import paper
from tests import fake_runs

LEVELS = {'vgg16': 23}
WIDTHS = 4
DENSE_ERROR = 0.5
SPREAD = 1e-5
GROUPS = np.arange(20)
# L*, without noise and with it, L^ without noise, k* with noise.
OPTIMUM, NOISY_OPTIMUM, BEST_WIDTH = 3, 11, 2
HIGHEST = {'resnet20': 8, 'vgg16': 21}
IMPROVING = range(8, 13)
HARMED_FROM = 7

# In points: the change at L*; extended dense training minus pruning; and
# narrower networks minus pruning.
CHANGE = {
  'lenet': {0.05: 0, 0.1: -3, 0.15: -5},
  'resnet20': {0.15: -3, 0.3: -6, 0.6: -15},
  'vgg16': {0.15: -5.2, 0.3: -16.1, 0.6: -34.6},
  'resnet32': {0.15: 0, 0.3: -3, 0.6: -9},
  'resnet50': {0.15: -3},
}
EXTENDED_DENSE = {
  'lenet': (0, 1, 2.6),
  'resnet20': (0.4, 5, 14.5),
  'vgg16': (3.6, 20, 34.2),
  'resnet32': (0, 2, 4.8),
  'resnet50': (-0.3,),
}
WIDTH = {
  'lenet': (-4, 0, 0.4),
  'resnet20': (0, 0, 0),
  'vgg16': (1.5, 1.6, 1.8),
  'resnet32': (0, 1, 2.1),
  'resnet50': (0.36,),
}
GAPS = {0.15: (0.03, 1.38), 0.3: (0.08, 2.0), 0.6: (0.13, 2.97)}
# How many times as much the top 20 % change.
RATIO = {'lenet': 3.5, 'resnet20': 10, 'vgg16': 20, 'resnet32': 30}


def make(name, noise_fractions=None, edit=None):
  """Make a benchmark.

  Args:
    name: of the model.
    noise_fractions: those of the paper and 0 if None.
    edit: changes the dict of tables (results, effects, concentration,
      group_errors) and config in place.
  """
  (key,) = (key for key in paper.SETTINGS if key[0] == name)
  if noise_fractions is None:
    noise_fractions = (0.0, *paper.NOISE_FRACTIONS[key])
  parts = {
    'config': make_config(key),
    'results': pd.concat(
      [_results(name, noise) for noise in noise_fractions], ignore_index=True
    ),
    'effects': pd.concat(
      [_effects(name, noise) for noise in noise_fractions], ignore_index=True
    ),
    'concentration': pd.concat(
      [_concentration(name, noise) for noise in noise_fractions],
      ignore_index=True,
    ),
    'group_errors': _group_errors(name) if 0.0 in noise_fractions else _NOTHING,
  }
  if edit:
    edit(parts)
  of_curves = parts['results'][parts['results'].experiment != 'leave_out']
  return load.Benchmark(
    name=f'{name}_run',
    provenance={},
    summary=statistics.summarize(of_curves, 0.2),
    noisy_share=_NOTHING,
    leave_out=_NOTHING,
    most_worsened=None,
    notes=[],
    title=' on '.join(key),
    **parts,
  )


_NOTHING = pd.DataFrame()


def make_config(key):
  """Make the config of a benchmark, (model, data set)."""
  nested = {'levels': LEVELS.get(key[0], 13), 'width': {'levels': WIDTHS}}
  nested |= {'model': {'name': key[0]}, 'data': {'name': key[1]}}
  for name, value in copy.deepcopy(paper.SETTINGS[key]).items():
    *outer, last = name.split('.')
    (nested.setdefault(outer[0], {}) if outer else nested)[last] = value
  return nested


def _results(name, noise):
  rows = [
    fake_runs.make_row(
      noise_fraction=noise,
      replicate=replicate,
      train_cross_entropy_noisy=np.nan,
    )
    | row
    for row in (_noisy_rows if noise else _clean_rows)(name, noise)
    for replicate in range(3)
  ]
  table = pd.DataFrame(rows)
  is_pruned = (table.level > 0) | (table.experiment == 'leave_out')
  spread = SPREAD * (table.replicate - 1) * is_pruned
  losses = ['train_cross_entropy', 'train_cross_entropy_noisy']
  for column in ('test_error', *losses):
    table[column] += spread
  return table


def _curve(name, arm, errors, validation, losses):
  """Make rows of an arm; losses are by level (all, noisy, clean)."""
  for level, error in enumerate(errors):
    loss, noisy, clean = losses(level)
    size = 0.8**level if arm == 'pruning' else 1.0
    size = 0.64**level if arm == 'dense' else size
    yield {
      'experiment': 'width' if arm == 'dense' else 'chain',
      'arm': arm,
      'level': level,
      'weights_remaining': size,
      'num_weights': round(100_000 * (size if arm == 'dense' else 1)),
      'test_error': error,
      'validation_error': 0.1 if level == validation else 0.4,
      'train_cross_entropy': loss,
      'train_cross_entropy_noisy': noisy,
      'train_cross_entropy_clean': clean,
    }


def _clean_rows(name, _):
  highest, last = HIGHEST.get(name, 8), LEVELS.get(name, 13)
  at_highest = 0.2 if name in ('resnet20', 'vgg16') else 0.08

  def loss(level):
    named = {0: 0.1, OPTIMUM: 0.05, highest: at_highest}
    return named.get(level, 0.07), np.nan, 0.1

  errors = [DENSE_ERROR] + [DENSE_ERROR - 0.002] * highest
  errors += [DENSE_ERROR + 0.02] * (last - highest)
  errors[OPTIMUM] = DENSE_ERROR - 0.01
  yield from _curve(name, 'pruning', errors, OPTIMUM, loss)
  yield from _curve(
    name,
    'extended_dense',
    errors,
    OPTIMUM,
    lambda level: (0.04 if level else 0.1, np.nan, 0.1),
  )
  narrow = [DENSE_ERROR + 0.01 * level for level in range(WIDTHS + 1)]
  yield from _curve(
    name, 'dense', narrow, 0, lambda level: (0.3 if level else 0.1, np.nan, 0.1)
  )
  for number, level in enumerate((OPTIMUM, highest)):
    yield from _leave_out('most_improved', level, DENSE_ERROR + 0.1, number)


def _noisy_rows(name, noise):
  last = LEVELS.get(name, 13)
  number = sorted(CHANGE[name]).index(noise)
  dense_gap, gap = GAPS[noise] if name == 'vgg16' else (0.1, 1.5)
  optimal = DENSE_ERROR + CHANGE[name][noise] / 100
  errors = [DENSE_ERROR] + [DENSE_ERROR + 0.05] * last
  for level in IMPROVING:
    errors[level] = min(optimal + 0.001, DENSE_ERROR - 0.005)
  errors[NOISY_OPTIMUM] = optimal
  least = min(errors)
  dense_loss = 1.5 if noise == 0.6 else 1.0

  def losses(level):
    if level == 0:
      return 0.2, dense_loss, dense_loss - dense_gap
    if level in (NOISY_OPTIMUM, NOISY_OPTIMUM + 1):
      return 0.2 if name == 'resnet50' else 0.5, gap + 0.2, 0.2
    return (0.1, 0.2, 0.02) if level < NOISY_OPTIMUM else (0.3, 2.0, 1.2)

  yield from _curve(name, 'pruning', errors, NOISY_OPTIMUM, losses)
  longer = optimal + EXTENDED_DENSE[name][number] / 100
  yield from _curve(
    name,
    'extended_dense',
    [DENSE_ERROR] + [longer] * last,
    1,
    lambda level: (0.1, 0.05, 0.05) if level else losses(0),
  )
  narrow = [DENSE_ERROR] + [DENSE_ERROR + 0.1] * WIDTHS
  narrow[BEST_WIDTH] = least + WIDTH[name][number] / 100
  yield from _curve(
    name,
    'dense',
    narrow,
    BEST_WIDTH,
    lambda level: (0.4, 2.0, 0.5) if level else losses(0),
  )
  without = min(optimal, DENSE_ERROR - 0.01)
  yield from _leave_out('misclassified', NOISY_OPTIMUM, without, 2)
  yield from _leave_out('most_worsened', NOISY_OPTIMUM, without, 3)


def _leave_out(left_out, level, error, number):
  """Leave out a set, and as many random examples, at an error of 0.55."""
  row = {
    'experiment': 'leave_out',
    'arm': 'dense',
    'num_train': 10 + number,
    'left_out': left_out,
    'chosen_at': level,
    'test_error': error,
  }
  yield row
  yield row | {
    'left_out': 'random',
    'chosen_at': fake_runs.NUM_TRAIN - row['num_train'],
    'test_error': DENSE_ERROR + 0.05,
  }


def _grid(name, noise, widths=True, **columns):
  """Make rows of every level and replicate of pruning, and of width."""
  levels = range(LEVELS.get(name, 13) + 1)
  curves = [('chain', 'pruning', level) for level in levels]
  if widths:
    curves += [('width', 'dense', level) for level in range(WIDTHS + 1)]
  table = pd.DataFrame(curves, columns=['experiment', 'arm', 'level'])
  for column, values in {'replicate': range(3), **columns}.items():
    table = table.merge(pd.DataFrame({column: list(values)}), how='cross')
  return table.assign(noise_fraction=noise)


def _effects(name, noise):
  table = _grid(name, noise, subgroup=GROUPS)
  rises = table.level == (NOISY_OPTIMUM if noise else HIGHEST.get(name, 8))
  if not noise and name not in HIGHEST:
    rises[:] = False
  effect = np.where(rises, 0.1, -0.1) * (1 + table.subgroup)
  # Narrower networks change the subgroups as pruning to L* does.
  of_width = (table.experiment == 'width') & (noise > 0)
  effect = np.where(of_width, 0.2 * (1 + table.subgroup), effect)
  effect = effect * (1 + SPREAD * (table.replicate - 1))
  return table.assign(effect=np.where(table.level == 0, 0.0, effect))


def _concentration(name, noise):
  table = _grid(name, noise, widths=False)
  table = table[table.level > 0]
  rises = table.level == (NOISY_OPTIMUM if noise else HIGHEST.get(name, 8))
  ratio = RATIO.get(name, 71)
  return table.assign(
    top_effect=np.where(rises, 1.0, -1.0),
    rest_effect=np.where(rises, 0.1, -0.1),
    ratio=10.0,
    share=ratio / (ratio + 4) + SPREAD * (table.replicate - 1),
  )


def _group_errors(name):
  """Harm groups 3 and 7, more so at higher sparsity."""
  parts = []
  for by, split, number in (('subgroup', 'train', 20), ('class', 'test', 10)):
    table = _grid(name, 0.0, group=range(number)).assign(by=by, split=split)
    from_level = np.where(table.experiment == 'width', 1, HARMED_FROM)
    harmed = table.group.isin([3, 7]) & (table.level >= from_level)
    error = 0.1 + harmed * (0.1 + 0.01 * table.group)
    parts.append(table.assign(error=error))
  return pd.concat(parts, ignore_index=True)
