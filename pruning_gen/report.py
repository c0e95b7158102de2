"""Builds the report of one or several runs from their files alone.

  python -m pruning_gen.report --workdir=runs/quickstart

Needs no accelerator, works while a run is in progress, and shows what is
finished. Several runs make one page; folders may follow the flags:

  python -m pruning_gen.report --output=runs/report runs/lenet runs/vgg16
  python -m pruning_gen.report --output=runs/resnet20/report runs/resnet20/*/

Runs that each did a part of one benchmark, other experiments or other
replicates of one config, as the jobs of a sweep do, are shown as that one
benchmark. Different runs, as the paper's benchmarks or two runs of the same
networks, stay apart and are never averaged together.

Writes summary.csv next to a single run, and in the report's folder index.html,
figures/NAME.png and .pdf, and the plotted numbers as tables/NAME.csv.
"""

import hashlib
import io
import re
import sys

import pandas as pd
from absl import app
from absl import flags
from etils import epath

from pruning_gen import command_line
from pruning_gen import output
from pruning_gen.analysis import claims
from pruning_gen.analysis import load
from pruning_gen.analysis import page
from pruning_gen.errors import UserError
from pruning_gen.storage import files
from pruning_gen.storage import results


def main(argv):
  """Build the report of every --workdir and every folder behind the flags."""
  workdirs, folder = flags.FLAGS.workdir + argv[1:], flags.FLAGS.output
  if not workdirs:
    raise app.UsageError('name the folder of a run: --workdir=FOLDER')
  try:
    workdirs = [command_line.local_path('workdir', path) for path in workdirs]
    if folder is None:
      path = _build_one(workdirs)
    else:
      path = build_together(workdirs, command_line.local_path('output', folder))
    print(f'report: {path}')
  except UserError as error:
    sys.exit(f'error: {error}')


def _build_one(workdirs):
  if len(workdirs) > 1:
    raise UserError(
      f'--output is missing: {len(workdirs)} workdirs make one report, so name '
      'the folder it goes to'
    )
  return build(workdirs[0])


def is_built(workdir):
  """Tell whether there is a report that knows all of the run's tables."""
  path = results.report_dir(workdir) / 'index.html'
  return path.exists() and path.read_text().endswith(_sign(workdir))


def _sign(workdir):
  """Return the last line of a page, which tells of which tables it is.

  Times would not: a report may be built beside a run that goes on.
  """
  digest = hashlib.sha256()
  for path in (
    results.results_path(workdir),
    epath.Path(workdir) / 'el2n' / 'scores.csv',
    epath.Path(workdir) / 'chain' / 'most_worsened.csv',
  ):
    if path.exists():
      digest.update(path.read_bytes())
  return f'\n<!-- of tables with the SHA-256 {digest.hexdigest()} -->\n'


def has_networks(workdir):
  """Tell whether a run has networks that a report shows."""
  return (results.read_results(workdir).experiment != 'el2n').any()


def build(workdir):
  """Build summary.csv and the report of one run, beside it.

  Args:
    workdir: path of a run, finished or not.

  Returns:
    The path of the page.

  Raises:
    UserError: the folder holds no run, nothing is finished yet, or a file is
      broken.
  """
  # Before they are read: what comes later, it does not know.
  signature = _sign(workdir)
  benchmark = load.read(workdir)
  files.write_table(results.summary_path(workdir), benchmark.summary)
  return _write([benchmark], results.report_dir(workdir), signature)


def build_together(workdirs, output):
  """Build one report of several runs, and join the parts of a benchmark.

  Args:
    workdirs: list of paths. Nothing is written there. Of several, those that
      hold no run are skipped.
    output: path of the report's folder.

  Returns:
    The path of the page.

  Raises:
    UserError: as `build`, for any of them.
  """
  return _write(load.read_all(_find_runs(workdirs)), output)


def _find_runs(workdirs):
  """Return the folders of runs: beside them may be a sweep's own files."""
  # Each once, with a slash behind it or not.
  workdirs = list(dict.fromkeys(str(epath.Path(path)) for path in workdirs))
  runs = [
    path for path in workdirs if (epath.Path(path) / 'config.json').exists()
  ]
  if not runs:
    # Reading them says what is wrong.
    return workdirs
  for workdir in workdirs:
    if workdir not in runs:
      print(f'skipped: {workdir} holds no run (no config.json)')
  return runs


