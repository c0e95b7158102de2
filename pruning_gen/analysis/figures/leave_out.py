"""Dense retraining without sets of examples (appendices D, E and K.2)."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from pruning_gen.analysis import paired
from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import drawing
from pruning_gen.analysis.figures import grids
from pruning_gen.analysis.figures import style
from pruning_gen.analysis.load import Benchmark

# How networks trained without random examples are drawn.
RANDOM = {'ls': '--', 'marker': 's', 'mfc': 'white'}


def _tabulate(benchmark: Benchmark, kind: str) -> pd.DataFrame:
  """Tabulate one kind of set, with the weights remaining at its level.

  Returns:
    The columns of `paired.average_leave_out` and weights_remaining.
  """
  table = benchmark.leave_out
  table = table[table.left_out == kind]
  pruning = benchmark.summary[
    (benchmark.summary.experiment == 'chain')
    & (benchmark.summary.arm == 'pruning')
  ].drop_duplicates('level')
  weights = pruning.set_index('level').weights_remaining
  return table.assign(weights_remaining=table.number.map(weights)).rename(
    columns={
      'mean': 'without_mean',
      'std': 'without_std',
      'number': 'subgroup' if kind == 'subgroup' else 'level',
    }
  )


def tabulate_most_improved(benchmark: Benchmark) -> pd.DataFrame:
  """Tabulate retraining without the most improved examples, without noise."""
  table = _tabulate(benchmark, 'most_improved')
  return table[table.noise_fraction == 0]


def tabulate_most_worsened(benchmark: Benchmark) -> pd.DataFrame:
  """Tabulate retraining without the most worsened examples, with noise."""
  table = _tabulate(benchmark, 'most_worsened')
  return table[table.noise_fraction > 0]


def tabulate_misclassified(benchmark: Benchmark) -> pd.DataFrame:
  """Tabulate retraining without the misclassified, and pruning, with noise.

  Returns:
    As `_tabulate`, and pruning_mean and pruning_std of the optimally sparse
    network.
  """
  table = _tabulate(benchmark, 'misclassified')
  pruned = paired.compare_at_optimum(benchmark.results, benchmark.summary)
  pruned = pruned[pruned.network == 'pruning']
  columns = ['noise_fraction', 'test_error_mean', 'test_error_std']
  pruned = pruned[columns].rename(
    columns=lambda name: name.replace('test_error', 'pruning')
  )
  table = table[table.noise_fraction > 0]
  return table.merge(pruned, how='left', on='noise_fraction')


def draw_by_weights(table: pd.DataFrame) -> Drawing:
  """Draw sets by the sparsity whose losses chose them."""
  figure, grid, cells = grids.grid_by_noise(table)
  return _draw_by_weights(figure, grid, cells)


def draw_clean_by_weights(table: pd.DataFrame) -> Drawing:
  """Draw the same of clean labels, a column for each benchmark."""
  figure, grid = grids.columns(table)
  cells = grids.by_benchmark(grid[0], table, 'not in this run')
  return _draw_by_weights(figure, grid, cells)


def _draw_by_weights(figure: Drawing, grid: np.ndarray, cells) -> Drawing:
  for axes, rows in cells:
    _draw_set(axes, rows, rows.weights_remaining, rows.left_out.iloc[0])
    drawing.set_weights_axis(axes, rows.weights_remaining)
    axes.set_xlabel('weights where chosen (%)')
    drawing.set_error_axis(axes)
  return grids.finish(figure, grid)


def _draw_set(axes: Axes, rows: pd.DataFrame, x: pd.Series, kind: str) -> None:
  """Draw errors without a set, without random examples, and with all."""
  drawing.draw_curve(
    axes,
    x,
    rows,
    'without',
    color=style.color_of(kind),
    label=style.label_of(kind),
  )
  drawing.draw_curve(
    axes,
    x,
    rows,
    'random',
    color=style.color_of('random_set'),
    label=style.label_of('random_set'),
    **RANDOM,
  )
  # Of all replicates, where some have no such set.
  axes.axhline(
    rows.dense_mean[rows.n.idxmax()],
    color=style.color_of('all'),
    lw=1,
    zorder=1,
    label=style.label_of('all'),
  )


def draw_subgroups(table: pd.DataFrame) -> Drawing:
  """Draw subgroups left out."""
  figure, grid, cells = grids.grid_by_noise(table)
  for axes, rows in cells:
    num_subgroups = rows.subgroup.max() + 1
    percentile = 100 * (rows.subgroup + 0.5) / num_subgroups
    _draw_set(axes, rows, percentile, 'subgroup')
    axes.set_xlim(0, 100)
    axes.set_xticks(range(0, 101, 25))
    axes.set_xlabel('EL2N percentile left out')
    drawing.set_error_axis(axes)
  return grids.finish(figure, grid)


def draw_misclassified(table: pd.DataFrame) -> Drawing:
  """Draw four networks by noise level."""
  networks = {
    'dense': ('all', 'o', 'dense, all examples'),
    'without': ('misclassified', '^', style.label_of('misclassified')),
    'random': ('random_set', 's', style.label_of('random_set')),
    'pruning': ('pruning', 'D', 'pruning, optimally sparse'),
  }
  figure, grid = grids.columns(table)
  for axes, rows in grids.by_benchmark(grid[0], table, 'not in this run'):
    noise = np.unique(rows.noise_fraction)
    for i, (column, (name, marker, label)) in enumerate(networks.items()):
      drawing.draw_points(
        axes,
        np.searchsorted(noise, rows.noise_fraction) + 0.16 * (i - 1.5),
        rows[f'{column}_mean'],
        rows[f'{column}_std'],
        color=style.color_of(name),
        marker=marker,
        label=label,
      )
    drawing.set_noise_axis(axes, noise)
    drawing.set_error_axis(axes)
  return grids.finish(figure, grid)


def _note_levels(benchmarks: list[Benchmark], table: pd.DataFrame) -> list[str]:
  """Say where few of the levels were run, and so single points are drawn."""
  notes = []
  for own in benchmarks:
    rows = table[table.benchmark == own.title] if len(table) else table
    count = rows.level.nunique() if len(rows) else 0
    if 0 < count < own.config['levels']:
      notes.append(
        f'{own.title}: sets of {count} of {own.config["levels"]} levels were '
        'left out; config.leave_out.levels chooses which.'
      )
  return notes


APPENDIX_D = base.Figure(
  'appendix_d_leave_out_improved',
  'Appendix D: training without the examples that pruning improves most',
  caption=(
    'Test error of dense networks trained without the examples whose loss '
    'pruning lowers most at a level (by default 20 % of all), without as many '
    'random ones, and with all examples, without noise. Look for solid points '
    'above hollow ones: these examples matter.'
  ),
  needs=f"{base.LEAVE_OUT}, with 'most_improved' in --config.leave_out.sets",
  tabulate_one=tabulate_most_improved,
  reads='leave_out',
  draw=draw_clean_by_weights,
  notes=_note_levels,
)

APPENDIX_E = base.Figure(
  'appendix_e_leave_out_misclassified',
  'Appendix E: training without the examples that pruning gives up',
  caption=(
    'Test error by label noise: dense networks trained on all examples, '
    'without those that the optimally sparse network misclassifies, and '
    'without as many random ones; and pruning to the optimal sparsity. Look '
    'for triangles as low as diamonds.'
  ),
  needs=(
    f"{base.LEAVE_OUT}, with 'misclassified' in --config.leave_out.sets, and "
    f'{base.NOISE}'
  ),
  tabulate_one=tabulate_misclassified,
  reads='leave_out',
  draw=draw_misclassified,
)

APPENDIX_K2 = base.Figure(
  'appendix_k2_leave_out_subgroups',
  'Appendix K.2: training without one subgroup',
  caption=(
    'Test error of dense networks trained without one subgroup by EL2N, '
    'without as many random examples, and with all; axes for each noise '
    'level. Examples of high scores are influential: without noise leaving '
    'them out hurts, with noise it may help, since the highest are noisy.'
  ),
  needs=(
    f"{base.LEAVE_OUT}, with 'subgroups' in --config.leave_out.sets, and "
    f'{base.EL2N}'
  ),
  tabulate_one=lambda own: _tabulate(own, 'subgroup').drop(
    columns='weights_remaining'
  ),
  reads='leave_out',
  draw=draw_subgroups,
)

MOST_WORSENED = base.Figure(
  'more_leave_out_worsened',
  'Training without the examples that pruning worsens most, with noise',
  caption=(
    'As Appendix D, without the examples whose loss pruning raises most. Look '
    'for solid points below hollow ones: these examples mislead a dense '
    'network.'
  ),
  needs=(
    f"{base.LEAVE_OUT}, with 'most_worsened' in --config.leave_out.sets, and "
    f'{base.NOISE}'
  ),
  tabulate_one=tabulate_most_worsened,
  reads='leave_out',
  draw=draw_by_weights,
  notes=_note_levels,
)
