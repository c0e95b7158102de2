"""Other ways to rewind and to choose weights (appendix J)."""

import pandas as pd
from matplotlib.figure import Figure as Drawing

from pruning_gen.analysis import paired
from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import curves
from pruning_gen.analysis.figures import drawing
from pruning_gen.analysis.figures import grids
from pruning_gen.analysis.figures import style
from pruning_gen.analysis.load import Benchmark
from pruning_gen.pruning import arms


def _tabulate(benchmark: Benchmark, names: list[str]) -> pd.DataFrame:
  table = curves.tabulate(benchmark, names, 'test_error')
  # The star is pruning's alone.
  table['is_optimal'] &= table.arm == 'pruning'
  return table if table.arm.nunique() > 1 else table.head(0)


def tabulate_rewinding(benchmark: Benchmark) -> pd.DataFrame:
  """Tabulate arms that prune by magnitude, or that rewind weights."""
  names = [
    name
    for name in paired.pruning_arms(benchmark.summary)
    if arms.ARMS[name].score == 'magnitude' or arms.ARMS[name].rewinds_weights
  ]
  return _tabulate(benchmark, names)


def tabulate_scores(benchmark: Benchmark) -> pd.DataFrame:
  """Tabulate arms that prune by any score and rewind no weights."""
  names = [
    name
    for name in paired.pruning_arms(benchmark.summary)
    if not arms.ARMS[name].rewinds_weights
  ]
  return _tabulate(benchmark, names)


def draw(table: pd.DataFrame) -> Drawing:
  """Draw axes for each benchmark and noise level, a curve for each arm."""
  figure, grid, cells = grids.grid_by_noise(table)
  for axes, rows in cells:
    drawing.draw_arms(axes, rows, 'weights_remaining', 'test_error')
    drawing.draw_dense(axes, rows, 'test_error', '0.3')
    drawing.set_weights_axis(axes, rows.weights_remaining)
    drawing.set_error_axis(axes)
    color = style.color_of('pruning')
    drawing.draw_stars(
      axes,
      drawing.optimum_of(rows, 'weights_remaining', 'test_error', color),
    )
  return grids.finish(
    figure, grid, style.key(**style.DENSE), style.key(**style.OPTIMAL)
  )


def _make(name: str, title: str, tabulate, arms_needed: str) -> base.Figure:
  return base.Figure(
    name,
    title,
    caption=(
      'A curve for each arm, axes for each noise level. Where all arms '
      f'improve alike, this choice does not explain it. {base.STAR} '
      f'{base.SPREAD}'
    ),
    needs=f'more arms in --config.arms: {arms_needed}',
    tabulate_one=tabulate,
    draw=draw,
  )


APPENDIX_J1 = _make(
  'appendix_j1_rewinding',
  'Appendix J.1: rewinding weights against rewinding the learning rate',
  tabulate_rewinding,
  "'weight_rewinding'",
)
APPENDIX_J2 = _make(
  'appendix_j2_scores',
  'Appendix J.2: which weights to remove',
  tabulate_scores,
  "'random', 'gradient', 'synflow'",
)
