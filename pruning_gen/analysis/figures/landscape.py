"""The loss around networks: instability, barriers, curvature."""

import functools

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from pruning_gen.analysis import statistics
from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import drawing
from pruning_gen.analysis.figures import grids
from pruning_gen.analysis.figures import landscape_notes as notes
from pruning_gen.analysis.figures import style
from pruning_gen.analysis.load import Benchmark

NEEDS = (
  "'landscape' in --config.experiments, with "
  '--config.checkpoint.keep_levels="(\'all\',)"'
)
# Where a path ends, as column prefixes, and its look in the legend.
ENDS = {
  '': ('from the level before', {}),
  'twin_': ('to a twin of the same level', {'ls': '', 'mfc': 'white'}),
}
_CURVE = ['arm', 'noise_fraction', 'level']
_WEIGHTS = 'matched_weights_remaining'


def _average(benchmark: Benchmark, **metrics: pd.Series) -> pd.DataFrame:
  """Average metrics of rows of `Benchmark.landscape` over replicates.

  Returns:
    arm, noise_fraction, level, weights_remaining, matched_weights_remaining,
    METRIC_mean and METRIC_std, and n, of levels at which any is known.
  """
  table = benchmark.landscape[_CURVE].assign(**metrics)
  table = table.dropna(subset=[*metrics], how='all')
  table = statistics.average(table, _CURVE, *metrics)
  sizes = ['weights_remaining', _WEIGHTS]
  chain = benchmark.summary[benchmark.summary.experiment == 'chain']
  return chain[_CURVE + sizes].merge(table, on=_CURVE)


def tabulate_instability(benchmark: Benchmark) -> pd.DataFrame:
  """Tabulate what pruning does to the test error, before and after training.

  Returns:
    See `_average`, of the metrics instability, the test error right after
    pruning minus that before, and change, that after the level minus that
    before.
  """
  table = benchmark.landscape
  before = table.test_error_before_pruning
  return _average(
    benchmark,
    instability=table.test_error_after_pruning - before,
    change=table.test_error - before,
  ).dropna(subset='instability_mean')


def tabulate_barriers(benchmark: Benchmark, metric: str) -> pd.DataFrame:
  """Tabulate barriers of a metric, to the level before and to twins."""
  names = [f'{end}barrier_{metric}' for end in ENDS]
  return _average(benchmark, **{k: benchmark.landscape.get(k) for k in names})


def tabulate_curvature(benchmark: Benchmark) -> pd.DataFrame:
  """Tabulate the Hessian's largest eigenvalue."""
  name = 'hessian_eigenvalue'
  return _average(benchmark, **{name: benchmark.landscape.get(name)})


def draw_instability(table: pd.DataFrame) -> Drawing:
  """Draw a point for each level of each arm, every fifth with its number."""
  figure, grid, cells = grids.grid_by_noise(table, height=3.2)
  for axes, rows in cells:
    for arm, own in rows.groupby('arm', sort=False):
      drawing.draw_points(
        axes,
        own.instability_mean,
        own.change_mean,
        own.change_std,
        xerr=own.instability_std.fillna(0),
        **style.arm_look(arm),
        ms=3,
        lw=0.7,
      )
      if own.instability_mean.any():
        _number_levels(axes, own)
    axes.axhline(0, color='0.3', lw=0.8, zorder=1)
    axes.set_xscale('symlog', linthresh=0.01, linscale=0.5)
    axes.set_xlim(left=min(rows.instability_mean.min(), 0) - 0.002)
    axes.set_xlabel('change right after pruning (points)')
    axes.set_ylabel('change after retraining (points)')
    for axis in (axes.xaxis, axes.yaxis):
      drawing.show_percent(axis)
  return grids.finish(figure, grid)


def _number_levels(axes: Axes, rows: pd.DataFrame) -> None:
  """Write the number of every fifth level, and of the last, next to it."""
  is_numbered = (rows.level % 5 == 0) | (rows.level == rows.level.max())
  for row in rows[is_numbered].itertuples():
    axes.annotate(
      row.level,
      (row.instability_mean, row.change_mean),
      (3, 3),
      textcoords='offset points',
      fontsize=6,
      color=style.color_of(row.arm),
    )


