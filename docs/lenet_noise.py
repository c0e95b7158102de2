"""Draws docs/lenet_noise.png, the figure at the top of the README.

  python -m docs.lenet_noise

Figures 3 and 4 of the report, drawn by the report's own code from the numbers
of a real run, speed/results/lenet_mnist_noise.csv.
"""

import io
import pathlib
import sys

import pandas as pd
from matplotlib.figure import Figure as Drawing
from PIL import Image

from pruning_gen.analysis.figures import noise
from pruning_gen.analysis.figures import sparsity
from pruning_gen.analysis.figures import style
from pruning_gen.analysis.load import Benchmark

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / 'speed' / 'results' / 'lenet_mnist_noise.csv'
IMAGE = ROOT / 'docs' / 'lenet_noise.png'


def main(path: pathlib.Path = IMAGE) -> None:
  """Draw both figures side by side."""
  benchmark = read(RESULTS)
  with style.context():
    images = [
      to_image(figure.draw(figure.tabulate([benchmark])))
      for figure in (sparsity.FIGURE_3, noise.FIGURE_4)
    ]
  width = sum(image.width for image in images)
  height = max(image.height for image in images)
  whole = Image.new('RGB', (width, height), 'white')
  left = 0
  for image in images:
    whole.paste(image, (left, 0))
    left += image.width
  # A palette makes the file a third as large.
  whole.quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)


def read(path: pathlib.Path) -> Benchmark:
  """Read a committed summary of layout version 3 as a benchmark."""
  summary = pd.read_csv(path)
  summary.columns = [
    column.replace('_original_', '_clean_') for column in summary.columns
  ]
  nothing = pd.DataFrame()
  return Benchmark(
    name=path.stem,
    config={},
    provenance={},
    results=nothing,
    summary=summary,
    effects=nothing,
    concentration=nothing,
    noisy_share=nothing,
    leave_out=nothing,
    most_worsened=None,
    notes=[],
    title='LeNet-300-100 on MNIST, 15 % label noise',
  )


def to_image(figure: Drawing) -> Image.Image:
  """Render a figure."""
  buffer = io.BytesIO()
  figure.savefig(buffer, format='png')
  return Image.open(buffer).convert('RGB')


if __name__ == '__main__':
  main(*map(pathlib.Path, sys.argv[1:]))
