"""Builds the report of one or several runs from their files alone.

  python -m pruning_gen.report --workdir=runs/quickstart

Needs no accelerator, works while a run is in progress, and shows what is
finished. Several runs make one page; folders may follow the flags:

  python -m pruning_gen.report --output=runs/report runs/lenet runs/vgg16
  python -m pruning_gen.report --output=runs/resnet20/report runs/resnet20/*/

Runs that each did a part of one benchmark, other experiments, replicates, arms
or noise levels of one config, as the jobs of a sweep do, are shown as that one
benchmark. Different runs, as the paper's benchmarks or two runs of the same
networks, stay apart and are never averaged together.

Writes summary.csv next to a single run, and in the report's folder index.html,
figures/NAME.png and .pdf, and the plotted numbers as tables/NAME.csv.
"""

import datetime
import hashlib
import os
import sys
from typing import Any

import pandas as pd
from absl import app
from absl import flags
from etils import epath

from pruning_gen import command_line
from pruning_gen import output
from pruning_gen.analysis import claims
from pruning_gen.analysis import load
from pruning_gen.analysis import page
from pruning_gen.analysis import runs
from pruning_gen.analysis.load import Benchmark
from pruning_gen.errors import UserError
from pruning_gen.storage import files
from pruning_gen.storage import results

# Headings of the page: what figures are called, by the first part of names.
GROUPS = {
  'figure': ("The paper's figures", ''),
  'appendix': (
    "The paper's appendices",
    'We had no copy of the appendix: these follow its outline and the '
    "references in the paper's text.",
  ),
  'more': ('More views', 'Drawn from the same runs, and not in the paper.'),
}
CLAIMS_TEXT = (
  'A claim agrees where the paired verdict over replicates does: two results '
  'differ if |mean of the differences| ≥ their standard deviation (n - 1); '
  'better means lower, of errors and of losses. With three replicates the rule '
  'calls a true tie different in 22.5 % of comparisons. Claims about many '
  'levels or groups are therefore counted against what chance allows. A number '
  "agrees where the mean is inside the paper's range, or outside by less than "
  'its standard deviation. Undecided claims state the reason.'
)


def ignore_plot_settings() -> None:
  """Keep the user's settings of matplotlib out of a program, in its main.

  A notebook's backend or a damaged matplotlibrc would end its import. What can
  be read is overridden where figures are drawn (`style.context`).
  """
  os.environ |= {'MPLBACKEND': 'agg', 'MATPLOTLIBRC': os.devnull}


def main(argv: list[str]) -> None:
  """Build the report of every --workdir and every folder after the flags."""
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


def _build_one(workdirs: list[str]) -> epath.Path:
  if len(workdirs) > 1:
    raise UserError(
      f'--output is missing: {len(workdirs)} workdirs make one report, so name '
      'the folder it goes to'
    )
  return build(workdirs[0])


def is_built(workdir: epath.PathLike) -> bool:
  """Return whether there is a report that has all of the run's tables."""
  path = results.report_dir(workdir) / 'index.html'
  return path.exists() and path.read_text().endswith(_sign(workdir))


def _sign(workdir: epath.PathLike) -> str:
  """Return the last line of a page, which identifies the tables it shows.

  Times would not: a report may be built while its run is in progress.
  """
  digest = hashlib.sha256()
  for path in results.list_tables(workdir):
    digest.update(path.read_bytes())
  return f'\n<!-- of tables with the SHA-256 {digest.hexdigest()} -->\n'


def has_networks(workdir: epath.PathLike) -> bool:
  """Return whether a run has networks that a report shows."""
  experiments = results.read_results(workdir).experiment
  return not experiments.isin(runs.UNSHOWN).all()


def build(workdir: epath.PathLike) -> epath.Path:
  """Build summary.csv and the report of one run, finished or not.

  Returns:
    The path of the page.

  Raises:
    UserError: the folder holds no run, nothing is finished yet, or a file is
      broken.
  """
  # First, since results may be written while the page is built.
  signature = _sign(workdir)
  benchmark = load.read(workdir)
  files.write_table(results.summary_path(workdir), benchmark.summary)
  output = results.report_dir(workdir)
  return _write([benchmark], [workdir], output, signature)


def build_together(
  workdirs: list[epath.PathLike], output: epath.PathLike
) -> epath.Path:
  """Build one report of several runs, and join the parts of a benchmark.

  Nothing is written to the workdirs. Of several, those that hold no run are
  skipped.

  Returns:
    The path of the page.

  Raises:
    UserError: as `build`, for any of them.
  """
  workdirs = _find_runs(workdirs)
  return _write(load.read_all(workdirs), workdirs, output)


def _find_runs(workdirs: list[epath.PathLike]) -> list[str]:
  """Return the folders of runs: a sweep's own files may be next to them."""
  # Each once, with or without a slash at the end.
  workdirs = list(dict.fromkeys(str(epath.Path(path)) for path in workdirs))
  runs = [
    path for path in workdirs if (epath.Path(path) / 'config.json').exists()
  ]
  if not runs:
    # Reading them raises the error.
    return workdirs
  for workdir in workdirs:
    if workdir not in runs:
      print(f'skipped: {workdir} holds no run (no config.json)')
  return runs


