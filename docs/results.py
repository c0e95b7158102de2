"""The page of results and its figures, from the runs in results/.

  python -m docs.results                            writes and draws them
  python -m docs.results add --workdir=W --name=N   first takes W into results/N

Figures, tables and verdicts are made by the report's own functions.
"""

import argparse
import io
import pathlib
import sys
import textwrap

import pandas as pd
from PIL import Image

from docs import committed
from pruning_gen import report
from pruning_gen.analysis import claims
from pruning_gen.analysis import page
from pruning_gen.analysis import paired
from pruning_gen.analysis.figures import FIGURES
from pruning_gen.analysis.figures import noise
from pruning_gen.analysis.figures import render
from pruning_gen.analysis.figures import sparsity
from pruning_gen.analysis.figures import stopping
from pruning_gen.analysis.figures import style
from pruning_gen.analysis.load import Benchmark
from pruning_gen.errors import UserError
from pruning_gen.storage import files

ROOT = pathlib.Path(__file__).parents[1]
IMAGES = ROOT / 'docs' / 'figures'
PAGE = ROOT / 'docs' / 'results.md'
README = ROOT / 'README.md'
# The README's first figure, and its run.
FIGURE = ROOT / 'docs' / 'lenet_noise.png'
FIRST = 'lenet'

# Figures of the report that the page shows, where a run has them.
SHOWN = (
  'figure_3_test_error',
  'figure_4_noisy_loss',
  'more_memorization',
  'figure_6_extended_dense',
  'more_early_stopping',
  'more_validation_curves',
  'figure_2a_subgroups_optimal',
  'figure_5_subgroups_noise',
  'figure_7_width',
  'appendix_d_leave_out_improved',
  'appendix_e_leave_out_misclassified',
  'more_size_and_time',
  'more_difficulty_effects',
  'more_layers',
  'more_mask_overlap',
  'more_instability',
  'more_barriers_test_error',
  'more_barriers_training_loss',
  'more_curvature',
)
BY_EPOCH = ('more_early_stopping', 'more_validation_curves')


def describe(name: str, benchmark: Benchmark) -> str:
  """Return what the page shows of a run, in Markdown."""
  parts = [
    report.describe_progress(benchmark),
    to_markdown(tabulate_starts(benchmark.provenance)),
  ]
  if benchmark.summary.level.any():
    parts += [
      'At the end of training, and test error minus that of pruning at its '
      'optimal sparsity:',
      to_markdown(tabulate_errors(benchmark)),
    ]
  for figure, table in figures_of(benchmark):
    image = f'figures/{name}/{figure.name}.png'
    parts += [
      f'### {figure.title}',
      f'![{figure.title}]({image})',
      ' '.join([figure.caption, *figure.notes([benchmark], table)]),
    ]
    if figure == stopping.STOPPING:
      networks = table.network.map(style.label_of)
      table = table.drop(columns='benchmark').assign(network=networks)
      parts.append(to_markdown(table))
  if benchmark.summary.level.any():
    tested, untested = tabulate_claims(benchmark)
    parts += [
      '### Claims of the paper, and ours',
      to_markdown(tested),
      f'{untested} more claims need an experiment or a noise level that this '
      'run does not have.',
    ]
  return '\n\n'.join(parts)


def figures_of(benchmark: Benchmark) -> list:
  """Return the figures of the page that a run has, with their tables."""
  # Of dense networks alone there are no curves by level.
  names = SHOWN if benchmark.summary.level.any() else BY_EPOCH
  shown = [figure for figure in FIGURES if figure.name in names]
  found = [(figure, figure.tabulate([benchmark])) for figure in shown]
  return [(figure, table) for figure, table in found if len(table)]


def tabulate_starts(history: dict) -> pd.DataFrame:
  """Tabulate what was run: starts of one command and revision together."""
  rows = {}
  for start in history['starts']:
    key = start['command'], start['git_revision']
    row = {
      'command': f'`{start["command"]}`',
      'revision': f'`{str(start["git_revision"])[:7]}`',
      'begun': start['time'][:10],
      'hardware': describe_machine(start),
      'JAX': start['versions']['jax'],
      'hours': 0.0,
    }
    rows.setdefault(key, row)['hours'] += start['seconds'] / 3600
  return pd.DataFrame(rows.values()).assign(
    hours=lambda table: table.hours.map('{:.1f}'.format)
  )


def describe_machine(start: dict) -> str:
  """Name the processor or the accelerators of a start."""
  devices = start['devices']
  kind = devices[0].partition(': ')[2]
  if devices[0].startswith('cpu:'):
    environment = start['environment']
    return f'{environment["cores"]} cores, {environment["cpu"]}'
  return f'{len(devices)} x {kind}'


