"""A cache of decoded arrays: one file per version of a data set."""

import contextlib
import functools
import hashlib
import os
import pathlib

import numpy as np

from pruning_gen.errors import UserError


def folder(cache_dir: str | os.PathLike = '') -> pathlib.Path | None:
  """Return the cache folder, or None if there is no place for one.

  Args:
    cache_dir: as `config.data.cache_dir`; '' for the user's cache folder.

  Raises:
    UserError: XDG_CACHE_HOME names a bucket (config.py checks
      config.data.cache_dir).
  """
  default = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
  if '://' in default and not cache_dir:
    raise UserError(
      f'XDG_CACHE_HOME={default!r} must be a folder of this machine: pass '
      '--config.data.cache_dir=FOLDER'
    )
  path = cache_dir or os.path.join(default, 'pruning_gen')
  try:
    return pathlib.Path(path).expanduser()
  except RuntimeError:
    _warn(
      f'there is no home directory for {path}, so no cache of data and '
      'compiled programs: to start faster, pass --config.data.cache_dir=FOLDER'
    )
    return None


@functools.cache
def _warn(text: str) -> None:
  """Print a warning once."""
  print(text, flush=True)


def path_of(
  data_path: str | os.PathLike, cache_dir: str | os.PathLike = '', part=''
) -> pathlib.Path | None:
  """Name a cache file after the prepared data, so that other data is apart.

  Args:
    data_path: the folder of one version of a data set, as TFDS prepared it.
    cache_dir: see `folder`.
    part: which part of the data set the file holds, if not all of it.
  """
  data_path, cache = pathlib.Path(data_path), folder(cache_dir)
  if cache is None:
    return None
  digest = hashlib.sha256((data_path / 'dataset_info.json').read_bytes())
  # Not the times of files, which a copy changes.
  for path in sorted(data_path.glob('*record*')):
    digest.update(f'{path.name} {path.stat().st_size}'.encode())
  version = f'{data_path.parent.name}-{data_path.name}'
  words = (version, digest.hexdigest()[:12], part)
  return cache / ('-'.join(filter(None, words)) + '.npz')


def read(path: pathlib.Path | None) -> dict[str, np.ndarray] | None:
  """Return the arrays of a cache file by name, or None if it is not intact."""
  if path is None or not path.exists():
    return None
  try:
    # NumPy would leave a file open that is not an archive.
    with path.open('rb') as file, np.load(file, allow_pickle=False) as arrays:
      return dict(arrays)
  except Exception as error:
    # A flipped bit is a password, an unknown method or a wrong header to
    # zipfile and NumPy, each with its own exception.
    print(f'{path} is damaged ({error}): decoding again', flush=True)
    return None


def write(path: pathlib.Path | None, arrays: dict[str, np.ndarray]) -> None:
  """Write arrays to a cache file in one move; if that fails, print a warning.

  Without a cache file they will be decoded again.
  """
  if path is None:
    return
  # Another process may be reading or writing the same file.
  temporary = path.with_suffix(f'.{os.getpid()}.tmp')
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary.open('wb') as file:
      np.savez(file, **arrays)
    temporary.replace(path)
  except OSError as error:
    print(f'{path} cannot be written ({error}): not cached', flush=True)
    with contextlib.suppress(OSError):
      temporary.unlink()
