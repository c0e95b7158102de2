import itertools
import json
import os
import pathlib
import pickle
import resource
import signal
from unittest import mock

import numpy as np
import pandas as pd
import pytest

from configs import default
from pruning_gen.engine.stack import Member
from pruning_gen.errors import UserError
from pruning_gen.storage import epochs
from pruning_gen.storage import files
from pruning_gen.storage import networks
from pruning_gen.storage import provenance
from pruning_gen.storage import results
from pruning_gen.storage import roster
from tests import fake_runs
from tests import program

CONFIG = {'seed': 0, 'arms': ('pruning',), 'data': {'name': 'digits'}}


def row(level, replicate, error, experiment='chain'):
  return dict.fromkeys(results.COLUMNS, 0) | {
    'experiment': experiment,
    'arm': 'pruning',
    'noise_fraction': 0.15,
    'replicate': replicate,
    'left_out': '',
    'chosen_at': -1,
    'level': level,
    'test_error': error,
    'train_cross_entropy_noisy': np.nan,
  }


def test_the_same_config_may_continue(tmp_path):
  provenance.write_config(tmp_path / 'run', CONFIG)
  results.write_rows(tmp_path / 'run', [row(0, 0, 0.1)])
  provenance.check_config(tmp_path / 'run', CONFIG)
  stored = provenance.read_config(tmp_path / 'run')
  assert stored == {'seed': 0, 'arms': ['pruning'], 'data': {'name': 'digits'}}


def test_another_config_is_refused_with_the_difference(tmp_path):
  provenance.write_config(tmp_path, CONFIG)
  results.write_rows(tmp_path, [row(0, 0, 0.1)])
  other = CONFIG | {'data': {'name': 'mnist'}, 'new': 1}
  with pytest.raises(UserError) as error:
    provenance.check_config(tmp_path, other)
  lines = str(error.value).splitlines()
  assert lines[1:3] == [
    "  data.name: 'digits' there, 'mnist' now",
    "  new: 'absent' there, 1 now",
  ]
  assert json.loads((tmp_path / 'config.json').read_text())['seed'] == 0


def test_a_key_that_is_newer_than_the_workdir_has_its_default(tmp_path):
  provenance.write_config(tmp_path, CONFIG)
  results.write_rows(tmp_path, [row(0, 0, 0.1)])
  defaults = {'seed': 5, 'noise': {'kind': 'other', 'classes': (0, 1)}}
  for noise, line in (
    ({'kind': 'pair'}, "noise.kind: 'other' there, by default, 'pair' now"),
    # Not even its default would be right: nothing says what it is.
    ({'more': 1}, "noise.more: 'absent' there, 1 now"),
  ):
    newer = CONFIG | {'noise': defaults['noise'] | noise}
    with pytest.raises(UserError) as error:
      provenance.check_config(tmp_path, newer, defaults)
    assert str(error.value).splitlines()[1:-1] == [f'  {line}']
  # One that is there has no other.
  with pytest.raises(UserError, match='seed: 0 there, 5 now'):
    provenance.check_config(tmp_path, CONFIG | {'seed': 5}, defaults)
  newer = CONFIG | {'noise': defaults['noise']}
  provenance.check_config(tmp_path, newer, defaults)


@pytest.mark.parametrize('key', provenance.MAY_CHANGE)
def test_what_no_result_depends_on_may_change(tmp_path, key):
  outer, _, inner = key.partition('.')
  old, new = (
    {'seed': 0, outer: {inner: value} if inner else value} for value in (1, 2)
  )
  provenance.write_config(tmp_path, old)
  results.write_rows(tmp_path, [row(0, 0, 0.1)])
  provenance.check_config(tmp_path, new)
  # They are keys that there are.
  assert key in provenance.flatten(default.get_config().to_dict())


