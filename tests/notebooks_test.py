"""The notebooks run from top to bottom, and are committed without output."""

import pathlib

import pytest

nbformat = pytest.importorskip(
  'nbformat', reason='needs nbformat, nbclient and ipykernel'
)
nbclient = pytest.importorskip('nbclient', reason='needs nbclient, ipykernel')
pytest.importorskip('ipykernel', reason='needs ipykernel')

FOLDER = pathlib.Path(__file__).parents[1] / 'notebooks'
NAMES = ('quickstart_colab', 'explore_results')

# A quickstart of seconds; EL2N for the figure that needs it.
FLAGS = (
  "--config.experiments=('chain','el2n') --config.levels=1 --config.epochs=2 "
  '--config.el2n.epoch=1 --config.el2n.networks=1 --config.replicates=1 '
  "--config.model.widths=(20,10) --config.arms=('pruning','extended_dense')"
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


def execute(name):
  notebook = read(name)
  client = nbclient.NotebookClient(
    notebook,
    timeout=600,
    kernel_name='python3',
    resources={'metadata': {'path': str(FOLDER)}},
  )
  client.execute()
  return [
    output
    for cell in notebook.cells
    if cell.cell_type == 'code'
    for output in cell.outputs
  ]


def count_images(outputs):
  return sum('image/png' in output.get('data', {}) for output in outputs)


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore:::(zmq|jupyter_client|nbclient|tornado)')
def test_notebooks_run(tmp_path, monkeypatch):
  workdir = tmp_path / 'run'
  flags = f'{FLAGS} --config.data.cache_dir={tmp_path / "cache"}'
  monkeypatch.setenv('QUICKSTART_WORKDIR', str(workdir))
  monkeypatch.setenv('QUICKSTART_FLAGS', flags)
  monkeypatch.setenv('EXPLORE_WORKDIRS', str(tmp_path))
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
  monkeypatch.setenv('IPYTHONDIR', str(tmp_path / 'ipython'))
  monkeypatch.setenv('JUPYTER_RUNTIME_DIR', str(tmp_path / 'jupyter'))
  quickstart = execute('quickstart_colab')
  figures = list((workdir / 'report' / 'figures').glob('**/*.png'))
  assert figures and count_images(quickstart) == len(figures)
  explored = execute('explore_results')
  # Test error, loss, EL2N groups, two noise levels of worsened examples.
  assert count_images(explored) == 5
  assert not [o for o in quickstart + explored if o.output_type == 'error']
