"""The figures, one function each: a table in, a matplotlib figure out.

Colour tells the arm, and a panel is a noise level: the same everywhere. Lines
are means over replicates, bands one standard deviation (n - 1).
"""

import matplotlib as mpl
import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# Of Okabe and Ito's palette, which colour-blind readers can tell apart.
ARM_COLORS = {'pruning': '#0072B2', 'extended_dense': '#D55E00'}

STYLE = {
  'axes.spines.right': False,
  'axes.spines.top': False,
  'axes.grid': True,
  'grid.alpha': 0.3,
  'font.size': 10,
  'axes.titlesize': 10,
  'figure.dpi': 150,
  'savefig.bbox': 'tight',
}


def test_error(summary):
  """Draw test error against weights remaining, a panel each noise level.

  Args:
    summary: DataFrame from `statistics.summarize`, of one experiment.

  Returns:
    A matplotlib Figure.
  """
  figure, panels = _panels(summary)
  for panel, (_, table) in panels:
    for arm, curve in table.groupby('arm', sort=False):
      _curve(panel, curve, 'test_error', ARM_COLORS[arm], arm, scale=100)
      _star(panel, curve, 'test_error', ARM_COLORS[arm], scale=100)
      _dense_line(panel, curve, 'test_error', scale=100)
  panels[0][0].set_ylabel('test error (%)')
  _legend(figure, panels[0][0])
  return figure


def training_loss(summary):
  """Draw training loss on original and noisy examples, as `test_error` does.

  Original examples are solid, noisy ones dotted.
  """
  figure, panels = _panels(summary)
  for panel, (_, table) in panels:
    for arm, curve in table.groupby('arm', sort=False):
      color = ARM_COLORS[arm]
      for part, line in (('original', '-'), ('noisy', ':')):
        metric = f'train_cross_entropy_{part}'
        if curve[f'{metric}_mean'].notna().any():
          _curve(panel, curve, metric, color, f'{arm}, {part}', line)
          _star(panel, curve, metric, color)
          _dense_line(panel, curve, metric)
    panel.set_yscale('log', nonpositive='clip')
    # A band that reaches 0 would stretch a logarithmic axis without end.
    panel.set_ylim(bottom=_lowest(table) / 2)
  panels[0][0].set_ylabel('training cross-entropy (nats)')
  # The panel with noise has every kind of line.
  _legend(figure, panels[-1][0])
  return figure


def _lowest(table):
  means = table.filter(regex='train_cross_entropy_(original|noisy)_mean')
  return max(np.nanmin(means.to_numpy()), 1e-6)


def _panels(summary):
  """Return a figure and [(axes, (noise_fraction, table))], side by side."""
  groups = list(summary.groupby('noise_fraction'))
  # A Figure of its own, not pyplot's: nothing global, no display needed.
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(3.4 * len(groups) + 0.6, 3.3), layout='tight')
    row = figure.subplots(1, len(groups), squeeze=False, sharex=True)[0]
  sparsest = 100 * summary.matched_weights_remaining.min()
  for axes, (noise_fraction, _) in zip(row, groups):
    axes.set_title(f'{noise_fraction:.0%} label noise')
    axes.set_xlabel('weights remaining (%)')
    axes.set_xscale('log')
    # From dense, on the left, to sparse, as the paper draws it.
    axes.set_xlim(110, sparsest / 1.1)
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ticker.FormatStrFormatter('%g'))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
  return figure, list(zip(row, groups))


def _x(curve):
  """Return where a curve's levels stand, in percent of the weights."""
  return 100 * curve.matched_weights_remaining


def _curve(axes, curve, metric, color, label, line='-', scale=1):
  mean, std = curve[f'{metric}_mean'], curve[f'{metric}_std']
  axes.plot(_x(curve), scale * mean, line, color=color, label=label, lw=1.5)
  # Without a standard deviation (one replicate) there is no band.
  axes.fill_between(
    _x(curve),
    scale * (mean - std),
    scale * (mean + std),
    color=color,
    alpha=0.2,
    lw=0,
  )


def _dense_line(axes, curve, metric, scale=1):
  dense = curve[curve.level == 0][f'{metric}_mean'].iloc[0]
  axes.axhline(scale * dense, color='0.4', ls='--', lw=1, zorder=1)


def _star(axes, curve, metric, color, scale=1):
  best = curve[curve.is_optimal]
  axes.plot(
    _x(best),
    scale * best[f'{metric}_mean'],
    '*',
    color=color,
    ms=12,
    mec='white',
    zorder=3,
  )


def _legend(figure, axes):
  handles, labels = axes.get_legend_handles_labels()
  handles.append(Line2D([], [], color='0.4', ls='--', lw=1))
  labels.append('dense')
  handles.append(Line2D([], [], color='0.4', marker='*', ms=10, ls=''))
  labels.append('optimal sparsity')
  figure.legend(
    handles,
    labels,
    loc='upper center',
    bbox_to_anchor=(0.5, 0.0),
    ncols=min(len(labels), 3),
    frameon=False,
  )
