"""Training loss on clean and noisy examples, and memorization (section 4)."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from pruning_gen.analysis import statistics
from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import curves
from pruning_gen.analysis.figures import drawing
from pruning_gen.analysis.figures import grids
from pruning_gen.analysis.figures import style
from pruning_gen.analysis.load import Benchmark

CLEAN, NOISY = 'train_cross_entropy_clean', 'train_cross_entropy_noisy'
# How noisy and clean examples are drawn.
PARTS = {NOISY: ('-', 'noisy examples'), CLEAN: ('--', 'clean examples')}
SHARES = {
  'as_noisy': ('-', 'o', 'as the noisy label'),
  'as_true': ('--', 's', 'as the true label'),
  'as_other': (':', '^', 'as another class'),
}


def tabulate_losses(benchmark: Benchmark) -> pd.DataFrame:
  """Tabulate pruning's loss on clean and noisy examples, with noise."""
  table = curves.tabulate(benchmark, ['pruning'], NOISY, CLEAN)
  return table[table.noise_fraction > 0]


def tabulate_table_11(benchmark: Benchmark) -> pd.DataFrame:
  """Tabulate the same numbers in the shape of the paper's Table 11."""
  table = curves.tabulate(benchmark, ['pruning'], CLEAN, NOISY)
  columns = ['noise_fraction', 'level', 'weights_remaining']
  values = [f'{name}_{k}' for name in (CLEAN, NOISY) for k in ('mean', 'std')]
  table = table[table.noise_fraction > 0]
  return table[[*columns, *values, 'n', 'is_optimal']]


def tabulate_at_optimum(benchmark: Benchmark) -> pd.DataFrame:
  """Tabulate the losses of dense, extended dense and optimally sparse networks.

  Returns:
    `curves.tabulate` with a column `network`: at pruning's optimal sparsity,
    and 'dense' at level 0.
  """
  table = curves.tabulate(
    benchmark, ['pruning', 'extended_dense'], NOISY, CLEAN
  )
  table = table[table.noise_fraction > 0]
  levels = statistics.optimal_levels(benchmark.summary)
  is_dense = (table.arm == 'pruning') & (table.level == 0)
  at_optimum = table.level == table.noise_fraction.map(levels)
  found = [
    table[is_dense].assign(network='dense'),
    table[at_optimum & (table.level > 0)].assign(network=table.arm),
  ]
  return pd.concat(found)


def tabulate_memorization(benchmark: Benchmark) -> pd.DataFrame:
  """Tabulate what pruned networks predict for noisy examples, by level."""
  table = benchmark.memorization
  table = table[(table.experiment == 'chain') & (table.arm == 'pruning')]
  by = ['noise_fraction', 'level']
  shares = statistics.average(table, by, *SHARES)
  summary = benchmark.summary
  summary = summary[
    (summary.experiment == 'chain') & (summary.arm == 'pruning')
  ]
  weights = summary[[*by, 'weights_remaining', 'is_optimal']]
  return weights.merge(shares, on=by)


def draw_losses(table: pd.DataFrame) -> Drawing:
  """Draw losses by sparsity: clean examples dashed, noisy ones solid."""
  figure, grid = grids.columns(table)
  for axes, rows in grids.by_benchmark(grid[0], table, 'no noise in this run'):
    stars = []
    for noise_fraction, curve in rows.groupby('noise_fraction'):
      color = style.noise_color(noise_fraction)
      for metric, (line, name) in PARTS.items():
        drawing.draw_curve(
          axes,
          curve.weights_remaining,
          curve,
          metric,
          color=color,
          ls=line,
          mfc='white' if metric == CLEAN else color,
          marker=style.noise_marker(noise_fraction),
          label=f'{style.noise_label(noise_fraction)}, {name}',
        )
        stars += drawing.optimum_of(curve, 'weights_remaining', metric, color)
    drawing.set_weights_axis(axes, rows.weights_remaining)
    drawing.set_loss_axis(axes)
    drawing.draw_stars(axes, stars)
  noise = [
    style.key(**style.noise_look(noise_fraction))
    for noise_fraction in sorted(table.noise_fraction.unique())
  ]
  parts = [
    style.key(name, ls=line, marker='o', mfc=fill)
    for (line, name), fill in zip(PARTS.values(), ('0.3', 'white'))
  ]
  keys = [*noise, *parts, style.key(**style.OPTIMAL)]
  return grids.finish(figure, grid, *keys, has_curves=False)