def test_epochs_of_an_older_version_have_no_test_errors(tmp_path):
  member = Member('pruning', 0.1, 0)
  table = epochs.Epochs(tmp_path, 'chain', [member])
  table.add([member], 0, 1, [0.5], [(0.2, 0.3)])
  table.add([member], 0, 2, [0.25], None)
  table.write()
  path = epochs.path_of(tmp_path, 'chain')
  older = [line.rpartition(',')[0] for line in path.read_text().splitlines()]
  path.write_text('\n'.join(older) + '\n')
  assert epochs.read(tmp_path, 'chain').test_error.isna().tolist() == [True] * 2
  # A start of this version continues it.
  table = epochs.Epochs(tmp_path, 'chain', [member])
  table.add([member], 0, 3, [0.1], [(0.2, 0.4)])
  table.write()
  found = epochs.read(tmp_path, 'chain')
  assert found.test_error.fillna(-1).tolist() == [-1, -1, 0.4]
  assert found.validation_error.fillna(-1).tolist() == [0.2, -1, 0.2]


def test_until_something_is_saved_the_config_may_change(tmp_path):
  """What stopped the first start is mended by another value."""
  provenance.write_config(tmp_path, CONFIG)
  provenance.add_provenance(tmp_path, start('one', sha256='abc'))
  provenance.check_config(tmp_path, CONFIG | {'seed': 1})
  provenance.add_provenance(tmp_path, start('two', ('gpu: x',), sha256='abd'))
  provenance.write_config(tmp_path, CONFIG | {'seed': 1})
  (tmp_path / 'checkpoints' / 'chain' / '5').mkdir(parents=True)
  with pytest.raises(UserError, match='seed: 1 there, 2 now'):
    provenance.check_config(tmp_path, CONFIG | {'seed': 2})
  with pytest.raises(UserError, match=r"(?s)'abc'.*config.data.dir"):
    provenance.add_provenance(tmp_path, start('three', ('gpu: x',)))


def test_results_are_bound_by_what_tells_of_them(tmp_path):
  provenance.write_config(tmp_path, CONFIG)
  provenance.add_provenance(tmp_path, start('one'))
  results.write_rows(tmp_path, [row(0, 0, 0.1)])
  (tmp_path / 'provenance.json').unlink()
  with pytest.raises(UserError, match=r'/provenance\.json'):
    provenance.add_provenance(tmp_path, start('two'))
  (tmp_path / 'config.json').unlink()
  with pytest.raises(UserError, match=r'/config\.json'):
    provenance.check_config(tmp_path, CONFIG)
  assert not (tmp_path / 'config.json').exists()


def test_a_noise_fraction_is_read_to_the_last_bit(tmp_path):
  fractions = [0.1 + 0.2, 3 * 0.05, 1 - 0.9]
  rows = [
    row(0, i, 0.1) | {'noise_fraction': p} for i, p in enumerate(fractions)
  ]
  results.write_rows(tmp_path, rows)
  table = results.read_results(tmp_path)
  assert set(table.noise_fraction) == set(fractions)


def test_scores_alone_bind_the_config(tmp_path):
  provenance.write_config(tmp_path, CONFIG)
  table = pd.DataFrame({'noise_fraction': [0.0], 'replicate': [0]})
  results.EL2N.write(tmp_path, table, np.zeros((1, 3)))
  with pytest.raises(UserError, match='seed: 0 there, 1 now'):
    provenance.check_config(tmp_path, CONFIG | {'seed': 1})


def test_a_start_after_one_that_saved_nothing_starts_new_curves(tmp_path):
  curves = results.tensorboard_dir(tmp_path, 'chain') / 'events'
  provenance.add_provenance(tmp_path, start('one'))
  roster.write_stack(tmp_path, 'chain', [Member('pruning', 0.15, 0)])
  files.write_text(curves, '')
  provenance.add_provenance(tmp_path, start('two'))
  assert not curves.exists()


def test_workdir_is_a_file(tmp_path):
  (tmp_path / 'file').write_text('mine')
  with pytest.raises(UserError, match=r'--workdir=.*/file'):
    provenance.check_workdir(tmp_path / 'file')
  assert (tmp_path / 'file').read_text() == 'mine'


