"""The figures, one function each: a table in, a matplotlib figure out.

Colour tells the arm, and a panel is a noise level: the same everywhere. Lines
and points are means over replicates, bands and bars one standard deviation
(n - 1); a single replicate has none. What is drawn is the table's numbers,
unscaled: axes print fractions as percent.
"""

import matplotlib as mpl
import numpy as np
from matplotlib import colors
from matplotlib import ticker
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# Mostly Okabe and Ito's palette, which colour-blind readers can tell apart.
COLORS = {
  'pruning': '#0072B2',
  'extended_dense': '#D55E00',
  'extended_dense_best': '#E8A06B',
  'weight_rewinding': '#56B4E9',
  'weight_rewinding_dense': '#E69F00',
  'random': '#7F7F7F',
  'gradient': '#CC79A7',
  'synflow': '#7B4FA3',
  'width': '#009E73',
  'dense': '#4D4D4D',
  # Sets of examples that are left out.
  'most_improved': '#332288',
  'most_worsened': '#AA4499',
  'misclassified': '#B8860B',
  'subgroup': '#117733',
}
NAMES = {
  'extended_dense_best': 'extended dense, its own best',
  'weight_rewinding_dense': 'weight rewinding, nothing removed',
  'width': 'narrower dense',
}
LINES = {'': '-', 'original': '-', 'noisy': ':'}

STYLE = {
  'axes.spines.right': False,
  'axes.spines.top': False,
  'axes.grid': True,
  'grid.alpha': 0.3,
  'font.size': 10,
  'axes.titlesize': 10,
  'legend.fontsize': 9,
  'figure.dpi': 150,
}


@mpl.rc_context(STYLE)
def curves(table, ylabel, *, x='matched_weights_remaining', percent=True):
  """Draw arms by sparsity, a panel each noise level.

  Args:
    table: DataFrame from `tables.curves`.
    ylabel: str.
    x: str, 'matched_weights_remaining', 'num_weights_remaining' or
      'epochs_trained'.
    percent: bool, whether the numbers are fractions (linear axis), or losses
      (logarithmic axis).

  Returns:
    A matplotlib Figure.
  """
  figure, panels = _panels(table, ylabel)
  for axes, rows in panels:
    _draw_curves(axes, rows, x)
    _sparsity_axis(axes, table, x)
    if percent:
      _percent(axes.yaxis)
      _cut_collapse(axes, rows)
    else:
      # A band that reaches 0 would stretch a logarithmic axis without end.
      positive = rows['mean'][rows['mean'] > 0]
      axes.set_yscale('log', nonpositive='clip')
      axes.set_ylim(bottom=max(positive.min(), 1e-6) / 2)
      _log_ticks(axes.yaxis, crowded=1000)
  _legend(figure, [axes for axes, _ in panels], _dense_and_star())
  return figure


@mpl.rc_context(STYLE)
def twins(table):
  """Draw the arms that prune beside their twins, by sparsity and by epochs.

  Args:
    table: DataFrame from `tables.twins`.

  Returns:
    A matplotlib Figure, a row each noise level: left by sparsity, right by
    epochs. Solid are the arms that prune, dashed those that remove nothing.
  """
  groups = list(table.groupby('noise_fraction'))
  dense = [arm for arm in table.arm.unique() if arm.endswith('_dense')]
  figure = _figure(7.4, 2.8 * len(groups) + 0.8)
  grid = figure.subplots(len(groups), 2, squeeze=False, sharey='row')
  for row, (noise_fraction, rows) in zip(grid, groups):
    for axes, x in zip(row, ('matched_weights_remaining', 'epochs_trained')):
      _draw_curves(axes, rows, x, dashed=dense)
      _sparsity_axis(axes, table, x)
      _percent(axes.yaxis)
      _cut_collapse(axes, rows)
      axes.set_title(f'{noise_fraction:.0%} label noise')
    row[0].set_ylabel('test error (%)')
  _legend(figure, grid.ravel(), _dense_and_star())
  return figure


