"""Builds the report of one or several runs from their files alone.

  python -m pruning_gen.report --workdir=runs/quickstart

Needs no accelerator, works while a run is still going, and shows what is there
so far. Several runs make one page; folders may be named behind the flags:

  python -m pruning_gen.report --output=runs/report runs/lenet runs/vgg16
  python -m pruning_gen.report --output=runs/resnet20/report runs/resnet20/*/

Runs that each did a part of one panel, other experiments or other replicates of
one config, as the jobs of a sweep, are shown as that one panel. Different runs,
as the paper's panels or two runs of the same networks, stand side by side and
are never averaged together.

Writes summary.csv beside a single run, and in the report's folder index.html,
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

from pruning_gen.analysis import claims
from pruning_gen.analysis import contents
from pruning_gen.analysis import load as panels
from pruning_gen.analysis import page
from pruning_gen.errors import UserError
from pruning_gen.storage import files
from pruning_gen.storage import results


def main(argv):
  """Build the report of every --workdir and every folder behind the flags."""
  workdirs, output = flags.FLAGS.workdir + argv[1:], flags.FLAGS.output
  if not workdirs:
    raise app.UsageError('name the folder of a run: --workdir=FOLDER')
  try:
    path = build_together(workdirs, output) if output else _build_one(workdirs)
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
  panel = panels.read(workdir)
  files.write_table(results.summary_path(workdir), panel.summary)
  return _write([panel], results.report_dir(workdir), signature)


def build_together(workdirs, output):
  """Build one report of several runs, and join those that are of one panel.

  Args:
    workdirs: list of paths. Nothing is written there. Of several, those that
      hold no run are skipped.
    output: path of the report's folder.

  Returns:
    The path of the page.

  Raises:
    UserError: as `build`, for any of them.
  """
  return _write(panels.read_all(_find_runs(workdirs)), output)


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


def _write(all_panels, output, signature=''):
  output = epath.Path(output)
  chapters, tested = [], []
  for number, panel in enumerate(all_panels, start=1):
    title = f'{panel.config["model"]["name"]} on {panel.config["data"]["name"]}'
    table = claims.tabulate(panel)
    prefix = ''
    if len(all_panels) > 1:
      # Two runs may have one name, and their files must stay apart.
      name = f'{number} {panel.name}'
      prefix = re.sub(r'\W+', '_', name) + '_'
      title = f'{name}: {title}'
      table.insert(1, 'panel', name)
    chapters.append(_chapter(panel, title, output, prefix))
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
  # Of a panel alone, or of one of several; what else lies there is not ours.
  names = '|'.join(section.name for section in contents.SECTIONS)
  ours = re.compile(rf'(\d+_\w+_)?({names})\.(png|pdf|csv)')
  for path in [*output.glob('figures/*'), *output.glob('tables/*')]:
    if ours.fullmatch(path.name) and path.stem not in kept:
      path.unlink(missing_ok=True)


def _group_by_sentence(tested):
  order = tested.sentence.drop_duplicates().tolist()
  return tested.sort_values(
    'sentence', kind='stable', key=lambda column: column.map(order.index)
  )


def _chapter(panel, title, output, prefix):
  """Write a panel's figures and tables; return what the page shows."""
  sections, missing = [], {}
  for section in contents.SECTIONS:
    table = section.tabulate(panel)
    if table.empty:
      missing.setdefault(section.needs, []).append(section.title)
    else:
      sections.append(_section(section, table, output, prefix))
  return {
    'id': f'{prefix}panel',
    'title': title,
    'lead': [_progress(panel), *panel.notes],
    'missing': [
      f'{"; ".join(titles)}: run pruning_gen.main with {needs}.'
      for needs, titles in missing.items()
    ],
    'sections': sections,
    'config': panel.config,
    'provenance': panel.provenance,
  }


def _section(section, table, output, prefix):
  name = f'{prefix}{section.name}'
  image = None
  if section.draw:
    image = _save(section.draw(table), output / 'figures', name)
  # A column of images is drawn, and is no number.
  table = table.drop(columns='image', errors='ignore')
  files.write_table(output / 'tables' / f'{name}.csv', table)
  return {
    'id': name,
    'title': section.title,
    'caption': section.caption,
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


def _progress(panel):
  chain = panel.results[panel.results.experiment == 'chain']
  if chain.empty:
    return 'The chain has no finished level.'
  finished, levels = chain.level.max(), panel.config['levels']
  replicates = chain.replicate.nunique()
  return (
    f'{finished} of {levels} levels finished'
    + (', so the optimal sparsity may yet change' if finished < levels else '')
    + (
      f', {replicates} replicates'
      if replicates > 1
      else ', one replicate, so there are no verdicts and no spread'
    )
    + f'. Pruning removes {panel.config["prune_fraction"]:.0%} of the '
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
  app.run(main)