def test_workdir_cannot_be_written(tmp_path):
  # Permissions do not stop root; a file in the way stops anyone.
  (tmp_path / 'file').write_text('mine')
  with pytest.raises(UserError, match=r'file/run/config\.json'):
    provenance.write_config(tmp_path / 'file' / 'run', CONFIG)


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
  provenance.write_config(tmp_path, CONFIG)

  def fail(descriptor):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(os, 'fsync', fail)
  with pytest.raises(UserError, match=r'results\.csv.*No space left'):
    results.write_rows(tmp_path, [row(0, 0, 0.1)])
  assert [path.name for path in tmp_path.iterdir()] == ['config.json']


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
    ('pruning', 0.15, replicate, 0, '', -1, level)
    for replicate in (0, 1)
    for level in (0, 1)
  }
  assert results.finished_rows(tmp_path, 'el2n') == set()


def write_twice(path, first, second, header=False):
  """Append some lines of a file to it, as `cat` of two copies does."""
  lines = path.read_text().splitlines(keepends=True)
  added = lines[0] * header + ''.join(lines[first:second])
  path.write_text(''.join(lines) + '\n' + added)


@pytest.mark.parametrize(
  'first, second, header, message',
  [
    (1, 5, False, 'line 7 repeats line 2'),
    (3, 4, False, 'line 7 repeats line 4'),
    (1, 5, True, 'line 7 repeats line 1'),
    (5, 5, True, 'line 7 repeats line 1'),
  ],
)
def test_a_row_twice_is_refused(tmp_path, first, second, header, message):
  rows = [
    row(level, replicate, 0.1) for level in (0, 1) for replicate in (0, 1)
  ]
  results.write_rows(tmp_path, rows)
  write_twice(tmp_path / 'results.csv', first, second, header)
  content = (tmp_path / 'results.csv').read_bytes()
  for use in (
    lambda: results.read_results(tmp_path),
    lambda: results.finished_rows(tmp_path, 'chain'),
    lambda: results.write_rows(tmp_path, [row(2, 0, 0.1)]),
  ):
    with pytest.raises(UserError, match=rf'/results\.csv.*{message}'):
      use()
  assert (tmp_path / 'results.csv').read_bytes() == content


def test_a_row_twice_is_refused_however_its_numbers_are_spelled(tmp_path):
  results.write_rows(tmp_path, [row(0, 0, 0.1)])
  path = tmp_path / 'results.csv'
  again = path.read_text().splitlines()[1].replace('0.15', '0.150')
  path.write_text(path.read_text() + again + '\n')
  with pytest.raises(UserError, match='line 3 repeats line 2'):
    results.read_results(tmp_path)


def test_rows_without_an_identity_may_be_equal(tmp_path):
  table = pd.DataFrame({'x': [1, 1]})
  files.write_table(tmp_path / 'x.csv', table)
  pd.testing.assert_frame_equal(
    files.read_table(tmp_path / 'x.csv', ('x',)), table
  )


def test_a_row_twice_in_another_table_is_refused(tmp_path):
  members = [Member('pruning', 0.15, 0), Member('pruning', 0.15, 1)]
  roster.add(tmp_path, 'chain', members, {})
  table = pd.DataFrame({'noise_fraction': [0.0], 'replicate': [0]})
  results.EL2N.write(tmp_path, table, np.zeros((1, 3)))
  worst = table.assign(level=1, example_id=7)
  two_levels = pd.concat([worst, worst.assign(level=2)], ignore_index=True)
  images = np.zeros((2, 2, 2, 1), np.uint8)
  results.MOST_WORSENED.write(tmp_path, two_levels, images)
  assert len(results.MOST_WORSENED.read(tmp_path)[0]) == 2
  results.MOST_WORSENED.write(tmp_path, worst, np.zeros((1, 2, 2, 1), np.uint8))
  for name, read in (
    ('chain/members.csv', lambda: results.read_members(tmp_path, 'chain')),
    ('el2n/scores.csv', lambda: results.read_el2n(tmp_path)),
    ('chain/most_worsened.csv', lambda: results.MOST_WORSENED.read(tmp_path)),
  ):
    write_twice(tmp_path / name, 1, 2)
    with pytest.raises(UserError, match=rf'{name}.* repeats line 2'):
      read()


