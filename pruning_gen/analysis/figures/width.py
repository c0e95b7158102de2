"""Width down-scaling against pruning (section 5.2, appendices F and I)."""

import functools

import pandas as pd

from pruning_gen.analysis import paired
from pruning_gen.analysis import statistics
from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import curves
from pruning_gen.analysis.figures import sparsity
from pruning_gen.analysis.figures import subgroups


def tabulate_width(benchmark):
  """Tabulate the test error of pruned and of narrower networks."""
  table = sparsity.tabulate_test_error(benchmark, 'pruning', 'width')
  return table if 'width' in set(table.arm) else table.head(0)


def tabulate_subgroups_by_size(benchmark):
  """Tabulate the effects of two ways to be small on all subgroups.

  Returns:
    As `subgroup_effects`: pruning at its optimal sparsity and the narrower
    network with as many weights.
  """
  table = subgroups.tabulate_subgroup_effects(benchmark)
  levels = statistics.optimal_levels(benchmark.summary, 'chain', 'pruning')
  parts = [pd.DataFrame()]
  for noise_fraction, level in levels.items():
    narrow = paired.find_same_size(benchmark.summary, noise_fraction, level)
    if table.empty or level == 0 or narrow is None:
      continue
    own = table[table.noise_fraction == noise_fraction]
    parts += [
      own[(own.arm == 'pruning') & (own.level == level)],
      own[(own.arm == 'width') & (own.level == narrow)],
    ]
  return pd.concat(parts)


FIGURE_7 = base.Figure(
  'figure_7_width',
  'Figure 7: narrower networks against pruning',
  caption=(
    'Test error against the number of weights. If size were the reason, the '
    'two curves would fall alike.'
  ),
  needs=base.WIDTH,
  tabulate=tabulate_width,
  draw=functools.partial(
    curves.draw, ylabel='test error (%)', x='num_weights_remaining'
  ),
)

APPENDIX_I = base.Figure(
  'appendix_f_width_subgroups',
  'Appendices F, I: two ways to be small, by subgroup',
  caption=(
    'As Figure 2: pruning at its optimal sparsity, and the narrower network '
    'with as many weights, each against its own dense network. Look at the '
    'highest scores: where the curves part, it is not size that does it.'
  ),
  needs=f'{base.WIDTH} and {base.EL2N}',
  tabulate=tabulate_subgroups_by_size,
  draw=subgroups.draw_subgroup_effects,
)
