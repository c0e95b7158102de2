"""Curves over all levels: tabulated and drawn alike in many figures."""

import pandas as pd

from pruning_gen.analysis.figures import style

CURVE_COLUMNS = [
  'arm',
  'noise_fraction',
  'level',
  'weights_remaining',
  'matched_weights_remaining',
  'num_weights_remaining',
  'epochs_trained',
  'n',
  'is_optimal',
]


def tabulate(benchmark, arms, metrics):
  """Tabulate metrics of arms over all levels.

  Args:
    benchmark: Benchmark.
    arms: tuple of str; 'width' for the experiment of that name.
    metrics: {part: column of results.csv}, whose part is 'original', 'noisy',
      or '' where a metric is of all examples.

  Returns:
    DataFrame with `CURVE_COLUMNS`, part, mean and std.
  """
  summary = label_width(benchmark.summary)
  # In the order of `arms`, so that colours and legends do not move.
  chosen = pd.concat(
    [summary.head(0), *(summary[summary.arm == arm] for arm in arms)]
  )
  parts = [
    chosen[CURVE_COLUMNS].assign(
      part=part,
      mean=chosen[f'{metric}_mean'],
      std=chosen[f'{metric}_std'],
    )
    for part, metric in metrics.items()
  ]
  # Without noise there is no loss of noisy examples.
  return pd.concat(parts).dropna(subset='mean')


def label_width(table):
  """Name the arm of the experiment `width` in the column `arm`."""
  is_width = table.experiment == 'width'
  return table.assign(arm=table.arm.mask(is_width, 'width'))


@style.context
def draw(table, ylabel, *, x='matched_weights_remaining', percent=True):
  """Draw arms by sparsity, one axes per noise level.

  Args:
    table: DataFrame from `curves.tabulate`.
    ylabel: str.
    x: str, 'matched_weights_remaining', 'num_weights_remaining' or
      'epochs_trained'.
    percent: bool, whether the numbers are fractions (linear axis), or losses
      (logarithmic axis).

  Returns:
    A matplotlib Figure.
  """
  figure, grid = style.axes_by_noise(table, ylabel)
  for axes, rows in grid:
    style.draw_curves(axes, rows, x)
    style.set_sparsity_axis(axes, table, x)
    if percent:
      style.show_percent(axes.yaxis)
      style.cut_collapse(axes, rows)
    else:
      # A band that reaches 0 would stretch a logarithmic axis without end.
      positive = rows['mean'][rows['mean'] > 0]
      axes.set_yscale('log', nonpositive='clip')
      axes.set_ylim(bottom=max(positive.min(), 1e-6) / 2)
      style.set_log_ticks(axes.yaxis, crowded=1000)
  style.add_legend(figure, [axes for axes, _ in grid], style.dense_and_star())
  return figure