@pytest.mark.parametrize(
  'name', ['lenet[seed 1]', '[!a]', 'a*b', 'what?', '{a,b}', '**']
)
@pytest.mark.parametrize('is_relative', [False, True])
def test_no_name_of_a_workdir_is_a_pattern(
  tmp_path, name, is_relative, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  workdir = pathlib.Path(name) if is_relative else tmp_path / name
  provenance.write_config(workdir, CONFIG)
  for folder, epoch in (('chain', 7), ('leave_out/train_80', 12)):
    (workdir / 'checkpoints' / folder / str(epoch)).mkdir(parents=True)
  assert provenance.saved_epochs(workdir) == {
    'chain': 7,
    'leave_out/train_80': 12,
  }
  with pytest.raises(UserError, match='seed'):
    provenance.check_config(workdir, CONFIG | {'seed': 1})
  left = [workdir / '.x.1.tmp', workdir / 'leave_out' / 'train_80' / '.y.1.tmp']
  for path in left:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('')
  files.remove_leftovers(workdir)
  assert not any(path.exists() for path in left)


def test_arrays_and_members(tmp_path):
  members = [Member('pruning', 0.15, 0), Member('pruning', 0.15, 1)]
  roster.add(tmp_path, 'chain', members, {'labels': np.eye(2)})
  assert (tmp_path / 'chain' / 'members.csv').read_text() == (
    'member,arm,noise_fraction,replicate,network,left_out,chosen_at\n'
    '0,pruning,0.15,0,0,,-1\n'
    '1,pruning,0.15,1,0,,-1\n'
  )
  losses = np.arange(6, dtype=np.float32).reshape(2, 3)
  results.write_level(tmp_path, 'chain', 12, {'cross_entropy': losses})
  assert (tmp_path / 'chain' / 'level_012.npz').exists()
  read = results.read_level(tmp_path, 'chain', 12)
  np.testing.assert_array_equal(read['cross_entropy'], losses)
  assert not list(tmp_path.rglob('*.tmp'))


MEMBERS = [Member('pruning', 0.0, 0), Member('pruning', 0.15, 0)]


LABELS = {'labels': np.zeros((2, 4), np.uint16)}


@pytest.mark.parametrize(
  'labels',
  [
    {'labels': np.ones((2, 4), np.uint16)},
    {'labels': np.zeros((2, 4), np.uint8)},
    {'others': np.zeros((2, 4), np.uint16)},
  ],
)
def test_labels_are_never_replaced(tmp_path, labels):
  roster.add(tmp_path, 'chain', MEMBERS, LABELS)
  before = [path.read_bytes() for path in sorted(tmp_path.glob('*/*'))]
  with pytest.raises(UserError, match=r'labels\.npz'):
    roster.add(tmp_path, 'chain', MEMBERS, labels)
  assert before == [path.read_bytes() for path in sorted(tmp_path.glob('*/*'))]
  # 0 and 0.0 are one.
  same = [MEMBERS[0]._replace(noise_fraction=0), MEMBERS[1]]
  roster.add(tmp_path, 'chain', same, LABELS)


def test_labels_of_a_start_that_saved_nothing_may_change(tmp_path):
  provenance.add_provenance(tmp_path, start('none'))
  roster.add(tmp_path, 'chain', MEMBERS, LABELS)
  provenance.add_provenance(tmp_path, start('one'))
  roster.add(tmp_path, 'chain', MEMBERS[:1], {'x': np.zeros(1)})


def test_what_no_checkpoint_belongs_to_is_removed(tmp_path):
  # As after the first save failed, once a level was measured.
  members = [Member('dense', 0.0, 0, network=1)]
  roster.add(tmp_path, 'el2n', members, {'labels': np.zeros((1, 3))})
  roster.write_stack(tmp_path, 'el2n', members)
  results.write_level(tmp_path, 'el2n', 0, {'el2n': np.zeros((1, 3))})
  roster.remove(tmp_path)
  assert roster.read(tmp_path, 'el2n') == []
  assert not list(tmp_path.rglob('*.*'))


def test_labels_of_the_wrong_length(tmp_path):
  members = [Member('pruning', 0.15, 0)]
  arrays = {'labels': np.zeros((1, 4)), 'true_labels': np.zeros(5)}
  roster.add(tmp_path, 'chain', members, arrays)
  with pytest.raises(UserError, match=r'labels.*\(1, 5\).*\(1, 4\)'):
    results.read_labels(tmp_path, 'chain')


def test_pickled_arrays_are_never_read(tmp_path):
  results.write_level(tmp_path, 'chain', 0, {'x': np.array([{}], object)})
  with pytest.raises(UserError, match=r'level_000\.npz.*allow_pickle=False'):
    results.read_level(tmp_path, 'chain', 0)


def test_a_single_array_or_another_name_is_refused(tmp_path):
  results.write_level(tmp_path, 'chain', 0, {'x': np.zeros(3)})
  path = tmp_path / 'chain' / 'level_000.npz'
  np.save(path.with_suffix('.npy'), np.zeros(3))
  path.with_suffix('.npy').rename(path)
  with pytest.raises(UserError, match=r'level_000\.npz'):
    results.read_level(tmp_path, 'chain', 0)
  pickled = pickle.dumps(Executed())
  path.write_bytes(pickled)
  with pytest.raises(UserError, match=r'level_000\.npz'):
    results.read_level(tmp_path, 'chain', 0)
  members = [Member('dense', 0.0, 0)]
  roster.add(tmp_path, 'width', members, {'labels': np.zeros((1, 3))})
  with pytest.raises(UserError, match=r'labels\.npz.*true_labels'):
    results.read_labels(tmp_path, 'width')


class Executed:
  """Fails the test when it is unpickled."""

  def __reduce__(self):
    return pytest.fail, ('unpickled',)


@pytest.mark.parametrize('content', ['', 'arm\n1\n', '"', '\0'])
def test_a_table_that_is_none(tmp_path, content):
  (tmp_path / 'results.csv').write_text(content)
  with pytest.raises(UserError, match=r'/results\.csv'):
    results.finished_rows(tmp_path, 'chain')
  with pytest.raises(UserError, match=r'/results\.csv'):
    results.write_rows(tmp_path, [row(0, 0, 0.1)])
  assert (tmp_path / 'results.csv').read_text() == content


def test_el2n_scores_that_do_not_fit(tmp_path):
  table = pd.DataFrame({'noise_fraction': [0.0, 0.1], 'replicate': [0, 0]})
  results.EL2N.write(tmp_path, table, np.zeros((3, 5), np.float32))
  with pytest.raises(UserError, match=r'npz.*\b3\b.*csv.*\b2\b'):
    results.read_el2n(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['results.csv', 'chain/level_000.npz'])
def test_killed_inside_a_write(tmp_path, name):
  """The kernel kills it when the file grows beyond what it allows."""
  write_both(tmp_path, 1)
  before = (tmp_path / name).read_bytes()
  assert program.call(be_killed, tmp_path, name) == -signal.SIGXFSZ
  assert (tmp_path / name).read_bytes() == before
  (left,) = tmp_path.rglob('.*.tmp')
  assert 0 < left.stat().st_size < len(before)
  files.remove_leftovers(tmp_path)
  assert not list(tmp_path.rglob('.*.tmp'))


def be_killed(workdir, name):
  size = (workdir / name).stat().st_size
  signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))
  if name == 'results.csv':
    write_table_of(workdir, 2)
  else:
    write_arrays_of(workdir, 2)


