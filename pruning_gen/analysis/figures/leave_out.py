"""Dense retraining without sets of examples (appendices D, E and K)."""

import functools

import numpy as np
from matplotlib.lines import Line2D

from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import style


def tabulate_leave_out(benchmark, *kinds, with_noise=None):
  """Tabulate what leaving examples out does to a dense network.

  Args:
    benchmark: Benchmark.
    *kinds: str, as 'most_improved'.
    with_noise: bool, whether only the noise levels above 0 are wanted, or
      only 0; both by default.
  """
  table = benchmark.leave_out
  if table.empty:
    return table
  table = table[table.left_out.isin(kinds)]
  if with_noise is not None:
    table = table[(table.noise_fraction > 0) == with_noise]
  return table


@style.context
def draw_leave_out(table, xlabel):
  """Draw what leaving sets of examples out does to a dense network.

  Args:
    table: DataFrame from `tabulate_leave_out`.
    xlabel: str, what the sets' numbers are.

  Returns:
    A matplotlib Figure, one axes per noise level: solid are the sets, dashed
    in the same colour the random sets of the same size, and the horizontal
    line is the network that trains on all examples.
  """
  figure, grid = style.axes_by_noise(table, 'test error (%)')
  kinds = table.left_out.unique()
  for axes, rows in grid:
    for i, kind in enumerate(kinds):
      own = rows[rows.left_out == kind]
      # Sets of one level must not hide each other's bars.
      x = own.number + 0.6 * style.dodge(i, len(kinds))
      axes.errorbar(
        x,
        own['mean'],
        own['std'].fillna(0),
        fmt='o-',
        color=style.color_of(kind),
        label=style.label_of(kind),
        ms=4,
        capsize=2,
      )
      axes.errorbar(
        x + 0.08,
        own.random_mean,
        own.random_std.fillna(0),
        fmt='s--',
        mfc='white',
        color=style.color_of(kind),
        alpha=0.6,
        ms=4,
        capsize=2,
      )
    # Of all replicates, where some have no such set.
    dense = rows.dense_mean[rows.n.idxmax()]
    axes.axhline(dense, color='0.4', ls='--', lw=1, zorder=1)
    axes.set_xlabel(xlabel)
    numbers = rows.number
    # No more than ten ticks, each at a set that was left out.
    ticks = np.unique(numbers)
    axes.set_xticks(ticks[:: -(-len(ticks) // 10)])
    axes.set_xlim(numbers.min() - 0.7, numbers.max() + 0.7)
    style.show_percent(axes.yaxis)
  dashed = {'color': '0.4', 'ls': '--'}
  style.add_legend(
    figure,
    [axes for axes, _ in grid],
    [
      Line2D([], [], **dashed, marker='s', mfc='w', label='as many at random'),
      Line2D([], [], **dashed, lw=1, label='all examples'),
    ],
  )
  return figure


FIGURE_3 = base.Figure(
  'figure_3_leave_out_clean',
  'Figure 3: training without the most improved examples',
  caption=(
    'Test error of dense networks trained without the 20 % of the examples '
    'that pruning improves most (solid), and without as many random ones '
    '(dashed). Look for solid above dashed: these examples matter.'
  ),
  needs=base.LEAVE_OUT,
  tabulate=lambda benchmark: tabulate_leave_out(
    benchmark, 'most_improved', with_noise=False
  ),
  draw=functools.partial(draw_leave_out, xlabel=base.LEVEL),
)

FIGURE_5 = base.Figure(
  'figure_5_leave_out_noise',
  'Figure 5: training without the examples that pruning gives up',
  caption=(
    'As Figure 3, without the examples whose loss pruning raises most, and '
    'without those that the optimally sparse network misclassifies. Look for '
    'solid below dashed: these examples mislead a dense network.'
  ),
  needs=f'{base.LEAVE_OUT}, and {base.NOISE}',
  tabulate=lambda benchmark: tabulate_leave_out(
    benchmark, 'most_worsened', 'misclassified', with_noise=True
  ),
  draw=functools.partial(draw_leave_out, xlabel=base.LEVEL),
)

APPENDIX_D = base.Figure(
  'appendix_d_leave_out',
  'Appendices D, K: leave-out by set and level',
  caption=(
    'As Figures 3 and 5, all sets at all noise levels. Look for solid above '
    'dashed, examples that a dense network needs, and below, examples that '
    'mislead it.'
  ),
  needs=base.LEAVE_OUT,
  tabulate=lambda benchmark: tabulate_leave_out(
    benchmark, 'most_improved', 'most_worsened', 'misclassified'
  ),
  draw=functools.partial(draw_leave_out, xlabel=base.LEVEL),
)

APPENDIX_E = base.Figure(
  'appendix_e_leave_out_subgroups',
  'Appendix E: leave-out by subgroup',
  caption=(
    'Test error without one subgroup by EL2N. Without noise the influential '
    'examples are those of high scores, whose loss hurts most; with noise the '
    'highest are the noisy ones.'
  ),
  needs=f'{base.LEAVE_OUT} and {base.EL2N}',
  tabulate=lambda benchmark: tabulate_leave_out(benchmark, 'subgroup'),
  draw=functools.partial(
    draw_leave_out, xlabel='subgroup left out, by EL2N, low to high'
  ),
)
