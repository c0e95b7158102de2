import numpy as np
import pytest

from pruning_gen.data import datasets
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

  monkeypatch.setattr(datasets, '_decode', decode)
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
  path = datasets.cache_path(folder, tmp_path / 'cache')
  datasets.write_cache(path, dict(zip(names, arrays)))

  def decode(*_):
    raise AssertionError('decoded again')

  monkeypatch.setattr(datasets, 'prepared_builder', decode)
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
  datasets.write_cache(prepared, {'train_images': np.zeros(5)})
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
  message = str(error.value)
  assert "data.dir holds no 'mnist'" in message
  assert str(tmp_path / 'data') in message
  assert 'no route to host' in message
  assert 'download_and_prepare()' in message
  assert '--config.data.name=digits' in message


def test_data_of_another_shape_is_refused(tmp_path, monkeypatch):
  images, labels = np.zeros((5, 32, 32, 3), np.uint8), np.zeros(5, np.int32)
  monkeypatch.setattr(
    datasets, '_read_tfds', lambda *_: (images, labels, images, labels)
  )
  with pytest.raises(UserError) as error:
    datasets.load('mnist', 'there')
  assert "data.dir='there' holds 'mnist'" in str(error.value)
  assert '(32, 32, 3), not (28, 28, 1)' in str(error.value)


@pytest.mark.parametrize('content', [b'', b'PK', b'not arrays'])
def test_a_damaged_cache_is_no_cache(tmp_path, content, capsys):
  path = tmp_path / 'mnist.npz'
  datasets.write_cache(path, {'x': np.arange(3)})
  assert datasets.read_cache(path)['x'].tolist() == [0, 1, 2]
  path.write_bytes(content)
  assert datasets.read_cache(path) is None
  assert 'mnist.npz is damaged' in capsys.readouterr().out


def test_no_flipped_bit_of_a_cache_is_an_error(tmp_path, capsys):
  path = tmp_path / 'mnist.npz'
  datasets.write_cache(path, {'x': np.arange(3)})
  whole = path.read_bytes()
  # The table of contents, of which a checksum knows nothing.
  for bit in range(8 * whole.index(b'PK\1\2'), 8 * len(whole)):
    damaged = bytearray(whole)
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    for array in (datasets.read_cache(path) or {}).values():
      assert array.tolist() == [0, 1, 2]
  out = capsys.readouterr().out
  assert 'is encrypted, password required' in out
  assert 'compression method is not supported' in out


def test_a_cache_that_cannot_be_written(tmp_path, capsys):
  (tmp_path / 'file').write_text('mine')
  datasets.write_cache(tmp_path / 'file' / 'mnist.npz', {'x': np.arange(3)})
  assert 'mnist.npz cannot be kept' in capsys.readouterr().out
