"""Builds the report of a run from its files alone.

  python -m pruning_gen.report --workdir=runs/quickstart

Needs no accelerator, works while the run is still going, and shows what is
there so far. Writes summary.csv, report/index.html and report/figures/*.png.
"""

import io
import sys

from absl import app
from absl import flags

from pruning_gen.analysis import figures
from pruning_gen.analysis import page
from pruning_gen.analysis import statistics
from pruning_gen.errors import UserError
from pruning_gen.storage import results


def main(argv):
  """Build the report of --workdir."""
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments: {argv[1:]}')
  try:
    print(f'report: {build(flags.FLAGS.workdir)}')
  except UserError as error:
    sys.exit(f'error: {error}')


def is_built(workdir):
  """Tell whether there is a report that knows all of results.csv."""
  page_path = results.report_dir(workdir) / 'index.html'
  if not page_path.exists():
    return False
  built, changed = page_path.stat(), results.results_path(workdir).stat()
  return built.mtime >= changed.mtime


def build(workdir):
  """Build summary.csv and the report.

  Args:
    workdir: path of a run, finished or not.

  Returns:
    The path of the page.

  Raises:
    UserError: the folder holds no run, or nothing is finished yet.
  """
  config = results.read_config(workdir)
  provenance = results.read_provenance(workdir)
  table = results.read_results(workdir)
  table = table[table.experiment == 'chain']
  if table.empty:
    raise UserError(
      f'--workdir={workdir} has no finished level yet (results.csv): run '
      'pruning_gen.main on it first'
    )
  summary = statistics.summarize(table)
  results.write_table(results.summary_path(workdir), summary)

  chain = summary[summary.experiment == 'chain']
  sections = [
    {
      'id': 'test-error',
      'title': 'Test error',
      'image': _save(workdir, 'test_error', figures.test_error(chain)),
      'caption': (
        'Test error against weights remaining; mean and one standard '
        'deviation over replicates. Dashed: the dense network. Star: the '
        'optimal sparsity, by validation error. Extended dense training '
        'removes nothing; its points stand where pruning is after as many '
        'epochs. Look for the blue curve below the dashed line, and whether '
        'the orange one gets there too.'
      ),
    },
    {
      'id': 'training-loss',
      'title': 'Training loss on original and noisy examples',
      'image': _save(workdir, 'training_loss', figures.training_loss(chain)),
      'caption': (
        'Mean cross-entropy on the training labels (evaluation mode, no '
        'augmentation) of examples with their original label (solid) and with '
        'a noisy one (dotted). Look for the dotted blue curve: where it '
        'rises, pruning has stopped fitting noisy examples.'
      ),
    },
    {
      'id': 'summary',
      'title': 'Every level',
      'caption': (
        'Mean ± standard deviation (n - 1) over n replicates. Against dense: '
        'paired by replicate; better or worse where |mean| >= standard '
        'deviation, else match; one replicate gets no verdict. Bold: the '
        'optimal sparsity.'
      ),
      'table': page.summary_table(chain),
    },
  ]
  title = f'{config["model"]["name"]} on {config["data"]["name"]}'
  lead = (
    f'{chain.level.max()} of {config["levels"]} levels finished, '
    f'{chain.n.max()} replicate(s). Pruning removes '
    f'{config["prune_fraction"]:.0%} of the remaining weights a level.'
  )
  html = page.render(title, lead, sections, config, provenance)
  path = results.report_dir(workdir) / 'index.html'
  results.write_bytes(path, html.encode())
  return path


def _save(workdir, name, figure):
  """Save a figure as PNG; return its bytes."""
  buffer = io.BytesIO()
  figure.savefig(buffer, format='png', bbox_inches='tight')
  path = results.report_dir(workdir) / 'figures' / f'{name}.png'
  results.write_bytes(path, buffer.getvalue())
  return buffer.getvalue()


if __name__ == '__main__':
  flags.DEFINE_string('workdir', None, 'Folder of a run.', required=True)
  app.run(main)
