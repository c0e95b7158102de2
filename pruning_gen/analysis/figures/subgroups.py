"""Effect of pruning on subgroups by EL2N (figures 1b, 2 and 5)."""

import functools

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from pruning_gen.analysis import statistics
from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import curves
from pruning_gen.analysis.figures import drawing
from pruning_gen.analysis.figures import grids
from pruning_gen.analysis.figures import style
from pruning_gen.analysis.load import Benchmark

# The numbers of a network that there is not.
NOTHING = dict.fromkeys(
  ('subgroup', 'percentile', 'effect_mean', 'effect_std'), np.nan
)
OPTIMAL, HIGHEST = 'optimal', 'highest improving'


def average_effects(effects: pd.DataFrame, by: list[str]) -> pd.DataFrame:
  """Average effects on subgroups over replicates.

  Args:
    effects: the columns `by`, subgroup and effect.
    by: the columns that identify a network.

  Returns:
    The columns `by`; subgroup; percentile, the middle of its range of scores;
    effect_mean, effect_std and n.
  """
  table = statistics.average(effects, [*by, 'subgroup'], 'effect')
  percentile = 100 * (table.subgroup + 0.5) / (table.subgroup.max() + 1)
  table.insert(len(by) + 1, 'percentile', percentile)
  return table


def effects_by_el2n(benchmark: Benchmark) -> pd.DataFrame:
  """Average the effects of all arms and levels; width is an arm."""
  effects = curves.name_width(benchmark.effects)
  return average_effects(effects, ['arm', 'noise_fraction', 'level'])


def _at_sparsities(
  benchmark: Benchmark, sparsities: tuple[str, ...], with_noise: bool = False
) -> pd.DataFrame:
  """Tabulate pruning's effects at L*, or at the highest improving level.

  Without such a level there is one row per noise level, without numbers.
  """
  table = effects_by_el2n(benchmark)
  table = table[table.arm == 'pruning']
  levels = {
    OPTIMAL: statistics.optimal_levels(benchmark.summary),
    HIGHEST: statistics.highest_improving_levels(benchmark.summary),
  }
  pruning = benchmark.summary[benchmark.summary.arm == 'pruning']
  weights = pruning.drop_duplicates('level').set_index('level')
  last = pruning.groupby('noise_fraction')['level'].max()
  tables = []
  for sparsity in sparsities:
    for noise_fraction, rows in table.groupby('noise_fraction'):
      if (noise_fraction > 0) != with_noise:
        continue
      level = levels[sparsity].get(noise_fraction, 0)
      own = rows[rows.level == level] if level else rows.head(0)
      if own.empty:
        own = rows.head(1).assign(level=0, n=0, **NOTHING)
      own = own.assign(
        sparsity=sparsity,
        weights_remaining=weights.weights_remaining.get(level, 1.0),
        is_last=level == last[noise_fraction],
      )
      tables.append(own)
  return pd.concat(tables) if tables else pd.DataFrame()


def _pick_vgg(benchmarks: list[Benchmark]) -> list[Benchmark]:
  """Return VGG-16 if the report has its effects without noise, or else all."""
  vgg = [
    own
    for own in benchmarks
    if own.config['model']['name'] == 'vgg16'
    and 0 in set(own.effects.get('noise_fraction', ()))
  ]
  return vgg or benchmarks


def _heading(rows: pd.DataFrame) -> str:
  row = rows.iloc[0]
  at_least = '≥ ' if row.sparsity == HIGHEST and row.is_last else ''
  return (
    f'level {at_least}{row.level:.0f}: {100 * (1 - row.weights_remaining):.1f}'
    ' % sparse'
  )


def draw_effect(axes: Axes, rows: pd.DataFrame, **look) -> None:
  """Draw the effects of one network on all subgroups."""
  drawing.draw_curve(axes, rows.percentile, rows, 'effect', **look)
  axes.axhline(0, color='0.3', lw=1, zorder=1)
  axes.set_xlim(0, 100)
  axes.set_xticks(range(0, 101, 25))
  axes.set_xlabel('EL2N percentile')
  axes.set_ylabel('change of training loss (nats)')


def draw_one(axes: Axes, rows: pd.DataFrame) -> None:
  """Draw a clean benchmark at one sparsity, or say that there is none."""
  title = axes.get_title()
  if rows.effect_mean.isna().all():
    why = {
      OPTIMAL: 'the optimal sparsity is level 0,\nthe dense network',
      HIGHEST: 'no level improves\non the dense network',
    }[rows.sparsity.iloc[0]]
    grids.say(axes, why)
    return
  color = style.noise_color(rows.noise_fraction.iloc[0])
  draw_effect(axes, rows, color=color, label='sparse minus dense')
  axes.set_title(f'{title}\n{_heading(rows)}')


def draw_clean(table: pd.DataFrame) -> Drawing:
  """Draw one sparsity, a column for each benchmark."""
  has_curves = table.effect_mean.notna().any()
  figure, grid = grids.columns(table, height=2.7 if has_curves else 0.8)
  for axes, rows in grids.by_benchmark(
    grid[0], table, 'no EL2N scores\nor no clean labels'
  ):
    draw_one(axes, rows)
  grids.label_left(grid)
  return figure


