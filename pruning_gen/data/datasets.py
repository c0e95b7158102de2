"""Image data sets as arrays in memory. The only user of TFDS."""

import dataclasses
import hashlib
import io
import os
import pathlib

import numpy as np

from pruning_gen.errors import UserError


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A prepared data set. `example_id` is the position in the training split.

  Attributes:
    name: str.
    num_classes: int.
    mean: per channel, of images in [0, 1]; what the paper normalises by.
    std: likewise.
    train_images: uint8 [num_train, height, width, channels].
    train_labels: int32 [num_train], the true labels.
    validation_images, validation_labels: 20 % of the test split.
    test_images, test_labels: the rest of it.
  """

  name: str
  num_classes: int
  mean: tuple[float, ...]
  std: tuple[float, ...]
  train_images: np.ndarray
  train_labels: np.ndarray
  validation_images: np.ndarray
  validation_labels: np.ndarray
  test_images: np.ndarray
  test_labels: np.ndarray

  @property
  def image_shape(self):
    """(height, width, channels)."""
    return self.train_images.shape[1:]


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
  """What is known of a data set before it is read."""

  num_classes: int
  num_train: int
  image_shape: tuple[int, int, int]
  mean: tuple[float, ...]
  std: tuple[float, ...]


# OpenLTH normalises CIFAR by ImageNet's statistics, and so do we.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

DATASETS = {
  # Mean and standard deviation of its own training pixels.
  'digits': DatasetInfo(10, 1437, (8, 8, 1), (0.3056,), (0.3761,)),
  'mnist': DatasetInfo(10, 60_000, (28, 28, 1), (0.1307,), (0.3081,)),
  'cifar10': DatasetInfo(10, 50_000, (32, 32, 3), IMAGENET_MEAN, IMAGENET_STD),
  'cifar100': DatasetInfo(
    100, 50_000, (32, 32, 3), IMAGENET_MEAN, IMAGENET_STD
  ),
}


def load(name, data_dir='', cache_dir='', num_train=0):
  """Load a data set.

  Args:
    name: a key of `DATASETS`.
    data_dir: where TFDS keeps its data sets; '' for its own default.
    cache_dir: where decoded arrays are kept; '' for `default_cache_dir()`.
    num_train: train on the first so many examples; 0 for all.

  Returns:
    A Dataset. The validation split is drawn once and for ever: it depends on
    no seed (Renda et al. 2020 set 20 % of the test split aside).

  Raises:
    UserError: TFDS holds no such data and cannot prepare it.
  """
  info = DATASETS[name]
  if name == 'digits':
    arrays = _read_digits()
  else:
    arrays = _read_tfds(name, data_dir, cache_dir or default_cache_dir())
  train_images, train_labels, test_images, test_labels = arrays
  if train_images.shape[1:] != info.image_shape:
    raise UserError(
      f"data.dir={data_dir!r} holds '{name}' with images of shape "
      f'{train_images.shape[1:]}, not {info.image_shape}: name the folder of '
      'the original data set'
    )
  num_train = num_train or len(train_images)
  order = _frozen_permutation(len(test_images))
  num_validation = len(test_images) // 5
  # Sorted, so that a split is read in order and its ids stay meaningful.
  validation = np.sort(order[:num_validation])
  test = np.sort(order[num_validation:])
  return Dataset(
    name=name,
    num_classes=info.num_classes,
    mean=info.mean,
    std=info.std,
    train_images=train_images[:num_train],
    train_labels=train_labels[:num_train],
    validation_images=test_images[validation],
    validation_labels=test_labels[validation],
    test_images=test_images[test],
    test_labels=test_labels[test],
  )


def default_cache_dir():
  """Return the user's cache folder for this package."""
  base = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
  return str(pathlib.Path(base).expanduser() / 'pruning_gen')


def _frozen_permutation(n):
  # RandomState's streams are frozen for ever; those of newer generators and
  # of JAX may change between versions, and these splits must not.
  return np.random.RandomState(0).permutation(n)


