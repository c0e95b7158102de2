"""Data sets as TFDS prepares them on disk.

The only module that imports TFDS, and only when it is needed.
"""

import contextlib
import functools
import importlib.util
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Int
from jaxtyping import UInt8

from pruning_gen.data import cache
from pruning_gen.data import splits
from pruning_gen.errors import UserError


def read(
  name: str, data_dir: str = '', cache_dir: str = ''
) -> tuple[np.ndarray, ...]:
  """Read the images and labels of both splits, through the cache.

  Args:
    name: TFDS's name of the data set.
    data_dir: where TFDS keeps its data sets; '' for its own default.
    cache_dir: where decoded arrays are kept; see `cache.folder`.

  Returns:
    The images and labels of TFDS's 'train', then those of its 'test', or of
    what `describe` takes for it.

  Raises:
    UserError: the data is damaged, or not there and cannot be prepared.
  """
  place = folder(data_dir)
  versions = list(place.glob(f'{name}/*/dataset_info.json'))
  if len(versions) == 1:
    # Importing TFDS takes longer than reading the cache.
    data_path = versions[0].parent
  else:
    data_path = prepared_builder(name, data_dir).data_path
  with _explained(name, place, data_path):
    path = cache.path_of(data_path, cache_dir)
  arrays = cache.read(path)
  # A flipped bit can hide an array from zipfile.
  if arrays is not None and arrays.keys() >= set(splits.ARRAYS):
    return tuple(arrays[key] for key in splits.ARRAYS)
  builder = prepared_builder(name, data_dir)
  names = ['train', *_test_split(builder)]
  # All are opened first, so that a missing file is noticed at once.
  sources = [StoredExamples(builder, split) for split in names]
  decoded = tuple(array for source in sources for array in _decode(source))
  if len(sources) == 1:
    test, train = splits.split_test(len(decoded[1]))
    decoded = *(a[train] for a in decoded), *(a[test] for a in decoded)
  path = cache.path_of(builder.data_path, cache_dir)
  cache.write(path, dict(zip(splits.ARRAYS, decoded)))
  return decoded


@functools.cache
def describe(name: str, data_dir: str = '') -> dict[str, Any]:
  """Return what a data set is, prepared if it has to be.

  Args:
    name: of a builder of TFDS, as NAME, NAME/CONFIG or NAME/CONFIG:VERSION.
    data_dir: where TFDS keeps its data sets; '' for its own default.

  Returns:
    num_classes, num_train, num_test and image_shape, as a `DatasetInfo` has
    them. Its test split is 'test', or else 'validation', or else a fifth of
    'train', always the same.

  Raises:
    UserError: there is no such data set, it cannot be prepared, or its images
      are not uint8 or differ in size, or it has no classes.
  """
  import tensorflow_datasets as tfds

  key = f"config.data.name='tfds:{name}'"
  place = folder(data_dir)
  try:
    info = tfds.builder(name, data_dir=place).info
  # An unknown name, version or package, or a damaged file: each has its own.
  except Exception as error:
    # What is wrong comes first, and then all names that there are.
    what = str(error).partition('\nAvailable')[0]
    raise UserError(
      f'{key}: {type(error).__name__}: {what}\nchoose a data set of images '
      'from https://www.tensorflow.org/datasets/catalog, or if its files in '
      f'config.data.dir, {place}, are damaged, prepare it again'
    ) from error
  features = [dict(info.features).get(name) for name in _keys(info)]
  shape = getattr(features[0], 'shape', ())
  is_uint8 = getattr(features[0], 'np_dtype', None) == np.uint8
  count = getattr(features[1], 'num_classes', None)
  # Before anything is downloaded.
  if count is None or len(shape) != 3 or None in shape or not is_uint8:
    raise UserError(
      f'{key} must have uint8 images of one size, and classes, but has '
      f'{features}: convert the images and number the classes, and pass them '
      'as npz:PATH'
    )
  builder = prepared_builder(name, data_dir)
  num_train, *num_test = (
    len(StoredExamples(builder, split))
    for split in ('train', *_test_split(builder))
  )
  if not num_test:
    held_out, rest = splits.split_test(num_train)
    num_train, num_test = len(rest), [len(held_out)]
  return {
    'num_classes': count,
    'num_train': num_train,
    'num_test': num_test[0],
    'image_shape': shape,
  }