def draw_barriers(table: pd.DataFrame, metric: str) -> Drawing:
  """Draw curves by weights remaining, and points for twins, of each arm."""
  figure, grid, cells = grids.grid_by_noise(table, height=2.9)
  for axes, rows in cells:
    name = f'barrier_{metric}'
    known = rows.dropna(subset=f'{name}_mean')
    drawing.draw_arms(axes, known, _WEIGHTS, name)
    _draw_twins(axes, rows, f'twin_{name}')
    drawing.set_weights_axis(axes, rows.matched_weights_remaining)
    axes.set_ylim(bottom=0)
    axes.set_ylabel('barrier (nats)')
    if metric == 'test_error':
      axes.set_ylabel('barrier (points of test error)')
      drawing.show_percent(axes.yaxis)
  drawn = [
    style.key(label, marker='o', ms=3.5, **look)
    for end, (label, look) in ENDS.items()
    if table[f'{end}barrier_{metric}_mean'].notna().any()
  ]
  return grids.finish(figure, grid, *drawn)


def _draw_twins(axes: Axes, rows: pd.DataFrame, metric: str) -> None:
  """Draw points: twins are trained at few levels."""
  known = rows.dropna(subset=f'{metric}_mean')
  for arm, own in known.groupby('arm', sort=False):
    drawing.draw_points(
      axes,
      own[_WEIGHTS],
      own[f'{metric}_mean'],
      own[f'{metric}_std'],
      **style.arm_look(arm),
      mfc='white',
      ms=3.5,
    )


def draw_curvature(table: pd.DataFrame) -> Drawing:
  """Draw a curve of each arm by weights remaining."""
  figure, grid, cells = grids.grid_by_noise(table, height=2.9)
  for axes, rows in cells:
    drawing.draw_arms(axes, rows, _WEIGHTS, 'hessian_eigenvalue')
    drawing.set_weights_axis(axes, rows.matched_weights_remaining)
    drawing.set_loss_axis(axes, 'largest eigenvalue')
  return grids.finish(figure, grid)


_ARMS = (
  'Arms that remove nothing are drawn where pruning has trained as long. '
  f'{base.SPREAD}'
)
_BARRIER = (
  'on the straight line between two networks, how far its highest point is '
  'above the line between its ends, with the statistics of BatchNorm estimated '
  'again at each point. Lines: from the network of the level before. Hollow: '
  'to a network that was trained from the same weights on batches in another '
  f'order (config.landscape.twin_levels). {_ARMS} Near 0 both networks are in '
  'one basin.'
)

INSTABILITY = base.Figure(
  'more_instability',
  'Pruning instability',
  caption=(
    'How much the test error changes from the level before: right after '
    'weights are removed, and when the network has been trained again; a point '
    'for each level, every fifth and the last with its number. Points below 0 '
    'are levels that improve. The horizontal axis is linear up to 1 point. '
    f'{base.SPREAD} Look for whether levels that do more damage at first end '
    'better.'
  ),
  needs=NEEDS,
  tabulate_one=tabulate_instability,
  reads='landscape',
  draw=draw_instability,
  notes=notes.note_instability,
)

ERROR_BARRIERS = base.Figure(
  'more_barriers_test_error',
  'Barriers of the test error',
  caption=f'Test error {_BARRIER}',
  needs=NEEDS,
  tabulate_one=functools.partial(tabulate_barriers, metric='test_error'),
  reads='landscape',
  draw=functools.partial(draw_barriers, metric='test_error'),
  notes=notes.note_error_barriers,
)

LOSS_BARRIERS = base.Figure(
  'more_barriers_training_loss',
  'Barriers of the training loss',
  caption=(
    'Training loss, on config.landscape.num_examples examples and the labels '
    f'trained on: {_BARRIER}'
  ),
  needs=NEEDS,
  tabulate_one=functools.partial(
    tabulate_barriers, metric='train_cross_entropy'
  ),
  reads='landscape',
  draw=functools.partial(draw_barriers, metric='train_cross_entropy'),
  notes=notes.note_loss_barriers,
)

CURVATURE = base.Figure(
  'more_curvature',
  'Curvature of the training loss',
  caption=(
    "The largest eigenvalue of the training loss's Hessian, on "
    'config.landscape.num_examples examples and the labels trained on, in the '
    f'directions of the weights that are left. {_ARMS} Lower is flatter; where '
    'the loss itself is near 0, so is its curvature.'
  ),
  needs=NEEDS,
  tabulate_one=tabulate_curvature,
  reads='landscape',
  draw=draw_curvature,
  notes=notes.note_curvature,
)
