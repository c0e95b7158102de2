"""Pruning arms against their dense controls (figure 1a, appendix C)."""

import functools

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.patches import Patch

from pruning_gen.analysis import paired
from pruning_gen.analysis import statistics
from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import curves
from pruning_gen.analysis.figures import drawing
from pruning_gen.analysis.figures import grids
from pruning_gen.analysis.figures import style
from pruning_gen.analysis.load import Benchmark


def tabulate_pair(
  benchmark: Benchmark, pruning: str, control: str | None
) -> pd.DataFrame:
  """Tabulate the clean test error of an arm and of its dense control.

  Returns:
    pair, the arm that prunes; the columns of `curves.tabulate`; and, in the
    rows of the control, difference_mean, difference_std and verdict of its
    error minus that of the arm at the same level, paired by replicate.
  """
  names = [pruning, control] if control else [pruning]
  table = curves.tabulate(benchmark, names, 'test_error')
  table = table[table.noise_fraction == 0].reset_index(drop=True)
  clean = benchmark.results[
    (benchmark.results.noise_fraction == 0)
    & (benchmark.results.experiment == 'chain')
  ]
  judged = [
    statistics.compare(
      *(
        statistics.select(clean, arm=arm, level=row.level).test_error
        for arm in (row.arm, pruning)
      )
    )
    if row.arm == control
    else statistics.Comparison(np.nan, np.nan, 0, '')
    for row in table.itertuples()
  ]
  table['difference_mean'] = [found.mean for found in judged]
  table['difference_std'] = [found.std for found in judged]
  table['verdict'] = [found.verdict for found in judged]
  table.insert(0, 'pair', pruning)
  # The star is pruning's alone.
  table['is_optimal'] &= table.arm == 'pruning'
  return table


def tabulate_controls(benchmark: Benchmark) -> pd.DataFrame:
  """Tabulate every arm that prunes, with its dense control where it has one."""
  controls = paired.dense_controls(benchmark.summary)
  tables = [
    tabulate_pair(benchmark, arm, controls.get(arm))
    for arm in paired.pruning_arms(benchmark.summary)
  ]
  return pd.concat(tables) if tables else pd.DataFrame()


