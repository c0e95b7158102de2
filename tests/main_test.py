"""The real program in processes of its own, as users start it."""

import json
import os
import re
import signal
import subprocess
import sys

import jax
import pytest

from configs import quickstart
from pruning_gen import environment
from pruning_gen import runner
from pruning_gen.data import datasets
from pruning_gen.storage import provenance
from tests import program
from tests import restarts
from tests import small_chain


def run(workdir, *overrides):
  return program.communicate(program.popen(workdir, *overrides))


def read(workdir):
  return restarts.read_files(workdir, 'results.csv', 'chain/')


def test_sigterm_while_data_is_loaded(tmp_path, monkeypatch):
  def load(*_, **__):
    os.kill(os.getpid(), signal.SIGTERM)
    raise AssertionError('it continued')

  class Exit(BaseException):
    pass

  def exit_(code):
    raise Exit(code)

  monkeypatch.setattr(datasets, 'load', load)
  monkeypatch.setattr(os, '_exit', exit_)
  handler = signal.getsignal(signal.SIGTERM)
  with pytest.raises(Exit, match='75'):
    runner.run_experiments(
      small_chain.make_run(quickstart.get_config(), tmp_path)
    )
  assert signal.getsignal(signal.SIGTERM) == handler
  assert not (tmp_path / 'results.csv').exists()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp('main')


@pytest.fixture(scope='module')
def unbroken(folder):
  workdir = folder / 'unbroken'
  code, out, err = run(workdir)
  assert code == 0, err
  return workdir, out, err


@pytest.mark.slow
def test_what_a_run_leaves_behind(unbroken):
  workdir, out, err = unbroken
  assert f'report: {workdir}/report/index.html' in out
  assert 'level 12, noise 0.3, pruning: ' in out
  # A log has no bar.
  assert 'chain: level 0/12, epoch 1/3, loss ' in out
  assert err.count('\r') == 0 and err.count('\n') < 5
  names = {path.name for path in workdir.iterdir()}
  assert names == {
    'chain',
    'checkpoints',
    'config.json',
    'lock.json',
    'networks',
    'provenance.json',
    'report',
    'results.csv',
    'summary.csv',
  }
  assert len(list((workdir / 'chain').glob('level_*.npz'))) == 13
  (entry,) = json.loads((workdir / 'provenance.json').read_text())['starts']
  assert '--config.levels=12' in entry['command']
  assert entry['versions']['jax']
  # 2 noise fractions x 2 arms x 13 levels, and a line of names.
  assert len((workdir / 'results.csv').read_text().splitlines()) == 53


@pytest.mark.slow
def test_a_finished_run_returns_at_once(unbroken):
  workdir, _, _ = unbroken
  before = read(workdir)
  code, out, _ = run(workdir)
  assert code == 0
  assert out.startswith(f'{workdir} is finished')
  assert read(workdir) == before
  history = json.loads((workdir / 'provenance.json').read_text())
  assert len(history['starts']) == 1


@pytest.mark.slow
def test_another_config_is_refused_and_nothing_is_lost(unbroken):
  workdir, _, _ = unbroken
  before = read(workdir)
  code, _, err = run(workdir, '--config.prune_fraction=0.5')
  assert code == 1
  assert 'error: ' in err and str(workdir) in err
  assert re.search(r'prune_fraction\b.*\b0\.25\b.*\b0\.5\b', err)
  assert 'Traceback' not in err
  assert read(workdir) == before


@pytest.mark.slow
def test_a_config_that_cannot_be_loaded(tmp_path):
  own = tmp_path / 'own.py'
  own.write_text('def get_config():\n  return {}.no_such_function()\n')
  said = {}
  for config in ('configs/lenett.py', own):
    command = [sys.executable, '-m', 'pruning_gen.main', f'--config={config}']
    result = subprocess.run(
      [*command, f'--workdir={tmp_path}/run'],
      cwd=program.ROOT,
      capture_output=True,
      text=True,
    )
    assert result.returncode == 1
    said[config] = result.stderr
  assert 'error: --config: ' in said['configs/lenett.py']
  assert "'configs/lenett.py'" in said['configs/lenett.py']
  assert 'Traceback' not in said['configs/lenett.py']
  # A mistake in the file shows where it is.
  assert 'own.py", line 2, in get_config' in said[own]
  assert not (tmp_path / 'run').exists()