@mpl.rc_context(STYLE)
def extended_dense(table):
  """Draw test errors at pruning's optimal sparsity, and their differences.

  Args:
    table: DataFrame from `tables.extended_dense`.

  Returns:
    A matplotlib Figure: left the test errors by noise level, right the paired
    differences against the pruned network, with their verdicts.
  """
  figure = _figure(8.6, 3.9)
  errors, differences = figure.subplots(1, 2)
  noise = np.unique(table.noise_fraction)
  networks = table.network.unique()
  for i, network in enumerate(networks):
    rows = table[table.network == network]
    x = np.searchsorted(noise, rows.noise_fraction) + _dodge(i, len(networks))
    _points(errors, x, rows['mean'], rows['std'], network)
    if network == 'pruning':
      continue
    mean, std = rows.against_pruning_mean, rows.against_pruning_std
    _points(differences, x, mean, std, network)
    tops = mean + std.fillna(0)
    for at, value, verdict in zip(x, tops, rows.against_pruning_verdict):
      differences.text(
        at,
        value,
        f' {verdict}',
        fontsize=7,
        rotation=90,
        ha='center',
        va='bottom',
      )
  errors.set_ylabel('test error (%)')
  differences.set_ylabel('test error minus that of pruning (points)')
  differences.axhline(0, color=COLORS['pruning'], lw=1, zorder=1)
  for axes in (errors, differences):
    axes.set_xticks(
      range(len(noise)), [f'{fraction:.0%}' for fraction in noise]
    )
    axes.set_xlim(-0.6, len(noise) - 0.4)
    axes.set_xlabel('label noise')
    axes.margins(y=0.2)
    _percent(axes.yaxis)
  if np.ptp(differences.get_ylim()) < 1e-6:
    # All are equal: do not magnify what rounding leaves.
    differences.set_ylim(-0.01, 0.01)
  _legend(figure, errors)
  return figure


@mpl.rc_context(STYLE)
def noisy_loss_at_optimum(table):
  """Draw the training loss on original and noisy examples of three networks.

  Args:
    table: DataFrame from `tables.noisy_loss_at_optimum`.

  Returns:
    A matplotlib Figure, a panel each noise level.
  """
  figure, panels = _panels(table, 'training cross-entropy (nats)')
  arms = table.arm.unique()
  for axes, rows in panels:
    for i, arm in enumerate(arms):
      own = rows[rows.arm == arm]
      x = (own.part == 'noisy') + _dodge(i, len(arms))
      _points(axes, x, own['mean'], own['std'], arm)
    axes.set_xticks((0, 1), ('original labels', 'noisy labels'))
    axes.set_xlim(-0.5, 1.5)
    axes.set_ylim(bottom=0)
  _legend(figure, [axes for axes, _ in panels])
  return figure


@mpl.rc_context(STYLE)
def subgroup_effects(table):
  """Draw the effects on subgroups of examples, a panel each noise level.

  Args:
    table: DataFrame with arm, noise_fraction, level, subgroup, mean, std, n,
      one level for each arm and noise fraction.

  Returns:
    A matplotlib Figure.
  """
  figure, panels = _panels(table, 'change of training loss (nats)')
  for axes, rows in panels:
    # The largest first, so that the smaller are not hidden.
    for arm, own in rows.groupby('arm', sort=False):
      _band(axes, own.subgroup, own, COLORS[arm], _name(arm), '-', marker='.')
    axes.axhline(0, color='0.4', lw=1, zorder=1)
    axes.set_xlabel('subgroup by EL2N, low to high')
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    levels = rows.groupby('arm', sort=False)['level'].first()
    axes.set_title(
      axes.get_title()
      + '\n'
      + ', '.join(f'{_name(arm)}: level {k}' for arm, k in levels.items()),
      fontsize=8,
    )
  _legend(figure, [axes for axes, _ in panels])
  return figure


