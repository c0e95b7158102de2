"""Narrow networks that train as long as pruned ones: the paper's missing cell.

Full or narrow, trained once or for longer, and pruning next to them.
"""

import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from pruning_gen.analysis import paired
from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import drawing
from pruning_gen.analysis.figures import grids
from pruning_gen.analysis.figures import style
from pruning_gen.analysis.load import Benchmark

# The networks at the ends of each line, its label, and whose style it has.
LINES = (
  ('dense', 'extended_dense', 'full width', 'extended_dense'),
  ('narrow', 'narrow_extended', 'narrow', 'width'),
  ('dense', 'pruning', 'pruning', 'pruning'),
)
CELLS = {
  'dense': 'dense',
  'extended_dense': 'extended dense',
  'narrow': 'narrow',
  'narrow_extended': 'narrow and extended',
}


def draw(table: pd.DataFrame) -> Drawing:
  """Draw a line for each size, from standard to longer training."""
  figure, grid, cells = grids.grid_by_noise(table, height=2.9)
  for axes, rows in cells:
    _draw_lines(axes, rows.set_index('network'))
  white = {'marker': 'o', 'mfc': 'white', 'ls': '', 'ms': 5}
  return grids.finish(
    figure, grid, style.key('white: matches pruning', **white)
  )


def _draw_lines(axes: Axes, networks: pd.DataFrame) -> None:
  for i, (begin, end, label, arm) in enumerate(LINES):
    # Bars next to each other.
    at = pd.Series({begin: 0.06 * (i - 1), end: 1 + 0.06 * (i - 1)})
    rows = networks.reindex([begin, end]).dropna(subset='test_error_mean')
    at = at[rows.index]
    look = {'color': style.color_of(arm), 'marker': style.marker_of(arm)}
    drawing.draw_points(
      axes,
      at,
      rows.test_error_mean,
      rows.test_error_std,
      ls='-',
      label=label,
      **look,
    )
    is_match = rows.against_pruning_verdict == 'match'
    is_match &= rows.index != 'pruning'
    look |= {'mfc': 'white', 'ms': 5, 'ls': '', 'zorder': 5}
    axes.plot(at[is_match], rows.test_error_mean[is_match], **look)
  epochs = [networks.epochs_trained[name] for name in ('dense', 'pruning')]
  axes.set_xticks([0, 1])
  # Of points next to the ticks, too.
  axes.xaxis.set_major_formatter(
    ticker.FuncFormatter(lambda x, _: f'{epochs[round(x)]:,.0f} epochs')
  )
  axes.set_xlabel('trained once, or as long as pruning')
  axes.set_xlim(-0.35, 1.35)
  axes.set_ylabel('test error (%)')
  drawing.show_percent(axes.yaxis)


def note_verdicts(
  benchmarks: list[Benchmark], table: pd.DataFrame
) -> list[str]:
  """Give the verdict on each network against pruning, and what is missing."""
  notes = []
  for own in benchmarks:
    rows = table[table.benchmark == own.title] if len(table) else table
    ran = own.results[own.results.experiment == 'extended_width']
    for noise_fraction in sorted(set(ran.noise_fraction)):
      name = f'{own.title}, {style.noise_label(noise_fraction)}'
      drawn = rows[rows.noise_fraction == noise_fraction] if len(rows) else rows
      notes.append(
        f'{name}, against pruning: {_describe(drawn.set_index("network"))}'
        if len(drawn)
        else f'{name} is not drawn: no narrow network of the size of the '
        'optimally sparse one is trained. The optimum moves as a chain grows: '
        'start the same command again.'
      )
  return notes


def _describe(networks: pd.DataFrame) -> str:
  """Describe the differences from pruning, in points, and the sizes."""
  parts = [
    f'{CELLS[row.Index]} {100 * row.against_pruning_mean:+.2f} ± '
    f'{100 * row.against_pruning_std:.2f} points, '
    f'{row.against_pruning_verdict or "no verdict"} (unpaired: '
    f'{row.against_pruning_unpaired or "none"})'
    for row in networks.itertuples()
    if row.Index in CELLS
  ]
  narrow, pruned = (
    f'{100 * networks.weights_remaining[network]:.3g} %'
    for network in ('narrow', 'pruning')
  )
  return (
    f'{"; ".join(parts)}. The narrow network has {narrow} of the weights, the '
    f'pruned one {pruned}.'
  )


SIZE_AND_TIME = base.Figure(
  'more_size_and_time',
  'Size and time: narrow networks that train as long as pruned ones',
  caption=(
    'Test error of the full network and of a narrow one with about as many '
    'weights as the pruned network of the lowest validation error, trained '
    'once (left) or as long as that one, with the learning rate replayed and '
    'nothing removed (right). Pruning begins as the dense network. If small '
    "size and long training together explained pruning's effect, the narrow "
    "line would end where pruning's does. White points match pruning by the "
    'rule of the paper. Bars are one standard deviation over replicates.'
  ),
  needs=(
    "'extended_width' in --config.experiments, after 'chain' with the arms "
    "'pruning' and 'extended_dense'"
  ),
  tabulate_one=lambda own: paired.compare_size_and_time(own.results),
  draw=draw,
  notes=note_verdicts,
)
