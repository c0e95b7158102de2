"""The style of all figures: colors, markers, axes and legends.

Colors show noise levels where a figure compares those, and arms where it
compares arms: the same in every figure. Numbers are drawn unscaled: axes print
fractions as percent.
"""

from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pruning_gen.pruning import arms

STYLE = {
  'axes.spines.right': False,
  'axes.spines.top': False,
  'axes.grid': True,
  'grid.alpha': 0.3,
  'font.size': 9,
  'axes.titlesize': 9.5,
  'legend.fontsize': 8.5,
  # Twice what a page shows.
  'figure.dpi': 176,
}


def context():
  """Return the context in which figures are drawn and saved."""
  return mpl.rc_context(STYLE)


# The noise levels of the paper, spread over a scale of rising lightness, which
# stops where the contrast to white falls below 3.
NOISE_LEVELS = (0, 0.05, 0.1, 0.15, 0.3, 0.6)
NOISE_SCALE = 'inferno'
LIGHTEST = 0.66
MIN_CONTRAST = 3

# Colors and labels of what is no arm of the chain.
OTHERS = {
  'width': ('width', '#009E73'),
  'dense': ('dense', '#4D4D4D'),
  'extended_dense_best': ('extended dense, at its own optimum', '#8A3D00'),
  # Sets of examples that are left out.
  'most_improved': ('without the most improved', '#332288'),
  'most_worsened': ('without the most worsened', '#AA4499'),
  'misclassified': ('without the misclassified', '#8A6A00'),
  'subgroup': ('without this subgroup', '#117733'),
  'random_set': ('without as many at random', '#6E6E6E'),
  'all': ('all examples', '#1A1A1A'),
}
# For an arm without a color of its own.
DEFAULT_COLORS = ('#8C564B', '#0E7C86', '#6B7A00', '#5A1E5A')
MARKERS = 'soD^vPX<>p'
CURVE = 'curve'


def noise_color(noise_fraction: float) -> str:
  """Return the color of a noise level, a step of one sequential scale."""
  position = np.interp(
    noise_fraction, NOISE_LEVELS, np.linspace(0, LIGHTEST, len(NOISE_LEVELS))
  )
  return mpl.colors.to_hex(mpl.colormaps[NOISE_SCALE](position))


def noise_label(noise_fraction: float) -> str:
  """Return how legends call a noise level."""
  return f'{100 * noise_fraction:.3g} % noise'


def noise_marker(noise_fraction: float) -> str:
  """Return the marker of a noise level."""
  position = np.interp(noise_fraction, NOISE_LEVELS, range(len(NOISE_LEVELS)))
  return MARKERS[int(np.ceil(position))]


def arm_color(name: str) -> str:
  """Return the color of an arm, with enough contrast to white."""
  if name in arms.ARMS:
    own = arms.ARMS[name].color
    position = list(arms.ARMS).index(name)
    return darken(own or DEFAULT_COLORS[position % len(DEFAULT_COLORS)])
  return OTHERS[name][1]


def arm_label(name: str) -> str:
  """Return the label of an arm."""
  if name in arms.ARMS:
    return arms.ARMS[name].label or name.replace('_', ' ')
  return OTHERS[name][0]


def arm_marker(name: str) -> str:
  """Return the marker of an arm: a square for pruning, a circle for dense."""
  fixed = {'pruning': 's', 'extended_dense': 'o', 'width': 'o'}
  if name in fixed or name not in arms.ARMS:
    return fixed.get(name, 'D')
  return MARKERS[list(arms.ARMS).index(name) % len(MARKERS)]


def contrast(color: str) -> float:
  """Return a color's contrast to white, as WCAG defines it."""
  rgb = np.array(mpl.colors.to_rgb(color))
  linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
  return 1.05 / (linear @ (0.2126, 0.7152, 0.0722) + 0.05)


def darken(color: str) -> str:
  """Darken a color until its contrast to white is `MIN_CONTRAST`."""
  rgb = np.array(mpl.colors.to_rgb(color))
  while contrast(mpl.colors.to_hex(rgb)) < MIN_CONTRAST:
    rgb = 0.95 * rgb
  return mpl.colors.to_hex(rgb)