def write_table_of(workdir, number):
  results.write_rows(workdir, [row(0, i, number) for i in range(500)])


def write_arrays_of(workdir, number):
  arrays = {'x': np.full((500, 500), number)}
  results.write_level(workdir, 'chain', 0, arrays)


def write_both(workdir, number):
  write_table_of(workdir, number)
  write_arrays_of(workdir, number)


def write_forever(workdir):
  for number in itertools.count():
    write_both(workdir, number)


@pytest.mark.slow
def test_a_reader_never_sees_half_a_file(tmp_path):
  write_both(tmp_path, 0)
  for _ in range(5):
    process = program.CONTEXT.Process(target=write_forever, args=(tmp_path,))
    process.start()
    for _ in range(20):
      table = results.read_results(tmp_path)
      assert len(table) == 500 and len(set(table.test_error)) == 1
      values = results.read_level(tmp_path, 'chain', 0)['x']
      assert values.shape == (500, 500) and (values == values[0, 0]).all()
    process.kill()
    process.join()
    assert len(results.read_results(tmp_path)) == 500
    assert results.read_level(tmp_path, 'chain', 0)['x'].shape == (500, 500)


def start(time, devices=('cpu: cpu',), sha256='abc'):
  dataset = {'name': 'digits', 'sha256': sha256}
  return {'time': time, 'devices': list(devices), 'dataset': dataset}


