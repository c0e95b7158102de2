"""What a workdir says of its machine and code; results_test has the rest."""

import os
import subprocess

import pytest

from pruning_gen.errors import UserError
from pruning_gen.storage import provenance
from pruning_gen.storage import results
from pruning_gen.storage import start
from tests import fake_runs


@pytest.mark.parametrize(
  'name',
  ['gs:', 'logs:/x', 'gs:/bucket/x', 'a://b', 'a\\b', os.fsdecode(b'\xff')],
)
def test_paths_that_checkpoints_cannot_have_are_refused(tmp_path, name):
  with pytest.raises(UserError, match='--workdir='):
    provenance.check_workdir(f'{tmp_path}/{name}')
  provenance.check_workdir(tmp_path / 'x:' / 's3:' / 'a:b')


def make_start(devices=('cpu: cpu',), versions=None, **changed):
  described = {'cores': 2, 'cpu': 'x', 'flags': {}, 'memory_limit': 8}
  return {
    'dataset': {},
    'devices': list(devices),
    'versions': versions or {'jax': '1'},
    'environment': described | changed,
  }


@pytest.mark.parametrize(
  'changed',
  [{'cores': 1}, {'cpu': 'y'}, {'flags': {'XLA_FLAGS': {'--xla_x': '1'}}}],
)
def test_another_machine_is_refused_unless_allowed(tmp_path, changed):
  provenance.add_provenance(tmp_path, make_start())
  results.write_rows(tmp_path, [fake_runs.make_row()])
  provenance.add_provenance(tmp_path, make_start(memory_limit=4))
  (name,) = changed
  with pytest.raises(UserError, match=rf'{name}: .*\n.*--allow_device_change'):
    provenance.add_provenance(tmp_path, make_start(**changed))
  provenance.add_provenance(tmp_path, make_start(**changed), True)
  starts = provenance.read_provenance(tmp_path)['starts']
  assert starts[-1]['environment'].items() >= changed.items()
  assert len(starts) == 3


def test_cores_do_not_matter_next_to_an_accelerator(tmp_path, capsys):
  gpu = ('gpu: H100',)
  provenance.add_provenance(tmp_path, make_start(gpu))
  results.write_rows(tmp_path, [fake_runs.make_row()])
  provenance.add_provenance(tmp_path, make_start(gpu, cores=1, cpu='y'))
  assert not capsys.readouterr().out
  provenance.add_provenance(tmp_path, make_start(gpu, {'jax': '2'}))
  assert 'jax 1 -> 2' in capsys.readouterr().out


def git(folder, *command):
  names = ('-c', 'user.name=x', '-c', 'user.email=x')
  subprocess.run(['git', '-C', folder, *names, *command], check=True)


def test_the_commit_of_another_repository_is_not_ours(tmp_path, monkeypatch):
  theirs = tmp_path / 'their [repo]'
  package = theirs / 'site-packages'
  package.mkdir(parents=True)
  git(theirs, 'init', '-q')
  git(theirs, 'commit', '-q', '--allow-empty', '-m', 'x')
  (package / 'start.py').touch()
  monkeypatch.setattr(start, '__file__', str(package / 'start.py'))
  assert start.git_revision() is None
  git(theirs, 'add', '.')
  git(theirs, 'commit', '-q', '-m', 'x')
  commit = start.git_revision()
  assert len(commit) == 40
  # As in a hook of another one.
  git(tmp_path, 'init', '-q')
  git(tmp_path, 'commit', '-q', '--allow-empty', '-m', 'y')
  monkeypatch.setenv('GIT_DIR', str(tmp_path / '.git'))
  assert start.git_revision() == commit