def tabulate_errors(benchmark: Benchmark) -> pd.DataFrame:
  """Tabulate `paired.compare_at_optimum` with the weights of each network."""
  table = paired.compare_at_optimum(benchmark.results, benchmark.summary)
  table['arm'] = table.network.str.removesuffix('_best').replace(
    'dense', 'pruning'
  )
  chain = benchmark.summary[benchmark.summary.experiment == 'chain']
  key = ['noise_fraction', 'arm', 'level']
  loss = ['train_cross_entropy_mean', 'train_cross_entropy_std']
  own = chain[[*key, 'weights_remaining', 'epochs_trained', *loss]]
  table = table.merge(own, on=key).rename(
    columns={'mean': 'test_error_mean', 'std': 'test_error_std'}
  )
  table['network'] = table.network.map(style.label_of)
  is_pruned = table.network == 'pruning'
  compared = [name for name in table if name.startswith('against_pruning')]
  for name in compared:
    table[name] = table[name].mask(is_pruned)
  first = ['noise_fraction', 'network', 'weights_remaining', 'epochs_trained']
  errors = ['test_error_mean', 'test_error_std', 'n']
  return table[[*first, *loss, *errors, *compared]]


def tabulate_claims(benchmark: Benchmark) -> tuple[pd.DataFrame, int]:
  """Tabulate the claims that a run tests, and count the others."""
  table = claims.tabulate([benchmark])
  is_tested = table.n > 0
  tested = table[is_tested].copy()
  is_open = tested.verdict == 'undecided'
  tested['verdict'] = tested.verdict.where(
    ~is_open, 'undecided: ' + tested.detail
  )
  tested = tested.rename(columns={'mean': 'ours_mean', 'std': 'ours_std'})
  return tested.drop(columns='detail'), int((~is_tested).sum())


def to_markdown(table: pd.DataFrame) -> str:
  """Format a table as the report's page does, in Markdown."""
  laid_out = page.lay_out(table, max_rows=len(table))
  columns = laid_out['columns']
  lines = [columns, ['---'] * len(columns)]
  lines += [row['cells'] for row in laid_out['rows']]
  return '\n'.join(
    f'| {" | ".join(cell.replace("|", chr(92) + "|") for cell in line)} |'
    for line in lines
  )


def readme_blocks_of(runs: dict[str, Benchmark]) -> dict[str, str]:
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
  table = tabulate_errors(benchmark)
  table = table[table.noise_fraction == table.noise_fraction.max()]
  dense, pruned = (
    table[table.network == network].iloc[0] for network in ('dense', 'pruning')
  )
  words = (
    f'*{benchmark.title}; [a real run]({PAGE.relative_to(ROOT)}), drawn '
    f'by the report. Left: with {100 * dense.noise_fraction:g} % of the '
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
    table = tabulate_errors(benchmark)
    optimizer = benchmark.config.get('optimizer', 'sgd')
    title = benchmark.title + ('' if optimizer == 'sgd' else f', {optimizer}')
    for noise_fraction, rows in table.groupby('noise_fraction'):
      rows = rows.set_index('network')
      dense, pruned, longer = (
        row
        for _, row in rows.reindex(
          ['dense', 'pruning', 'extended dense']
        ).iterrows()
      )
      cells = [
        f'{title}, {style.noise_label(noise_fraction)}',
        f'{show_error(dense)}{describe_verdicts(dense)}',
        f'{show_error(pruned)} at {show_weights(pruned)} of the weights',
        f'{show_error(longer)}{describe_verdicts(longer)}',
      ]
      lines.append('| ' + ' | '.join(cells) + ' |')
  return '\n'.join(lines)


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
  paired, unpaired = row.against_pruning_verdict, row.against_pruning_unpaired
  if not isinstance(paired, str) or not paired:
    return ''
  return f' ({paired})' if paired == unpaired else f' ({paired}; {unpaired})'


def fill(text: str, blocks: dict[str, str]) -> str:
  """Return a document with each block rewritten, between its marks.

  A block without marks is added at the end, under a heading.
  """
  for name, block in blocks.items():
    mark = f'<!-- {name} -->\n'
    if mark not in text:
      title = name.partition(': ')[2]
      text = f'{text.rstrip()}\n\n## {title}\n\n{mark}<!-- end -->\n'
    start, _, rest = text.partition(mark)
    _, _, end = rest.partition('<!-- end -->')
    text = f'{start}{mark}{block}\n<!-- end -->{end}'
  return text


def blocks_of(runs: dict[str, Benchmark]) -> dict[str, str]:
  """Return what the page shows of each run, by the name of its block."""
  return {
    f'run: {name}': describe(name, benchmark)
    for name, benchmark in runs.items()
  }


def draw(runs: dict[str, Benchmark], folder: pathlib.Path = IMAGES) -> None:
  """Draw every figure of the page, and the README's."""
  for name, benchmark in runs.items():
    for figure, table in figures_of(benchmark):
      png = render.draw(figure, table).png
      files.write_bytes(folder / name / f'{figure.name}.png', png)
  if readme_blocks_of(runs):
    draw_first(runs[FIRST])


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


def main() -> None:
  """Add a run, or write the page, the README's table and all figures."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  commands = parser.add_subparsers(dest='command')
  adding = commands.add_parser('add', help="take a run's tables")
  adding.add_argument('--workdir', required=True)
  adding.add_argument('--name', required=True)
  arguments = parser.parse_args()
  if arguments.command == 'add':
    try:
      committed.add(arguments.workdir, arguments.name)
    except UserError as error:
      sys.exit(f'error: {error}')
  runs = committed.list_runs()
  PAGE.write_text(fill(PAGE.read_text(), blocks_of(runs)))
  README.write_text(fill(README.read_text(), readme_blocks_of(runs)))
  draw(runs)


if __name__ == '__main__':
  main()
