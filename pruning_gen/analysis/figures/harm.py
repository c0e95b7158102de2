"""Errors of classes and subgroups, and which are harmed (section 7)."""

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from pruning_gen.analysis import fairness
from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import curves
from pruning_gen.analysis.figures import drawing
from pruning_gen.analysis.figures import grids
from pruning_gen.analysis.figures import heat_maps
from pruning_gen.analysis.figures import style
from pruning_gen.analysis.load import Benchmark

DECADES = 2
GROUPS = {
  ('train', 'subgroup'): 'training error by subgroup of EL2N',
  ('train', 'class'): 'training error by class',
  ('test', 'class'): 'test error by class',
}
# More are drawn in the order of where harm begins.
MAX_GROUPS = 30
LEVEL = ['arm', 'noise_fraction', 'level']


def _compare(benchmark: Benchmark) -> pd.DataFrame:
  """Tabulate `fairness.compare_groups` of three arms, with the weights."""
  table = curves.name_width(fairness.compare_groups(benchmark.group_errors))
  table = table[table.arm.isin(heat_maps.ARMS)]
  # Level 0 alone has no change of error.
  if not (table.level > 0).any():
    return table.head(0)
  table = curves.add_weights(table, benchmark)
  order = {arm: i for i, arm in enumerate(heat_maps.ARMS)}
  return table.sort_values(
    'arm', key=lambda names: names.map(order), kind='stable'
  )


def tabulate_harm(benchmark: Benchmark) -> pd.DataFrame:
  """Tabulate from which level on each group is harmed.

  Returns:
    `fairness.GROUP` without the experiment; harmed_from, and
    weights_remaining there; both missing where a group is not harmed at the
    last level; optimal_weights_remaining, of the same arm and noise level.
  """
  compared = _compare(benchmark)
  table = fairness.find_harm(compared)
  if 'pruning' not in set(table.arm):
    return table.head(0)
  weights = compared.drop_duplicates(LEVEL).set_index(LEVEL)
  weights = weights.matched_weights_remaining
  keys = zip(table.arm, table.noise_fraction, table.harmed_from.fillna(-1))
  table['weights_remaining'] = [weights.get(key, np.nan) for key in keys]
  summary = curves.name_width(benchmark.summary)
  summary = summary[summary.arm.isin(heat_maps.ARMS)]
  best = summary[summary.is_optimal]
  best = best.set_index(LEVEL[:2]).matched_weights_remaining
  keys = zip(table.arm, table.noise_fraction)
  table['optimal_weights_remaining'] = [best.get(key, np.nan) for key in keys]
  # On a logarithmic axis; a network without weights has no place there.
  lowest = summary[summary.matched_weights_remaining > 0].groupby(LEVEL[:2])
  lowest = lowest.matched_weights_remaining.min()
  keys = zip(table.arm, table.noise_fraction)
  table['lowest_weights_remaining'] = [lowest.get(key) for key in keys]
  return table.drop(columns='experiment')


def draw_errors(table: pd.DataFrame) -> Drawing:
  """Draw changes of error: a row for each benchmark and arm, by group."""
  table = table[(table.level > 0)]
  clean = table[table.noise_fraction == lowest_noise(table)]
  rows = heat_maps.list_rows(clean)
  figure, grid = grids.make_plain_grid(len(rows), len(GROUPS), (2.6, 1.5))
  for row, (title, arm) in zip(grid, rows):
    own = clean[clean.benchmark == title]
    norm = heat_maps.make_norm(own.difference_mean, DECADES, 1e-3)
    meshes = []
    for axes, ((split, by), label) in zip(row, GROUPS.items()):
      cells = own[(own.arm == arm) & (own.split == split) & (own.by == by)]
      axes.set_title(f'{title}, {style.label_of(arm)}\n{label}')
      mesh = heat_maps.draw_cells(axes, cells, 'group', 'difference_mean', norm)
      meshes += [mesh] if mesh is not None else []
      axes.set_xlabel('EL2N subgroup' if by == 'subgroup' else 'class')
    if meshes:
      bar = grids.add_color_bar(figure, meshes[0], row[-1], 'points')
      heat_maps.label_bar(bar, DECADES, lambda tick: f'{100 * tick:.2g}')
  return figure


