import functools
import pathlib
import pwd
import shutil
import subprocess
import sys
from unittest import mock

import jax
import numpy as np
import pytest

from configs import default
from pruning_gen import environment
from pruning_gen.data import cache
from pruning_gen.data import datasets
from pruning_gen.data import tfds_files
from pruning_gen.errors import UserError
from tests.conftest import SHARED

needs_mnist = pytest.mark.skipif(
  not (SHARED / 'tfds' / 'mnist').exists(),
  reason='needs MNIST prepared by TFDS in ../shared/tfds',
)


def test_digits_never_change():
  digits = datasets.load('digits')
  assert digits.train_images.shape == (1437, 8, 8, 1)
  assert digits.train_images.dtype == np.uint8
  assert digits.train_labels.dtype == np.int32
  assert digits.image_shape == (8, 8, 1)
  assert len(digits.validation_labels) == 72
  assert len(digits.test_labels) == 288
  assert digits.train_labels[:6].tolist() == [6, 5, 3, 4, 4, 4]
  assert digits.test_labels[:6].tolist() == [2, 8, 2, 6, 6, 7]
  assert digits.train_images.sum() == 7167745
  assert digits.test_images.sum() == 1422656
  assert digits.validation_images.sum() == 363400


def test_digits_are_normalized_by_their_own_pixels():
  digits = datasets.load('digits')
  assert digits.train_images.mean() / 255 == pytest.approx(digits.mean[0], 1e-3)
  assert digits.train_images.std() / 255 == pytest.approx(digits.std[0], 1e-3)


def test_num_train_takes_the_first():
  digits = datasets.load('digits')
  fewer = datasets.load('digits', num_train=100)
  np.testing.assert_array_equal(fewer.train_images, digits.train_images[:100])
  np.testing.assert_array_equal(fewer.train_labels, digits.train_labels[:100])
  np.testing.assert_array_equal(fewer.test_images, digits.test_images)


@needs_mnist
@pytest.mark.slow
def test_mnist_is_decoded_once_and_cached(tmp_path, monkeypatch):
  mnist = datasets.load('mnist', SHARED / 'tfds', tmp_path)
  assert mnist.train_images.shape == (60_000, 28, 28, 1)
  assert mnist.train_images.sum(dtype=np.int64) == 1567298545
  assert mnist.train_labels[:6].tolist() == [4, 1, 0, 7, 8, 1]
  assert mnist.validation_labels[:6].tolist() == [1, 4, 4, 0, 3, 8]
  assert len(mnist.validation_labels) == 2000
  assert len(mnist.test_labels) == 8000

  def decode(*_):
    raise AssertionError('decoded again')

  monkeypatch.setattr(tfds_files, '_decode', decode)
  again = datasets.load('mnist', SHARED / 'tfds', tmp_path)
  np.testing.assert_array_equal(again.train_images, mnist.train_images)
  np.testing.assert_array_equal(again.test_labels, mnist.test_labels)


@pytest.fixture
def prepared(tmp_path, monkeypatch):
  """MNIST where TFDS looks for it, of which only the cache can be read."""
  folder = tmp_path / 'tfds' / 'mnist' / '3.0.1'
  folder.mkdir(parents=True)
  (folder / 'dataset_info.json').write_text('{}')
  images, labels = np.zeros((5, 28, 28, 1), np.uint8), np.arange(5)
  arrays = (images, labels, images, labels)
  names = ('train_images', 'train_labels', 'test_images', 'test_labels')
  path = cache.path_of(folder, tmp_path / 'cache')
  cache.write(path, dict(zip(names, arrays)))

  def decode(*_):
    raise AssertionError('decoded again')

  monkeypatch.setattr(tfds_files, 'prepared_builder', decode)
  return path


def test_the_cache_of_data_where_tfds_keeps_it(prepared, tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path / 'home'))
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path / 'tfds'))
  mnist = datasets.load('mnist', cache_dir=prepared.parent)
  assert mnist.train_labels.tolist() == [0, 1, 2, 3, 4]
  # What the config says goes first, and TFDS's own default is the last.
  with pytest.raises(AssertionError, match='decoded again'):
    datasets.load('mnist', tmp_path / 'other', prepared.parent)
  monkeypatch.delenv('TFDS_DATA_DIR')
  with pytest.raises(AssertionError, match='decoded again'):
    datasets.load('mnist', cache_dir=prepared.parent)
  (tmp_path / 'home').mkdir()
  (tmp_path / 'tfds').rename(tmp_path / 'home' / 'tensorflow_datasets')
  assert datasets.load('mnist', cache_dir=prepared.parent).train_labels.any()


def test_a_cache_without_all_arrays_is_no_cache(prepared, tmp_path):
  cache.write(prepared, {'train_images': np.zeros(5)})
  with pytest.raises(AssertionError, match='decoded again'):
    datasets.load('mnist', tmp_path / 'tfds', prepared.parent)