def draw_memorization(table: pd.DataFrame) -> Drawing:
  """Draw shares of noisy examples."""
  figure, grid, cells = grids.grid_by_noise(table)
  for axes, rows in cells:
    color = style.noise_color(rows.noise_fraction.iloc[0])
    for share, (line, marker, name) in SHARES.items():
      drawing.draw_curve(
        axes,
        rows.weights_remaining,
        rows,
        share,
        color=color,
        ls=line,
        marker=marker,
        mfc=color if share == 'as_noisy' else 'white',
        label=f'predicted {name}',
      )
    for weights in rows[rows.is_optimal].weights_remaining:
      axes.axvline(weights, color='0.3', ls='--', lw=1, zorder=1)
    drawing.set_weights_axis(axes, rows.weights_remaining)
    drawing.show_percent(axes.yaxis)
    axes.set_ylim(-0.03, 1.03)
    axes.set_ylabel('noisy examples (%)')
  return grids.finish(figure, grid, *_memorization_keys(), has_curves=False)


def _memorization_keys() -> list:
  look = {'ms': 4, 'mfc': 'white'}
  keys = [
    style.key(f'predicted {name}', ls=line, marker=marker, **look)
    for line, marker, name in SHARES.values()
  ]
  keys[0].set_markerfacecolor(keys[0].get_color())
  return [*keys, style.key('optimal sparsity', ls='--', lw=1)]


def draw_at_optimum(table: pd.DataFrame) -> Drawing:
  """Draw the losses of three networks, clean examples hollow."""
  networks = list(table.network.unique())
  figure, grid = grids.columns(table)
  for axes, rows in grids.by_benchmark(grid[0], table, 'no noise in this run'):
    noise = np.unique(rows.noise_fraction)
    for i, network in enumerate(networks):
      own = rows[rows.network == network]
      at = np.searchsorted(noise, own.noise_fraction) + 0.2 * (i - 1)
      look = style.arm_look(network)
      for metric, (_, name) in PARTS.items():
        drawing.draw_points(
          axes,
          at,
          own[f'{metric}_mean'],
          own[f'{metric}_std'],
          **look | {'label': f'{look["label"]}, {name}'},
          mfc='white' if metric == CLEAN else look['color'],
        )
    drawing.set_noise_axis(axes, noise)
    axes.set_ylabel('training loss (nats)')
    axes.set_ylim(bottom=0)
  return grids.finish(figure, grid)


FIGURE_4 = base.Figure(
  'figure_4_noisy_loss',
  'Figure 4: training loss on clean and noisy examples',
  caption=(
    'Training loss of pruned networks on examples with their true label '
    '(dashed, hollow; the paper calls them original) and on those with a '
    'random one (solid), a color for each noise level. Look for solid curves '
    'that dip at many weights and then rise far above the dashed ones. Stars '
    'mark the optimal sparsity on both. The numbers are in the table of '
    'Appendix M; More views have the same in predictions.'
  ),
  needs=f'{base.CHAIN}, and {base.NOISE}',
  tabulate_one=tabulate_losses,
  draw=draw_losses,
)

TABLE_11 = base.Figure(
  'appendix_m_noisy_loss',
  'Appendix M, Table 11: training loss on clean and noisy examples',
  caption='The numbers of Figure 4. Bold: the optimal sparsity.',
  needs=f'{base.CHAIN}, and {base.NOISE}',
  tabulate_one=tabulate_table_11,
)

MEMORIZATION = base.Figure(
  'more_memorization',
  'Memorization: what noisy examples are predicted as',
  caption=(
    'Of the training examples with a random label, how many the pruned network '
    'predicts as that label (memorized), as the true label, or as another '
    'class; axes for each noise level. Look for memorized examples that '
    'pruning turns into correctly predicted ones: regularization. '
    f'{base.SPREAD}'
  ),
  needs=f'{base.CHAIN}, and {base.NOISE}',
  tabulate_one=tabulate_memorization,
  reads='memorization',
  draw=draw_memorization,
)

AT_OPTIMUM = base.Figure(
  'more_noisy_loss_at_optimum',
  'Training loss on clean and noisy examples, at the optimal sparsity',
  caption=(
    'The dense network, extended dense training of as many epochs, and the '
    'optimally sparse network; clean examples hollow, noisy ones filled. Look '
    'for noisy examples that only the sparse network does not fit.'
  ),
  needs=f'{base.CHAIN}, and {base.NOISE}',
  tabulate_one=tabulate_at_optimum,
  draw=draw_at_optimum,
)
