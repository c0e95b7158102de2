"""Whether pruning keeps the same weights in other replicates and other arms."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from pruning_gen.analysis import statistics
from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import drawing
from pruning_gen.analysis.figures import grids
from pruning_gen.analysis.figures import style
from pruning_gen.analysis.load import Benchmark

CHANCE = {'ls': ':', 'lw': 0.8, 'marker': '_', 'ms': 8, 'color': '0.1'}


def tabulate(benchmark: Benchmark) -> pd.DataFrame:
  """Average the overlap of masks over pairs of networks.

  Returns:
    noise_fraction, level, weights_remaining, arm, other_arm; overlap_mean and
    _std, by_chance_mean and _std, and n, over pairs: of replicates of one arm,
    or of two arms of one replicate.
  """
  by = ['noise_fraction', 'level', 'arm', 'other_arm']
  table = statistics.average(benchmark.overlap, by, 'overlap', 'by_chance')
  chain = benchmark.summary[benchmark.summary.experiment == 'chain']
  weights = chain[[*by[:3], 'weights_remaining']]
  table = table.merge(weights, how='left', on=by[:3])
  table.insert(2, 'weights_remaining', table.pop('weights_remaining'))
  return table


def draw(table: pd.DataFrame) -> Drawing:
  """Draw the replicates of each arm, and each arm against `pruning`."""
  figure, grid, cells = grids.grid_by_noise(table, height=2.9)
  for axes, rows in cells:
    own = rows.arm == rows.other_arm
    _draw_curves(axes, rows[own], 'arm', '{}: replicates', marker='s')
    against = rows[~own & (rows.arm == 'pruning')]
    look = {'marker': 'D', 'mfc': 'white'}
    _draw_curves(axes, against, 'other_arm', '{} and pruning', **look)
    drawing.set_weights_axis(axes, rows.weights_remaining)
    axes.set_ylabel('weights in common (%)')
    values = rows[['overlap_mean', 'by_chance_mean']].to_numpy()
    values = values[values > 0]
    drawing.set_log_percent_axis(axes, values.min(initial=1) / 1.5, 1.15)
  return grids.finish(figure, grid, style.key('by chance', **CHANCE))


def _draw_curves(
  axes: Axes, rows: pd.DataFrame, by: str, label: str, **look: Any
) -> None:
  """Draw a curve for each value of a column, and what to expect by chance."""
  for arm, curve in rows.groupby(by, sort=False):
    weights = curve.weights_remaining
    name = label.format(style.label_of(arm))
    look['color'] = style.color_of(arm)
    drawing.draw_curve(axes, weights, curve, 'overlap', label=name, **look)
    axes.plot(weights, curve.by_chance_mean, **CHANCE)


OVERLAP = base.Figure(
  'more_mask_overlap',
  'Whether the same weights are kept',
  caption=(
    'The weights that two pruned networks both keep, in percent of those that '
    'at least one keeps: two replicates of an arm, which begin with other '
    'weights (squares), or an arm and pruning in one replicate, which begin '
    'with the same (hollow). Black: what to expect if both kept as many '
    'weights of each layer at random. Layers that are not pruned do not count. '
    'Points and bands are means and standard deviations over pairs. Only '
    'networks that the run keeps: --config.checkpoint.keep_levels="(\'all\',)" '
    'keeps every level, by default it is the optimal one.'
  ),
  needs=(
    f'{base.CHAIN}, with two replicates or two arms that prune, and levels '
    'above 0 in --config.checkpoint.keep_levels'
  ),
  tabulate_one=tabulate,
  reads='overlap',
  draw=draw,
)
