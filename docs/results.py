"""The page of results and its figures, from the runs in results/.

  python -m docs.results                            writes and draws them
  python -m docs.results add --workdir=W --name=N   first takes W into results/N

Figures, tables and verdicts are made by the report's own functions.
"""

import argparse
import pathlib
import sys

import pandas as pd

from docs import committed
from docs import readme
from pruning_gen import report
from pruning_gen.analysis import claims
from pruning_gen.analysis import page
from pruning_gen.analysis import paired
from pruning_gen.analysis.figures import FIGURES
from pruning_gen.analysis.figures import noise
from pruning_gen.analysis.figures import render
from pruning_gen.analysis.figures import stopping
from pruning_gen.analysis.figures import style
from pruning_gen.analysis.figures import tables
from pruning_gen.analysis.figures.base import Figure
from pruning_gen.analysis.load import Benchmark
from pruning_gen.errors import UserError
from pruning_gen.storage import files

ROOT = pathlib.Path(__file__).parents[1]
IMAGES = ROOT / 'docs' / 'figures'
PAGE = ROOT / 'docs' / 'results.md'

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
  'appendix_f_width_zooms',
  'appendix_d_leave_out_improved',
  'appendix_e_leave_out_misclassified',
  'appendix_k2_leave_out_subgroups',
  'more_size_and_time',
  'more_difficulty_effects',
  'more_layers',
  'more_mask_overlap',
  'more_instability',
  'more_barriers_test_error',
  'more_barriers_training_loss',
  'more_curvature',
)
# Runs of one benchmark with other optimizers, learning rates, batch sizes and
# numbers of levels: the claims of both, side by side.
OTHER_OPTIMIZER = {'lenet_adam': 'lenet'}
OPTIMIZERS = {'sgd': 'SGD', 'adam': 'Adam'}
# Columns of a table of one chain that are the same in all rows.
SAME = ['benchmark', 'experiment', 'left_out', 'chosen_at']
BY_EPOCH = ('more_early_stopping', 'more_validation_curves')

# Figures with their tables.
Shown = list[tuple[Figure, pd.DataFrame]]
# The claims that a run tests, and why it does not test others.
Tested = tuple[pd.DataFrame, pd.DataFrame]


def describe(
  name: str, benchmark: Benchmark, shown: Shown, tested: Tested | None
) -> str:
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
      *fold_levels(benchmark),
    ]
  for figure, table in shown:
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
  if tested:
    parts += [
      '### Claims of the paper, and ours',
      to_markdown(tested[0]),
      'Not tested, and why:',
      to_markdown(tested[1]),
    ]
  return '\n\n'.join(parts)


def fold_levels(benchmark: Benchmark) -> list[str]:
  """Return the tables of every level, which a reader unfolds."""
  figures = [tables.TABLE_5, noise.TABLE_11]
  if 'extended_dense' not in set(benchmark.summary.arm):
    figures[0] = tables.EVERY_LEVEL
  parts = []
  for figure in figures:
    table = figure.tabulate([benchmark])
    if len(table):
      parts += [
        f'<details><summary>{figure.title}</summary>',
        to_markdown(table.drop(columns=SAME, errors='ignore')),
        '</details>',
      ]
  return parts


def figures_of(benchmark: Benchmark) -> Shown:
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
  """Tabulate `paired.compare_at_optimum`, as the page shows it."""
  table = paired.compare_at_optimum(benchmark.results, benchmark.summary)
  table['network'] = table.network.map(style.label_of)
  is_pruned = table.network == 'pruning'
  for name in table.filter(like='against_pruning'):
    table[name] = table[name].mask(is_pruned)
  return table.drop(columns='level')


def tabulate_claims(benchmark: Benchmark) -> Tested | None:
  """Tabulate the claims that a run tests, and why it does not test others."""
  # Dense networks alone test none.
  if not benchmark.summary.level.any():
    return None
  table = claims.tabulate([benchmark])
  is_tested = table.n > 0
  tested = table[is_tested].rename(
    columns={'mean': 'ours_mean', 'std': 'ours_std'}
  )
  reasons = table[~is_tested].groupby('detail', sort=False).size()
  return tested, reasons.rename_axis('reason').reset_index(name='claims')


def compare_claims(by_optimizer: dict[str, pd.DataFrame]) -> pd.DataFrame:
  """Tabulate the claims that all runs test, by the optimizer of each."""
  # Counts are of as many levels as a run has: their unit is not a key.
  key = ['section', 'claim', 'noise_fraction', 'paper']
  table = None
  for optimizer, tested in by_optimizer.items():
    names = {
      'ours_mean': f'{optimizer}_mean',
      'ours_std': f'{optimizer}_std',
      'unit': f'{optimizer}: unit',
      'verdict': f'{optimizer}: verdict',
    }
    own = tested[[*key, *names]].rename(columns=names)
    table = own if table is None else table.merge(own, on=key)
  return table


def count_verdicts(table: pd.DataFrame) -> str:
  """Say on how many of the paper's claims two runs agree with it."""
  table = table[table.section != 'ours'].filter(like=': verdict')
  agrees = table[(table != 'undecided').all(axis=1)] == 'agrees'
  first, second = (name.partition(':')[0] for name in table)
  one, other = agrees.to_numpy().T
  return (
    f"Both decide {len(agrees)} of the paper's claims. Both agree with it on "
    f'{(one & other).sum()}, only {first} on {(one & ~other).sum()}, only '
    f'{second} on {(other & ~one).sum()}, neither on {(~one & ~other).sum()}.'
  )


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


def blocks_of(
  runs: dict[str, Benchmark], shown: dict[str, Shown]
) -> dict[str, str]:
  """Return what the page shows of each run, by the name of its block."""
  tested = {name: tabulate_claims(own) for name, own in runs.items()}
  blocks = {}
  for name, benchmark in runs.items():
    block = describe(name, benchmark, shown[name], tested[name])
    other = OTHER_OPTIMIZER.get(name)
    if other in runs:
      pair = {
        OPTIMIZERS[runs[run].config['optimizer']]: tested[run][0]
        for run in (other, name)
      }
      table = compare_claims(pair)
      block += f'\n\n### By optimizer\n\n{to_markdown(table)}'
      block += f'\n\n{count_verdicts(table)}'
    blocks[f'run: {name}'] = block
  return blocks


def draw(shown: dict[str, Shown], folder: pathlib.Path = IMAGES) -> None:
  """Draw every figure of the page."""
  for name, figures in shown.items():
    for figure, table in figures:
      png = render.draw(figure, table).png
      files.write_bytes(folder / name / f'{figure.name}.png', png)


def main() -> None:
  """Add a run, or write the page, the README's table and all figures."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  commands = parser.add_subparsers(dest='command')
  adding = commands.add_parser('add', help="take a run's tables")
  adding.add_argument('--workdir', required=True)
  adding.add_argument('--name', required=True)
  arguments = parser.parse_args()
  try:
    if arguments.command == 'add':
      committed.add(arguments.workdir, arguments.name)
    runs = committed.list_runs()
  except UserError as error:
    sys.exit(f'error: {error}')
  shown = {name: figures_of(own) for name, own in runs.items()}
  PAGE.write_text(fill(PAGE.read_text(), blocks_of(runs, shown)))
  draw(shown)
  blocks = readme.blocks_of(runs)
  if blocks:
    readme.PAGE.write_text(fill(readme.PAGE.read_text(), blocks))
    readme.draw_first(runs[readme.FIRST])


if __name__ == '__main__':
  main()
