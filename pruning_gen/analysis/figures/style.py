"""The style of all figures: colors, axes, legends.

Color shows the arm, and each axes a noise level: the same everywhere. Lines
and points are means over replicates, bands and bars one standard deviation
(n - 1); a single replicate has none. Numbers are drawn unscaled: axes print
fractions as percent.
"""

import matplotlib as mpl
import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pruning_gen.pruning import arms

# Colors of what is no arm of the chain.
COLORS = {
  'extended_dense_best': '#E8A06B',
  'width': '#009E73',
  'dense': '#4D4D4D',
  # Sets of examples that are left out.
  'most_improved': '#332288',
  'most_worsened': '#AA4499',
  'misclassified': '#B8860B',
  'subgroup': '#117733',
}
# For an arm without a color of its own.
DEFAULT_COLORS = ('#8C564B', '#17BECF', '#BCBD22', '#9467BD')
LABELS = {
  'extended_dense_best': 'extended dense, its own best',
  'width': 'narrower dense',
}
LINES = {'': '-', 'original': '-', 'noisy': ':'}

STYLE = {
  'axes.spines.right': False,
  'axes.spines.top': False,
  'axes.grid': True,
  'grid.alpha': 0.3,
  'font.size': 10,
  'axes.titlesize': 10,
  'legend.fontsize': 9,
  'figure.dpi': 150,
}


context = mpl.rc_context(STYLE)


def color_of(name: str) -> str:
  """Return the color of an arm, or of another name of the figures."""
  if name in COLORS:
    return COLORS[name]
  own = arms.ARMS[name].color if name in arms.ARMS else ''
  position = list(arms.ARMS).index(name) if name in arms.ARMS else 0
  return own or DEFAULT_COLORS[position % len(DEFAULT_COLORS)]


def label_of(name: str) -> str:
  """Return the label of an arm, or of another name of the figures."""
  if name in LABELS:
    return LABELS[name]
  own = arms.ARMS[name].label if name in arms.ARMS else ''
  return own or name.replace('_', ' ')


def new_figure(width, height):
  """Make a figure, in inches, outside of pyplot."""
  # A Figure of its own, not pyplot's: nothing global, no display needed.
  return Figure(figsize=(width, height), layout='constrained')