def draw_first_page(table: pd.DataFrame) -> Drawing:
  """Draw two sparsities side by side, a row for each benchmark."""
  titles = [t for t in grids.benchmarks_of(table) if t in set(table.benchmark)]
  has_curves = table.effect_mean.notna().any()
  figure, grid = grids.make_grid(len(titles), 2, 2.7 if has_curves else 0.8)
  for row, title in zip(grid, titles):
    for axes, sparsity in zip(row, (OPTIMAL, HIGHEST)):
      axes.set_title(f'{title}: {sparsity} sparsity')
      own = (table.benchmark == title) & (table.sparsity == sparsity)
      draw_one(axes, table[own])
  grids.label_left(grid)
  return figure


def draw_noise(table: pd.DataFrame) -> Drawing:
  """Draw the optimal sparsity, a curve for each noise level."""
  figure, grid = grids.columns(table)
  table = table.dropna(subset='effect_mean')
  why = 'no noise level has both\nEL2N scores and L* above 0'
  for axes, rows in grids.by_benchmark(grid[0], table, why):
    for noise_fraction, own in rows.groupby('noise_fraction'):
      draw_effect(axes, own, **style.noise_look(noise_fraction))
  return grids.finish(figure, grid)


def _note_last(benchmarks: list[Benchmark], table: pd.DataFrame) -> list[str]:
  """Say where the highest improving level is the last one run."""
  if table.empty:
    return []
  rows = table[(table.sparsity == HIGHEST) & table.is_last & (table.level > 0)]
  rows = rows.drop_duplicates('benchmark')
  return [
    f'{title}: level {level} is the last one run, so the highest improving '
    'sparsity is at least this.'
    for title, level in zip(rows.benchmark, rows.level)
  ]


def _note_dense(benchmarks: list[Benchmark], table: pd.DataFrame) -> list[str]:
  """Name the noise levels that are not drawn, and why."""
  if table.empty:
    return []
  left_out = table[table.effect_mean.isna()]
  return [
    f'{title}: {style.noise_label(noise_fraction)} is not drawn, because its '
    'optimal sparsity is level 0, the dense network.'
    for title, noise_fraction in zip(
      left_out.benchmark, left_out.noise_fraction
    )
  ]


MEANING = (
  'Training loss of the sparse minus that of the dense network, averaged over '
  'each subgroup of training examples by EL2N; below 0 the sparse network is '
  'better. Vertical scales differ between benchmarks. Bands are one standard '
  'deviation over replicates.'
)

FIGURE_1B = base.Figure(
  'figure_1b_subgroups',
  'Figure 1b: effect on influential examples at two sparsities, without noise',
  caption=(
    f'{MEANING} Left: at the optimal sparsity. Right: at the highest sparsity '
    'whose test error is better than dense. Look for a change that grows with '
    'EL2N, down on the left, perhaps up on the right.'
  ),
  needs=f'{base.EL2N}, and {base.CLEAN}',
  tabulate_one=functools.partial(_at_sparsities, sparsities=(OPTIMAL, HIGHEST)),
  reads='effects',
  pick=_pick_vgg,
  draw=draw_first_page,
  notes=_note_last,
)

FIGURE_2A = base.Figure(
  'figure_2a_subgroups_optimal',
  'Figure 2a: effect on subgroups at the optimal sparsity, without noise',
  caption=(
    f'{MEANING} Look for no subgroup above 0, and for a change that falls on '
    'the highest scores, the influential examples.'
  ),
  needs=f'{base.EL2N}, and {base.CLEAN}',
  tabulate_one=functools.partial(_at_sparsities, sparsities=(OPTIMAL,)),
  reads='effects',
  draw=draw_clean,
)

FIGURE_2B = base.Figure(
  'figure_2b_subgroups_highest',
  'Figure 2b: effect on subgroups at the highest improving sparsity, without '
  'noise',
  caption=(
    'As Figure 2a, at the sparsest level whose test error is better than '
    'dense by the rule of the paper. Look for subgroups that train worse '
    'although the network generalizes better.'
  ),
  needs=f'{base.EL2N}, and {base.CLEAN}',
  tabulate_one=functools.partial(_at_sparsities, sparsities=(HIGHEST,)),
  reads='effects',
  draw=draw_clean,
  notes=_note_last,
)

FIGURE_5 = base.Figure(
  'figure_5_subgroups_noise',
  'Figure 5: effect on subgroups at the optimal sparsity, with noise',
  caption=(
    f'{MEANING} One curve per noise level. Look for the highest scores, which '
    'are the noisy examples: pruning raises their loss.'
  ),
  needs=f'{base.EL2N}, and {base.NOISE}',
  tabulate_one=functools.partial(
    _at_sparsities, sparsities=(OPTIMAL,), with_noise=True
  ),
  reads='effects',
  draw=draw_noise,
  notes=_note_dense,
)
