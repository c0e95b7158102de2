"""Learning curves: training loss and validation error, epoch by epoch."""

import functools

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from pruning_gen.analysis import statistics
from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import drawing
from pruning_gen.analysis.figures import grids
from pruning_gen.analysis.load import Benchmark


def tabulate(benchmark: Benchmark, metric: str) -> pd.DataFrame:
  """Average a column of epochs.csv over replicates."""
  table = benchmark.epochs.dropna(subset=[metric])
  by = ['arm', 'noise_fraction', 'level', 'epochs_trained']
  return statistics.average(table, by, metric)


def draw(table: pd.DataFrame, metric: str) -> Drawing:
  """Draw each noise level: a curve per arm, over all levels of the chain."""
  figure, grid, cells = grids.grid_by_noise(table)
  for axes, rows in cells:
    drawing.draw_arms(axes, rows, 'epochs_trained', metric, marker='', lw=0.9)
    axes.set_xlabel('epochs trained')
    if metric == 'train_loss':
      drawing.set_loss_axis(axes)
    else:
      _stretch_the_first_epochs(axes)
  return grids.finish(figure, grid)


def _stretch_the_first_epochs(axes: Axes) -> None:
  """Make both axes logarithmic: errors move most in the first epochs."""
  axes.set_xscale('log')
  drawing.set_log_ticks(axes.xaxis, crowded=200)
  drawing.set_loss_axis(axes, 'validation error (%)')
  drawing.show_percent(axes.yaxis)


LOSSES = base.Figure(
  'more_learning_curves',
  'Learning curves',
  caption=(
    'Training loss by epoch, of all levels of the chain one after the other: '
    'the mean over an epoch, in training mode and with augmentation. Levels '
    'begin with a jump, where weights are removed and the learning rate is '
    f'rewound. {base.SPREAD}'
  ),
  needs=base.CHAIN,
  tabulate_one=functools.partial(tabulate, metric='train_loss'),
  reads='epochs',
  draw=functools.partial(draw, metric='train_loss'),
)

ERRORS = base.Figure(
  'more_validation_curves',
  'Validation error by epoch',
  caption=(
    'Validation error by epoch, of all levels of the chain one after the '
    'other, both on logarithmic scales. Look for epochs at which it rises '
    f'while the training loss falls. {base.SPREAD}'
  ),
  needs='--config.validate_every_epochs above 0',
  tabulate_one=functools.partial(tabulate, metric='validation_error'),
  reads='epochs',
  draw=functools.partial(draw, metric='validation_error'),
)
