"""The examples that pruning worsens most (appendix K.1)."""

import numpy as np
import pandas as pd

from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import style


def tabulate_most_worsened(benchmark):
  """Tabulate the examples that pruning worsens most.

  Of each noise level, in the first replicate that it has.

  Returns:
    DataFrame with the columns of most_worsened.csv and image, uint8 [height,
    width, channels].
  """
  if benchmark.most_worsened is None:
    return pd.DataFrame()
  table, images = benchmark.most_worsened
  table = table.assign(image=list(images))
  first = table.groupby('noise_fraction').replicate.transform('min')
  return table[table.replicate == first]


@style.context
def draw_most_worsened(table, columns=10):
  """Draw the examples that pruning worsens most, a block each noise level.

  Args:
    table: DataFrame from `tabulate_most_worsened`.
    columns: int, how many images stand side by side; two rows at most.

  Returns:
    A matplotlib Figure. Above each image: training label > prediction, and in
    brackets the true label where the training label is noisy (red).
  """
  groups = list(table.groupby('noise_fraction'))
  blocks = [rows.iloc[: 2 * columns] for _, rows in groups]
  heights = [-(-len(rows) // columns) for rows in blocks]
  figure = style.new_figure(
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


APPENDIX_K = base.Figure(
  'appendix_k_most_worsened',
  'Appendix K: the examples that pruning worsens most',
  caption=(
    'Training label > prediction of the optimally sparse network; red, with '
    'the true label in brackets, where the training label is noisy. The first '
    'replicate there is. Without noise, look for ambiguous or wrongly labelled '
    'images.'
  ),
  needs=base.CHAIN,
  tabulate=tabulate_most_worsened,
  draw=draw_most_worsened,
)