def test_data_that_cannot_be_prepared(tmp_path, monkeypatch):
  import tensorflow_datasets as tfds

  def no_network(*_, **__):
    raise ConnectionError('no route to host')

  monkeypatch.setattr(
    tfds.core.DatasetBuilder, 'download_and_prepare', no_network
  )
  with pytest.raises(UserError) as error:
    datasets.load('mnist', tmp_path / 'data', tmp_path / 'cache')
  for value in (
    'data.dir',
    str(tmp_path / 'data'),
    'no route to host',
    'download_and_prepare()',
    '--config.data.name=digits',
  ):
    assert value in str(error.value)


def read_toy(*_, labels=(0, 1, 2), shape=(4, 4, 1), dtype=np.uint8):
  """Read an in-memory data set, as a user adds one."""
  train = np.arange(3 * np.prod(shape)).reshape(3, *shape).astype(dtype)
  test_images, test_labels = np.ones((10, *shape), dtype), np.zeros(10, int)
  return train, np.int32(labels), test_images, test_labels


def add_toy(monkeypatch, **kwargs):
  entry = datasets.DatasetInfo(
    functools.partial(read_toy, **kwargs), 3, 3, (4, 4, 1), (0.5,), (0.5,)
  )
  monkeypatch.setitem(datasets.DATASETS, 'toy', entry)


def test_an_added_data_set_is_loaded_as_any_other(monkeypatch):
  add_toy(monkeypatch)
  toy = datasets.load('toy', num_train=2)
  assert (toy.name, toy.num_classes, toy.image_shape) == ('toy', 3, (4, 4, 1))
  assert toy.train_labels.tolist() == [0, 1]
  assert len(toy.validation_images) == 2 and len(toy.test_images) == 8
  assert datasets.describe(toy)['num_train'] == 2


@pytest.mark.parametrize(
  'wrong, value',
  [
    ({'shape': (4, 4, 3)}, '(4, 4, 3)'),
    ({'dtype': np.float32}, 'float32'),
    ({'labels': (0, 1, 3)}, '[0, 3)'),
    ({'labels': (0, -1, 1)}, '[0, 3)'),
    ({'labels': (0, 1)}, '2'),
  ],
)
def test_data_that_is_not_what_its_entry_says_is_refused(
  monkeypatch, wrong, value
):
  add_toy(monkeypatch, **wrong)
  with pytest.raises(UserError) as error:
    datasets.load('toy', 'there')
  for text in ("data.name='toy'", "data.dir='there'", value):
    assert text in str(error.value)


def test_an_unknown_data_set_is_refused_with_those_that_there_are():
  with pytest.raises(UserError) as error:
    datasets.load('svhn')
  for name in ('config.data.name', 'svhn', *datasets.DATASETS):
    assert name in str(error.value)


def test_the_table_imports_nothing_slow():
  script = (
    'import sys; from pruning_gen.data import datasets; '
    "print(*{'grain', 'tensorflow_datasets', 'jax', 'PIL'} & set(sys.modules))"
  )
  out = subprocess.run(
    [sys.executable, '-c', script], capture_output=True, text=True, check=True
  )
  assert out.stdout.split() == []


def test_versions_side_by_side_are_cached_apart(tmp_path, monkeypatch):
  """TFDS reads 3.0.1, whatever lies next to it, and so does the cache."""
  folders, labels = {}, {'3.0.1': 1, '3.0.0': 0, '9.0.0': 9}
  for version, label in labels.items():
    folder = folders[version] = tmp_path / 'mnist' / version
    folder.mkdir(parents=True)
    (folder / 'dataset_info.json').write_text(f'{{"version": "{version}"}}')
    arrays = (
      np.zeros((5, 28, 28, 1), np.uint8),
      np.full(5, label),
    )
    cache.write(
      cache.path_of(folder, tmp_path / 'cache'),
      dict(zip(tfds_files._ARRAYS, arrays * 2)),
    )
  builder = mock.Mock(data_path=folders['3.0.1'])
  monkeypatch.setattr(tfds_files, 'prepared_builder', lambda *_: builder)
  mnist = datasets.load('mnist', tmp_path, tmp_path / 'cache')
  assert set(mnist.train_labels) == {1}


def test_other_files_are_cached_apart(tmp_path):
  """Two copies of one version, of which one is damaged, are two."""
  for name, content in (('whole', b'1234'), ('same', b'1234'), ('cut', b'12')):
    (tmp_path / name / 'mnist' / '3.0.1').mkdir(parents=True)
    folder = tmp_path / name / 'mnist' / '3.0.1'
    (folder / 'dataset_info.json').write_text('{}')
    (folder / 'mnist-train.array_record-00000-of-00001').write_bytes(content)
  whole, same, cut = (
    cache.path_of(tmp_path / name / 'mnist' / '3.0.1', tmp_path)
    for name in ('whole', 'same', 'cut')
  )
  assert whole == same
  assert whole != cut


