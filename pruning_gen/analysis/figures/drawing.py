"""What is drawn into axes, and how axes are scaled and labeled."""

from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes

from pruning_gen.analysis.figures import style


def draw_curve(
  axes: Axes, x: pd.Series, rows: pd.DataFrame, metric: str, **look: Any
) -> None:
  """Draw means as a line with markers, and a band of one deviation.

  Args:
    x: horizontal positions of the rows.
    rows: METRIC_mean and METRIC_std.
    **look: color, label and others of `Axes.plot`.
  """
  mean, std = rows[f'{metric}_mean'], rows[f'{metric}_std']
  look = {'lw': 1.3, 'ms': 3.5, 'marker': 'o'} | look
  axes.plot(x, mean, gid=style.CURVE, **look)
  # Without a standard deviation (one replicate) there is no band.
  axes.fill_between(
    x, mean - std, mean + std, color=look['color'], alpha=0.13, lw=0
  )


def draw_arms(
  axes: Axes, rows: pd.DataFrame, x: str, metric: str, **look: Any
) -> None:
  """Draw a curve for each arm, by the column x; see `draw_curve`."""
  for arm, curve in rows.groupby('arm', sort=False):
    draw_curve(axes, curve[x], curve, metric, **style.arm_look(arm) | look)


def draw_points(
  axes: Axes, x: Any, mean: pd.Series, std: pd.Series, **look: Any
) -> None:
  """Draw means as points, with bars of one standard deviation."""
  look = {'marker': 'o', 'ls': '', 'ms': 5, 'capsize': 2} | look
  axes.errorbar(x, mean, std.fillna(0), gid=style.CURVE, **look)


def draw_dense(axes: Axes, rows: pd.DataFrame, metric: str, color: str) -> None:
  """Draw the dense network, level 0, as a dashed line."""
  for value in rows[rows.level == 0][f'{metric}_mean'].head(1):
    axes.axhline(value, color=color, ls='--', lw=1, zorder=1)


def draw_stars(axes: Axes, points: Iterable[tuple[float, float, str]]) -> None:
  """Draw (x, y, color) as stars; one that lies on another is smaller.

  Call it when the limits of the axes are set.
  """
  drawn = []
  for x, y, color in points:
    if y > axes.get_ylim()[1] or (x <= 0 and axes.get_xscale() == 'log'):
      continue
    at = axes.transAxes.inverted().transform(axes.transData.transform((x, y)))
    below = sum(np.abs(at - other).max() < 0.03 for other in drawn)
    drawn.append(at)
    axes.plot(
      x,
      y,
      '*',
      color=color,
      ms=max(12 - 4 * below, 5),
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
  """Make the horizontal axis one of weights remaining, dense on the left.

  It ends at the last level that has weights.
  """
  zero = '; 0 is off the axis' if (weights == 0).any() else ''
  axes.set_xlabel(f'weights remaining (%{zero})')
  weights = weights[weights > 0]
  axes.set_xscale('log', nonpositive='mask')
  # A single point is not magnified.
  margin = 1.15 if weights.max() > 2 * weights.min() else 1.6
  axes.set_xlim(margin * weights.max(), weights.min() / margin)
  set_log_ticks(axes.xaxis, crowded=30)
  show_percent(axes.xaxis)


def set_noise_axis(axes: Axes, noise_fractions: Sequence[float]) -> None:
  """Make the horizontal axis one of noise levels, at 0, 1, and so on."""
  labels = [f'{100 * noise_fraction:g}' for noise_fraction in noise_fractions]
  axes.set_xticks(range(len(labels)), labels)
  axes.set_xlim(-0.6, len(labels) - 0.4)
  axes.set_xlabel('label noise (%)')


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


def set_error_axis(axes: Axes) -> None:
  """Make the vertical axis one of test errors, fractions printed as percent.

  It begins at 0 or above, and ends below networks so sparse that they have
  collapsed: those would leave no room for the differences between others.
  """
  axes.set_ylabel('test error (%)')
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
  lines = [line for line in axes.lines if line.get_gid() == style.CURVE]
  values = [np.asarray(line.get_ydata(), float) for line in lines]
  values = np.concatenate(values or [np.zeros(0)])
  return values[np.isfinite(values)]


def mark_cut_off(axes: Axes) -> None:
  """Mark each point above the axis with an arrow and its value, in percent.

  Values at about one place are written below each other.
  """
  placed, top = [], axes.get_ylim()[1]
  place = axes.get_subplotspec()
  num_columns = place.get_gridspec().ncols if place else 1
  # In points; the layout, which is not known yet, leaves about as much.
  width = 72 * (axes.figure.get_figwidth() / num_columns - 0.7)
  for line in axes.lines:
    if line.get_gid() != style.CURVE:
      continue
    for x, y in zip(line.get_xdata(), line.get_ydata()):
      if y <= top:
        continue
      point = axes.transData.transform((x, top))
      at = width * axes.transAxes.inverted().transform(point)[0]
      taken = {row for other, row in placed if abs(at - other) < 6}
      row = min(set(range(len(placed) + 1)) - taken)
      placed.append((at, row))
      axes.annotate(
        # Turned by a right angle, the arrow points up.
        f'{100 * y:.2g} % →',
        (x, 1),
        (0, -29 * row),
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


def set_log_percent_axis(
  axes: Axes, bottom: float, top: float, nonpositive: str = 'clip'
) -> None:
  """Make the vertical axis a logarithmic one of fractions, in percent."""
  axes.set_yscale('log', nonpositive=nonpositive)
  axes.set_ylim(bottom, top)
  set_log_ticks(axes.yaxis, crowded=30)
  show_percent(axes.yaxis)


def show_percent(axis: mpl.axis.Axis) -> None:
  """Print fractions as percent."""
  axis.set_major_formatter(
    ticker.FuncFormatter(lambda value, _: f'{100 * value:.3g}')
  )
