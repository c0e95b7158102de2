"""Drawings as files: PNG, PDF, and a description of what they show."""

import io
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import describe
from pruning_gen.analysis.figures import style


class Drawn(NamedTuple):
  """A drawing: as two files, in words, and its width in inches."""

  png: bytes = b''
  pdf: bytes = b''
  alt: str = ''
  width: float = 0.0


def draw(figure: base.Figure, table: pd.DataFrame) -> Drawn:
  """Draw the table of a figure."""
  with style.context():
    drawn = figure.draw(table)
    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    # The layout is found once and holds for both.
    drawn.set_layout_engine('none')
    pdf, png = io.BytesIO(), io.BytesIO()
    drawn.savefig(pdf, format='pdf')
    alt = describe.describe(drawn)
  # A palette makes the page a third of its size.
  pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert('RGB')
  palette = pixels.quantize(128, Image.Quantize.FASTOCTREE)
  # White is not left to the choice of a palette.
  colors = palette.getpalette()
  palette.putpalette([255 if value > 252 else value for value in colors])
  palette.save(png, format='png')
  return Drawn(png.getvalue(), pdf.getvalue(), alt, drawn.get_figwidth())