def _keys(info: Any) -> tuple[str, str]:
  """Return which features of a data set are its image and its label."""
  keys = info.supervised_keys or ()
  is_pair = [type(key) for key in keys] == [str, str]
  return keys if is_pair else ('image', 'label')


def _test_split(builder: Any) -> list[str]:
  """Return the split that is for tests, in a list that may be empty."""
  names = [
    name for name in ('test', 'validation') if name in builder.info.splits
  ]
  return names[:1]


def folder(data_dir: str | os.PathLike = '') -> pathlib.Path:
  """Return the folder in which TFDS keeps its data sets.

  Args:
    data_dir: as `config.data.dir`; '' for TFDS's own default.

  Raises:
    UserError: it is in a bucket, or in a home directory that does not exist.
  """
  key, path = 'config.data.dir', str(data_dir)
  if not path and 'TFDS_DATA_DIR' in os.environ:
    key, path = 'TFDS_DATA_DIR', os.environ['TFDS_DATA_DIR']
  if '://' in path:
    raise UserError(
      f'{key}={path!r} must be a folder of this machine: copy the bucket, or '
      'mount it'
    )
  try:
    return pathlib.Path(path or '~/tensorflow_datasets').expanduser()
  except RuntimeError as error:
    raise UserError(
      f'{key}={path!r} needs a home directory, but there is none: pass '
      '--config.data.dir=FOLDER'
    ) from error


def prepared_builder(
  name: str, data_dir: str | os.PathLike = '', by_hand: str = ''
) -> Any:
  """Return a TFDS builder whose data is on disk, as array_record.

  Args:
    name: TFDS's name of the data set.
    data_dir: where TFDS keeps its data sets; '' for its own default.
    by_hand: the files that the user must fetch, if TFDS cannot download them;
      such data is not prepared here. By default it is, if it has to be.

  Raises:
    UserError: the data is damaged, or not there and cannot be prepared now.
  """
  import tensorflow_datasets as tfds

  place = folder(data_dir)
  infos = list(place.glob(f'{name}/*/dataset_info.json'))
  with _explained(name, place, max(infos, default=place), by_hand):
    builder = tfds.builder(name, data_dir=place)
    # `is_prepared` would read brackets in the folder's name as a pattern.
    info = pathlib.Path(builder.data_path, 'dataset_info.json')
    is_prepared = info.exists()
    if info.parent.exists():
      # Without it TFDS would prepare nothing, and not fail.
      info.stat()
    formats = {format.value for format in builder.info.available_file_formats()}
  if is_prepared and 'array_record' in formats:
    return builder
  if is_prepared:
    raise UserError(
      f"config.data.dir: {place} holds '{name}' as {', '.join(formats)}, which "
      'has no random access: prepare it in another folder\n'
      + _how_to_prepare(name, 'FOLDER', by_hand)
    )
  if by_hand:
    raise UserError(
      f"config.data.dir: {place} holds no '{name}', and TFDS cannot download "
      'it\n' + _how_to_prepare(name, place, by_hand)
    )
  # TFDS would download everything first.
  if importlib.util.find_spec('tensorflow') is None:
    raise UserError(
      f"config.data.dir: {place} holds no '{name}', and preparing it needs "
      f'TensorFlow, here or elsewhere\n{_how_to_prepare(name, place)}'
    )
  print(f'preparing {name} in {place}: downloads it once', flush=True)
  try:
    builder = tfds.builder(name, data_dir=place, file_format='array_record')
    builder.download_and_prepare()
  except Exception as error:
    # Another program was faster.
    if info.exists():
      return prepared_builder(name, data_dir)
    raise UserError(
      f"config.data.dir: {place} holds no '{name}', and it could not be "
      f'prepared there: {type(error).__name__}: {error}\n'
      + _how_to_prepare(name, place)
      + ', or pass --config.data.name=digits, which needs no download'
    ) from error
  return builder


