"""A data set of the user's own: four arrays in an .npz file.

`train_images` and `test_images`: uint8 [n, height, width, channels], or
[n, height, width]; `train_labels` and `test_labels`: whole numbers [n].
"""

import contextlib
import pathlib
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from pruning_gen.data import splits
from pruning_gen.errors import UserError

_Headers = dict[str, tuple[tuple[int, ...], np.dtype]]


def describe(
  path: str, data_dir: str = '', num_classes: int = 0
) -> dict[str, Any]:
  """Check a file by its headers and its labels, without reading the images.

  Args:
    path: of the file, in data_dir if it is relative.
    data_dir: as `config.data.dir`.
    num_classes: how many there are; 0 for as many as the training labels say.

  Returns:
    num_classes, num_train, num_test and image_shape, as a `DatasetInfo` has
    them.

  Raises:
    UserError: names the array that is missing or that does not fit, and how.
  """
  with _explained(path), _open(path, data_dir) as file:
    headers = _read_headers(file)
    train, test = (_image_shape(headers, split) for split in ('train', 'test'))
    if train != test:
      raise UserError(
        f'train_images are {train} each (height, width, channels), but '
        f'test_images are {test}'
      )
    file.seek(0)
    arrays = np.load(file, allow_pickle=False)
    labels = arrays['train_labels'], arrays['test_labels']
    count = _count_classes(num_classes, *labels)
  return {
    'num_classes': count,
    'num_train': len(labels[0]),
    'num_test': len(labels[1]),
    'image_shape': train,
  }


def read(path: str, data_dir: str = '') -> tuple[np.ndarray, ...]:
  """Read the four arrays of a file that `describe` accepts, in their order."""
  with _explained(path), _open(path, data_dir) as file:
    arrays = np.load(file, allow_pickle=False)
    images, labels, *of_test = (arrays[name] for name in splits.ARRAYS)
  return *_in_our_form(images, labels), *_in_our_form(*of_test)


def _in_our_form(images, labels):
  with_channels = images if images.ndim == 4 else images[..., None]
  return with_channels, labels.astype(np.int32)


def _open(path: str, data_dir: str):
  folder, file = (pathlib.Path(part).expanduser() for part in (data_dir, path))
  return (folder / file).open('rb')


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
  """Name the key and its value in every error."""
  key = f"config.data.name='npz:{path}'"
  try:
    yield
  except UserError as error:
    raise UserError(f'{key}: {error}') from error
  # Zip files that are damaged, and arrays in them, have many exceptions.
  except Exception as error:
    raise UserError(
      f'{key} cannot be read ({type(error).__name__}: {error}): name a file '
      f'that numpy.savez wrote, with the arrays {", ".join(splits.ARRAYS)}; a '
      'relative path is one in config.data.dir'
    ) from error


def _read_headers(file: Any) -> _Headers:
  """Read the shape and the type of each array."""
  headers = {}
  with zipfile.ZipFile(file) as archive:
    names = {name.removesuffix('.npy') for name in archive.namelist()}
    missing = [name for name in splits.ARRAYS if name not in names]
    if missing:
      raise UserError(
        f'{", ".join(missing)} missing; it has {", ".join(sorted(names))}'
      )
    for name in splits.ARRAYS:
      with archive.open(f'{name}.npy') as array:
        # Later versions are for headers of 64 KB, and for names of fields.
        if np.lib.format.read_magic(array) != (1, 0):
          raise UserError(f'{name} must be a plain array of numbers')
        shape, _, dtype = np.lib.format.read_array_header_1_0(array)
        headers[name] = shape, dtype
  return headers


def _image_shape(headers: _Headers, split: str) -> tuple[int, int, int]:
  """Return (height, width, channels) of a split whose headers fit together."""
  shape, dtype = headers[f'{split}_images']
  label_shape, label_dtype = headers[f'{split}_labels']
  if dtype != np.uint8:
    raise UserError(
      f'{split}_images must be uint8, pixels in 0..255, but are {dtype}: of '
      'pixels in [0, 1], save np.round(255 * images).astype(np.uint8)'
    )
  if len(shape) not in (3, 4) or 0 in shape:
    raise UserError(
      f'{split}_images must be [n, height, width, channels] or '
      f'[n, height, width], but are {shape}'
    )
  if len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3):
    raise UserError(
      f'{split}_images {shape} have their channels first: save '
      'images.transpose(0, 2, 3, 1)'
    )
  if label_dtype.kind not in 'iu' or label_shape != shape[:1]:
    raise UserError(
      f'{split}_labels must be {shape[0]} whole numbers, one per image, but '
      f'are {label_dtype} {label_shape}'
    )
  if split == 'test' and not len(splits.split_test(shape[0])[0]):
    raise UserError(
      f'test_images must be at least 5, since a fifth of them is for '
      f'validation, but are {shape[0]}'
    )
  return *shape[1:3], shape[3] if len(shape) == 4 else 1


def _count_classes(num_classes, train_labels, test_labels) -> int:
  """Return how many classes there are, and check that labels are of them."""
  count = num_classes or int(train_labels.max()) + 1
  for split, labels in (('train', train_labels), ('test', test_labels)):
    wrong = labels[(labels < 0) | (labels >= count)]
    if len(wrong):
      raise UserError(
        f'{split}_labels must be in [0, {count}), but {len(wrong)} are not, '
        f'{wrong[0]} for one: number the classes from 0 on, or pass '
        '--config.data.num_classes'
      )
  if count < 2:
    raise UserError('train_labels must have at least 2 classes, but all are 0')
  return count
