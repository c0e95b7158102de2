"""The data sets, and the one table of them.

`config.data.name` is a name in `DATASETS`, or names data of the user's own:
npz:PATH, or tfds:NAME for any builder of TFDS. A new entry of `DATASETS` is a
function that reads it.
"""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from jaxtyping import UInt8
from ml_collections import ConfigDict

from pruning_gen.data import normalization
from pruning_gen.data import npz_files
from pruning_gen.data import splits
from pruning_gen.data import tfds_files
from pruning_gen.errors import UserError


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A data set in memory. `example_id` is the position in the training split.

  Attributes:
    name: as `config.data.name`.
    num_classes: labels are in [0, num_classes).
    mean: per channel, of images in [0, 1]; the paper normalizes with it.
    std: likewise.
    train_images: pixels.
    train_labels: the true labels.
    validation_images: of 20 % of the test split.
    validation_labels: likewise.
    test_images: of the rest of it.
    test_labels: likewise.
  """

  name: str
  num_classes: int
  mean: tuple[float, ...]
  std: tuple[float, ...]
  train_images: UInt8[np.ndarray, 'num_train height width channels']
  train_labels: Int[np.ndarray, ' num_train']
  validation_images: UInt8[np.ndarray, 'num_validation height width channels']
  validation_labels: Int[np.ndarray, ' num_validation']
  test_images: UInt8[np.ndarray, 'num_test height width channels']
  test_labels: Int[np.ndarray, ' num_test']

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """(height, width, channels)."""
    return self.train_images.shape[1:]

  def read_train_images(
    self, example_ids: Int[np.ndarray, ' n']
  ) -> UInt8[np.ndarray, 'n height width channels']:
    """Return training images as a network is evaluated on them."""
    return self.train_images[example_ids]


class DatasetInfo(NamedTuple):
  """How a data set is read, and what it will be: an entry of `DATASETS`.

  Attributes:
    read: (data_dir, cache_dir, num_train) -> (train_images, train_labels,
      test_images, test_labels), as `Dataset` has them, of all examples; or, if
      streamed, an `imagenet.StreamedDataset` of the first num_train examples.
    num_classes: how many classes.
    num_train: how many training examples.
    image_shape: (height, width, channels).
    mean: per channel, of images in [0, 1]; () to compute it from all training
      images.
    std: likewise.
    is_streamed: whether images are read as they are used.
    num_test: how many validation and test examples.
  """

  read: Callable[[str, str, int], Any]
  num_classes: int
  num_train: int
  image_shape: tuple[int, int, int]
  mean: tuple[float, ...] = ()
  std: tuple[float, ...] = ()
  is_streamed: bool = False
  num_test: int = 10_000


def load(
  name: str,
  data_dir: str = '',
  cache_dir: str = '',
  num_train: int = 0,
  **stated: Any,
) -> Any:
  """Load a data set.

  The validation split is fixed and depends on no seed: 20 % of the test split
  (Renda et al. 2020).

  Args:
    name: as `config.data.name`.
    data_dir: where TFDS keeps its data sets; '' for its own default.
    cache_dir: where decoded arrays are kept; see `cache.folder`.
    num_train: train on the first so many examples; 0 for all.
    **stated: see `stated_in`.

  Returns:
    A Dataset, or an `imagenet.StreamedDataset`.

  Raises:
    UserError: the data is damaged, or not there and cannot be prepared.
  """
  info = info_of(name, data_dir, num_train, **stated)
  read = info.read(data_dir, cache_dir, num_train)
  if info.is_streamed:
    return dataclasses.replace(
      read, num_classes=info.num_classes, mean=info.mean, std=info.std
    )
  _check(name, info, data_dir, read)
  train_images, train_labels, test_images, test_labels = read
  num_train = num_train or len(train_images)
  validation, test = splits.split_test(len(test_images))
  mean, std = info.mean, info.std
  if not (mean and std):
    own = normalization.mean_and_std(train_images)
    mean, std = mean or own[0], std or own[1]
  return Dataset(
    name=name,
    num_classes=info.num_classes,
    mean=mean,
    std=std,
    train_images=train_images[:num_train],
    train_labels=train_labels[:num_train],
    validation_images=test_images[validation],
    validation_labels=test_labels[validation],
    test_images=test_images[test],
    test_labels=test_labels[test],
  )


def _check(name: str, info: DatasetInfo, data_dir: str, arrays: Any) -> None:
  """Check that a data set is what its entry in `DATASETS` says."""
  for images, labels in (arrays[:2], arrays[2:]):
    found = images.shape[1:], str(images.dtype)
    expected = info.image_shape, 'uint8'
    if found != expected:
      raise UserError(
        f'config.data.name={name!r} needs images of {expected}, but those in '
        f'config.data.dir={data_dir!r} are {found}: name the folder of the '
        'original data set'
      )
    is_label = (labels >= 0) & (labels < info.num_classes)
    if len(labels) != len(images) or not is_label.all():
      raise UserError(
        f'config.data.name={name!r} needs one label in [0, {info.num_classes}) '
        f'for each of {len(images)} images, but config.data.dir={data_dir!r} '
        f'has {len(labels)} labels, {np.sum(~is_label)} of them outside: name '
        'the folder of the original data set'
      )


def describe(dataset: Any) -> dict[str, Any]:
  """Return what distinguishes one version of a data set from another, for JSON.

  Args:
    dataset: a Dataset, or a StreamedDataset, of which only labels are read.
  """
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


def _read_digits(*_) -> tuple[np.ndarray, ...]:
  """Read scikit-learn's digits, split 80/20, always the same.

  They are the test set of "Optical Recognition of Handwritten Digits" by E.
  Alpaydin and C. Kaynak, from the UCI Machine Learning Repository, CC BY 4.0.
  """
  with np.load(pathlib.Path(__file__).with_name('digits.npz')) as digits:
    images, labels = digits['images'], digits['labels'].astype(np.int32)
  # Pixels are 0..16.
  images = np.round(images[..., None] * (255 / 16)).astype(np.uint8)
  order = splits.fixed_permutation(len(images))
  num_test = len(images) - DATASETS['digits'].num_train
  test, train = order[:num_test], order[num_test:]
  return images[train], labels[train], images[test], labels[test]


def _in_tfds(name: str) -> Callable[..., tuple[np.ndarray, ...]]:
  """Return the `DatasetInfo.read` of a data set that TFDS prepares."""
  return lambda data_dir, cache_dir, _: tfds_files.read(
    name, data_dir, cache_dir
  )


def _open_imagenet(data_dir: str, cache_dir: str, num_train: int) -> Any:
  # Imported only here: Pillow, Grain and TFDS take seconds.
  from pruning_gen.data import imagenet

  info = DATASETS['imagenet2012']
  return imagenet.load(info, data_dir, cache_dir, num_train)


# OpenLTH normalizes CIFAR with ImageNet's statistics, and so do we.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)

_in_color = functools.partial(
  DatasetInfo, mean=_IMAGENET_MEAN, std=_IMAGENET_STD
)

DATASETS = {
  # Mean and standard deviation of its own training pixels.
  'digits': DatasetInfo(
    _read_digits, 10, 1437, (8, 8, 1), (0.3056,), (0.3761,), num_test=360
  ),
  'mnist': DatasetInfo(
    _in_tfds('mnist'), 10, 60_000, (28, 28, 1), (0.1307,), (0.3081,)
  ),
  'cifar10': _in_color(_in_tfds('cifar10'), 10, 50_000, (32, 32, 3)),
  'cifar100': _in_color(_in_tfds('cifar100'), 100, 50_000, (32, 32, 3)),
  'imagenet2012': _in_color(
    _open_imagenet,
    1000,
    1_281_167,
    (224, 224, 3),
    is_streamed=True,
    num_test=50_000,
  ),
}


def _npz_info(path: str, data_dir: str, num_classes: int) -> DatasetInfo:
  return DatasetInfo(
    lambda data_dir, *_: npz_files.read(path, data_dir),
    **npz_files.describe(path, data_dir, num_classes),
  )


def _tfds_info(name: str, data_dir: str, _: int) -> DatasetInfo:
  return DatasetInfo(_in_tfds(name), **tfds_files.describe(name, data_dir))


# What `config.data.name` may begin with, before a colon.
_OWN = {'npz': _npz_info, 'tfds': _tfds_info}


def info_of(
  name: str,
  data_dir: str = '',
  num_train: int = 0,
  num_classes: int = 0,
  image_shape: tuple[int, ...] = (),
  mean: tuple[float, ...] = (),
  std: tuple[float, ...] = (),
) -> DatasetInfo:
  """Return the entry of a data set, with the values that the config states.

  Args:
    name: as `config.data.name`.
    data_dir: as `config.data.dir`.
    num_train: as in `config.data`, like all that follow; 0 and () state
      nothing.

  Raises:
    UserError: there is none of that name, or it cannot be used, or it is not
      what is stated.
  """
  kind, _, own = name.partition(':')
  if kind in _OWN and own:
    info = _OWN[kind](own, data_dir, num_classes)
  elif name in DATASETS:
    info = DATASETS[name]
  else:
    raise UserError(
      f'config.data.name={name!r} must be one of: {", ".join(DATASETS)}; or '
      'npz:PATH, or tfds:NAME for a builder of TensorFlow Datasets'
    )
  channels = info.image_shape[-1]
  count = num_classes or info.num_classes
  for key, value, holds, wanted in (
    (
      'num_train',
      num_train,
      0 < num_train <= info.num_train,
      f'0 (all) or at most {info.num_train}',
    ),
    (
      'num_classes',
      num_classes,
      num_classes >= info.num_classes,
      f'0 or at least {info.num_classes}, as many as there are',
    ),
    # Labels are stored as uint16, whose highest number is no class.
    ('num_classes', count, count < 2**16, f'at most {2**16 - 1}'),
    (
      'image_shape',
      image_shape,
      image_shape == info.image_shape,
      f'() or {info.image_shape}, (height, width, channels)',
    ),
    ('mean', mean, len(mean) == channels, f'() or {channels} numbers'),
    (
      'std',
      std,
      len(std) == channels and min(std) > 0,
      f'() or {channels} numbers above 0',
    ),
  ):
    if value and not holds:
      raise UserError(
        f'config.data.{key}={value!r} must be {wanted}, for {name}'
      )
  return info._replace(
    num_train=num_train or info.num_train,
    num_classes=count,
    mean=mean or info.mean,
    std=std or info.std,
  )


def info_in(data: ConfigDict) -> DatasetInfo:
  """Return what the data set of `config.data` will be.

  Raises:
    UserError: see `info_of`.
  """
  return info_of(data.name, data.dir, data.num_train, **stated_in(data))


def stated_in(data: ConfigDict) -> dict[str, Any]:
  """Return what `config.data` states about its data set, for `info_of`."""
  keys = ('num_classes', 'image_shape', 'mean', 'std')
  return {key: data[key] for key in keys}