def _how_to_prepare(
  name: str, place: str | os.PathLike, by_hand: str = ''
) -> str:
  fetch = f'Put {by_hand} into {place}/downloads/manual\n' if by_hand else ''
  return fetch + (
    "On a machine with internet and TensorFlow (pip install 'pruning_gen"
    '[tensorflow]\') run\n  python -c "import '
    f"tensorflow_datasets as tfds; tfds.builder('{name}', data_dir='{place}', "
    "file_format='array_record').download_and_prepare()\"\n"
    'copy the folder here and pass --config.data.dir=FOLDER'
  )


@contextlib.contextmanager
def _explained(
  name: str, place: pathlib.Path, damaged: pathlib.Path, by_hand: str = ''
) -> Iterator[None]:
  """Turn whatever TFDS makes of a damaged file into a UserError."""
  try:
    yield
  except UserError:
    raise
  # JSON, Protocol Buffers, array_record and image decoders each have their own.
  except Exception as error:
    raise UserError(
      f'config.data.dir: {damaged} is damaged or cannot be read '
      f'({type(error).__name__}: {error}): copy it again, or remove the folder '
      'and prepare it again\n' + _how_to_prepare(name, place, by_hand)
    ) from error


class StoredExamples:
  """A prepared split in random access, in stored order, without TensorFlow.

  Its elements are dicts, one per example.

  Attributes:
    title: names it to the user.
    keys: of an example's image and of its label.
  """

  def __init__(self, builder: Any, split: str, decode_images: bool = True):
    """Open a split.

    Args:
      builder: from `prepared_builder`.
      split: TFDS's name of the split.
      decode_images: whether `image` is decoded, or bytes as they are stored.

    Raises:
      UserError: there is no such split, or not all of its files are there.
    """
    import tensorflow_datasets as tfds

    if split not in builder.info.splits:
      raise UserError(
        f"config.data.dir: '{builder.name}' in {builder.data_path} has no "
        f"split '{split}': choose a data set that has one, or if this one was "
        'prepared from a part of its files, prepare it again'
      )
    info = builder.info.splits[split]
    self.title = f'{builder.name} {split}'
    self.keys = _keys(builder.info)
    self._name, self._place = builder.name, builder.data_path.parents[1]
    self._files = [pathlib.Path(path) for path in info.filepaths]
    self._ends = np.cumsum(info.shard_lengths)
    missing = [path.name for path in self._files if not path.exists()]
    if missing:
      raise UserError(
        f'config.data.dir: {len(missing)} of the {len(self._files)} files of '
        f"'{builder.name}' split '{split}' are not in {builder.data_path}, "
        f'{missing[0]} for one: copy the whole folder'
      )
    skip = {'image': tfds.decode.SkipDecoding()}
    with self._explained(0):
      self._source = builder.as_data_source(
        split, decoders=None if decode_images else skip
      )

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, position: int) -> dict[str, Any]:
    with self._explained(position):
      example = self._source[position]
      # array_record raises nothing for a file cut between two of its blocks.
      if any(value is None for value in example.values()):
        raise ValueError(f'record {position} is empty')
    return example

  def _explained(self, position: int):
    """Name the file of an example in the error that reading it raises."""
    shard = min(
      int(np.searchsorted(self._ends, position, side='right')),
      len(self._files) - 1,
    )
    path = self._files[shard]
    return _explained(self._name, self._place, path)


def _decode(
  source: StoredExamples,
) -> tuple[
  UInt8[np.ndarray, 'example height width channels'],
  Int[np.ndarray, ' example'],
]:
  """Decode the images and labels of one split, in stored order."""
  import tqdm

  image, label = source.keys
  images = np.empty((len(source), *source[0][image].shape), np.uint8)
  labels = np.empty(len(source), np.int32)
  for i in tqdm.trange(
    len(source), desc=f'decoding {source.title}', unit='image'
  ):
    example = source[i]
    images[i], labels[i] = example[image], example[label]
  return images, labels
