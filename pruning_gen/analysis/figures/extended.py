"""Extended dense training against pruning (section 5.1, appendix C)."""

import numpy as np

from pruning_gen.analysis import paired
from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import sparsity
from pruning_gen.analysis.figures import style


def tabulate_extended_dense(benchmark):
  """Tabulate what `paired.compare_at_optimum` compares."""
  table = paired.compare_at_optimum(benchmark.results, benchmark.summary)
  is_there = len(table) and 'extended_dense' in set(table.network)
  return table if is_there else table.head(0)


def tabulate_dense_controls(benchmark):
  """Tabulate the test error of every pruning arm and its dense control."""
  controls = paired.dense_controls(benchmark.summary)
  # Each arm once, the dense controls after the arms that prune.
  names = dict.fromkeys([*controls, *controls.values()])
  return sparsity.tabulate_test_error(benchmark, *names)


@style.context
def draw_extended_dense(table):
  """Draw test errors at pruning's optimal sparsity, and their differences.

  Args:
    table: DataFrame from `tabulate_extended_dense`.

  Returns:
    A matplotlib Figure: left the test errors by noise level, right the paired
    differences against the pruned network, with their verdicts.
  """
  figure = style.new_figure(8.6, 3.9)
  errors, differences = figure.subplots(1, 2)
  noise = np.unique(table.noise_fraction)
  networks = table.network.unique()
  for i, network in enumerate(networks):
    rows = table[table.network == network]
    x = np.searchsorted(noise, rows.noise_fraction) + style.dodge(
      i, len(networks)
    )
    style.draw_points(errors, x, rows['mean'], rows['std'], network)
    if network == 'pruning':
      continue
    mean, std = rows.against_pruning_mean, rows.against_pruning_std
    style.draw_points(differences, x, mean, std, network)
    tops = mean + std.fillna(0)
    for at, value, verdict in zip(x, tops, rows.against_pruning_verdict):
      differences.text(
        at,
        value,
        f' {verdict}',
        fontsize=7,
        rotation=90,
        ha='center',
        va='bottom',
      )
  errors.set_ylabel('test error (%)')
  differences.set_ylabel('test error minus that of pruning (points)')
  differences.axhline(0, color=style.color_of('pruning'), lw=1, zorder=1)
  for axes in (errors, differences):
    axes.set_xticks(
      range(len(noise)), [f'{fraction:.0%}' for fraction in noise]
    )
    axes.set_xlim(-0.6, len(noise) - 0.4)
    axes.set_xlabel('label noise')
    axes.margins(y=0.2)
    style.show_percent(axes.yaxis)
  if np.ptp(differences.get_ylim()) < 1e-6:
    # All are equal: do not magnify what rounding leaves.
    differences.set_ylim(-0.01, 0.01)
  style.add_legend(figure, errors)
  return figure


@style.context
def draw_dense_controls(table):
  """Draw arms that prune next to their dense controls, in two ways.

  Args:
    table: DataFrame from `tabulate_dense_controls`.

  Returns:
    A matplotlib Figure, a row each noise level: left by sparsity, right by
    epochs. Solid are the arms that prune, dashed those that remove nothing.
  """
  groups = list(table.groupby('noise_fraction'))
  dense = [arm for arm in table.arm.unique() if arm.endswith('_dense')]
  figure = style.new_figure(7.4, 2.8 * len(groups) + 0.8)
  grid = figure.subplots(len(groups), 2, squeeze=False, sharey='row')
  for row, (noise_fraction, rows) in zip(grid, groups):
    for axes, x in zip(row, ('matched_weights_remaining', 'epochs_trained')):
      style.draw_curves(axes, rows, x, dashed=dense)
      style.set_sparsity_axis(axes, table, x)
      style.show_percent(axes.yaxis)
      style.cut_collapse(axes, rows)
      axes.set_title(f'{noise_fraction:.0%} label noise')
    row[0].set_ylabel('test error (%)')
  style.add_legend(figure, grid.ravel(), style.dense_and_star())
  return figure


FIGURE_6 = base.Figure(
  'figure_6_extended_dense',
  'Figure 6: extended dense training against pruning',
  caption=(
    'Left, test error: dense, extended dense training (of as many epochs as '
    'pruning takes, and of as many as suit it best by validation error), and '
    'pruning to the optimal sparsity. Right, the paired differences and their '
    'verdicts. Look for a match without noise and worse with it.'
  ),
  needs=base.CHAIN,
  tabulate=tabulate_extended_dense,
  draw=draw_extended_dense,
)

APPENDIX_C = base.Figure(
  'appendix_c_twins',
  'Appendix C, Figure 8: every pruning arm against its dense control',
  caption=(
    'Each arm that prunes (solid) and the arm that trains alike and removes '
    'nothing (dashed), by sparsity and by epochs trained. Look for solid below '
    'dashed: what removing weights adds to training as long.'
  ),
  needs=base.CHAIN,
  tabulate=tabulate_dense_controls,
  draw=draw_dense_controls,
)
