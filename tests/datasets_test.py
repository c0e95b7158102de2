import functools
import importlib.util
import pathlib
import pwd
import re
import shutil
import subprocess
import sys
from unittest import mock

import jax
import numpy as np
import pytest

from configs import default
from pruning_gen import config as config_rules
from pruning_gen import environment
from pruning_gen import runner
from pruning_gen.data import cache
from pruning_gen.data import datasets
from pruning_gen.data import splits
from pruning_gen.data import tfds_files
from pruning_gen.errors import UserError
from pruning_gen.storage import results
from tests import small_chain
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


def test_without_tensorflow_nothing_is_downloaded(tmp_path, monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(UserError) as error:
    datasets.load('mnist', tmp_path / 'data', tmp_path / 'cache')
  assert "pip install 'pruning_gen[tensorflow]'" in str(error.value)
  assert 'download_and_prepare()' in str(error.value)
  assert not (tmp_path / 'data').exists()


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


def save(path, **changes):
  """Save the digits as a user would; a change of None leaves an array out."""
  digits = datasets.DATASETS['digits'].read()
  arrays = dict(zip(splits.ARRAYS, digits)) | changes
  arrays = {key: value for key, value in arrays.items() if value is not None}
  np.savez(path, **arrays)


def test_an_npz_of_the_digits_is_the_digits(tmp_path):
  save(tmp_path / 'own.npz')
  digits = datasets.load('digits')
  for path, data_dir in ((tmp_path / 'own.npz', ''), ('own.npz', tmp_path)):
    own = datasets.load(f'npz:{path}', str(data_dir))
    assert own.image_shape == (8, 8, 1) and own.num_classes == 10
    assert own.train_labels.dtype == np.int32
    hashes = [datasets.describe(data)['sha256'] for data in (own, digits)]
    assert hashes[0] == hashes[1]
  pixels = digits.train_images / 255
  assert own.mean == pytest.approx([pixels.mean()], rel=1e-9)
  assert own.std == pytest.approx([pixels.std()], rel=1e-9)
  # Those of the whole split, whatever is trained on.
  assert datasets.load(f'npz:{path}', str(data_dir), '', 50).mean == own.mean


def test_what_a_config_states_of_its_data(tmp_path):
  save(tmp_path / 'own.npz')
  config = default.get_config()
  config.data.name = 'npz:own.npz'
  config.data.dir = str(tmp_path)
  config.data.update(num_classes=12, image_shape=(8, 8, 1), mean=(0.5,))
  own = datasets.load(
    'npz:own.npz', str(tmp_path), **datasets.stated_in(config.data)
  )
  assert own.num_classes == 12 and own.mean == (0.5,)
  assert own.std == datasets.load('npz:own.npz', str(tmp_path)).std
  config_rules.check(config)
  for key, value in {
    'num_classes': 9,
    'image_shape': (8, 8, 3),
    'mean': (0.5, 0.5, 0.5),
    'std': (0.0,),
    'num_train': 1438,
  }.items():
    other = config.copy_and_resolve_references()
    other.data[key] = value
    with pytest.raises(UserError, match=rf'config\.data\.({key}|name)='):
      config_rules.check(other)


def test_an_npz_in_a_home_directory(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  save(tmp_path / 'own.npz')
  for name, data_dir in (('~/own.npz', '/data'), ('own.npz', '~')):
    info = datasets.info_of(f'npz:{name}', data_dir)
    assert info.image_shape == (8, 8, 1)


def test_there_are_no_more_classes_than_labels_can_be_stored():
  most = 65_535
  assert datasets.info_of('digits', num_classes=most).num_classes == most
  with pytest.raises(UserError, match=r'num_classes=65536 .*65535'):
    datasets.info_of('digits', num_classes=most + 1)


def test_channels_in_color_and_none(tmp_path):
  rng = np.random.default_rng(0)
  color = rng.integers(0, 256, (20, 6, 5, 3), np.uint8)
  color[..., 2] //= 4
  labels = np.arange(20) % 2
  arrays = (color, labels, color[:5], labels[:5])
  save(tmp_path / 'color.npz', **dict(zip(splits.ARRAYS, arrays)))
  data = datasets.load('npz:color.npz', str(tmp_path))
  assert data.image_shape == (6, 5, 3)
  np.testing.assert_allclose(data.mean, color.mean((0, 1, 2)) / 255)
  np.testing.assert_allclose(data.std, color.std((0, 1, 2)) / 255)
  gray = (color[..., 0], labels, color[:5, ..., 0], labels[:5])
  save(tmp_path / 'gray.npz', **dict(zip(splits.ARRAYS, gray)))
  data = datasets.load('npz:gray.npz', str(tmp_path))
  assert data.image_shape == (6, 5, 1) and len(data.mean) == 1


@pytest.mark.parametrize(
  'changes, said',
  [
    ({'test_labels': None}, 'test_labels missing'),
    ({'train_images': np.zeros((1437, 8, 8))}, 'train_images .*float64'),
    ({'train_images': np.zeros((1437, 64), np.uint8)}, r'\(1437, 64\)'),
    ({'train_images': np.zeros((1437, 3, 8, 8), np.uint8)}, 'channels first'),
    ({'test_images': np.zeros((360, 8, 8, 3), np.uint8)}, r'\(8, 8, 3\)'),
    ({'test_images': np.zeros((360, 9, 8, 1), np.uint8)}, r'\(9, 8, 1\)'),
    ({'test_images': np.zeros((4, 8, 8), np.uint8)}, '4 whole numbers'),
    (
      {
        'test_images': np.zeros((4, 8, 8), np.uint8),
        'test_labels': np.zeros(4, int),
      },
      'at least 5',
    ),
    ({'train_labels': np.arange(1436) % 10}, r'train_labels .*\(1436,\)'),
    ({'train_labels': np.zeros(1437)}, 'train_labels .*float64'),
    ({'train_labels': np.zeros((1437, 1), int)}, r'train_labels .*1437, 1'),
    ({'train_labels': np.zeros(1437, object)}, 'train_labels .*object'),
    ({'train_labels': np.zeros(1437, int)}, r'test_labels .*\[0, 1\)'),
    ({'train_labels': np.arange(1437) % 10 - 1}, '144 are not, -1'),
    ({'test_labels': np.arange(360) % 11}, r'test_labels .*\[0, 10\).*, 10 '),
  ],
)
def test_an_npz_that_does_not_fit_is_refused(tmp_path, changes, said):
  save(tmp_path / 'own.npz', **changes)
  config = default.get_config()
  config.data.name = f'npz:{tmp_path}/own.npz'
  with pytest.raises(UserError) as error:
    config_rules.check(config)
  message = str(error.value)
  assert message.startswith(f'config.data.name={config.data.name!r}')
  assert re.search(said, message)


@pytest.mark.parametrize('content', [None, b'', b'PK', b'not an archive'])
def test_an_npz_that_cannot_be_read(tmp_path, content):
  if content is not None:
    (tmp_path / 'own.npz').write_bytes(content)
  with pytest.raises(UserError, match=r"npz:own\.npz' .*numpy\.savez"):
    datasets.info_of('npz:own.npz', str(tmp_path))


def test_pixels_that_are_all_the_same_have_no_deviation(tmp_path):
  save(tmp_path / 'own.npz', train_images=np.zeros((1437, 8, 8), np.uint8))
  with pytest.raises(UserError, match=r'config\.data\.std'):
    datasets.load('npz:own.npz', str(tmp_path))
  stated = {'mean': (0.0,), 'std': (1.0,)}
  assert datasets.load('npz:own.npz', str(tmp_path), **stated).std == (1.0,)


def test_another_npz_of_the_same_name_is_refused(tmp_path):
  """Once something is saved, in a workdir that was started on the first."""
  config = small_chain.make_config()
  config.data.name = f'npz:{tmp_path}/own.npz'
  run = small_chain.make_run(config, tmp_path / 'run')
  save(tmp_path / 'own.npz')
  run.workdir.mkdir()
  runner.record_start(runner.load_dataset(run), False)
  results.results_path(run.workdir).write_text('begun')
  runner.record_start(runner.load_dataset(run), False)
  images = datasets.DATASETS['digits'].read()[0]
  images[3, 4, 4] ^= 1
  save(tmp_path / 'own.npz', train_images=images)
  with pytest.raises(UserError, match='another version of the data set'):
    runner.record_start(runner.load_dataset(run), False)


def register_builder(name, split_sizes, features):
  """Define a builder of TFDS, as a user would in a module of their own."""
  import tensorflow_datasets as tfds

  def generate(self, n):
    for i in range(n):
      image = np.full(self.info.features['picture'].shape, 10 * i, np.uint8)
      yield i, {'picture': image, 'kind': i % 3}

  def make_info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(features),
      supervised_keys=('picture', 'kind'),
    )

  def make_splits(self, manager):
    del manager
    return {key: self._generate_examples(n) for key, n in split_sizes.items()}

  members = {
    'VERSION': tfds.core.Version('1.0.0'),
    'pkg_dir_path': None,
    '_info': make_info,
    '_split_generators': make_splits,
    '_generate_examples': generate,
    '__module__': __name__,
  }
  type(name, (tfds.core.GeneratorBasedBuilder,), members)


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize(
  'sizes, num_train, test',
  [
    ({'train': 20, 'test': 5}, 20, [0, 10, 20, 30, 40]),
    ({'train': 20, 'validation': 6}, 20, [0, 10, 20, 30, 40, 50]),
    ({'train': 25}, 20, None),
  ],
)
def test_any_builder_of_tfds(tmp_path, sizes, num_train, test):
  pytest.importorskip('tensorflow', reason='TFDS prepares data with it')
  import tensorflow_datasets as tfds

  # TFDS knows each name once.
  name = f'Toy{"".join(sizes)}'
  features = {
    'picture': tfds.features.Image(shape=(4, 6, 3)),
    'kind': tfds.features.ClassLabel(num_classes=3),
  }
  register_builder(name, sizes, features)
  name = f'tfds:{name.lower()}'
  info = datasets.info_of(name, str(tmp_path / 'tfds'))
  assert info.num_train == num_train
  assert (info.num_classes, info.image_shape) == (3, (4, 6, 3))
  data = datasets.load(name, str(tmp_path / 'tfds'), str(tmp_path / 'cache'))
  assert len(data.train_labels) == num_train and len(data.mean) == 3
  kinds = data.train_images[:, 0, 0, 0] // 10 % 3
  np.testing.assert_array_equal(data.train_labels, kinds)
  pixels = [*data.validation_images, *data.test_images]
  values = sorted(int(image[0, 0, 0]) for image in pixels)
  assert len(values) == info.num_test
  if test:
    assert values == test
  else:
    seen = {*values, *data.train_images[:, 0, 0, 0].tolist()}
    assert seen == {10 * i for i in range(25)}


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize(
  'name, said',
  [
    ('no_such_data', 'no_such_data not found'),
    # Texts; and images of many sizes.
    ('ag_news_subset', 'classes'),
    ('tf_flowers', 'one size'),
    ('eurosat/all', 'float32'),
    ('mnist:9.9.9', '9.9.9'),
  ],
)
def test_a_builder_without_what_is_needed(tmp_path, name, said):
  with pytest.raises(UserError) as error:
    datasets.info_of(f'tfds:{name}', str(tmp_path))
  message = str(error.value)
  assert message.startswith(f"config.data.name='tfds:{name}'")
  assert said in message and 'Available' not in message
  assert not list(tmp_path.iterdir())


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
      dict(zip(splits.ARRAYS, arrays * 2)),
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
def test_a_damaged_file_of_mnist_is_named(tmp_path, file, keep, monkeypatch):
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


def test_data_whose_description_cannot_be_read(tmp_path):
  path = tmp_path / 'mnist' / '3.0.1' / 'dataset_info.json'
  path.mkdir(parents=True)
  with pytest.raises(UserError, match=r'config\.data\.dir: .*/mnist/3\.0\.1'):
    datasets.load('mnist', tmp_path, tmp_path / 'cache')


@needs_mnist
def test_another_program_prepares_the_same_data(tmp_path, monkeypatch):
  pytest.importorskip('tensorflow', reason='TFDS prepares data with it')
  import tensorflow_datasets as tfds

  def be_slower(*_, **__):
    (tmp_path / 'mnist').symlink_to(SHARED / 'tfds' / 'mnist')
    raise FileExistsError('3.0.1')

  monkeypatch.setattr(
    tfds.core.DatasetBuilder, 'download_and_prepare', be_slower
  )
  builder = tfds_files.prepared_builder('mnist', tmp_path)
  assert builder.info.splits['test'].num_examples == 10_000


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


def test_a_bucket_is_no_cache_however_it_is_named(monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', 'gs://bucket/x')
  with pytest.raises(UserError, match=r'XDG_CACHE_HOME=.*data\.cache_dir'):
    cache.folder()
  assert cache.folder('here') == pathlib.Path('here')