@mpl.rc_context(STYLE)
def heat_maps(table):
  """Draw the effects on all subgroups at all levels.

  Args:
    table: DataFrame from `tables.heat_maps`.

  Returns:
    A matplotlib Figure: a row each arm, a column each noise level. Red is a
    higher loss than the dense network's, blue a lower one. The scale is linear
    near 0 and logarithmic beyond, one for each noise level.
  """
  arms, noise = table.arm.unique(), table.noise_fraction.unique()
  figure = _figure(3.4 * len(noise) + 0.6, 2.8 * len(arms))
  grid = figure.subplots(len(arms), len(noise), squeeze=False)
  for j, noise_fraction in enumerate(noise):
    column = table[table.noise_fraction == noise_fraction]
    largest = max(column['mean'].abs().max(), 1e-12)
    norm = colors.SymLogNorm(largest / 100, vmin=-largest, vmax=largest)
    for axes, arm in zip(grid[:, j], arms):
      cells = column[column.arm == arm].pivot(
        index='level', columns='subgroup', values='mean'
      )
      axes.grid(False)
      axes.set_title(f'{_name(arm)}, {noise_fraction:.0%} label noise')
      if cells.empty:
        continue
      edges = [np.arange(n + 1) - 0.5 for n in cells.shape]
      image = axes.pcolormesh(
        edges[1],
        edges[0] + cells.index[0],
        cells.to_numpy(),
        norm=norm,
        cmap='RdBu_r',
        rasterized=True,
      )
      for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(ticker.MaxNLocator(integer=True))
    bar = figure.colorbar(image, ax=grid[:, j], location='bottom', pad=0.02)
    bar.set_label('change of training loss (nats)')
    bar.ax.xaxis.set_minor_locator(ticker.NullLocator())
    ticks = largest * np.array([-1, -0.1, 0, 0.1, 1])
    bar.ax.tick_params(labelsize=7)
    bar.set_ticks(ticks, labels=[f'{tick:.2g}' for tick in ticks])
    grid[-1, j].set_xlabel('subgroup by EL2N, low to high')
  for axes in grid[:, 0]:
    axes.set_ylabel('level')
  return figure


