"""What a figure shows, in words: the alternative text of its image."""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D

from pruning_gen.analysis.figures import style

# Of many labels, how many are read out.
MAX_TEXTS = 10


def describe(figure: Drawing) -> str:
  """Describe each axes: its title, and the numbers that it shows."""
  sentences = []
  for axes in figure.axes:
    title = ' '.join(axes.get_title().split())
    ylabel, xlabel = axes.get_ylabel(), axes.get_xlabel()
    where = f'{ylabel} against {xlabel}' if xlabel and ylabel else ''
    heading = ': '.join(part for part in (title, where) if part)
    parts = [
      _describe_curve(axes, handle, label)
      for handle, label in zip(*axes.get_legend_handles_labels())
    ]
    parts = list(filter(None, parts)) or _describe_others(axes)
    if parts:
      sentences.append(f'{heading}. {"; ".join(parts)}.')
  return ' '.join(sentences)


def _describe_curve(axes: Axes, handle: Any, label: str) -> str:
  line = handle[0] if isinstance(handle, tuple) else handle
  if not isinstance(line, Line2D) or line.get_gid() != style.CURVE:
    return ''
  x, y = (np.asarray(data, float) for data in line.get_data())
  x, y = x[np.isfinite(y)], y[np.isfinite(y)]
  if not len(y):
    return ''
  show = [(_show(axes.xaxis, a), _show(axes.yaxis, b)) for a, b in zip(x, y)]
  first, last, lowest = show[0], show[-1], show[int(np.argmin(y))]
  return (
    f'{label}: from {first[1]} at {first[0]} to {last[1]} at {last[0]}, lowest '
    f'{lowest[1]} at {lowest[0]}'
  )


def _describe_others(axes: Axes) -> list[str]:
  """Describe a heat map, or read out the labels of images."""
  maps = [image.get_array() for image in axes.images if image.norm.vmin != 0]
  ranges = [
    f'values from {map_.min():.2g} to {map_.max():.2g}' for map_ in maps
  ]
  texts = [text.get_text() for text in axes.texts[:MAX_TEXTS]]
  return ranges + ([', '.join(texts)] if texts else [])


def _show(axis: mpl.axis.Axis, value: float) -> str:
  """Print a number as the labels of an axis do, but to three digits."""
  form = axis.get_major_formatter()
  is_percent = isinstance(form, ticker.FuncFormatter)
  return form(value, 0) if is_percent else f'{value:.3g}'
