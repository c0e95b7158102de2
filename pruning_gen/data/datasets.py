"""Image data sets as arrays in memory. The only module that imports TFDS."""

import contextlib
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

  def read_train_images(self, example_ids):
    """Return training images as a network scores them: uint8 [n, ...]."""
    return self.train_images[example_ids]


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
  """What is known of a data set before it is read."""

  num_classes: int
  num_train: int
  image_shape: tuple[int, int, int]
  mean: tuple[float, ...]
  std: tuple[float, ...]
  is_streamed: bool = False


# OpenLTH normalises CIFAR by ImageNet's statistics, and so do we.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

DATASETS = {
  # Mean and standard deviation of its own training pixels.
  'digits': DatasetInfo(10, 1437, (8, 8, 1), (0.3056,), (0.3761,)),
  'mnist': DatasetInfo(10, 60_000, (28, 28, 1), (0.1307,), (0.3081,)),
  'cifar10': DatasetInfo(10, 50_000, (32, 32, 3), IMAGENET_MEAN, IMAGENET_STD),
  'imagenet2012': DatasetInfo(
    1000, 1_281_167, (224, 224, 3), IMAGENET_MEAN, IMAGENET_STD, True
  ),
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
  if info.is_streamed:
    from pruning_gen.data import imagenet

    return imagenet.load(data_dir, cache_dir, num_train)
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
  validation, test = split_test(len(test_images))
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


def split_test(num_examples):
  """Set 20 % of a test split aside for validation, once and for ever.

  Args:
    num_examples: int, the size of the prepared test split.

  Returns:
    validation: int [num_examples // 5], positions in it, ascending.
    test: int, the other positions, ascending.
  """
  order = _frozen_permutation(num_examples)
  num_validation = num_examples // 5
  # Sorted, so that a split is read in order and its ids stay meaningful.
  return np.sort(order[:num_validation]), np.sort(order[num_validation:])


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
  # Found before TFDS is imported, which takes longer than reading the cache.
  default = os.environ.get('TFDS_DATA_DIR', '~/tensorflow_datasets')
  folders = pathlib.Path(data_dir or default).expanduser()
  prepared = max(folders.glob(f'{name}/*/dataset_info.json'), default=None)
  if prepared is not None:
    arrays = read_cache(cache_path(prepared.parent, cache_dir))
    # One bit that flipped can hide arrays from zipfile.
    if arrays is not None and arrays.keys() >= set(_ARRAYS):
      return tuple(arrays[key] for key in _ARRAYS)
  builder = prepared_builder(name, data_dir)
  arrays = *_decode(builder, 'train'), *_decode(builder, 'test')
  path = cache_path(builder.data_path, cache_dir)
  write_cache(path, dict(zip(_ARRAYS, arrays)))
  return arrays


_ARRAYS = ('train_images', 'train_labels', 'test_images', 'test_labels')


def cache_path(data_path, cache_dir, part=''):
  """Name a cache file after the prepared data: other data, another name.

  Args:
    data_path: the folder of one version of a data set, as TFDS prepared it.
    cache_dir: folder; '' for `default_cache_dir()`.
    part: str, what of the data set the file holds, if not all of it.

  Returns:
    A pathlib.Path.
  """
  data_path = pathlib.Path(data_path)
  info = (data_path / 'dataset_info.json').read_bytes()
  digest = hashlib.sha256(info).hexdigest()[:12]
  words = (data_path.parent.name, data_path.name, digest, part)
  folder = pathlib.Path(cache_dir or default_cache_dir())
  return folder / ('-'.join(filter(None, words)) + '.npz')


def read_cache(path):
  """Return the arrays of a cache file by name; None without a whole one."""
  if not path.exists():
    return None
  try:
    # NumPy would leave a file open that is no archive.
    with path.open('rb') as file, np.load(file, allow_pickle=False) as arrays:
      return dict(arrays)
  except Exception as error:
    # To zipfile and NumPy a bit that flipped is a password, an unknown method
    # or a wrong header, each with an exception of its own.
    print(f'{path} is damaged ({error}): decoding again', flush=True)
    return None


def write_cache(path, arrays):
  """Write arrays, a dict by name, to a cache file, at once or not at all.

  Where that cannot be it says so: they will be decoded again.
  """
  buffer = io.BytesIO()
  np.savez(buffer, **arrays)
  # Another process may read or write the same file now.
  temporary = path.with_suffix(f'.{os.getpid()}.tmp')
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary.write_bytes(buffer.getbuffer())
    temporary.replace(path)
  except OSError as error:
    print(f'{path} cannot be kept ({error})', flush=True)
    with contextlib.suppress(OSError):
      temporary.unlink()


def prepared_builder(name, data_dir, by_hand=''):
  """Return a TFDS builder whose data is on disk, as array_record.

  Args:
    name: str, TFDS's name of the data set.
    data_dir: where TFDS keeps its data sets; '' for its own default.
    by_hand: the files that the user must fetch, where TFDS cannot download
      them itself; such data is not prepared here. '': it is, if need be.

  Returns:
    A tfds.core.DatasetBuilder.

  Raises:
    UserError: the data is not there and cannot be prepared now.
  """
  import tensorflow_datasets as tfds

  builder = tfds.builder(name, data_dir=data_dir or None)
  place = pathlib.Path(builder.data_path).parent.parent
  if builder.is_prepared():
    formats = {format.value for format in builder.info.available_file_formats()}
    if 'array_record' in formats:
      return builder
    raise UserError(
      f"data.dir holds '{name}' ({place}) as {', '.join(formats)}, which has "
      'no random access: prepare it in another folder\n'
      + _how_to_prepare(name, 'FOLDER', by_hand)
    )
  if by_hand:
    raise UserError(
      f"data.dir holds no '{name}' ({place}), and TFDS cannot download it\n"
      + _how_to_prepare(name, place, by_hand)
    )
  print(f'preparing {name} in {place}: downloads it once', flush=True)
  try:
    builder = tfds.builder(
      name, data_dir=data_dir or None, file_format='array_record'
    )
    builder.download_and_prepare()
  except Exception as error:
    raise UserError(
      f"data.dir holds no '{name}' ({place}), and it could not be prepared "
      f'there: {type(error).__name__}: {error}\n'
      + _how_to_prepare(name, place)
      + ', or take --config.data.name=digits, which needs no download'
    ) from error
  return builder


def _how_to_prepare(name, place, by_hand=''):
  fetch = f'Put {by_hand} into {place}/downloads/manual\n' if by_hand else ''
  return fetch + (
    'On a machine with internet and TensorFlow run\n  python -c "import '
    f"tensorflow_datasets as tfds; tfds.builder('{name}', data_dir='{place}', "
    "file_format='array_record').download_and_prepare()\"\n"
    'copy the folder here and pass --config.data.dir=FOLDER'
  )


def stored_examples(builder, split):
  """Open a prepared split in random access, without TensorFlow.

  Args:
    builder: from `prepared_builder`.
    split: str, TFDS's name of the split.

  Returns:
    A sequence of dicts, one an example, in stored order. Images are bytes,
    still encoded.

  Raises:
    UserError: the split was not prepared, or not all of its files are there.
  """
  import tensorflow_datasets as tfds

  if split not in builder.info.splits:
    raise UserError(
      f"'{builder.name}' in {builder.data_path} was prepared without its "
      f"split '{split}': prepare it again with all of its files"
    )
  files = [pathlib.Path(path) for path in builder.info.splits[split].filepaths]
  missing = [path.name for path in files if not path.exists()]
  if missing:
    raise UserError(
      f"{len(missing)} of the {len(files)} files of '{builder.name}' split "
      f"'{split}' are not in {builder.data_path}, {missing[0]} for one: copy "
      'the whole folder'
    )
  return builder.as_data_source(
    split, decoders={'image': tfds.decode.SkipDecoding()}
  )


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


def describe(dataset):
  """Return what tells one version of a data set from another, for JSON."""
  digest = hashlib.sha256()
  for split in ('train', 'validation', 'test'):
    for kind in ('labels', 'images'):
      array = getattr(dataset, f'{split}_{kind}', None)
      if array is not None:
        digest.update(np.ascontiguousarray(array))
  return {
    'name': dataset.name,
    'num_train': len(dataset.train_labels),
    'sha256': digest.hexdigest()[:16],
  }
