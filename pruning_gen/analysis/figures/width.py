"""Width down-scaling against pruning (section 5.2, appendices F and I)."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from pruning_gen.analysis import paired
from pruning_gen.analysis import statistics
from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import curves
from pruning_gen.analysis.figures import drawing
from pruning_gen.analysis.figures import extended
from pruning_gen.analysis.figures import grids
from pruning_gen.analysis.figures import style
from pruning_gen.analysis.figures import subgroups
from pruning_gen.analysis.load import Benchmark


def tabulate_test_error(benchmark: Benchmark) -> pd.DataFrame:
  """Tabulate the test error of pruned and of narrower networks."""
  table = curves.tabulate(benchmark, ['pruning', 'width'], 'test_error')
  return table if 'width' in set(table.arm) else table.head(0)


def _effects_at(
  benchmark: Benchmark, width_levels: dict[float, int | None]
) -> pd.DataFrame:
  """Tabulate effects of pruning at L* next to those of a narrower network.

  Args:
    width_levels: level of `width` by noise level; without one, or with 0, a
      noise level is left out.
  """
  table = subgroups.effects_by_el2n(benchmark)
  pruning = statistics.optimal_levels(benchmark.summary)
  parts = [table.head(0)]
  for noise_fraction, level in pruning.items():
    narrow = width_levels.get(noise_fraction)
    if not level or not narrow:
      continue
    own = table[table.noise_fraction == noise_fraction]
    pair = [
      own[(own.arm == 'pruning') & (own.level == level)],
      own[(own.arm == 'width') & (own.level == narrow)],
    ]
    parts += pair if all(map(len, pair)) else []
  return pd.concat(parts)


def tabulate_effects(benchmark: Benchmark) -> pd.DataFrame:
  """Tabulate pruning at L* next to width at k*, with noise."""
  optima = statistics.optimal_levels(benchmark.summary, 'width', 'dense')
  table = _effects_at(benchmark, optima)
  return table[table.noise_fraction > 0]


def tabulate_same_size(benchmark: Benchmark) -> pd.DataFrame:
  """Tabulate pruning at L* next to the width of as many weights."""
  pruning = statistics.optimal_levels(benchmark.summary)
  same_size = {
    noise_fraction: paired.find_same_size(
      benchmark.summary, noise_fraction, level
    )
    for noise_fraction, level in pruning.items()
  }
  return _effects_at(benchmark, same_size)


def draw(table: pd.DataFrame) -> Drawing:
  """Draw both by weights: pruning as squares, width as circles."""
  figure, grid = grids.columns(table)
  for axes, rows in grids.by_benchmark(grid[0], table, 'width did not run'):
    extended.draw_two(axes, rows, 'weights_remaining', 'width')
    drawing.set_weights_axis(axes, rows.weights_remaining)
    drawing.set_error_axis(axes)
  keys = extended.two_keys(table, 'width')
  return grids.finish(figure, grid, *keys, has_curves=False)


def draw_zooms(table: pd.DataFrame) -> Drawing:
  """Draw each noise level apart, from its minima up, and mark those."""
  figure, grid, cells = grids.grid_by_noise(table, 2.5)
  for axes, rows in cells:
    drawing.draw_arms(axes, rows, 'weights_remaining', 'test_error')
    drawing.set_weights_axis(axes, rows.weights_remaining)
    axes.set_ylabel('test error (%)')
    drawing.show_percent(axes.yaxis)
    _zoom(axes, rows)
  ring = {'marker': 'o', 'ms': 9, 'mfc': 'none', 'ls': ''}
  return grids.finish(figure, grid, style.key('lowest test error', **ring))


def _zoom(axes: Axes, rows: pd.DataFrame) -> None:
  """Limit axes to errors near the minima of both curves, and ring those."""
  minima = rows.loc[rows.groupby('arm').test_error_mean.idxmin()]
  low, high = minima.test_error_mean.min(), minima.test_error_mean.max()
  dense = rows[rows.level == 0].test_error_mean.max()
  top = max(high, dense) + max(high - low, 0.5 * low, 1e-3)
  axes.set_ylim(max(low - 0.2 * (top - low), 0), top)
  drawing.mark_cut_off(axes)
  for row in minima.itertuples():
    axes.plot(
      row.weights_remaining,
      row.test_error_mean,
      'o',
      ms=9,
      mfc='none',
      color=style.color_of(row.arm),
    )


def draw_effects(table: pd.DataFrame) -> Drawing:
  """Draw the effects of both on subgroups, each noise level apart."""
  figure, grid, cells = grids.grid_by_noise(table, 2.6)
  for axes, rows in cells:
    levels = []
    for arm, own in rows.groupby('arm', sort=False):
      levels.append(f'{style.label_of(arm)} level {own.level.iloc[0]}')
      subgroups.draw_effect(axes, own, **style.arm_look(arm))
    axes.set_title(f'{axes.get_title()}\n{", ".join(levels)}')
  return grids.finish(figure, grid)


def _note_left_out(
  benchmarks: list[Benchmark], table: pd.DataFrame, with_clean: bool
) -> list[str]:
  """Name the noise levels that are not drawn, and why."""
  notes = []
  for own in benchmarks:
    summary = own.summary
    if own.effects.empty or 'width' not in set(summary.experiment):
      continue
    drawn = table[table.benchmark == own.title] if len(table) else table
    drawn = set(drawn.noise_fraction) if len(drawn) else set()
    optima = {
      'pruning': statistics.optimal_levels(summary),
      'width': statistics.optimal_levels(summary, 'width', 'dense'),
    }
    for noise_fraction in optima['pruning']:
      if noise_fraction in drawn or not (noise_fraction or with_clean):
        continue
      dense = [arm for arm in optima if not optima[arm].get(noise_fraction)]
      why = (
        f'the optimum of {" and of ".join(dense)} is level 0, the dense network'
        if dense and (not with_clean or 'pruning' in dense)
        else 'no narrower network has about as many weights'
      )
      label = style.noise_label(noise_fraction)
      notes.append(f'{own.title}: {label} is not drawn, because {why}.')
  return notes


FIGURE_7 = base.Figure(
  'figure_7_width',
  'Figure 7: narrower networks against pruning',
  caption=(
    'Test error by weights remaining, in percent of the full network: pruning '
    'as squares, width down-scaling as circles; one color per noise level. If '
    'size were the reason, both would fall alike.'
  ),
  needs=base.WIDTH,
  tabulate_one=tabulate_test_error,
  draw=draw,
)

APPENDIX_F = base.Figure(
  'appendix_f_width_zooms',
  'Appendix F: Figure 7, each noise level apart',
  caption=(
    'Vertical axes differ: each ends a little above the dense network and the '
    'higher of the two minima, which are ringed. An arrow and a value '
    'mark points above the axis.'
  ),
  needs=base.WIDTH,
  tabulate_one=tabulate_test_error,
  draw=draw_zooms,
)

APPENDIX_I = base.Figure(
  'appendix_i_width_subgroups',
  'Appendix I: pruning and width by subgroup, with noise',
  caption=(
    'Change of training loss by subgroup of EL2N, each network against its own '
    'dense network: pruning at its optimal sparsity, and width at the level of '
    'its own lowest validation error. Look for curves of the same shape.'
  ),
  needs=f'{base.WIDTH} and {base.EL2N}, and {base.NOISE}',
  tabulate_one=tabulate_effects,
  reads='effects',
  draw=draw_effects,
  notes=lambda benchmarks, table: _note_left_out(benchmarks, table, False),
)

SAME_SIZE = base.Figure(
  'more_width_same_size',
  'Pruning and a width of the same size, by subgroup',
  caption=(
    'As Appendix I, with the narrower network that has about as many weights '
    'as the optimally sparse one. Where the curves part, it is not size alone '
    'that makes the difference.'
  ),
  needs=f'{base.WIDTH} and {base.EL2N}',
  tabulate_one=tabulate_same_size,
  reads='effects',
  draw=draw_effects,
  notes=lambda benchmarks, table: _note_left_out(benchmarks, table, True),
)