def _write(
  benchmarks: list[Benchmark],
  workdirs: list[epath.PathLike],
  output: epath.PathLike,
  signature: str = '',
) -> epath.Path:
  """Write figures, tables and the page; return the page's path."""
  # matplotlib is slow to import, and nothing but a report needs it.
  from pruning_gen.analysis.figures import FIGURES

  output = files.path_of(output)
  sections, missing = [], []
  for figure in FIGURES:
    table = figure.tabulate(benchmarks)
    notes = figure.notes(benchmarks, table)
    if table.empty:
      why = ' '.join(notes) or f'run pruning_gen.main with {figure.needs}.'
      missing.append(f'{figure.title}: {why}')
    else:
      sections.append(_section(figure, table, notes, output))
  tested = claims.tabulate(benchmarks)
  files.write_table(output / 'tables' / 'claims.csv', tested)
  html = page.render(
    title=', '.join(benchmark.title for benchmark in benchmarks),
    workdirs=[str(workdir) for workdir in workdirs],
    date=f'{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC',
    runs=[_describe_run(benchmark) for benchmark in benchmarks],
    claims=page.lay_out(tested, max_rows=len(tested)),
    claims_text=CLAIMS_TEXT,
    missing=missing,
    groups=_group(sections),
  )
  path = output / 'index.html'
  # Last: it marks the report as complete.
  files.write_text(path, html + signature)
  _remove_others(output, [section['id'] for section in sections], FIGURES)
  return path


def _group(sections: list[dict]) -> list[dict]:
  """Put the sections of the page under their headings."""
  groups = [
    {
      'id': f'group-{prefix}',
      'title': title,
      'text': text,
      'sections': [own for own in sections if _group_of(own['id']) == prefix],
    }
    for prefix, (title, text) in GROUPS.items()
  ]
  return [group for group in groups if group['sections']]


def _group_of(name: str) -> str:
  prefix = name.split('_')[0]
  return prefix if prefix in GROUPS else 'more'


def _remove_others(output: epath.Path, kept: list[str], figures: Any) -> None:
  """Remove figures and tables of an earlier page that this one has not."""
  ours = {figure.name for figure in figures}
  for path in [*output.glob('figures/*'), *output.glob('tables/*')]:
    is_ours = path.stem in ours and path.suffix in ('.png', '.pdf', '.csv')
    if is_ours and path.stem not in kept:
      path.unlink(missing_ok=True)


def _section(
  figure: Any, table: pd.DataFrame, notes: list[str], output: epath.Path
) -> dict[str, Any]:
  """Write a figure's files; return what the page shows."""
  from pruning_gen.analysis.figures import render

  drawn = render.Drawn()
  if figure.draw:
    drawn = render.draw(figure, table)
    for suffix, content in (('pdf', drawn.pdf), ('png', drawn.png)):
      path = output / 'figures' / f'{figure.name}.{suffix}'
      files.write_bytes(path, content)
  # A column of images is drawn, and is no number.
  table = table.drop(columns='image', errors='ignore')
  if table.benchmark.cat.categories.size == 1:
    table = table.drop(columns='benchmark')
  files.write_table(output / 'tables' / f'{figure.name}.csv', table)
  return {
    'id': figure.name,
    'title': figure.title,
    'caption': figure.caption,
    'notes': notes,
    'image': drawn.png or None,
    'alt': drawn.alt,
    'width': drawn.width,
    'table': page.lay_out(table),
  }


def _describe_run(benchmark: Benchmark) -> dict[str, Any]:
  return {
    'title': benchmark.title,
    'lead': [describe_progress(benchmark), *benchmark.notes],
    'config': benchmark.config,
    'provenance': benchmark.provenance,
  }


def describe_progress(benchmark: Benchmark) -> str:
  """Say which levels are finished, and how many replicates there are."""
  chain = benchmark.results[benchmark.results.experiment == 'chain']
  if chain.empty:
    return 'The chain has no finished level.'
  finished = chain.level.max()
  # The last start may have named fewer.
  levels = max(finished, benchmark.config['levels'])
  replicates = chain.replicate.nunique()
  repeated = (
    f'{replicates} replicates'
    if replicates > 1
    else 'one replicate, so there are no verdicts and no spread'
  )
  if not levels:
    return f'Dense networks only (config.levels=0), {repeated}.'
  early = (
    'so the optimal sparsity may yet change, ' if finished < levels else ''
  )
  return (
    f'{finished} of {levels} levels finished, {early}{repeated}. Pruning '
    f'removes {100 * benchmark.config["prune_fraction"]:g}% of the remaining '
    'weights per level.'
  )


if __name__ == '__main__':
  flags.DEFINE_multi_string(
    'workdir',
    [],
    'Folder of a run; several, or folders after the flags, make one report.',
  )
  flags.DEFINE_string(
    'output', None, "Where the report goes; a single run's own by default."
  )
  # Folders may precede flags, too.
  flags.FLAGS.set_gnu_getopt()
  output.guard()
  ignore_plot_settings()
  app.run(main)
