"""Files that are whole or not there, and say so where they are broken."""

import contextlib
import io
import json
import os
import zipfile
import zlib

import numpy as np
import pandas as pd
from etils import epath

from pruning_gen import processes
from pruning_gen.errors import UserError


def is_in_bucket(path):
  """Tell whether a path is an address in a bucket, and no local file."""
  return '://' in str(path)


def write_bytes(path, content):
  """Write a file in one move; of several processes only the first does."""
  if not processes.is_primary():
    return
  path = epath.Path(path)
  # A report may be built twice at a time, of a run and beside it.
  temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
  try:
    with _of_buckets_too(path):
      path.parent.mkdir(parents=True, exist_ok=True)
      with temporary.open('wb') as file:
        file.write(content)
        if not is_in_bucket(path):
          # Or a power cut could leave the new name with nothing in it.
          file.flush()
          os.fsync(file.fileno())
      temporary.replace(path)
  except OSError as error:
    with contextlib.suppress(OSError), _of_buckets_too(path):
      temporary.unlink()
    raise unwritable(path, error) from error


def unwritable(what, problem):
  """Return the UserError for what the file system does not let us write."""
  return UserError(
    f'{what} cannot be written ({problem}): make space or give permission, and '
    'run the same command again; all that is finished is kept'
  )


@contextlib.contextmanager
def _of_buckets_too(path):
  """Raise OSError for what the libraries of buckets raise."""
  try:
    yield
  except Exception as error:
    if not is_in_bucket(path) or isinstance(error, OSError):
      raise
    raise OSError(str(error)) from error


def write_text(path, text):
  """Write a text file; see `write_bytes`."""
  write_bytes(path, text.encode())


def write_arrays(path, arrays):
  """Write arrays, a dict by name, as .npz; see `write_bytes`."""
  buffer = io.BytesIO()
  np.savez(buffer, **arrays)
  write_bytes(path, buffer.getbuffer())


def read_arrays(path, *names):
  """Read arrays by name; those of `names` must be there."""
  try:
    with _of_buckets_too(path):
      content = io.BytesIO(path.read_bytes())
    # Never a pickle: a file from elsewhere must not run code here.
    file = np.load(content, allow_pickle=False)
    if not isinstance(file, np.lib.npyio.NpzFile):
      raise ValueError('it is a single array')
    with file:
      arrays = dict(file)
    missing = [name for name in names if name not in arrays]
    if missing:
      raise ValueError(f'it has no array {missing[0]}')
    return arrays
  except (
    OSError,
    ValueError,
    EOFError,
    RuntimeError,  # NotImplementedError among them.
    zipfile.BadZipFile,
    zlib.error,
  ) as error:
    raise UserError(
      f'{path} is missing or holds no arrays of this program ({error}): put it '
      'back from a copy, or start in another --workdir'
    ) from error


def write_table(path, table):
  """Write a DataFrame as CSV, without its index."""
  write_text(path, table.to_csv(index=False))


def read_table(path, columns, dtype=None):
  """Read a table that must have these columns."""
  try:
    with _of_buckets_too(path):
      text = path.read_text()
    table = parse_table(text, dtype)
    missing = [name for name in columns if name not in table]
    if missing:
      raise ValueError(f'it lacks the columns {", ".join(missing)}')
  except (OSError, ValueError) as error:
    raise UserError(
      f'{path} cannot be read ({error}): put it back from a copy, or start in '
      'another --workdir'
    ) from error
  return table


def parse_table(text, dtype=None):
  """Parse the text of a CSV file: a DataFrame."""
  # As text an empty field stays empty; as a number it is NaN.
  table = pd.read_csv(
    io.StringIO(text),
    dtype=dtype,
    keep_default_na=dtype is not str,
    # It identifies label sets, so exactly, unlike pandas 2 by default.
    converters=None if dtype else {'noise_fraction': float},
  )
  if 'left_out' in table:
    # A column without a single name would be read as numbers.
    table['left_out'] = table.left_out.astype(object).fillna('')
  return table


def read_json(path):
  """Read a JSON file that holds an object: a dict."""
  try:
    with _of_buckets_too(path):
      text = path.read_text()
    content = json.loads(text)
    if not isinstance(content, dict):
      raise ValueError('not an object')
  except (OSError, ValueError, RecursionError) as error:
    raise UserError(
      f'{path} is damaged or cannot be read ({error}): put it back from a '
      'copy, or name another --workdir'
    ) from error
  return content


def remove_leftovers(workdir):
  """Remove what killed programs left of writes; by the one that holds it."""
  if processes.is_primary():
    workdir = epath.Path(workdir)
    for folder in (workdir, *workdir.glob('*'), *workdir.glob('leave_out/*')):
      for path in folder.glob('.*.tmp'):
        path.unlink(missing_ok=True)