SHORT = (
  f'--config={program.ROOT}/configs/quickstart.py',
  "--config.experiments=('chain',)",
  "--config.arms=('extended_dense',)",
  '--config.noise_fractions=(.15,)',
  '--config.replicates=1',
  '--config.levels=1',
  '--config.epochs=1',
  '--config.rewind_epoch=0',
  '--config.model.widths=10,',
  '--config.data.num_train=200',
)


@pytest.mark.slow
@pytest.mark.parametrize(
  'flag, shown',
  [
    ('--dry_run', r'chain: 1 networks, 2 epochs each: '),
    ('--print_config', r'\nepochs=1\n'),
  ],
)
def test_what_is_only_printed_needs_no_workdir(tmp_path, flag, shown):
  code, out, err = program.finish(program.start(tmp_path / 'log', flag, *SHORT))
  assert code == 0, err
  assert re.search(shown, out)


@pytest.mark.slow
def test_a_run_needs_a_workdir(tmp_path):
  code, _, err = program.finish(program.start(tmp_path / 'log', *SHORT))
  assert code == 1 and '--workdir' in err


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  folder = tmp_path_factory.mktemp('field faults')
  workdir = folder / 'run [1]'
  code, _, err = program.finish(
    program.start(folder / 'log', f'--workdir={workdir}', *SHORT)
  )
  assert code == 0, err
  return workdir, err


@pytest.mark.slow
def test_a_run_begins_with_its_devices_and_records_them(finished):
  workdir, err = finished
  first = err.splitlines()[0]
  assert first.startswith('devices: ') and 'cpu' in first
  (start,) = provenance.read_provenance(workdir)['starts']
  described = start['environment']
  assert described['cores'] == environment.cores()
  known = environment.PINNED.keys() & jax.config.values.keys()
  assert len(known) > 10
  expected = {name: environment.PINNED[name] for name in known}
  assert described['jax'].items() >= expected.items()
  assert described['memory_limit'] > 0 and described['flags'] == {}


@pytest.mark.slow
def test_a_report_in_awkward_surroundings(finished, tmp_path):
  workdir, _ = finished
  (tmp_path / 'matplotlibrc').write_bytes(b'text.usetex: True\n# \xff')
  ended = subprocess.run(
    [
      'bash',
      '-c',
      '"$0" -m pruning_gen.report "--output=~/rep [1]" "$1" >&-',
      sys.executable,
      workdir,
    ],
    cwd=program.ROOT,
    env=os.environ
    | {
      'HOME': str(tmp_path),
      'MPLBACKEND': 'module://matplotlib_inline.backend_inline',
      'MATPLOTLIBRC': str(tmp_path / 'matplotlibrc'),
    },
    capture_output=True,
    text=True,
  )
  assert ended.returncode == 0, ended.stderr
  assert (tmp_path / 'rep [1]' / 'index.html').exists()


@pytest.mark.slow
def test_a_reader_that_ends_stops_no_training(finished, tmp_path):
  workdir, _ = finished
  command = (
    '"$0" -m pruning_gen.main "$@" 2>&1 | head -1; exit ${PIPESTATUS[0]}'
  )
  ended = subprocess.run(
    [
      *('bash', '-c', command, sys.executable),
      *(f'--workdir={tmp_path}/run', *SHORT),
    ],
    cwd=program.ROOT,
    capture_output=True,
    text=True,
  )
  assert ended.returncode == 0
  assert len(ended.stdout.splitlines()) == 1
  written = (tmp_path / 'run' / 'results.csv').read_bytes()
  assert written == (workdir / 'results.csv').read_bytes()
