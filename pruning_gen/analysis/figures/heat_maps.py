"""Effect on subgroups at every level (appendix L)."""

import numpy as np
from matplotlib import colors
from matplotlib import ticker

from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import style
from pruning_gen.analysis.figures import subgroups


def tabulate_heat_maps(benchmark):
  """Tabulate the effects on all subgroups at all levels but 0."""
  table = subgroups.tabulate_subgroup_effects(benchmark)
  if table.empty:
    return table
  arms = ['pruning', 'extended_dense', 'width']
  return table[table.arm.isin(arms) & (table.level > 0)]


@style.context
def draw_heat_maps(table):
  """Draw the effects on all subgroups at all levels.

  Args:
    table: DataFrame from `tabulate_heat_maps`.

  Returns:
    A matplotlib Figure: a row each arm, a column each noise level. Red is a
    higher loss than the dense network's, blue a lower one. The scale is linear
    near 0 and logarithmic beyond, one for each noise level.
  """
  arms, noise = table.arm.unique(), table.noise_fraction.unique()
  figure = style.new_figure(3.4 * len(noise) + 0.6, 2.8 * len(arms))
  grid = figure.subplots(len(arms), len(noise), squeeze=False)
  for j, noise_fraction in enumerate(noise):
    column = table[table.noise_fraction == noise_fraction]
    largest = max(column['mean'].abs().max(), 1e-12)
    norm = colors.SymLogNorm(largest / 100, vmin=-largest, vmax=largest)
    for axes, arm in zip(grid[:, j], arms):
      cells = column[column.arm == arm].pivot(
        index='level', columns='subgroup', values='mean'
      )
      axes.grid(False)
      axes.set_title(f'{style.label_of(arm)}, {noise_fraction:.0%} label noise')
      if cells.empty:
        continue
      edges = [np.arange(n + 1) - 0.5 for n in cells.shape]
      image = axes.pcolormesh(
        edges[1],
        edges[0] + cells.index[0],
        cells.to_numpy(),
        norm=norm,
        cmap='RdBu_r',
        rasterized=True,
      )
      for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(ticker.MaxNLocator(integer=True))
    bar = figure.colorbar(image, ax=grid[:, j], location='bottom', pad=0.02)
    bar.set_label('change of training loss (nats)')
    bar.ax.xaxis.set_minor_locator(ticker.NullLocator())
    ticks = largest * np.array([-1, -0.1, 0, 0.1, 1])
    bar.ax.tick_params(labelsize=7)
    bar.set_ticks(ticks, labels=[f'{tick:.2g}' for tick in ticks])
    grid[-1, j].set_xlabel('subgroup by EL2N, low to high')
  for axes in grid[:, 0]:
    axes.set_ylabel('level')
  return figure


APPENDIX_L = base.Figure(
  'appendix_l_heat_maps',
  'Appendix L: effect on subgroups at every level',
  caption=(
    'Training loss minus that of the dense network: blue is better, red is '
    'worse, linear near 0 and logarithmic beyond. Look for where red begins: '
    'at what sparsity, with which examples.'
  ),
  needs=base.EL2N,
  tabulate=tabulate_heat_maps,
  draw=draw_heat_maps,
)
