"""Extended dense training against pruning (section 5.1)."""

import functools

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from pruning_gen.analysis import paired
from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import curves
from pruning_gen.analysis.figures import drawing
from pruning_gen.analysis.figures import grids
from pruning_gen.analysis.figures import style
from pruning_gen.analysis.load import Benchmark

MARKERS = {'dense': 'D', 'extended_dense': 'o', 'extended_dense_best': '^'}
DID_NOT_RUN = 'extended dense training did not run'


def tabulate_test_error(benchmark: Benchmark) -> pd.DataFrame:
  """Tabulate the test error of both, if extended dense training ran."""
  table = curves.tabulate(
    benchmark, ['pruning', 'extended_dense'], 'test_error'
  )
  return table if 'extended_dense' in set(table.arm) else table.head(0)


def tabulate_differences(benchmark: Benchmark) -> pd.DataFrame:
  """Tabulate `paired.compare_at_optimum`, if extended dense training ran."""
  table = paired.compare_at_optimum(benchmark.results, benchmark.summary)
  return table if 'extended_dense' in set(table.network) else table.head(0)


def draw_by_epochs(table: pd.DataFrame) -> Drawing:
  """Draw both by epochs: pruning as squares, extended dense as circles."""
  figure, grid = grids.columns(table)
  for axes, rows in grids.by_benchmark(grid[0], table, DID_NOT_RUN):
    draw_two(axes, rows, 'epochs_trained', 'extended_dense')
    axes.set_xlabel('training epochs')
    axes.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
    drawing.set_error_axis(axes)
  keys = two_keys(table, 'extended_dense')
  return grids.finish(figure, grid, *keys, has_curves=False)


def draw_two(axes: Axes, rows: pd.DataFrame, x: str, other: str) -> None:
  """Draw pruning as squares and another arm as circles, by noise level."""
  for (noise_fraction, arm), curve in rows.groupby(
    ['noise_fraction', 'arm'], sort=False
  ):
    color = style.noise_color(noise_fraction)
    drawing.draw_curve(
      axes,
      curve[x],
      curve,
      'test_error',
      color=color,
      label=f'{style.noise_label(noise_fraction)}, {style.label_of(arm)}',
      **_look(arm == other),
    )


def _look(is_other: bool) -> dict:
  if is_other:
    return {'marker': 'o', 'mfc': 'white', 'ls': ':', 'ms': 4}
  return {'marker': 's'}


def two_keys(table: pd.DataFrame, other: str) -> list:
  """Return legend entries of `draw_two`: noise levels and markers."""
  noise = [
    style.key(style.noise_label(level), color=style.noise_color(level), lw=2)
    for level in sorted(table.noise_fraction.unique())
  ]
  return [
    *noise,
    style.key('pruning', **_look(False)),
    style.key(style.label_of(other), **_look(True)),
  ]


def draw_differences(
  table: pd.DataFrame, markers: dict[str, str], why_empty: str
) -> Drawing:
  """Draw differences to pruning; hollow where both match.

  Args:
    table: with the columns of `paired.compare_at_optimum`; and split, if errors
      may be of validation examples.
    markers: by network.
    why_empty: what axes without rows say.
  """
  figure, grid = grids.columns(table)
  others = [name for name in markers if name in set(table.network)]
  for axes, rows in grids.by_benchmark(grid[0], table, why_empty):
    noise = np.unique(rows.noise_fraction)
    for i, network in enumerate(others):
      own = rows[rows.network == network]
      # Another benchmark may have more arms.
      if own.empty:
        continue
      middle = (len(others) - 1) / 2
      at = np.searchsorted(noise, own.noise_fraction) + 0.2 * (i - middle)
      _draw_judged(axes, at, own, markers[network])
    axes.axhline(0, color=style.color_of('pruning'), lw=1, zorder=1)
    drawing.set_noise_axis(axes, noise)
    split = rows.split.iloc[0] if 'split' in rows else 'test'
    axes.set_ylabel(f'{split} error minus pruning (points)')
    drawing.show_percent(axes.yaxis)
    if np.ptp(axes.get_ylim()) < 1e-6:
      # All are equal: do not magnify what rounding leaves.
      axes.set_ylim(-0.01, 0.01)
  return grids.finish(
    figure,
    grid,
    style.key('hollow: matches pruning', marker='o', mfc='white', ls='', ms=5),
  )


def _draw_judged(
  axes: Axes, at: np.ndarray, rows: pd.DataFrame, marker: str
) -> None:
  """Draw filled points, and on top white ones where both match."""
  network = rows.network.iloc[0]
  look = style.arm_look(network) | {'marker': marker}
  mean, std = rows.against_pruning_mean, rows.against_pruning_std
  drawing.draw_points(axes, at, mean, std, **look)
  is_match = (rows.against_pruning_verdict == 'match').to_numpy()
  axes.plot(
    at[is_match],
    mean[is_match],
    marker,
    color='white',
    ms=3,
    zorder=5,
  )


FIGURE_6 = base.Figure(
  'figure_6_extended_dense',
  'Figure 6: extended dense training against pruning',
  caption=(
    'Test error by training epochs: pruning as squares, extended dense '
    'training, which removes nothing, as circles; one color per noise level. '
    'Look for circles that reach the squares without noise and not with it. '
    'The numbers are in the table of Appendix M.'
  ),
  needs=base.CHAIN,
  tabulate_one=tabulate_test_error,
  draw=draw_by_epochs,
)

DIFFERENCES = base.Figure(
  'more_extended_dense_differences',
  'Dense and extended dense training minus pruning, at its optimal sparsity',
  caption=(
    'Differences in test error, paired by replicate, and one standard '
    'deviation: of the dense network, of extended dense training of as many '
    'epochs, and of as many as suit it best by its own validation error. Above '
    '0 pruning is better. Hollow points match by the rule of the paper.'
  ),
  needs=base.CHAIN,
  tabulate_one=tabulate_differences,
  draw=functools.partial(
    draw_differences, markers=MARKERS, why_empty=DID_NOT_RUN
  ),
)
