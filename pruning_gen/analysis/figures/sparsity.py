"""Test error and training loss by sparsity, a curve for each noise level."""

import functools

import pandas as pd
from matplotlib.figure import Figure as Drawing

from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import curves
from pruning_gen.analysis.figures import drawing
from pruning_gen.analysis.figures import grids
from pruning_gen.analysis.figures import style


def draw(table: pd.DataFrame, metric: str) -> Drawing:
  """Draw a metric of pruning, and the dense network as a dashed line."""
  figure, grid = grids.columns(table)
  for axes, rows in grids.by_benchmark(grid[0], table, 'pruning did not run'):
    stars = []
    for noise_fraction, curve in rows.groupby('noise_fraction'):
      look = style.noise_look(noise_fraction)
      drawing.draw_curve(axes, curve.weights_remaining, curve, metric, **look)
      drawing.draw_dense(axes, curve, metric, look['color'])
      stars += drawing.optimum_of(
        curve, 'weights_remaining', metric, look['color']
      )
    drawing.set_weights_axis(axes, rows.weights_remaining)
    if metric == 'test_error':
      drawing.set_error_axis(axes)
    else:
      drawing.set_loss_axis(axes)
    drawing.draw_stars(axes, stars)
  return grids.finish(
    figure, grid, style.key(**style.DENSE), style.key(**style.OPTIMAL)
  )


FIGURE_3 = base.Figure(
  'figure_3_test_error',
  'Figure 3: pruning under label noise',
  caption=(
    'Test error of pruned networks, a curve for each noise level, and of the '
    'dense network (dashed, same color). Look for curves that fall further '
    f'below their dashed line as the noise increases. {base.STAR} {base.SPREAD}'
  ),
  needs=base.CHAIN,
  tabulate_one=lambda own: curves.tabulate(own, ['pruning'], 'test_error'),
  draw=functools.partial(draw, metric='test_error'),
)

TRAINING_LOSS = base.Figure(
  'more_training_loss',
  'Training loss by sparsity',
  caption=(
    'Mean cross-entropy on the training labels, in evaluation mode and without '
    'augmentation, drawn like Figure 3. Look for better training: curves that '
    'fall below the dashed line before sparsity makes them rise.'
  ),
  needs=base.CHAIN,
  tabulate_one=lambda own: curves.tabulate(
    own, ['pruning'], 'train_cross_entropy'
  ),
  draw=functools.partial(draw, metric='train_cross_entropy'),
)
