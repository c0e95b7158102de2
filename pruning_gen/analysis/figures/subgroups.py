"""Effect of pruning on subgroups by EL2N (sections 3 and 4)."""

import functools

from matplotlib import ticker

from pruning_gen.analysis import statistics
from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import curves
from pruning_gen.analysis.figures import style


def tabulate_subgroup_effects(benchmark):
  """Tabulate the effects of all levels on all subgroups.

  Returns:
    DataFrame with arm, noise_fraction, level, subgroup, mean, std, n.
  """
  if benchmark.effects.empty:
    return benchmark.effects
  table = curves.label_width(benchmark.effects)
  return statistics.average(
    table, ['arm', 'noise_fraction', 'level', 'subgroup'], 'effect'
  )


def tabulate_subgroups_at_optimum(benchmark, with_noise):
  """Tabulate the effects at pruning's optimal sparsity on all subgroups.

  Extended dense training of as many epochs stands beside it. Where the optimal
  sparsity is level 0, the dense network itself, there is nothing to tell.

  Args:
    benchmark: Benchmark.
    with_noise: bool, whether the noise levels above 0 are wanted, or 0.
  """
  table = tabulate_subgroup_effects(benchmark)
  if table.empty:
    return table
  levels = statistics.optimal_levels(benchmark.summary, 'chain', 'pruning')
  return table[
    table.arm.isin(['pruning', 'extended_dense'])
    & (table.level == table.noise_fraction.map(levels))
    & (table.level > 0)
    & ((table.noise_fraction > 0) == with_noise)
  ]


@style.context
def draw_subgroup_effects(table):
  """Draw the effects on subgroups of examples, one axes per noise level.

  Args:
    table: DataFrame with arm, noise_fraction, level, subgroup, mean, std, n,
      one level for each arm and noise fraction.

  Returns:
    A matplotlib Figure.
  """
  figure, grid = style.axes_by_noise(table, 'change of training loss (nats)')
  for axes, rows in grid:
    # The largest first, so that the smaller are not hidden.
    for arm, own in rows.groupby('arm', sort=False):
      style.draw_band(
        axes,
        own.subgroup,
        own,
        style.color_of(arm),
        style.label_of(arm),
        '-',
        marker='.',
      )
    axes.axhline(0, color='0.4', lw=1, zorder=1)
    axes.set_xlabel('subgroup by EL2N, low to high')
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    levels = rows.groupby('arm', sort=False)['level'].first()
    axes.set_title(
      axes.get_title()
      + '\n'
      + ', '.join(
        f'{style.label_of(arm)}: level {k}' for arm, k in levels.items()
      ),
      fontsize=8,
    )
  style.add_legend(figure, [axes for axes, _ in grid])
  return figure


FIGURE_2A = base.Figure(
  'figure_2a_subgroups_clean',
  'Figure 2a: effect on subgroups of examples, without noise',
  caption=(
    'Training loss at the optimal sparsity minus that of the dense network, '
    'by subgroup of base.EL2N; below 0 is better. Extended dense training has '
    'lasted as many epochs. Look for a change that falls on the highest '
    'scores, the influential examples.'
  ),
  needs=base.EL2N,
  tabulate=functools.partial(tabulate_subgroups_at_optimum, with_noise=False),
  draw=draw_subgroup_effects,
)

FIGURE_2B = base.Figure(
  'figure_2b_subgroups_noise',
  'Figure 2b: effect on subgroups of examples, with noise',
  caption=(
    'As Figure 2a, with noise. Look for the highest scores, which are the '
    'noisy examples: pruning raises their loss, extended dense training does '
    'not.'
  ),
  needs=f'{base.EL2N}, and {base.NOISE}',
  tabulate=functools.partial(tabulate_subgroups_at_optimum, with_noise=True),
  draw=draw_subgroup_effects,
)