@needs_mnist
@pytest.mark.parametrize(
  'file, keep',
  [
    ('mnist-train.array_record-00000-of-00001', 0.5),
    ('mnist-test.array_record-00000-of-00001', 0),
    ('mnist-test.array_record-00000-of-00001', None),
    ('dataset_info.json', 0.5),
    ('dataset_info.json', 0),
    ('dataset_info.json', None),
  ],
)
def test_a_damaged_file_is_named(tmp_path, file, keep, monkeypatch):
  folder = tmp_path / 'mnist' / '3.0.1'
  shutil.copytree(SHARED / 'tfds' / 'mnist' / '3.0.1', folder)
  folder.chmod(0o755)
  content = (folder / file).read_bytes()
  (folder / file).unlink()
  if keep is not None:
    (folder / file).write_bytes(content[: int(keep * len(content))])
  # Reading the whole file before a damaged one takes half a minute.
  monkeypatch.setattr(
    tfds_files,
    '_decode',
    lambda source: source[0] and source[len(source) - 1],
  )
  with pytest.raises(UserError) as error:
    datasets.load('mnist', tmp_path, tmp_path / 'cache')
  for value in ('config.data.dir', str(folder), file, 'copy'):
    assert value in str(error.value)
  assert not (tmp_path / 'cache').exists()


@pytest.mark.parametrize('how', ['key', 'environment'])
def test_a_bucket_is_refused_however_it_is_named(monkeypatch, how):
  monkeypatch.setenv('TFDS_DATA_DIR', 'gs://bucket/data')
  data_dir = 'gs://bucket/data' if how == 'key' else ''
  key = 'config.data.dir' if how == 'key' else 'TFDS_DATA_DIR'
  with pytest.raises(UserError) as error:
    datasets.load('mnist', data_dir)
  assert f"{key}='gs://bucket/data'" in str(error.value)


@pytest.fixture
def no_home(monkeypatch):
  """As in a container whose user is no one."""

  def getpwuid(uid):
    raise KeyError(uid)

  for name in ('HOME', 'XDG_CACHE_HOME', 'TFDS_DATA_DIR'):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setattr(pwd, 'getpwuid', getpwuid)
  cache._warn.cache_clear()


def test_without_a_home_there_is_no_cache(no_home, tmp_path, capsys):
  (tmp_path / 'dataset_info.json').write_text('{}')
  for _ in range(2):
    path = cache.path_of(tmp_path)
    cache.write(path, {'x': np.arange(3)})
    assert cache.read(path) is None
  assert capsys.readouterr().out.count('--config.data.cache_dir') == 1
  assert cache.folder('there') == pathlib.Path('there')
  with pytest.raises(UserError, match=r'--config\.data\.dir'):
    datasets.load('mnist')


def test_without_a_home_jax_has_no_cache(no_home, monkeypatch):
  # The number of devices cannot change any more.
  monkeypatch.setenv('XLA_FLAGS', '--xla_force_host_platform_device_count=8')
  before = jax.config.jax_compilation_cache_dir
  try:
    environment.set_up(default.get_config(), num_members=8)
    assert jax.config.jax_compilation_cache_dir is None
  finally:
    jax.config.update('jax_compilation_cache_dir', before)


@pytest.mark.parametrize('content', [b'', b'PK', b'not arrays'])
def test_a_damaged_cache_is_no_cache(tmp_path, content, capsys):
  path = tmp_path / 'mnist.npz'
  cache.write(path, {'x': np.arange(3)})
  assert cache.read(path)['x'].tolist() == [0, 1, 2]
  path.write_bytes(content)
  assert cache.read(path) is None
  assert 'mnist.npz' in capsys.readouterr().out


def test_no_flipped_bit_of_a_cache_is_an_error(tmp_path, capsys):
  path = tmp_path / 'mnist.npz'
  cache.write(path, {'x': np.arange(3)})
  whole = path.read_bytes()
  # The table of contents, of which a checksum knows nothing.
  for bit in range(8 * whole.index(b'PK\1\2'), 8 * len(whole)):
    damaged = bytearray(whole)
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    for array in (cache.read(path) or {}).values():
      assert array.tolist() == [0, 1, 2]
  # Of zipfile's many exceptions.
  out = capsys.readouterr().out
  assert 'password' in out and 'compression method' in out


def test_a_cache_that_cannot_be_written(tmp_path, capsys):
  (tmp_path / 'file').write_text('mine')
  cache.write(tmp_path / 'file' / 'mnist.npz', {'x': np.arange(3)})
  assert 'mnist.npz' in capsys.readouterr().out
