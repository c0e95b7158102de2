"""The style of all figures: colors, markers and labels.

Colors show noise levels where a figure compares those, and arms where it
compares arms: the same in every figure. Numbers are drawn unscaled: axes print
fractions as percent.
"""

from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D

from pruning_gen.pruning import arms

STYLE = {
  'axes.spines.right': False,
  'axes.spines.top': False,
  'axes.grid': True,
  'grid.alpha': 0.3,
  'font.size': 9,
  'axes.titlesize': 9.5,
  'legend.fontsize': 8.5,
  # Twice what a page shows.
  'figure.dpi': 176,
}


def context() -> AbstractContextManager[None]:
  """Return the context in which figures are drawn and saved."""
  # First the defaults: what a matplotlibrc sets, such as text.usetex, may need
  # programs that are not there.
  return mpl.style.context(['default', STYLE])


# The noise levels of the paper, spread over a scale of rising lightness, which
# stops where the contrast to white falls below 3.
NOISE_LEVELS = (0, 0.05, 0.1, 0.15, 0.3, 0.6)
NOISE_SCALE = 'inferno'
LIGHTEST = 0.66
MIN_CONTRAST = 3

# Colors and labels of everything that is not an arm of the chain.
OTHERS = {
  'width': ('width', '#009E73'),
  'dense': ('dense', '#4D4D4D'),
  'extended_dense_best': ('extended dense, at its own optimum', '#8A3D00'),
  'dense_stopped': ('dense, stopped early', '#0E7C86'),
  'extended_dense_stopped': ('extended dense, stopped early', '#6B3FA0'),
  # Sets of examples that are left out.
  'most_improved': ('without the most improved', '#332288'),
  'most_worsened': ('without the most worsened', '#AA4499'),
  'misclassified': ('without the misclassified', '#8A6A00'),
  'subgroup': ('without this subgroup', '#117733'),
  'random_set': ('without as many at random', '#6E6E6E'),
  'all': ('all examples', '#1A1A1A'),
}
# For an arm without a color of its own.
DEFAULT_COLORS = ('#8C564B', '#0E7C86', '#6B7A00', '#5A1E5A')
MARKERS = 'soD^vPX<>p'
CURVE = 'curve'


def noise_color(noise_fraction: float) -> str:
  """Return the color of a noise level, a step of one sequential scale."""
  position = np.interp(
    noise_fraction, NOISE_LEVELS, np.linspace(0, LIGHTEST, len(NOISE_LEVELS))
  )
  return mpl.colors.to_hex(mpl.colormaps[NOISE_SCALE](position))


def noise_label(noise_fraction: float) -> str:
  """Return how legends call a noise level."""
  return f'{100 * noise_fraction:g} % noise'


def noise_marker(noise_fraction: float) -> str:
  """Return the marker of a noise level."""
  position = np.interp(noise_fraction, NOISE_LEVELS, range(len(NOISE_LEVELS)))
  return MARKERS[int(np.ceil(position))]


def noise_look(noise_fraction: float) -> dict[str, str]:
  """Return how curves of a noise level are drawn and labeled."""
  return {
    'color': noise_color(noise_fraction),
    'marker': noise_marker(noise_fraction),
    'label': noise_label(noise_fraction),
  }


def color_of(name: str) -> str:
  """Return the color of an arm, with enough contrast to white."""
  if name in arms.ARMS:
    own = arms.ARMS[name].color
    position = list(arms.ARMS).index(name)
    return darken(own or DEFAULT_COLORS[position % len(DEFAULT_COLORS)])
  return OTHERS[name][1]


def label_of(name: str) -> str:
  """Return the label of an arm."""
  if name in arms.ARMS:
    return arms.ARMS[name].label or name.replace('_', ' ')
  return OTHERS[name][0]


def marker_of(name: str) -> str:
  """Return the marker of an arm: a square for pruning, a circle for dense."""
  fixed = {'pruning': 's', 'extended_dense': 'o', 'width': 'o'}
  if name in fixed or name not in arms.ARMS:
    return fixed.get(name, 'D')
  return MARKERS[list(arms.ARMS).index(name) % len(MARKERS)]


def arm_look(name: str) -> dict[str, str]:
  """Return how curves of an arm are drawn and labeled."""
  return {
    'color': color_of(name),
    'marker': marker_of(name),
    'label': label_of(name),
  }


def contrast(color: str) -> float:
  """Return a color's contrast to white, as WCAG defines it."""
  rgb = np.array(mpl.colors.to_rgb(color))
  linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
  return 1.05 / (linear @ (0.2126, 0.7152, 0.0722) + 0.05)


def darken(color: str) -> str:
  """Darken a color until its contrast to white is `MIN_CONTRAST`."""
  while contrast(color) < MIN_CONTRAST:
    color = mpl.colors.to_hex(0.95 * np.array(mpl.colors.to_rgb(color)))
  return color


def new_figure(width: float, height: float) -> Drawing:
  """Make a figure, in inches, outside of pyplot: nothing global."""
  return Drawing(figsize=(width, height), layout='constrained')


def key(label: str, **look: Any) -> Line2D:
  """Make an entry of a legend."""
  return Line2D([], [], label=label, **{'color': '0.3'} | look)


DENSE = {'label': 'dense', 'ls': '--', 'lw': 1}
OPTIMAL = {'label': 'optimal sparsity', 'marker': '*', 'ms': 10, 'ls': ''}
