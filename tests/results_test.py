import json

import numpy as np
import pytest

from pruning_gen.errors import UserError
from pruning_gen.storage import results
from pruning_gen.training.members import Member

CONFIG = {'seed': 0, 'arms': ('pruning',), 'data': {'name': 'digits'}}


def row(level, replicate, error, experiment='chain'):
  return dict.fromkeys(results.COLUMNS, 0) | {
    'experiment': experiment,
    'arm': 'pruning',
    'noise_fraction': 0.15,
    'replicate': replicate,
    'level': level,
    'test_error': error,
    'train_cross_entropy_noisy': np.nan,
  }


def test_the_same_config_may_continue(tmp_path):
  results.open_workdir(tmp_path / 'run', CONFIG)
  results.open_workdir(tmp_path / 'run', CONFIG)
  stored = results.read_config(tmp_path / 'run')
  assert stored == {'seed': 0, 'arms': ['pruning'], 'data': {'name': 'digits'}}


def test_another_config_is_refused_with_the_difference(tmp_path):
  results.open_workdir(tmp_path, CONFIG)
  other = CONFIG | {'data': {'name': 'mnist'}, 'new': 1}
  with pytest.raises(UserError) as error:
    results.open_workdir(tmp_path, other)
  lines = str(error.value).splitlines()
  assert lines[1:3] == [
    "  data.name: 'digits' there, 'mnist' now",
    "  new: 'absent' there, 1 now",
  ]
  assert json.loads((tmp_path / 'config.json').read_text())['seed'] == 0


def test_workdir_is_a_file(tmp_path):
  (tmp_path / 'file').write_text('mine')
  with pytest.raises(UserError, match=r'--workdir=.*/file is a file'):
    results.open_workdir(tmp_path / 'file', CONFIG)
  assert (tmp_path / 'file').read_text() == 'mine'


def test_workdir_cannot_be_written(tmp_path):
  # Permissions do not stop root; a file in the way stops anyone.
  (tmp_path / 'file').write_text('mine')
  with pytest.raises(UserError, match='cannot be written'):
    results.open_workdir(tmp_path / 'file' / 'run', CONFIG)


def test_rows_are_replaced_and_sorted(tmp_path):
  results.write_rows(tmp_path, [row(0, 0, 0.1), row(0, 1, 1 / 3)])
  results.write_rows(tmp_path, [row(1, 0, 0.2), row(1, 1, 0.25)])
  first = (tmp_path / 'results.csv').read_bytes()
  results.write_rows(tmp_path, [row(0, 0, 0.1), row(0, 1, 1 / 3)])
  assert (tmp_path / 'results.csv').read_bytes() == first
  results.write_rows(tmp_path, [row(0, 0, 0.5, 'width')])
  table = results.read_results(tmp_path)
  assert table.experiment.tolist() == ['chain'] * 4 + ['width']
  assert table.test_error.tolist() == [0.1, 1 / 3, 0.2, 0.25, 0.5]
  assert list(table.columns) == list(results.COLUMNS)
  assert results.finished_rows(tmp_path, 'chain') == {
    ('pruning', 0.15, replicate, 0, level)
    for replicate in (0, 1)
    for level in (0, 1)
  }
  assert results.finished_rows(tmp_path, 'el2n') == set()


def test_arrays_and_members(tmp_path):
  members = [Member('pruning', 0.15, 0), Member('pruning', 0.15, 1)]
  results.write_members(tmp_path, 'chain', members, {'labels': np.eye(2)})
  assert (tmp_path / 'chain' / 'members.csv').read_text() == (
    'member,arm,noise_fraction,replicate,network\n'
    '0,pruning,0.15,0,0\n'
    '1,pruning,0.15,1,0\n'
  )
  losses = np.arange(6, dtype=np.float32).reshape(2, 3)
  results.write_level(tmp_path, 'chain', 12, {'cross_entropy': losses})
  assert (tmp_path / 'chain' / 'level_012.npz').exists()
  read = results.read_level(tmp_path, 'chain', 12)
  np.testing.assert_array_equal(read['cross_entropy'], losses)
  assert not list(tmp_path.rglob('*.tmp'))


def test_pickled_arrays_are_never_read(tmp_path):
  results.write_level(tmp_path, 'chain', 0, {'x': np.array([{}], object)})
  with pytest.raises(UserError, match='allow_pickle=False'):
    results.read_level(tmp_path, 'chain', 0)


def start(time, devices=('cpu: cpu',), sha256='abc'):
  dataset = {'name': 'digits', 'sha256': sha256}
  return {'time': time, 'devices': list(devices), 'dataset': dataset}


def test_provenance_grows_and_knows_its_version(tmp_path):
  results.add_provenance(tmp_path, start('one'))
  results.add_provenance(tmp_path, start('two'))
  history = results.read_provenance(tmp_path)
  assert [entry['time'] for entry in history['starts']] == ['one', 'two']
  (tmp_path / 'provenance.json').write_text('{"layout_version": 0}')
  with pytest.raises(UserError, match='layout version 0'):
    results.read_provenance(tmp_path)


def test_another_dataset_or_other_devices_are_refused(tmp_path):
  results.add_provenance(tmp_path, start('one'))
  before = (tmp_path / 'provenance.json').read_bytes()
  with pytest.raises(UserError, match='another version of the data set'):
    results.add_provenance(tmp_path, start('two', sha256='abd'), True)
  two = ('cpu: cpu',) * 2
  with pytest.raises(UserError, match='pass --allow_device_change'):
    results.add_provenance(tmp_path, start('two', two))
  assert (tmp_path / 'provenance.json').read_bytes() == before
  results.add_provenance(tmp_path, start('two', two), True)
  history = results.read_provenance(tmp_path)
  assert [len(entry['devices']) for entry in history['starts']] == [1, 2]


def test_damaged_json(tmp_path):
  results.open_workdir(tmp_path, CONFIG)
  (tmp_path / 'config.json').write_text('{"seed": __import__("os")')
  with pytest.raises(UserError, match=r'config.json is damaged'):
    results.read_config(tmp_path)
  with pytest.raises(UserError, match=r'config.json is damaged'):
    results.open_workdir(tmp_path, CONFIG)


@pytest.mark.parametrize('content', [b'', b'PK', b'no arrays'])
def test_damaged_arrays(tmp_path, content):
  results.write_level(tmp_path, 'chain', 0, {'x': np.zeros(3)})
  (tmp_path / 'chain' / 'level_000.npz').write_bytes(content)
  with pytest.raises(UserError, match=r'level_000.npz is missing or holds no'):
    results.read_level(tmp_path, 'chain', 0)


def test_a_folder_without_a_run(tmp_path):
  with pytest.raises(UserError, match=r'holds no run \(no config.json\)'):
    results.read_config(tmp_path)