def new_figure(width: float, height: float) -> Figure:
  """Make a figure, in inches, outside of pyplot: nothing global."""
  return Figure(figsize=(width, height), layout='constrained')


def make_plain_grid(
  num_rows: int, num_columns: int, size: tuple[float, float], right: float = 0.2
) -> tuple[Figure, np.ndarray]:
  """Make equal axes with fixed margins: much faster where there are many.

  Args:
    num_rows: of axes.
    num_columns: of axes.
    size: width and height of each, in inches.
    right: margin, in inches.
  """
  left, between, above, below = 1.25, 0.3, 0.55, 0.5
  width, height = size
  total = (
    left + num_columns * (width + between) - between + right,
    num_rows * (height + above + below - 0.1),
  )
  figure = Figure(figsize=total)
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


def add_color_bar(figure: Figure, mesh: Any, axes: Axes, label: str) -> Any:
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


def benchmarks_of(table: pd.DataFrame) -> list[str]:
  """List all benchmarks of a report, also those without a row."""
  return list(table.benchmark.cat.categories)


def columns(
  table: pd.DataFrame, num_rows: int = 1, height: float = 2.9
) -> tuple[Figure, np.ndarray]:
  """Make a figure with a column for each benchmark.

  Returns:
    The figure, and axes [row, benchmark], titled by benchmark at the top.
  """
  titles = benchmarks_of(table)
  figure, grid = make_grid(num_rows, len(titles), height)
  for axes, title in zip(grid[0], titles):
    axes.set_title(title)
  return figure, grid


def make_grid(
  num_rows: int, num_columns: int, height: float = 2.9
) -> tuple[Figure, np.ndarray]:
  """Make a figure of equal axes, and return both."""
  width = {1: 5.6, 2: 4.2, 3: 3.4}.get(num_columns, 2.7)
  figure = new_figure(width * num_columns, height * num_rows + 0.6)
  return figure, figure.subplots(num_rows, num_columns, squeeze=False)


def grid_by_noise(
  table: pd.DataFrame, height: float = 2.5
) -> tuple[Figure, np.ndarray, list[tuple[Axes, pd.DataFrame]]]:
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
      axes.set_title(f'{title}\n{noise_label(level)}')
      own = (table.benchmark == title) & (table.noise_fraction == level)
      cells.append((axes, table[own]))
  return figure, grid, cells


