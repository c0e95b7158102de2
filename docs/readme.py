"""The README's first figure and its table of results."""

import io
import pathlib
import re
import textwrap

import pandas as pd
from PIL import Image

from pruning_gen.analysis import paired
from pruning_gen.analysis.figures import noise
from pruning_gen.analysis.figures import render
from pruning_gen.analysis.figures import sparsity
from pruning_gen.analysis.figures import style
from pruning_gen.analysis.load import Benchmark

ROOT = pathlib.Path(__file__).parents[1]
PAGE = ROOT / 'README.md'
FIGURE = ROOT / 'docs' / 'lenet_noise.png'
# The run that the figure shows.
FIRST = 'lenet'
# Of `paired.compare_at_optimum`, those of the table.
NETWORKS = ('dense', 'pruning', 'extended_dense')


def blocks_of(runs: dict[str, Benchmark]) -> dict[str, str]:
  """Return the README's figure and table, of runs whose chain is finished."""
  finished = {name: own for name, own in runs.items() if is_finished(own)}
  # Without its figure, the README stays as it is.
  if FIRST not in finished:
    return {}
  return {
    'figure: first': caption_first(finished[FIRST]),
    'table: results': summarize(finished),
  }


def is_finished(benchmark: Benchmark) -> bool:
  """Return whether a chain has all of its levels, and more than one."""
  chain = benchmark.summary[benchmark.summary.experiment == 'chain']
  return chain.level.max() >= max(benchmark.config['levels'], 1)


def caption_first(benchmark: Benchmark) -> str:
  """Return the README's first figure and its caption."""
  table = paired.compare_at_optimum(benchmark.results, benchmark.summary)
  table = table[table.noise_fraction == table.noise_fraction.max()]
  dense, pruned = (
    table[table.network == network].iloc[0] for network in ('dense', 'pruning')
  )
  words = (
    f'*{benchmark.title}; [a real run](docs/results.md), drawn by '
    f'the report. Left: with {100 * dense.noise_fraction:g} % of the '
    'training labels wrong, pruning first raises the test error (dense: '
    f'{show_error(dense)}, dashed), then lowers it to {show_error(pruned)} at '
    f'{show_weights(pruned)} of the weights (star). Right: at first the pruned '
    'network fits the noisy examples better than the dense one, and at the '
    "star far worse, which is the paper's account of why pruning helps.*"
  )
  alt = (
    'Left: test error by weights remaining. Right: training loss on clean and '
    'noisy examples.'
  )
  lines = textwrap.wrap(words, 120, break_on_hyphens=False)
  image = FIGURE.relative_to(ROOT)
  return '\n'.join([f'![{alt}]({image})', '', *lines])


def summarize(runs: dict[str, Benchmark]) -> str:
  """Return the README's table: a line for each run and noise level."""
  lines = [
    '| run | dense | pruned, at the optimal sparsity | extended dense, as many '
    'epochs |',
    '|---|---|---|---|',
  ]
  for benchmark in runs.values():
    table = paired.compare_at_optimum(benchmark.results, benchmark.summary)
    for noise_fraction, rows in table.groupby('noise_fraction'):
      rows = rows.set_index('network')
      dense, pruned, longer = (
        row for _, row in rows.reindex(NETWORKS).iterrows()
      )
      cells = [
        f'{title_of(benchmark)}, {style.noise_label(noise_fraction)}',
        f'{show_error(dense)}{describe_verdicts(dense)}',
        f'{show_error(pruned)} at {show_weights(pruned)} of the weights',
        f'{show_error(longer)}{describe_verdicts(longer)}',
      ]
      lines.append('| ' + ' | '.join(cells) + ' |')
  return '\n'.join(lines)


def title_of(benchmark: Benchmark) -> str:
  """Return the title of a run, and its variant of the config, as `:cpu`."""
  command = benchmark.provenance['starts'][0]['command']
  variant = re.search(r'--config=[^\s:]*(:\w+)', command)
  return benchmark.title + (f' (`{variant[1]}`)' if variant else '')


def show_weights(row: pd.Series) -> str:
  """Return the weights that a network has left, in percent."""
  return f'{100 * row.weights_remaining:.3g} %'


def show_error(row: pd.Series) -> str:
  """Return a test error in percent."""
  if pd.isna(row.n):
    return '-'
  mean, std = 100 * row.test_error_mean, 100 * row.test_error_std
  digits = 1 if mean > 5 else 2
  return f'{mean:.{digits}f} ± {std:.{digits}f} %'


def describe_verdicts(row: pd.Series) -> str:
  """Return what the rule says of a network against pruning."""
  verdict, unpaired = row.against_pruning_verdict, row.against_pruning_unpaired
  if not isinstance(verdict, str) or not verdict:
    return ''
  return f' ({verdict})' if verdict == unpaired else f' ({verdict}; {unpaired})'


def draw_first(benchmark: Benchmark, path: pathlib.Path = FIGURE) -> None:
  """Draw Figures 3 and 4 side by side."""
  images = []
  for figure in (sparsity.FIGURE_3, noise.FIGURE_4):
    png = render.draw(figure, figure.tabulate([benchmark])).png
    images.append(Image.open(io.BytesIO(png)).convert('RGB'))
  width = sum(image.width for image in images)
  height = max(image.height for image in images)
  whole = Image.new('RGB', (width, height), 'white')
  left = 0
  for image in images:
    whole.paste(image, (left, 0))
    left += image.width
  # A palette makes the file a third as large.
  whole.quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