def lowest_noise(table: pd.DataFrame) -> float:
  """Return the noise level that is drawn of groups: the lowest."""
  return table.noise_fraction.min()


def draw_harm(table: pd.DataFrame) -> Drawing:
  """Draw where harm begins: a row for each kind of group."""
  table = table[table.arm == 'pruning']
  kinds = [
    kind
    for kind in GROUPS
    if ((table.split == kind[0]) & (table.by == kind[1])).any()
  ]
  figure, grid = grids.columns(table, len(kinds), 2.7)
  for row, kind in zip(grid, kinds):
    own = table[(table.split == kind[0]) & (table.by == kind[1])]
    for axes, rows in grids.by_benchmark(row, own, 'not in this run'):
      _draw_groups(axes, rows, kind[1])
      axes.set_title(f'{rows.benchmark.iloc[0]}\n{GROUPS[kind]}')
      axes.set_ylabel('harmed below weights (%)')
  return grids.finish(
    figure,
    grid,
    style.key('optimal sparsity', ls='--', lw=1),
    style.key('not harmed', marker='o', mfc='white', ls='', ms=5),
  )


def _draw_groups(axes: Axes, rows: pd.DataFrame, by: str) -> None:
  noise = sorted(rows.noise_fraction.unique())
  lowest = rows.lowest_weights_remaining.min()
  is_crowded = rows.group.nunique() > MAX_GROUPS
  for i, noise_fraction in enumerate(noise):
    own = rows[rows.noise_fraction == noise_fraction]
    color = style.noise_color(noise_fraction)
    marker = style.noise_marker(noise_fraction)
    at = own.group + 0.7 * (i - (len(noise) - 1) / 2) / len(noise)
    if is_crowded:
      own = own.sort_values('weights_remaining', ascending=False)
      at = np.arange(len(own))
    axes.plot(
      at,
      own.weights_remaining,
      marker,
      color=color,
      ms=2 if is_crowded else 4,
      gid=style.CURVE,
      label=style.noise_label(noise_fraction),
    )
    unharmed = own.weights_remaining.isna()
    axes.plot(
      at[unharmed],
      np.full(unharmed.sum(), lowest / 1.5),
      marker,
      color=color,
      mfc='white',
      ms=4,
    )
    axes.axhline(
      own.optimal_weights_remaining.iloc[0],
      color=color,
      ls='--',
      lw=1,
      zorder=1,
    )
  drawing.set_log_percent_axis(axes, lowest / 2, 1.3, nonpositive='mask')
  axes.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
  label = 'subgroup by EL2N, low to high' if by == 'subgroup' else by
  axes.set_xlabel('classes, most harmed first' if is_crowded else label)


ERRORS = base.Figure(
  'more_group_errors',
  'Errors of subgroups and classes at every level',
  caption=(
    'Change of error against the dense network, in points: blue is better, red '
    'is worse; linear near 0 and logarithmic beyond, one scale per benchmark. '
    'Drawn at the lowest noise level; the table has all of them, with the '
    'errors themselves. Training errors are by the training label.'
  ),
  needs=base.CHAIN,
  tabulate_one=lambda own: _compare(own).drop(columns='experiment'),
  reads='group_errors',
  draw=draw_errors,
)

HARM = base.Figure(
  'more_who_is_harmed',
  'Who is harmed by pruning, and from which sparsity on',
  caption=(
    'For each group of examples, the largest number of weights from which on '
    'its error is worse than that of the dense network at every sparser level, '
    'by the rule of the paper; hollow at the bottom where the last level does '
    'not harm it; not drawn where only networks without weights are worse. '
    'Dashed: the optimal sparsity. The paper suggests that only high sparsity '
    'harms any group: look for points below the dashed line.'
  ),
  needs=base.CHAIN,
  tabulate_one=tabulate_harm,
  reads='group_errors',
  draw=draw_harm,
)