def test_provenance_grows_and_knows_its_version(tmp_path):
  provenance.add_provenance(tmp_path, start('one'))
  provenance.add_provenance(tmp_path, start('two'))
  history = provenance.read_provenance(tmp_path)
  assert [entry['time'] for entry in history['starts']] == ['one', 'two']


@pytest.mark.parametrize(
  'content, version',
  [('{"layout_version": 1}', 1), ('{"layout_version": 99}', 99), ('{}', None)],
)
def test_another_layout_version_is_refused_by_everyone(
  tmp_path, content, version
):
  provenance.write_config(tmp_path, CONFIG)
  (tmp_path / 'provenance.json').write_text(content)
  before = (tmp_path / 'config.json').read_bytes()
  # Other keys are to be expected, and are not what is wrong.
  for refused in (
    lambda: provenance.check_config(tmp_path, CONFIG | {'new': 1}),
    lambda: provenance.read_config(tmp_path),
    lambda: provenance.add_provenance(tmp_path, start('one')),
  ):
    with pytest.raises(UserError, match=rf'provenance\.json.*\b{version}\b'):
      refused()
  assert (tmp_path / 'provenance.json').read_text() == content
  assert (tmp_path / 'config.json').read_bytes() == before


def test_cpu_devices_stay_as_many_once_there_are_results(tmp_path):
  """A workdir may grow beyond one network, which uses all cores itself."""
  assert provenance.num_cpu_devices(tmp_path / 'new') == 0
  provenance.add_provenance(tmp_path, start('one', ('cpu: cpu',)))
  assert provenance.num_cpu_devices(tmp_path) == 0
  results.write_rows(tmp_path, [row(0, 0, 0.1)])
  assert provenance.num_cpu_devices(tmp_path) == 1


def test_another_dataset_or_other_devices_are_refused(tmp_path):
  provenance.add_provenance(tmp_path, start('one'))
  results.write_rows(tmp_path, [row(0, 0, 0.1)])
  before = (tmp_path / 'provenance.json').read_bytes()
  with pytest.raises(UserError, match=r"(?s)'abc'.*config.data.dir"):
    provenance.add_provenance(tmp_path, start('two', sha256='abd'), True)
  two = ('cpu: cpu',) * 2
  with pytest.raises(UserError, match='--allow_device_change'):
    provenance.add_provenance(tmp_path, start('two', two))
  assert (tmp_path / 'provenance.json').read_bytes() == before
  provenance.add_provenance(tmp_path, start('two', two), True)
  history = provenance.read_provenance(tmp_path)
  assert [len(entry['devices']) for entry in history['starts']] == [1, 2]


