"""Where the weights go: how much of each layer pruning leaves."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from pruning_gen.analysis import statistics
from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import drawing
from pruning_gen.analysis.figures import grids
from pruning_gen.analysis.figures import style
from pruning_gen.analysis.load import Benchmark

# Layers from input to output, of rising lightness.
_SCALE = 'viridis'
# A legend names so many layers at most.
_MAX_NAMES = 7


def tabulate(benchmark: Benchmark) -> pd.DataFrame:
  """Tabulate what pruning leaves of each layer.

  Returns:
    noise_fraction, level, weights_remaining (of the network), layer, size
    (weights before pruning), remaining_mean and _std (fraction of them),
    l2_norm_mean and _std (of its kernel), n, and is_optimal. Layers from input
    to output.
  """
  table = benchmark.layers
  table = table[table.arm == 'pruning']
  table = table.assign(remaining=table.kept / table['size'])
  by = ['noise_fraction', 'level', 'layer', 'size']
  table = statistics.average(table, by, 'remaining', 'l2_norm')
  chain = benchmark.summary[benchmark.summary.experiment == 'chain']
  chain = chain[chain.arm == 'pruning']
  key = ['noise_fraction', 'level']
  table = table.merge(chain[[*key, 'weights_remaining', 'is_optimal']], on=key)
  table.insert(2, 'weights_remaining', table.pop('weights_remaining'))
  return table.sort_values(key, kind='stable')


def draw(table: pd.DataFrame) -> Drawing:
  """Draw a curve for each layer, and the optimal sparsity."""
  figure, grid, cells = grids.grid_by_noise(table, height=2.9)
  for axes, rows in cells:
    _draw_layers(axes, rows)
  return grids.finish(
    figure,
    grid,
    style.key('all layers alike', ls='--', lw=1),
    style.key('optimal sparsity', ls=':', lw=1),
  )


def _draw_layers(axes: Axes, rows: pd.DataFrame) -> None:
  layers = list(rows.layer.unique())
  named = np.linspace(0, len(layers) - 1, min(len(layers), _MAX_NAMES))
  for i, layer in enumerate(layers):
    curve = rows[rows.layer == layer]
    drawing.draw_curve(
      axes,
      curve.weights_remaining,
      curve,
      'remaining',
      color=layer_color(i, len(layers)),
      marker='o' if len(layers) <= _MAX_NAMES else '',
      label=layer if i in named.round() else '_nolegend_',
    )
  drawing.set_weights_axis(axes, rows.weights_remaining)
  left = rows.remaining_mean[rows.remaining_mean > 0]
  drawing.set_log_percent_axis(axes, left.min() / 1.3, 1.15)
  axes.set_ylabel("layer's weights remaining (%)")
  ends = np.array([left.min() / 10, 1])
  axes.plot(ends, ends, '--', color='0.3', lw=1, scalex=False)
  for weights in rows[rows.is_optimal].weights_remaining.head(1):
    axes.axvline(weights, color='0.3', ls=':', lw=1, zorder=1)


def layer_color(position: int, num_layers: int) -> str:
  """Return the color of a layer, by its place between input and output."""
  at = position / max(num_layers - 1, 1)
  return style.darken(mpl.colors.to_hex(mpl.colormaps[_SCALE](0.8 * at)))


LAYERS = base.Figure(
  'more_layers',
  'Where the weights go: layer by layer',
  caption=(
    'The fraction of its weights that pruning leaves to each layer, colored '
    'from input (dark) to output (light), against that of the whole network. '
    'Above the dashed line a layer keeps more than its share. An output layer '
    'that is not pruned stays at 100 % (config.prune_output). The dotted line '
    f'is the optimal sparsity. {base.SPREAD} The table has the norm of each '
    "layer's weights, too."
  ),
  needs=base.CHAIN,
  tabulate_one=tabulate,
  reads='layers',
  draw=draw,
)