def draw(table: pd.DataFrame) -> Drawing:
  """Draw axes for each benchmark and pair, five to a row."""
  pairs = list(table.groupby(['benchmark', 'pair'], sort=False, observed=True))
  num_columns = min(len(pairs), 5)
  num_rows = -(-len(pairs) // num_columns)
  figure, grid = grids.make_grid(num_rows, num_columns, 3.1)
  for axes in grid.ravel()[len(pairs) :]:
    axes.set_axis_off()
  for axes, ((title, pair), rows) in zip(grid.ravel(), pairs):
    axes.set_title(
      title if table.pair.nunique() == 1 else f'{title}\n{style.label_of(pair)}'
    )
    _draw_pair(axes, rows)
  return grids.finish(
    figure,
    grid,
    style.key(**style.DENSE),
    style.key(**style.OPTIMAL),
    Patch(color='0.9', label='levels at which both match'),
  )


def _draw_pair(axes: Axes, rows: pd.DataFrame) -> None:
  drawing.draw_arms(axes, rows, 'matched_weights_remaining', 'test_error')
  drawing.draw_dense(axes, rows, 'test_error', '0.3')
  drawing.set_weights_axis(axes, rows.matched_weights_remaining)
  drawing.set_error_axis(axes)
  for left, right in _matching_ranges(rows, widen=True):
    # Without weights it ends at the right edge.
    axes.axvspan(
      max(right, axes.get_xlim()[1]), left, color='0.9', lw=0, zorder=0
    )
  drawing.draw_stars(
    axes,
    drawing.optimum_of(
      rows,
      'matched_weights_remaining',
      'test_error',
      style.color_of(rows.pair.iloc[0]),
    ),
  )
  _add_epochs(axes, rows)


def _add_epochs(axes: Axes, rows: pd.DataFrame) -> None:
  """Add the axis of training epochs at the top."""
  levels = rows[rows.matched_weights_remaining > 0]
  levels = levels.drop_duplicates('level').sort_values('level')
  shown = np.unique(np.linspace(0, len(levels) - 1, 5).round().astype(int))
  top = axes.secondary_xaxis('top')
  top.set_xticks(
    levels.matched_weights_remaining.iloc[shown],
    levels.epochs_trained.iloc[shown].astype(int),
    minor=False,
  )
  top.set_xticks([], minor=True)
  top.set_xlabel('training epochs')
  top.spines['top'].set_visible(False)


def _matching_ranges(
  rows: pd.DataFrame, widen: bool = False
) -> list[tuple[float, float]]:
  """Return the unbroken ranges of weights over which both match.

  Args:
    rows: of one benchmark and pair.
    widen: whether to reach half way to the next levels, for drawing.
  """
  rows = rows[rows.verdict != ''].sort_values('level')
  weights = rows.matched_weights_remaining.to_numpy()
  if not len(weights):
    return []
  between = np.sqrt(weights[1:] * weights[:-1])
  starts = np.append(weights[0], between) if widen else weights
  ends = np.append(between, weights[-1]) if widen else weights
  ranges = []
  is_match = (rows.verdict == 'match').to_numpy()
  for i in np.flatnonzero(is_match):
    if i and is_match[i - 1]:
      ranges[-1] = ranges[-1][0], ends[i]
    else:
      ranges.append((starts[i], ends[i]))
  return ranges


def note_matches(benchmarks: list[Benchmark], table: pd.DataFrame) -> list[str]:
  """Say over which range of weights each pair matches."""
  if table.empty:
    return []
  notes = []
  for (title, pair), rows in table.groupby(
    ['benchmark', 'pair'], sort=False, observed=True
  ):
    # At level 0 both are one network.
    judged = rows[(rows.verdict != '') & (rows.level > 0)]
    about = f'{title}, {style.label_of(pair)}'
    if judged.empty:
      why = (
        'has no dense control in this run'
        if rows.arm.nunique() == 1
        else 'one replicate gets no verdicts, so nothing is shaded'
      )
      notes.append(f'{about}: {why}.')
      continue
    ranges = ', '.join(
      f'{100 * left:.3g}\u00a0%'
      if left == right
      else f'{100 * left:.3g} to {100 * right:.3g}\u00a0%'
      for left, right in _matching_ranges(rows)
    )
    count = f'{(judged.verdict == "match").sum()} of {len(judged)} levels'
    notes.append(
      f'{about}: both match at {count}'
      + (f', {ranges} of the weights.' if ranges else '.')
    )
  drawn = set(table.benchmark)
  return notes + [
    f'{own.title}: not drawn, since it has no clean labels or no arm pruning.'
    for own in benchmarks
    if own.title not in drawn
  ]


CAPTION = (
  'The dense control trains as the pruning arm does and removes nothing; its '
  'points are where pruning is after as many epochs (top). Both match in the '
  'shaded ranges by the rule of the paper, paired by replicate. '
)

FIGURE_1A = base.Figure(
  'figure_1a_test_error',
  'Figure 1a: pruning and extended dense training, without noise',
  caption=f'{CAPTION}{base.STAR} {base.SPREAD}',
  needs=f'{base.CHAIN}, and {base.CLEAN}',
  tabulate_one=functools.partial(
    tabulate_pair, pruning='pruning', control='extended_dense'
  ),
  draw=draw,
  notes=note_matches,
)

APPENDIX_C = base.Figure(
  'appendix_c_dense_controls',
  'Appendix C, Figure 8: every pruning arm and its dense control',
  caption=f'As Figure 1a, for each arm that prunes. {CAPTION}{base.STAR}',
  needs=f'{base.CHAIN}, and {base.CLEAN}',
  tabulate_one=tabulate_controls,
  draw=draw,
  notes=note_matches,
)