def test_a_config_with_code_in_it_is_only_text(tmp_path):
  provenance.write_config(tmp_path, CONFIG)
  results.write_rows(tmp_path, [row(0, 0, 0.1)])
  code = '__import__("os").abort()'
  stored = {'seed': code, 'arms': ['pruning'], 'data': {'name': 'digits'}}
  (tmp_path / 'config.json').write_text(json.dumps(stored))
  assert provenance.read_config(tmp_path)['seed'] == code
  with pytest.raises(UserError) as error:
    provenance.check_config(tmp_path, CONFIG)
  assert f'  seed: {code!r} there, 0 now' in str(error.value)
  for content in ('[]', '1', '[' * 100_000):
    (tmp_path / 'config.json').write_text(content)
    with pytest.raises(UserError, match=r'/config\.json'):
      provenance.read_config(tmp_path)


def test_damaged_json(tmp_path):
  provenance.write_config(tmp_path, CONFIG)
  (tmp_path / 'config.json').write_text('{"seed": __import__("os")')
  with pytest.raises(UserError, match=r'/config\.json'):
    provenance.read_config(tmp_path)
  results.write_rows(tmp_path, [row(0, 0, 0.1)])
  with pytest.raises(UserError, match=r'/config\.json'):
    provenance.check_config(tmp_path, CONFIG)


@pytest.mark.parametrize('content', [b'', b'PK', b'no arrays', None])
def test_damaged_arrays(tmp_path, content):
  results.write_level(tmp_path, 'chain', 0, {'x': np.zeros(3)})
  path = tmp_path / 'chain' / 'level_000.npz'
  path.unlink() if content is None else path.write_bytes(content)
  with pytest.raises(UserError, match=r'level_000\.npz'):
    results.read_level(tmp_path, 'chain', 0)


def test_a_folder_without_a_run(tmp_path):
  with pytest.raises(UserError, match=r'--workdir=.*config\.json'):
    provenance.read_config(tmp_path)


def test_a_bucket_that_cannot_be_reached(monkeypatch):
  bucket = mock.MagicMock()
  bucket.__str__.return_value = 'gs://bucket/run'
  bucket.exists.side_effect = RuntimeError('no such host')
  monkeypatch.setattr(files, 'path_of', lambda path: bucket)
  with pytest.raises(UserError, match='no such host'):
    provenance.check_workdir('gs://bucket/run')


def test_errors_of_buckets_are_explained(monkeypatch):
  """Its libraries raise no OSError."""
  bucket = mock.MagicMock()
  bucket.__str__.return_value = 'gs://bucket/run/results.csv'
  bucket.with_name().open.side_effect = RuntimeError('quota exceeded')
  bucket.read_text.side_effect = RuntimeError('no permission')
  monkeypatch.setattr(files, 'path_of', lambda path: bucket)
  with pytest.raises(UserError, match=r'results\.csv.*quota exceeded'):
    files.write_text('gs://bucket/run/results.csv', 'text')
  with pytest.raises(UserError, match='no permission'):
    files.read_table(bucket, ())
  with pytest.raises(UserError, match='no permission'):
    files.read_json(bucket)


def test_rows_of_another_experiment_keep_their_order(tmp_path):
  networks = [
    (arm, 0.0, 0, 0, '', -1) for arm in ('pruning', 'weight_rewinding')
  ]
  for experiment, members in (('chain', networks), ('landscape', networks[:1])):
    rows = [
      fake_runs.make_row(experiment=experiment, arm=member[0])
      for member in members
    ]
    results.write_rows(tmp_path, rows, members)
  table = results.read_results(tmp_path)
  assert table.arm.tolist() == ['pruning', 'weight_rewinding', 'pruning']


