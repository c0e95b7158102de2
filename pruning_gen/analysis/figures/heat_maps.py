"""Effect on subgroups at every level (appendix L)."""

import itertools
from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure as Drawing
from matplotlib.image import AxesImage

from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import curves
from pruning_gen.analysis.figures import grids
from pruning_gen.analysis.figures import style
from pruning_gen.analysis.figures import subgroups
from pruning_gen.analysis.load import Benchmark

ARMS = ('pruning', 'extended_dense', 'width')
DECADES = 3


def tabulate(benchmark: Benchmark) -> pd.DataFrame:
  """Tabulate the effects of three arms at all levels but 0."""
  table = subgroups.effects_by_el2n(benchmark)
  table = table[table.arm.isin(ARMS) & (table.level > 0)]
  return curves.add_weights(table, benchmark)


def list_rows(table: pd.DataFrame) -> list[tuple[str, str]]:
  """Return each benchmark and arm that has rows, in the order of `ARMS`."""
  there = set(zip(table.benchmark, table.arm))
  pairs = itertools.product(grids.benchmarks_of(table), ARMS)
  return [pair for pair in pairs if pair in there]


def draw(table: pd.DataFrame) -> Drawing:
  """Draw a row for each benchmark and arm, a column for each noise level."""
  rows = list_rows(table)
  noise = {
    title: sorted(table[table.benchmark == title].noise_fraction.unique())
    for title, _ in rows
  }
  num_columns = max(map(len, noise.values()))
  figure, grid = grids.make_plain_grid(len(rows), num_columns, (2.3, 1.5))
  for row, (title, arm) in zip(grid, rows):
    own = table[table.benchmark == title]
    norm = make_norm(own.effect_mean, DECADES, 1e-12)
    for axes in row[len(noise[title]) :]:
      axes.set_axis_off()
    for axes, level in zip(row, noise[title]):
      cells = own[(own.arm == arm) & (own.noise_fraction == level)]
      axes.set_title(
        f'{title}\n{style.label_of(arm)}, {style.noise_label(level)}'
      )
      mesh = draw_cells(axes, cells, 'percentile', 'effect_mean', norm)
      axes.set_xlabel('EL2N percentile')
    if mesh is not None:
      bar = grids.add_color_bar(figure, mesh, axes, 'nats')
      label_bar(bar, DECADES, '{:.1g}'.format)
  return figure


def make_norm(
  values: pd.Series, decades: int, least: float
) -> colors.Normalize:
  """Make a scale that is linear near 0 and logarithmic beyond.

  Args:
    decades: of the logarithmic part, on either side of 0.
    least: the smallest end of the scale.
  """
  largest = max(values.abs().max(), least)
  return colors.SymLogNorm(largest / 10**decades, vmin=-largest, vmax=largest)


def label_bar(
  bar: Colorbar, decades: int, show: Callable[[float], str]
) -> None:
  """Label the color bar of `make_norm` at 0 and at powers of ten of its end."""
  powers = 10.0 ** -np.arange(decades)
  ticks = bar.norm.vmax * np.concatenate([-powers, [0], powers[::-1]])
  bar.set_ticks(ticks, labels=[show(tick) for tick in ticks])


def draw_cells(
  axes: Axes,
  rows: pd.DataFrame,
  x: str,
  value: str,
  norm: colors.Normalize,
) -> AxesImage | None:
  """Draw values by a column and level.

  The leftmost axes of a row name the levels, with the weights that remain.

  Returns:
    What a color bar is made of; None without rows, which the axes then say.
  """
  if rows.empty:
    grids.say(axes, 'not in this run')
    return None
  cells = rows.pivot(index='level', columns=x, values=value)
  first, last = cells.index[0], cells.index[-1]
  # An unfinished level is a gap.
  cells = cells.reindex(range(first, last + 1))
  left, right = cells.columns[0] - 0.5, cells.columns[-1] + 0.5
  if x == 'percentile':
    left, right = 0, 100
  axes.grid(False)
  mesh = axes.imshow(
    cells.to_numpy(),
    norm=norm,
    cmap='RdBu_r',
    aspect='auto',
    origin='lower',
    interpolation='nearest',
    extent=(left, right, first - 0.5, last + 0.5),
  )
  weights = rows.drop_duplicates('level').set_index('level')
  weights = weights.matched_weights_remaining
  shown = weights.index[:: -(-len(weights) // 6)]
  names = [f'{level} ({100 * weights[level]:.2g} %)' for level in shown]
  is_left = axes.get_subplotspec().is_first_col()
  axes.set_yticks(shown, names if is_left else [])
  axes.set_ylabel('level (weights)' if is_left else '')
  return mesh


APPENDIX_L = base.Figure(
  'appendix_l_heat_maps',
  'Appendix L: effect on subgroups at every level',
  caption=(
    'Training loss minus that of the dense network: blue is better, red is '
    'worse; linear near 0 and logarithmic beyond. Each benchmark has a scale '
    'of its own, the same for all its arms and noise levels. Look for where '
    'red begins: at what sparsity, with which examples.'
  ),
  needs=base.EL2N,
  tabulate_one=tabulate,
  reads='effects',
  draw=draw,
)