@mpl.rc_context(STYLE)
def leave_out(table, xlabel):
  """Draw what leaving sets of examples out does to a dense network.

  Args:
    table: DataFrame from `tables.leave_out`.
    xlabel: str, what the sets' numbers are.

  Returns:
    A matplotlib Figure, a panel each noise level: solid are the sets, dashed
    in the same colour the random sets of the same size, and the horizontal
    line is the network that trains on all examples.
  """
  figure, panels = _panels(table, 'test error (%)')
  kinds = table.left_out.unique()
  for axes, rows in panels:
    for i, kind in enumerate(kinds):
      own = rows[rows.left_out == kind]
      # Sets of one level must not hide each other's bars.
      x = own.number + 0.6 * _dodge(i, len(kinds))
      axes.errorbar(
        x,
        own['mean'],
        own['std'].fillna(0),
        fmt='o-',
        color=COLORS[kind],
        label=_name(kind),
        ms=4,
        capsize=2,
      )
      axes.errorbar(
        x + 0.08,
        own.random_mean,
        own.random_std.fillna(0),
        fmt='s--',
        mfc='white',
        color=COLORS[kind],
        alpha=0.6,
        ms=4,
        capsize=2,
      )
    # Of all replicates, where some have no such set.
    dense = rows.dense_mean[rows.n.idxmax()]
    axes.axhline(dense, color='0.4', ls='--', lw=1, zorder=1)
    axes.set_xlabel(xlabel)
    numbers = rows.number
    # No more than ten ticks, each at a set that was left out.
    ticks = np.unique(numbers)
    axes.set_xticks(ticks[:: -(-len(ticks) // 10)])
    axes.set_xlim(numbers.min() - 0.7, numbers.max() + 0.7)
    _percent(axes.yaxis)
  dashed = {'color': '0.4', 'ls': '--'}
  _legend(
    figure,
    [axes for axes, _ in panels],
    [
      Line2D([], [], **dashed, marker='s', mfc='w', label='as many at random'),
      Line2D([], [], **dashed, lw=1, label='all examples'),
    ],
  )
  return figure


@mpl.rc_context(STYLE)
def most_worsened(table, columns=10):
  """Draw the examples that pruning worsens most, a block each noise level.

  Args:
    table: DataFrame from `tables.most_worsened`.
    columns: int, how many images stand side by side; two rows at most.

  Returns:
    A matplotlib Figure. Above each image: training label > prediction, and in
    brackets the true label where the training label is noisy (red).
  """
  groups = list(table.groupby('noise_fraction'))
  blocks = [rows.iloc[: 2 * columns] for _, rows in groups]
  heights = [-(-len(rows) // columns) for rows in blocks]
  figure = _figure(
    0.85 * columns, sum(1.05 * height + 0.3 for height in heights)
  )
  grid = figure.subplots(
    len(blocks), 1, squeeze=False, height_ratios=heights
  ).ravel()
  for axes, (noise_fraction, _), rows in zip(grid, groups, blocks):
    _image_grid(axes, rows, columns)
    axes.set_title(
      f'{noise_fraction:.0%} label noise, level {rows.level.iloc[0]}'
    )
  return figure


def _image_grid(axes, rows, columns):
  """Draw the images of a table's rows as one, much faster than one by one."""
  height, width, channels = rows.image.iloc[0].shape
  # Room for a line of text above each image.
  down, right = height + round(0.35 * height), width + round(0.15 * width)
  canvas = np.full(
    (-(-len(rows) // columns) * down, columns * right, channels), 255, np.uint8
  )
  for i, row in enumerate(rows.itertuples()):
    bottom, left = (i // columns + 1) * down, i % columns * right
    canvas[bottom - height : bottom, left : left + width] = row.image
    is_noisy = row.label != row.true_label
    truth = f' ({row.true_label})' if is_noisy else ''
    axes.text(
      left + width / 2,
      bottom - height - 0.5,
      f'{row.label} > {row.prediction}{truth}',
      fontsize=8,
      ha='center',
      va='bottom',
      color='#B22222' if is_noisy else 'black',
    )
  axes.imshow(canvas.squeeze(), cmap='gray', vmin=0, vmax=255)
  axes.axis('off')


def _figure(width, height):
  # A Figure of its own, not pyplot's: nothing global, no display needed.
  return Figure(figsize=(width, height), layout='constrained')


def _panels(table, ylabel):
  """Return a figure and [(axes, rows)], a panel each noise level."""
  groups = list(table.groupby('noise_fraction'))
  # Four stand in a square, so that a page need not shrink them much.
  columns = 2 if len(groups) == 4 else min(len(groups), 3)
  num_rows = -(-len(groups) // columns)
  figure = _figure(max(3.4 * columns, 4.4) + 0.6, 3.0 * num_rows + 0.6)
  grid = figure.subplots(num_rows, columns, squeeze=False)
  for axes in grid.ravel()[len(groups) :]:
    axes.axis('off')
  for axes, (noise_fraction, _) in zip(grid.ravel(), groups):
    axes.set_title(f'{noise_fraction:.0%} label noise')
  for axes in grid[:, 0]:
    axes.set_ylabel(ylabel)
  return figure, [(axes, rows) for axes, (_, rows) in zip(grid.ravel(), groups)]


def _draw_curves(axes, rows, x, dashed=()):
  """Draw each arm and part of a table, its optimum, and the dense network."""
  # Many bands on top of each other must not hide the lines.
  alpha = 0.2 if rows.arm.nunique() <= 3 else 0.08
  for (arm, part), curve in rows.groupby(['arm', 'part'], sort=False):
    line = '--' if arm in dashed else LINES[part]
    label = f'{_name(arm)}, {part}' if part else _name(arm)
    _band(axes, curve[x], curve, COLORS[arm], label, line, alpha=alpha)
    best = curve[curve.is_optimal]
    axes.plot(
      best[x], best['mean'], '*', color=COLORS[arm], ms=12, mec='w', zorder=3
    )
  # Arms share their level 0, so one line for each part is enough.
  for dense in rows[rows.level == 0].groupby('part')['mean'].first():
    axes.axhline(dense, color='0.4', ls='--', lw=1, zorder=1)


def _band(axes, x, rows, color, label, line, marker=None, alpha=0.2):
  mean, std = rows['mean'], rows['std']
  axes.plot(x, mean, line, color=color, label=label, lw=1.5, marker=marker)
  # Without a standard deviation (one replicate) there is no band.
  axes.fill_between(x, mean - std, mean + std, color=color, alpha=alpha, lw=0)


def _points(axes, x, mean, std, arm):
  axes.errorbar(
    x,
    mean,
    std.fillna(0),
    fmt='o',
    color=COLORS[arm],
    label=_name(arm),
    ms=5,
    capsize=2,
  )


def _dodge(i, n):
  """Return where the i-th of n points stands around an integer."""
  return 0.6 * (i - (n - 1) / 2) / n


def _sparsity_axis(axes, table, x):
  if x == 'epochs_trained':
    axes.set_xlabel('epochs trained')
    return
  labels = {
    'matched_weights_remaining': 'weights remaining (%)',
    'num_weights_remaining': 'number of weights',
  }
  axes.set_xlabel(labels[x])
  axes.set_xscale('log')
  # From dense, on the left, to sparse, as the paper draws it.
  axes.set_xlim(1.1 * table[x].max(), table[x].min() / 1.1)
  if x == 'matched_weights_remaining':
    _log_ticks(axes.xaxis, crowded=1000)
    _percent(axes.xaxis)
  else:
    _log_ticks(axes.xaxis, crowded=100)
    axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=''))


def _log_ticks(axis, crowded):
  """Put ticks at 1, 2 and 5 of each decade.

  Args:
    axis: matplotlib axis, logarithmic, whose limits are set.
    crowded: float; where the ratio of the limits is larger, at 1 alone.
  """
  low, high = sorted(axis.get_view_interval())
  axis.set_major_locator(
    ticker.LogLocator(subs=(1, 2, 5) if high < crowded * low else (1,))
  )
  axis.set_minor_locator(ticker.NullLocator())
  axis.set_major_formatter('{x:g}')


def _cut_collapse(axes, rows):
  """End an axis below networks so sparse that they have collapsed.

  Else they would leave no room for differences between the others.
  """
  lowest, upper = rows['mean'].min(), rows['mean'].quantile(0.75)
  top = upper + 3 * (upper - lowest)
  if top < rows['mean'].max():
    # The margin below is a part of what the whole axis would have shown.
    bottom = (rows['mean'] - rows['std'].fillna(0)).min()
    axes.set_ylim(bottom - 0.05 * (top - bottom), top)


def _percent(axis):
  # Unscaled numbers, whose labels are percent or points.
  axis.set_major_formatter(
    ticker.FuncFormatter(lambda value, _: f'{100 * value:.3g}')
  )


def _name(arm):
  return NAMES.get(arm, arm.replace('_', ' '))


def _dense_and_star():
  return [
    Line2D([], [], color='0.4', ls='--', lw=1, label='dense'),
    Line2D([], [], color='0.4', marker='*', ms=10, ls='', label='optimal'),
  ]


def _legend(figure, panels, extra=()):
  """Add one legend for all panels, each label once."""
  handles = {}
  for axes in np.atleast_1d(panels):
    for handle, label in zip(*axes.get_legend_handles_labels()):
      handles.setdefault(label, handle)
  handles |= {handle.get_label(): handle for handle in extra}
  figure.legend(
    handles.values(),
    handles.keys(),
    loc='outside lower center',
    ncols=int(figure.get_figwidth() // 1.8),
    frameon=False,
  )