@pytest.fixture
def project(tmp_path):
  """A folder of somebody's own files, with names that ours have, too."""
  for name in (
    'data/labels.npz',
    'data/members.csv',
    'data/level_1.npz',
    'data/epochs.csv',
    'data/epochs/1.npz',
    'checkpoints/model/weights',
    'checkpoints/model/members.csv',
    'tensorboard/model/events',
    '.x.tmp',
    '.x.1.tmp',
    'data/.y.1.tmp',
  ):
    files.write_text(tmp_path / name, 'mine')
  return tmp_path


def test_no_start_removes_what_is_not_its_own(project):
  before = {path for path in project.rglob('*') if path.is_file()}
  members = [Member('pruning', 0.15, 0)]
  for number in range(3):
    provenance.check_config(project, CONFIG)
    roster.undo_unfinished(project)
    provenance.add_provenance(project, start(number))
    provenance.write_config(project, CONFIG | {'seed': number})
    # Nothing of an earlier start is left.
    after = {path for path in project.rglob('*') if path.is_file()}
    assert {path.name for path in after - before} == {
      'config.json',
      'provenance.json',
    }
    assert before <= after
    # What a start leaves that saves nothing.
    roster.add(project, 'chain', members, {'labels': np.zeros((1, 3))})
    roster.write_stack(project, 'chain', members)
    results.write_level(project, 'chain', 0, {'x': np.zeros((1, 3))})
    files.write_text(results.tensorboard_dir(project, 'chain') / 'events', '')


def test_a_first_start_removes_nothing(tmp_path):
  """As one in a folder of another run."""
  members = [Member('pruning', 0.15, 0)]
  roster.write_stack(tmp_path, 'chain', members)
  provenance.add_provenance(tmp_path / 'checkpoints', start('one'))
  assert list(roster.read_stacks(tmp_path, 'chain').values()) == [members]


@pytest.mark.parametrize('name', ['config.json', 'summary.csv', 'report/x'])
def test_a_first_start_replaces_nothing(tmp_path, name):
  (tmp_path / name).parent.mkdir(exist_ok=True)
  (tmp_path / name).write_text('{"experiments": ["mine"]}')
  with pytest.raises(UserError, match=name.partition('/')[0]):
    provenance.check_config(tmp_path, CONFIG)


def test_a_first_start_that_was_not_recorded_begins_again(tmp_path):
  config = default.get_config().to_dict()
  provenance.write_config(tmp_path, config)
  provenance.check_config(tmp_path, config | {'seed': 1})


def test_leftovers_are_removed_wherever_files_are_written(tmp_path):
  left = [
    tmp_path / folder / '.x.npz.7.tmp'
    for folder in (
      '',
      'chain',
      'leave_out/train_80',
      'difficulty/epochs',
      'report/tables',
      'report/figures',
      'checkpoints',
      'checkpoints/chain',
      'checkpoints/leave_out',
      'checkpoints/leave_out/train_80',
    )
  ]
  for path in left:
    files.write_text(path, '')
  files.remove_leftovers(tmp_path)
  assert not any(path.exists() for path in left)


@pytest.mark.parametrize(
  'suffix, old, new',
  [
    ('.npz', 'params/', 'qarams/'),
    ('.safetensors', 'params/', 'qarams/'),
    ('.safetensors', r'{\"model', r'[\"model'),
    ('.safetensors', 'metadata', 'letadata'),
  ],
)
def test_a_network_with_a_flipped_bit_is_refused(tmp_path, suffix, old, new):
  path = tmp_path / f'network{suffix}'
  array = np.zeros(3, np.float32)
  params = {'dense_0': {'kernel': array}}
  network = networks.StoredNetwork(params, {}, {}, {'model': 'lenet'})
  networks.write(path, network)
  assert networks.read(path).metadata == {'model': 'lenet'}
  content = path.read_bytes()
  assert old.encode() in content
  path.write_bytes(content.replace(old.encode(), new.encode()))
  with pytest.raises(UserError, match=f'network{suffix}'):
    networks.read(path)