def _read_digits():
  """Read scikit-learn's digits, split 80/20 once and for ever."""
  # scikit-learn takes seconds to import; the 1,797 images are all we want.
  from sklearn import datasets

  digits = datasets.load_digits()
  # Pixels are 0..16.
  images = np.round(digits.images[..., None] * (255 / 16)).astype(np.uint8)
  labels = digits.target.astype(np.int32)
  order = _frozen_permutation(len(images))
  num_test = len(images) - DATASETS['digits'].num_train
  test, train = order[:num_test], order[num_test:]
  return images[train], labels[train], images[test], labels[test]


def _read_tfds(name, data_dir, cache_dir):
  """Read both splits of a TFDS data set, through the cache of arrays."""
  cached = _cache_path(name, data_dir, cache_dir)
  if cached and cached.exists():
    with np.load(cached, allow_pickle=False) as arrays:
      return tuple(arrays[key] for key in _ARRAYS)
  builder = _prepared_builder(name, data_dir)
  arrays = *_decode(builder, 'train'), *_decode(builder, 'test')
  _write_cache(
    _cache_path(name, data_dir or _parent_dir(builder), cache_dir), arrays
  )
  return arrays


_ARRAYS = ('train_images', 'train_labels', 'test_images', 'test_labels')


def _cache_path(name, data_dir, cache_dir):
  """Name the cache file after the prepared data: other data, another name."""
  data_dir = data_dir or '~/tensorflow_datasets'
  infos = (
    pathlib.Path(data_dir).expanduser().glob(f'{name}/*/dataset_info.json')
  )
  newest = max(infos, default=None)
  if newest is None:
    return None
  digest = hashlib.sha256(newest.read_bytes()).hexdigest()[:12]
  return pathlib.Path(cache_dir) / f'{name}-{newest.parent.name}-{digest}.npz'


def _parent_dir(builder):
  return pathlib.Path(builder.data_path).parent.parent


def _write_cache(path, arrays):
  buffer = io.BytesIO()
  np.savez(buffer, **dict(zip(_ARRAYS, arrays)))
  path.parent.mkdir(parents=True, exist_ok=True)
  # Another process may read or write the same file now.
  temporary = path.with_suffix(f'.{os.getpid()}.tmp')
  temporary.write_bytes(buffer.getbuffer())
  temporary.replace(path)


def _prepared_builder(name, data_dir):
  """Return a TFDS builder whose data is on disk, prepared now if need be."""
  import tensorflow_datasets as tfds

  builder = tfds.builder(
    name, data_dir=data_dir or None, file_format='array_record'
  )
  if builder.is_prepared():
    return builder
  place = _parent_dir(builder)
  print(f'preparing {name} in {place}: downloads it once', flush=True)
  try:
    builder.download_and_prepare()
  except Exception as error:
    raise UserError(
      f"data.dir holds no '{name}' ({place}), and it could not be prepared "
      f'there: {type(error).__name__}: {error}\nOn a machine with internet '
      'and TensorFlow run\n  python -c "import tensorflow_datasets as tfds; '
      f"tfds.builder('{name}', data_dir='{place}', "
      "file_format='array_record').download_and_prepare()\"\n"
      'copy the folder here and pass --config.data.dir=FOLDER, or take '
      '--config.data.name=digits, which needs no download'
    ) from error
  return builder


def _decode(builder, split):
  """Decode one split to (uint8 images, int32 labels), in stored order."""
  import tqdm

  source = builder.as_data_source(split=split)
  images = np.empty((len(source), *source[0]['image'].shape), np.uint8)
  labels = np.empty(len(source), np.int32)
  bar = tqdm.trange(
    len(source), desc=f'decoding {builder.name} {split}', unit='image'
  )
  for i in bar:
    example = source[i]
    images[i], labels[i] = example['image'], example['label']
  return images, labels