def _write(benchmarks, output, signature=''):
  output = epath.Path(output)
  chapters, tested = [], []
  for number, benchmark in enumerate(benchmarks, start=1):
    config = benchmark.config
    title = f'{config["model"]["name"]} on {config["data"]["name"]}'
    table = claims.tabulate(benchmark)
    prefix = ''
    if len(benchmarks) > 1:
      # Two runs may have one name, and their files must stay apart.
      name = f'{number} {benchmark.name}'
      prefix = re.sub(r'\W+', '_', name) + '_'
      title = f'{name}: {title}'
      table.insert(1, 'benchmark', name)
    chapters.append(_chapter(benchmark, title, output, prefix))
    tested.append(table)
  tested = _group_by_sentence(pd.concat(tested))
  files.write_table(output / 'tables' / 'claims.csv', tested)
  title = ', '.join(chapter['title'] for chapter in chapters)
  html = page.render(title, chapters, page.lay_out(tested))
  path = output / 'index.html'
  # Last: it tells that the report is complete.
  files.write_text(path, html + signature)
  _remove_others(output, chapters)
  return path


def _remove_others(output, chapters):
  """Remove figures and tables of the page before that this one has not."""
  kept = {section['file'] for own in chapters for section in own['sections']}
  # Of a benchmark alone, or of one of several; other files are not ours.
  names = '|'.join(figure.name for figure in _figures())
  ours = re.compile(rf'(\d+_\w+_)?({names})\.(png|pdf|csv)')
  for path in [*output.glob('figures/*'), *output.glob('tables/*')]:
    if ours.fullmatch(path.name) and path.stem not in kept:
      path.unlink(missing_ok=True)


def _figures():
  # matplotlib is slow to import, and nothing but a report needs it.
  from pruning_gen.analysis import figures

  return figures.FIGURES


def _group_by_sentence(tested):
  order = tested.sentence.drop_duplicates().tolist()
  return tested.sort_values(
    'sentence', kind='stable', key=lambda column: column.map(order.index)
  )


def _chapter(benchmark, title, output, prefix):
  """Write a benchmark's figures and tables; return what the page shows."""
  sections, missing = [], {}
  for figure in _figures():
    table = figure.tabulate(benchmark)
    if table.empty:
      missing.setdefault(figure.needs, []).append(figure.title)
    else:
      sections.append(_section(figure, table, output, prefix))
  return {
    'id': f'{prefix}benchmark',
    'title': title,
    'lead': [_progress(benchmark), *benchmark.notes],
    'missing': [
      f'{"; ".join(titles)}: run pruning_gen.main with {needs}.'
      for needs, titles in missing.items()
    ],
    'sections': sections,
    'config': benchmark.config,
    'provenance': benchmark.provenance,
  }


def _section(figure, table, output, prefix):
  name = f'{prefix}{figure.name}'
  image = None
  if figure.draw:
    image = _save(figure.draw(table), output / 'figures', name)
  # A column of images is drawn, and is no number.
  table = table.drop(columns='image', errors='ignore')
  files.write_table(output / 'tables' / f'{name}.csv', table)
  return {
    'id': name,
    'title': figure.title,
    'caption': figure.caption,
    'image': image,
    'file': name,
    'table': page.lay_out(table),
  }


def _save(figure, folder, name):
  """Save a figure as PNG and PDF; return the PNG's bytes."""
  for kind in ('pdf', 'png'):
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind)
    # The layout is found once and holds for both.
    figure.set_layout_engine('none')
    files.write_bytes(folder / f'{name}.{kind}', buffer.getvalue())
  return buffer.getvalue()


def _progress(benchmark):
  chain = benchmark.results[benchmark.results.experiment == 'chain']
  if chain.empty:
    return 'The chain has no finished level.'
  finished, levels = chain.level.max(), benchmark.config['levels']
  replicates = chain.replicate.nunique()
  return (
    f'{finished} of {levels} levels finished'
    + (', so the optimal sparsity may yet change' if finished < levels else '')
    + (
      f', {replicates} replicates'
      if replicates > 1
      else ', one replicate, so there are no verdicts and no spread'
    )
    + f'. Pruning removes {benchmark.config["prune_fraction"]:.0%} of the '
    'remaining weights a level.'
  )


if __name__ == '__main__':
  flags.DEFINE_multi_string(
    'workdir',
    [],
    'Folder of a run; several, or folders named behind the flags, make one '
    'report.',
  )
  flags.DEFINE_string(
    'output', None, "Where the report goes; a single run's own by default."
  )
  # Folders may stand before flags too.
  flags.FLAGS.set_gnu_getopt()
  output.guard()
  app.run(main)