def make_cells(
  table: pd.DataFrame, by: str, height: float
) -> tuple[Figure, np.ndarray, list[tuple[Axes, pd.DataFrame]]]:
  """Make axes for each benchmark and value of a column, five to a row."""
  groups = list(table.groupby(['benchmark', by], sort=False, observed=True))
  num_columns = min(len(groups), 5)
  figure, grid = make_grid(-(-len(groups) // num_columns), num_columns, height)
  for axes in grid.ravel()[len(groups) :]:
    axes.set_axis_off()
  return (
    figure,
    grid,
    [(axes, rows) for axes, (_, rows) in zip(grid.ravel(), groups)],
  )


def by_benchmark(
  row: np.ndarray, table: pd.DataFrame, why_empty: str = 'nothing to draw'
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


def draw_curve(
  axes: Axes, x: pd.Series, rows: pd.DataFrame, metric: str, **look: Any
) -> None:
  """Draw means as a line with markers, and a band of one deviation.

  Args:
    axes: where.
    x: horizontal positions of the rows.
    rows: METRIC_mean and METRIC_std.
    metric: METRIC.
    **look: color, label and others of `Axes.plot`.
  """
  mean, std = rows[f'{metric}_mean'], rows[f'{metric}_std']
  look = {'lw': 1.3, 'ms': 3.5, 'marker': 'o'} | look
  axes.plot(x, mean, gid=CURVE, **look)
  # Without a standard deviation (one replicate) there is no band.
  axes.fill_between(
    x, mean - std, mean + std, color=look['color'], alpha=0.13, lw=0
  )


def draw_points(
  axes: Axes, x: Any, mean: pd.Series, std: pd.Series, **look: Any
) -> None:
  """Draw means as points, with bars of one standard deviation."""
  look = {'fmt': 'o', 'ms': 5, 'capsize': 2} | look
  axes.errorbar(x, mean, std.fillna(0), gid=CURVE, **look)


def draw_dense(axes: Axes, rows: pd.DataFrame, metric: str, color: str) -> None:
  """Draw the dense network, level 0, as a dashed line."""
  for value in rows[rows.level == 0][f'{metric}_mean'].head(1):
    axes.axhline(value, color=color, ls='--', lw=1, zorder=1)


def draw_stars(
  axes: Axes, points: Iterable[tuple[float, float, str]], size: float = 12
) -> None:
  """Draw (x, y, color) as stars; one that lies on another is smaller.

  Call it when the limits of the axes are set.
  """
  drawn = []
  for x, y, color in points:
    if y > axes.get_ylim()[1]:
      continue
    at = axes.transAxes.inverted().transform(axes.transData.transform((x, y)))
    below = sum(np.abs(at - other).max() < 0.03 for other in drawn)
    drawn.append(at)
    axes.plot(
      x,
      y,
      '*',
      color=color,
      ms=max(size - 4 * below, 5),
      mec='white',
      mew=0.8,
      zorder=4 + below,
      clip_on=False,
    )


def optimum_of(
  curve: pd.DataFrame, x: str, metric: str, color: str
) -> list[tuple[float, float, str]]:
  """Return the star of a curve, in a list; empty where it has none."""
  best = curve[curve.is_optimal & curve[f'{metric}_mean'].notna()]
  return [(at, y, color) for at, y in zip(best[x], best[f'{metric}_mean'])]


def set_weights_axis(axes: Axes, weights: pd.Series) -> None:
  """Make the horizontal axis one of weights remaining, dense on the left."""
  axes.set_xlabel('weights remaining (%)')
  axes.set_xscale('log')
  # A single point is not magnified.
  margin = 1.15 if weights.max() > 2 * weights.min() else 1.6
  axes.set_xlim(margin * weights.max(), weights.min() / margin)
  set_log_ticks(axes.xaxis, crowded=30)
  show_percent(axes.xaxis)


def set_log_ticks(axis: mpl.axis.Axis, crowded: float) -> None:
  """Put ticks at 1, 2 and 5 of each decade.

  Args:
    axis: logarithmic, whose limits are set.
    crowded: where the ratio of the limits is larger, ticks are at 1 alone.
  """
  low, high = sorted(axis.get_view_interval())
  axis.set_major_locator(
    ticker.LogLocator(subs=(1, 2, 5) if high < crowded * low else (1,))
  )
  axis.set_minor_locator(ticker.NullLocator())
  axis.set_major_formatter('{x:g}')


def set_error_axis(axes: Axes, label: str = 'test error (%)') -> None:
  """Make the vertical axis one of errors, fractions printed as percent.

  It begins at 0 or above, and ends below networks so sparse that they have
  collapsed: those would leave no room for the differences between others.
  """
  axes.set_ylabel(label)
  show_percent(axes.yaxis)
  axes.set_ylim(bottom=max(axes.get_ylim()[0], 0))
  errors = _drawn_values(axes)
  if not len(errors):
    return
  low, upper = errors.min(), np.quantile(errors, 0.75)
  top = upper + 3 * (upper - low)
  # Only where it doubles the room of the others, at least.
  if errors.max() - low > 2 * (top - low) > 0:
    bottom = max(low - 0.05 * (top - low), 0)
    axes.set_ylim(bottom, top)
    mark_cut_off(axes)


def _drawn_values(axes: Axes) -> np.ndarray:
  """Return the finite values of all curves and points."""
  lines = [line for line in axes.lines if line.get_gid() == CURVE]
  values = [np.asarray(line.get_ydata(), float) for line in lines]
  values = np.concatenate(values or [np.zeros(0)])
  return values[np.isfinite(values)]


def mark_cut_off(axes: Axes) -> None:
  """Mark each point above the axis with an arrow and its value, in percent."""
  placed, top = [], axes.get_ylim()[1]
  for line in axes.lines:
    if line.get_gid() != CURVE:
      continue
    for x, y in zip(line.get_xdata(), line.get_ydata()):
      if y <= top:
        continue
      # Values at about one place are written below each other. Turned by a
      # right angle, the arrow points up.
      at = axes.transData.transform((x, top))[0] * 72 / axes.figure.dpi
      place = sum(abs(at - other) < 6.5 for other in placed)
      placed.append(at)
      axes.annotate(
        f'{100 * y:.2g} % →',
        (x, 1),
        (0, -29 * place),
        xycoords=('data', 'axes fraction'),
        textcoords='offset points',
        fontsize=7,
        rotation=90,
        ha='center',
        va='top',
        color=line.get_color(),
        in_layout=False,
      )


def set_loss_axis(axes: Axes, label: str = 'training loss (nats)') -> None:
  """Make the vertical axis a logarithmic one of losses."""
  axes.set_ylabel(label)
  losses = _drawn_values(axes)
  losses = losses[losses > 0]
  if not len(losses):
    return
  # A band that reaches 0 would stretch a logarithmic axis without end.
  axes.set_yscale('log', nonpositive='clip')
  axes.set_ylim(max(losses.min(), 1e-9) / 1.6, losses.max() * 1.6)
  set_log_ticks(axes.yaxis, crowded=30)


def show_percent(axis: mpl.axis.Axis) -> None:
  """Print fractions as percent."""
  axis.set_major_formatter(
    ticker.FuncFormatter(lambda value, _: f'{100 * value:.3g}')
  )


def label_left(grid: np.ndarray) -> None:
  """Keep the labels of vertical axes in the leftmost column alone."""
  for row in grid:
    for axes in row[1:]:
      axes.set_ylabel('')


def key(label: str, **look: Any) -> Line2D:
  """Make an entry of a legend."""
  return Line2D([], [], label=label, **{'color': '0.3'} | look)


DENSE = {'label': 'dense', 'ls': '--', 'lw': 1}
OPTIMAL = {'label': 'optimal sparsity', 'marker': '*', 'ms': 10, 'ls': ''}


def add_legend(
  figure: Figure, extra: Iterable[Any] = (), has_curves: bool = True
) -> None:
  """Add one legend for all axes, below them, each label once.

  Args:
    figure: which.
    extra: entries that are no curves.
    has_curves: whether each curve has an entry, too.
  """
  handles = {}
  for axes in figure.axes if has_curves else ():
    for handle, label in zip(*axes.get_legend_handles_labels()):
      handles.setdefault(label, handle)
  handles |= {handle.get_label(): handle for handle in extra}
  longest = max(map(len, handles), default=1)
  figure.legend(
    handles.values(),
    handles.keys(),
    loc='outside lower center',
    ncols=max(int(figure.get_figwidth() // (0.55 + 0.068 * longest)), 1),
    frameon=False,
  )


def describe(figure: Figure) -> str:
  """Describe what a figure shows, for those who cannot see it."""
  sentences = []
  for axes in figure.axes:
    title = ' '.join(axes.get_title().split())
    ylabel, xlabel = axes.get_ylabel(), axes.get_xlabel()
    curves = [
      _describe_curve(axes, handle, label)
      for handle, label in zip(*axes.get_legend_handles_labels())
    ]
    texts = [text.get_text() for text in axes.texts[:1] if not curves]
    parts = [part for part in (*curves, *texts) if part]
    if parts:
      where = f'{ylabel} against {xlabel}' if xlabel and ylabel else ''
      heading = ': '.join(part for part in (title, where) if part)
      sentences.append(f'{heading}. ' + '; '.join(parts) + '.')
  return ' '.join(sentences)


def _describe_curve(axes: Axes, handle: Any, label: str) -> str:
  line = handle[0] if isinstance(handle, tuple) else handle
  if not isinstance(line, Line2D) or line.get_gid() != CURVE:
    return ''
  x, y = (np.asarray(data, float) for data in line.get_data())
  x, y = x[np.isfinite(y)], y[np.isfinite(y)]
  if not len(y):
    return ''
  show_x, show_y = (
    axis.get_major_formatter() for axis in (axes.xaxis, axes.yaxis)
  )
  show = [(show_x(a, 0), show_y(b, 0)) for a, b in zip(x, y)]
  first, last, lowest = show[0], show[-1], show[int(np.argmin(y))]
  return (
    f'{label}: from {first[1]} at {first[0]} to {last[1]} at {last[0]}, lowest '
    f'{lowest[1]} at {lowest[0]}'
  )
