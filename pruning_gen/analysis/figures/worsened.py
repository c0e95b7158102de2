"""The examples that pruning worsens most (appendix K.1)."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import style
from pruning_gen.analysis.load import Benchmark

IMAGES_PER_ROW, MAX_ROWS = 10, 2
NOISY_COLOR = '#A3271C'


def tabulate(benchmark: Benchmark) -> pd.DataFrame:
  """Tabulate the examples of each noise level and sparsity.

  Of the first replicate that there is.

  Returns:
    The columns of most_worsened.csv; image, uint8 [height, width, channels].
  """
  if benchmark.most_worsened is None:
    return pd.DataFrame()
  table, images = benchmark.most_worsened
  table = table.assign(image=list(images))
  first = table.groupby('noise_fraction').replicate.transform('min')
  return table[table.replicate == first]


def draw(table: pd.DataFrame) -> Drawing:
  """Draw a block of images for each benchmark, noise level and sparsity."""
  # Under noise they are the noisy ones, mostly: the table has those.
  table = table[table.noise_fraction == table.noise_fraction.min()]
  groups = table.groupby(
    ['benchmark', 'noise_fraction', 'level'], observed=True
  )
  # Many blocks of two rows would make a very long figure.
  num_images = IMAGES_PER_ROW * (MAX_ROWS if len(groups) <= 6 else 1)
  blocks = [(name, rows.iloc[:num_images]) for name, rows in groups]
  heights = [-(-len(rows) // IMAGES_PER_ROW) for _, rows in blocks]
  heading, height = 0.35, 1.0
  total = sum(height * rows + heading for rows in heights)
  figure = Drawing(figsize=(0.9 * IMAGES_PER_ROW, total))
  top = 1.0
  for (name, rows), num_rows in zip(blocks, heights):
    title, noise_fraction, level = name
    top -= (height * num_rows + heading) / total
    axes = figure.add_axes((0, top, 1, height * num_rows / total))
    _draw_images(axes, rows)
    axes.set_title(
      f'{title}, {style.noise_label(noise_fraction)}, level {level}'
    )
  return figure


def _draw_images(axes: Axes, rows: pd.DataFrame) -> None:
  """Draw images as one, much faster than one by one."""
  height, width, channels = rows.image.iloc[0].shape
  # Room for a line of text above each image.
  down, right = height + round(0.35 * height), width + round(0.2 * width)
  canvas = np.full(
    (-(-len(rows) // IMAGES_PER_ROW) * down, IMAGES_PER_ROW * right, channels),
    255,
    np.uint8,
  )
  for i, row in enumerate(rows.itertuples()):
    bottom, left = (
      (i // IMAGES_PER_ROW + 1) * down,
      i % IMAGES_PER_ROW * right,
    )
    canvas[bottom - height : bottom, left : left + width] = row.image
    is_noisy = row.label != row.true_label
    truth = f' ({row.true_label})' if is_noisy else ''
    axes.text(
      left + width / 2,
      bottom - height - 0.5 - 0.03 * down,
      f'{row.label} → {row.prediction}{truth}',
      fontsize=8,
      ha='center',
      va='bottom',
      color=NOISY_COLOR if is_noisy else 'black',
    )
  # Gray or color; of any other number of channels the first.
  canvas = canvas if channels == 3 else canvas[..., 0]
  axes.imshow(canvas, cmap='gray', vmin=0, vmax=255)
  axes.axis('off')


APPENDIX_K1 = base.Figure(
  'appendix_k1_most_worsened',
  'Appendix K.1: the examples that pruning worsens most',
  caption=(
    'Training label → prediction of the sparse network, at the levels named; '
    'red, with the true label in brackets, where the training label is noisy. '
    'Of the first replicate and the lowest noise level; the table has all '
    'noise levels. Look for ambiguous or wrongly labeled images.'
  ),
  needs=base.CHAIN,
  tabulate_one=tabulate,
  draw=draw,
)
