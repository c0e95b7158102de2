"""The notebooks run from top to bottom, and are committed without output."""

import pathlib
import re

import pytest

from pruning_gen.analysis.figures import FIGURES
from tests import fake_runs

nbformat = pytest.importorskip(
  'nbformat', reason='needs nbformat, nbclient and ipykernel'
)
nbclient = pytest.importorskip('nbclient', reason='needs nbclient, ipykernel')
pytest.importorskip('ipykernel', reason='needs ipykernel')

FOLDER = pathlib.Path(__file__).parents[1] / 'notebooks'
NAMES = ('quickstart_colab', 'explore_results', 'library')

# A quickstart of seconds.
FLAGS = (
  '--config.levels=1 --config.epochs=2 --config.rewind_epoch=0 '
  '--config.replicates=1 '
  "--config.experiments=('chain',) --config.model.widths=(20,10) "
  "--config.arms=('pruning','extended_dense')"
)


def read(name):
  return nbformat.read(FOLDER / f'{name}.ipynb', as_version=4)


@pytest.mark.parametrize('name', NAMES)
def test_notebooks_are_valid_and_without_output(name):
  notebook = read(name)
  nbformat.validate(notebook)
  for cell in notebook.cells:
    if cell.cell_type == 'code':
      assert cell.outputs == [] and cell.execution_count is None
  assert 'colab.research.google.com' in notebook.cells[0].source
  assert notebook.cells[1].metadata.tags == ['parameters']


@pytest.fixture
def execute(tmp_path, monkeypatch):
  """Return a function that runs a notebook and returns its outputs."""
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
  monkeypatch.setenv('IPYTHONDIR', str(tmp_path / 'ipython'))
  monkeypatch.setenv('JUPYTER_RUNTIME_DIR', str(tmp_path / 'jupyter'))

  def run(name, folder=FOLDER):
    notebook = read(name)
    nbclient.NotebookClient(
      notebook,
      timeout=600,
      kernel_name='python3',
      resources={'metadata': {'path': str(folder)}},
    ).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == 'code']
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == 'error']
    return outputs

  return run


def count_images(outputs):
  return sum('image/png' in output.get('data', {}) for output in outputs)


runs_kernels = pytest.mark.filterwarnings(
  'ignore:::(zmq|jupyter_client|nbclient|tornado)'
)


@runs_kernels
@pytest.mark.slow
def test_quickstart_colab_runs(tmp_path, monkeypatch, execute):
  workdir = tmp_path / 'run'
  flags = f'{FLAGS} --config.data.cache_dir={tmp_path / "cache"}'
  monkeypatch.setenv('QUICKSTART_WORKDIR', str(workdir))
  monkeypatch.setenv('QUICKSTART_FLAGS', flags)
  outputs = execute('quickstart_colab')
  drawn = {path.stem for path in workdir.glob('report/figures/*.png')}
  assert drawn and count_images(outputs) == len(drawn)
  # In the order of the report, with what the page says of them.
  titles = [f.title for f in FIGURES if f.name in drawn]
  texts = [
    own.data.get('text/markdown', '') for own in outputs if 'data' in own
  ]
  headings = [text.splitlines()[0] for text in texts if text]
  assert headings == [f'### {title}' for title in titles]
  # What the program prints, without its bar.
  printed = ''.join(own.text for own in outputs if 'text' in own)
  assert 'chain: resuming' not in printed and 'level  1' in printed
  assert 'a checkpoint takes' in printed and '%|' not in printed


@runs_kernels
@pytest.mark.slow
def test_an_address_that_cannot_be_cloned(tmp_path, monkeypatch, execute):
  monkeypatch.setenv('QUICKSTART_REPOSITORY', str(tmp_path / 'nowhere'))
  with pytest.raises(nbclient.exceptions.CellExecutionError, match='nowhere'):
    execute('quickstart_colab', tmp_path)


@runs_kernels
@pytest.mark.slow
def test_explore_results_runs(tmp_path, monkeypatch, execute):
  for name in ('one', 'two'):
    fake_runs.write_all(tmp_path / name)
  monkeypatch.setenv('EXPLORE_WORKDIRS', str(tmp_path))
  outputs = execute('explore_results')
  # Both runs are in each of the four figures.
  assert count_images(outputs) == 4
  texts = [own.data['text/plain'] for own in outputs if 'data' in own]
  (compared,) = (text for text in texts if 'verdict' in text.splitlines()[0])
  # Two noise levels of two runs: the fake test errors fall with the level.
  assert compared.count('better') == 4 and compared.count('-0.0') == 4
  # One table of single examples, and one of leave_out, for each run.
  assert sum('true_label' in text and 'effect' in text for text in texts) >= 2
  assert all('most_improved' in text for text in texts[-2:])


@runs_kernels
@pytest.mark.slow
def test_library_runs(execute):
  outputs = execute('library')
  printed = ''.join(own.text for own in outputs if 'text' in own)
  assert 'weights (2, 64, 300)' in printed
  # Pruning gives the noisy examples up, dense training learns them.
  assert re.search(r'pruning.*: \+\d.* nats', printed)
  assert re.search(r'extended_dense.*: -\d.* nats', printed)