def axes_by_noise(table, ylabel):
  """Return a figure and [(axes, rows)], one axes per noise level."""
  groups = list(table.groupby('noise_fraction'))
  # Four stand in a square, so that a page need not shrink them much.
  columns = 2 if len(groups) == 4 else min(len(groups), 3)
  num_rows = -(-len(groups) // columns)
  figure = new_figure(max(3.4 * columns, 4.4) + 0.6, 3.0 * num_rows + 0.6)
  grid = figure.subplots(num_rows, columns, squeeze=False)
  for axes in grid.ravel()[len(groups) :]:
    axes.axis('off')
  for axes, (noise_fraction, _) in zip(grid.ravel(), groups):
    axes.set_title(f'{noise_fraction:.0%} label noise')
  for axes in grid[:, 0]:
    axes.set_ylabel(ylabel)
  return figure, [(axes, rows) for axes, (_, rows) in zip(grid.ravel(), groups)]


def draw_curves(axes, rows, x, dashed=()):
  """Draw each arm and part of a table, its optimum, and the dense network."""
  # Many bands on top of each other must not hide the lines.
  alpha = 0.2 if rows.arm.nunique() <= 3 else 0.08
  for (arm, part), curve in rows.groupby(['arm', 'part'], sort=False):
    line = '--' if arm in dashed else LINES[part]
    label = f'{label_of(arm)}, {part}' if part else label_of(arm)
    draw_band(axes, curve[x], curve, color_of(arm), label, line, alpha=alpha)
    best = curve[curve.is_optimal]
    axes.plot(
      best[x], best['mean'], '*', color=color_of(arm), ms=12, mec='w', zorder=3
    )
  # Arms share their level 0, so one line for each part is enough.
  for dense in rows[rows.level == 0].groupby('part')['mean'].first():
    axes.axhline(dense, color='0.4', ls='--', lw=1, zorder=1)


def draw_band(axes, x, rows, color, label, line, marker=None, alpha=0.2):
  """Draw means as a line, with a band of one standard deviation."""
  mean, std = rows['mean'], rows['std']
  axes.plot(x, mean, line, color=color, label=label, lw=1.5, marker=marker)
  # Without a standard deviation (one replicate) there is no band.
  axes.fill_between(x, mean - std, mean + std, color=color, alpha=alpha, lw=0)


def draw_points(axes, x, mean, std, arm):
  """Draw means as points, with bars of one standard deviation."""
  axes.errorbar(
    x,
    mean,
    std.fillna(0),
    fmt='o',
    color=color_of(arm),
    label=label_of(arm),
    ms=5,
    capsize=2,
  )


def dodge(i, n):
  """Return where the i-th of n points stands around an integer."""
  return 0.6 * (i - (n - 1) / 2) / n


def set_sparsity_axis(axes, table, x):
  """Label and scale the horizontal axis of curves."""
  if x == 'epochs_trained':
    axes.set_xlabel('epochs trained')
    return
  labels = {
    'matched_weights_remaining': 'weights remaining (%)',
    'num_weights_remaining': 'number of weights',
  }
  axes.set_xlabel(labels[x])
  axes.set_xscale('log')
  # From dense, on the left, to sparse, as the paper draws it.
  axes.set_xlim(1.1 * table[x].max(), table[x].min() / 1.1)
  if x == 'matched_weights_remaining':
    set_log_ticks(axes.xaxis, crowded=1000)
    show_percent(axes.xaxis)
  else:
    set_log_ticks(axes.xaxis, crowded=100)
    axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=''))


def set_log_ticks(axis, crowded):
  """Put ticks at 1, 2 and 5 of each decade.

  Args:
    axis: matplotlib axis, logarithmic, whose limits are set.
    crowded: float; where the ratio of the limits is larger, at 1 alone.
  """
  low, high = sorted(axis.get_view_interval())
  axis.set_major_locator(
    ticker.LogLocator(subs=(1, 2, 5) if high < crowded * low else (1,))
  )
  axis.set_minor_locator(ticker.NullLocator())
  axis.set_major_formatter('{x:g}')


def cut_collapse(axes, rows):
  """End an axis below networks so sparse that they have collapsed.

  Else they would leave no room for differences between the others.
  """
  lowest, upper = rows['mean'].min(), rows['mean'].quantile(0.75)
  top = upper + 3 * (upper - lowest)
  if top < rows['mean'].max():
    # The margin below is a part of what the whole axis would have shown.
    bottom = (rows['mean'] - rows['std'].fillna(0)).min()
    axes.set_ylim(bottom - 0.05 * (top - bottom), top)


def show_percent(axis):
  """Print fractions as percent."""
  # Unscaled numbers, whose labels are percent or points.
  axis.set_major_formatter(
    ticker.FuncFormatter(lambda value, _: f'{100 * value:.3g}')
  )


def dense_and_star():
  """Return the legend entries that all curves share."""
  return [
    Line2D([], [], color='0.4', ls='--', lw=1, label='dense'),
    Line2D([], [], color='0.4', marker='*', ms=10, ls='', label='optimal'),
  ]


def add_legend(figure, grid, extra=()):
  """Add one legend for all axes, each label once."""
  handles = {}
  for axes in np.atleast_1d(grid):
    for handle, label in zip(*axes.get_legend_handles_labels()):
      handles.setdefault(label, handle)
  handles |= {handle.get_label(): handle for handle in extra}
  figure.legend(
    handles.values(),
    handles.keys(),
    loc='outside lower center',
    ncols=int(figure.get_figwidth() // 1.8),
    frameon=False,
  )
