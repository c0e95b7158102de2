"""Grids of axes: a column for each benchmark, or cells of noise levels."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from pruning_gen.analysis.figures import style


def make_grid(
  num_rows: int, num_columns: int, height: float
) -> tuple[Drawing, np.ndarray]:
  """Make a figure of equal axes, and return both."""
  width = {1: 5.6, 2: 4.2, 3: 3.4}.get(num_columns, 2.7)
  figure = style.new_figure(width * num_columns, height * num_rows + 0.6)
  return figure, figure.subplots(num_rows, num_columns, squeeze=False)


def make_plain_grid(
  num_rows: int, num_columns: int, size: tuple[float, float]
) -> tuple[Drawing, np.ndarray]:
  """Make equal axes with fixed margins: much faster where there are many.

  Args:
    size: width and height of each, in inches.
  """
  # On the right there is room for a color bar.
  left, right, between, above, below = 1.25, 1.0, 0.3, 0.55, 0.5
  width, height = size
  total = (
    left + num_columns * (width + between) - between + right,
    num_rows * (height + above + below - 0.1),
  )
  figure = Drawing(figsize=total)
  grid = figure.subplots(num_rows, num_columns, squeeze=False)
  figure.subplots_adjust(
    left=left / total[0],
    right=1 - right / total[0],
    top=1 - (above - 0.1) / total[1],
    bottom=below / total[1],
    wspace=between / width,
    hspace=(above + below - 0.1) / height,
  )
  return figure, grid


def columns(
  table: pd.DataFrame, num_rows: int = 1, height: float = 2.9
) -> tuple[Drawing, np.ndarray]:
  """Make a figure with a column for each benchmark.

  Returns:
    The figure, and axes [row, benchmark], titled by benchmark at the top.
  """
  titles = benchmarks_of(table)
  figure, grid = make_grid(num_rows, len(titles), height)
  for axes, title in zip(grid[0], titles):
    axes.set_title(title)
  return figure, grid


def grid_by_noise(
  table: pd.DataFrame, height: float = 2.5
) -> tuple[Drawing, np.ndarray, list[tuple[Axes, pd.DataFrame]]]:
  """Make a row of axes per benchmark that has rows, a column per noise level.

  Benchmarks may differ in their noise levels; no axes are left empty.

  Returns:
    The figure, its grid, and the axes with their rows.
  """
  titles = [
    name for name in benchmarks_of(table) if name in set(table.benchmark)
  ]
  noise = {
    title: sorted(table[table.benchmark == title].noise_fraction.unique())
    for title in titles
  }
  num_columns = max(map(len, noise.values()))
  figure, grid = make_grid(len(titles), num_columns, height)
  cells = []
  for row, title in zip(grid, titles):
    for axes in row[len(noise[title]) :]:
      axes.set_axis_off()
    for axes, level in zip(row, noise[title]):
      axes.set_title(f'{title}\n{style.noise_label(level)}')
      own = (table.benchmark == title) & (table.noise_fraction == level)
      cells.append((axes, table[own]))
  return figure, grid, cells


def benchmarks_of(table: pd.DataFrame) -> list[str]:
  """List all benchmarks of a report, also those without a row."""
  return list(table.benchmark.cat.categories)


def by_benchmark(
  row: np.ndarray, table: pd.DataFrame, why_empty: str
) -> Iterator[tuple[Axes, pd.DataFrame]]:
  """Yield the axes and rows of each benchmark that has rows.

  The axes of others say why they are empty.
  """
  for axes, title in zip(row, benchmarks_of(table)):
    rows = table[table.benchmark == title]
    if rows.empty:
      say(axes, why_empty)
    else:
      yield axes, rows


def say(axes: Axes, text: str) -> None:
  """Write into axes that have nothing else to show."""
  axes.set_axis_off()
  axes.text(0.5, 0.5, text, ha='center', va='center', transform=axes.transAxes)


def label_left(grid: np.ndarray) -> None:
  """Label vertical axes once per row, where they are of one quantity."""
  for row in grid:
    for axes in row[1:]:
      if axes.get_ylabel() == row[0].get_ylabel():
        axes.set_ylabel('')


def finish(
  figure: Drawing, grid: np.ndarray, *keys: Any, has_curves: bool = True
) -> Drawing:
  """Label rows once, add a legend below, and return the figure.

  Args:
    grid: axes [row, column].
    *keys: entries of the legend that are not curves.
    has_curves: whether curves have entries, too: one for each label.
  """
  label_left(grid)
  handles = {}
  for axes in figure.axes if has_curves else ():
    for handle, label in zip(*axes.get_legend_handles_labels()):
      handles.setdefault(label, handle)
  handles |= {key.get_label(): key for key in keys}
  longest = max(map(len, handles), default=1)
  figure.legend(
    handles.values(),
    handles.keys(),
    loc='outside lower center',
    ncols=max(int(figure.get_figwidth() // (0.55 + 0.068 * longest)), 1),
    frameon=False,
  )
  return figure


def add_color_bar(figure: Drawing, mesh: Any, axes: Axes, label: str) -> Any:
  """Add a color bar to the right of the last axes of a row, and return it."""
  box = axes.get_position()
  width = figure.get_figwidth()
  place = (box.x1 + 0.15 / width, box.y0, 0.12 / width, box.height)
  bar = figure.colorbar(mesh, cax=figure.add_axes(place))
  bar.set_label(label)
  bar.ax.minorticks_off()
  # Each raster in a PDF would be as large as the figure.
  bar.solids.set_rasterized(False)
  return bar
