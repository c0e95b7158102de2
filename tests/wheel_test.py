"""What a wheel holds, used in an empty folder."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]

SHORT = (
  "--config.experiments=('chain',)",
  '--config.replicates=1',
  '--config.levels=1',
  '--config.epochs=1',
  '--config.rewind_epoch=0',
  '--config.model.widths=10,',
  '--config.tensorboard=True',
)


@pytest.fixture(scope='module')
def library(tmp_path_factory):
  """What would be in site-packages."""
  pytest.importorskip('setuptools', reason='needs setuptools, to build')
  folder = tmp_path_factory.mktemp('wheel')
  for name in ('setup.py', 'README.md'):
    shutil.copy(ROOT / name, folder)
  for name in ('pruning_gen', 'configs', 'launch'):
    ignored = shutil.ignore_patterns('__pycache__')
    shutil.copytree(ROOT / name, folder / name, ignore=ignored)
  subprocess.run(
    [sys.executable, 'setup.py', '-q', 'build', '--build-lib=library'],
    cwd=folder,
    check=True,
    capture_output=True,
  )
  # Any import of TensorFlow fails, as without the extra.
  no_tensorflow = "raise ImportError('there is no TensorFlow')"
  (folder / 'library' / 'tensorflow.py').write_text(no_tensorflow)
  return folder / 'library'


@pytest.fixture
def run(library, tmp_path):
  """Return a function that runs python -m pruning_gen in an empty folder."""

  def run(*arguments):
    environment = {'PYTHONPATH': str(library), 'XDG_CACHE_HOME': str(tmp_path)}
    return subprocess.run(
      [sys.executable, '-m', 'pruning_gen', *arguments],
      cwd=tmp_path,
      env=os.environ | environment,
      capture_output=True,
      text=True,
      check=True,
    ).stdout

  return run


def test_it_leaves_other_names_alone(library):
  names = {path.name for path in library.iterdir()}
  assert names == {'pruning_gen', 'tensorflow.py'}


def test_every_file_is_in_it(library):
  ours = subprocess.run(
    ['git', 'ls-files', 'pruning_gen', 'configs', 'launch'],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  if ours.returncode:
    pytest.skip('needs the git checkout')
  for name in ours.stdout.split():
    inside = name if name.startswith('pruning_gen') else f'pruning_gen/{name}'
    assert (library / inside).exists(), name


@pytest.mark.slow
def test_the_quickstart_a_report_and_a_plan(run, tmp_path):
  out = run('--config=quickstart', '--workdir=runs/quick', *SHORT)
  (line,) = (line for line in out.splitlines() if 'TensorBoard' in line)
  assert "pip install 'pruning_gen[tensorflow]'" in line
  assert (tmp_path / 'runs/quick/results.csv').exists()
  (start,) = json.loads((tmp_path / 'runs/quick/provenance.json').read_text())[
    'starts'
  ]
  assert start['git_revision'] is None
  page = tmp_path / 'runs/quick/report/index.html'
  page.unlink()
  run('report', '--workdir=runs/quick')
  assert page.exists()
  words = '--config=configs/quickstart.py', '--workdir=runs/quick', *SHORT
  assert 'nothing to do' in run(*words)
  run('sweep', 'plan', '--sweep=quick', '--benchmarks=quickstart')
  jobs = (tmp_path / 'runs/quick/plan.jsonl').read_text().splitlines()
  # Three replicates of three jobs each.
  assert len(jobs) == 9
