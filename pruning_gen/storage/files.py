"""Files that are intact or absent, with an error that names a damaged one."""

import contextlib
import glob
import io
import json
import os
import zipfile
import zlib
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np
import pandas as pd
from etils import epath

from pruning_gen import processes
from pruning_gen.errors import UserError


@epath.register_path_cls
class _Path(epath.gpath.PosixGPath):
  """A path in which only what is passed to `glob` is a pattern.

  Other paths of etils read the brackets of 'lenet[seed 1]' as a pattern too;
  Orbax then cannot find the files that it has just written.
  """

  def glob(self, pattern: str) -> Iterator[epath.Path]:
    """Yield the files below this folder that match a pattern."""
    return super(_Path, _Path(glob.escape(str(self)))).glob(pattern)


def path_of(address: epath.PathLike) -> epath.Path:
  """Return the path of a local file or folder, or of one in a bucket."""
  return _Path(address)


def is_in_bucket(path: epath.PathLike) -> bool:
  """Return whether a path is an address in a bucket, not a local file."""
  return '://' in str(path)


def write_bytes(path: epath.PathLike, content: bytes | memoryview) -> None:
  """Write a file atomically; of several processes only the first writes.

  Raises:
    UserError: it cannot be written.
  """
  if not processes.is_primary():
    return
  path = path_of(path)
  # Two programs may build the report of one run at the same time.
  temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
  try:
    with _errors_of_buckets(path):
      path.parent.mkdir(parents=True, exist_ok=True)
      with temporary.open('wb') as file:
        file.write(content)
        if not is_in_bucket(path):
          # Otherwise a power cut could leave an empty file of the new name.
          file.flush()
          os.fsync(file.fileno())
      temporary.replace(path)
  except OSError as error:
    with contextlib.suppress(OSError), _errors_of_buckets(path):
      temporary.unlink()
    raise unwritable(path, error) from error


def remove(path: epath.PathLike) -> None:
  """Remove a file, if it is there.

  Raises:
    UserError: it cannot be removed.
  """
  path = path_of(path)
  try:
    with _errors_of_buckets(path):
      path.unlink(missing_ok=True)
  except OSError as error:
    raise unwritable(path, error) from error


def unwritable(what: Any, problem: Any) -> UserError:
  """Return the UserError for a write that the file system refuses."""
  return UserError(
    f'{what} cannot be written ({problem}): free space or give permission, and '
    'run the same command again; everything that is finished is kept'
  )


@contextlib.contextmanager
def _errors_of_buckets(path: epath.PathLike) -> Iterator[None]:
  """Raise OSError for whatever the libraries of buckets raise."""
  try:
    yield
  except Exception as error:
    if not is_in_bucket(path) or isinstance(error, OSError):
      raise
    raise OSError(str(error)) from error


def write_text(path: epath.PathLike, text: str) -> None:
  """Write a text file; see `write_bytes`."""
  write_bytes(path, text.encode())


def write_arrays(
  path: epath.PathLike,
  arrays: dict[str, Any],
  compressed: Collection[str] = (),
) -> None:
  """Write arrays as .npz; see `write_bytes`.

  Args:
    compressed: the names of those that compression makes smaller.
  """
  buffer = io.BytesIO()
  np.savez(buffer, **{k: v for k, v in arrays.items() if k not in compressed})
  with zipfile.ZipFile(buffer, 'a') as file:
    for name in compressed:
      array = io.BytesIO()
      np.lib.format.write_array(array, np.asanyarray(arrays[name]))
      # Of one date, as NumPy writes them: the same arrays are the same bytes.
      file.writestr(
        zipfile.ZipInfo(f'{name}.npy'),
        array.getbuffer(),
        zipfile.ZIP_DEFLATED,
        # The fastest: zeros need no better.
        compresslevel=1,
      )
  write_bytes(path, buffer.getbuffer())


def read_arrays(
  path: epath.Path, *names: str, prefix: str = ''
) -> dict[str, np.ndarray]:
  """Read the arrays of a file by name.

  Args:
    *names: of arrays that it must have.
    prefix: what the names of those to read begin with.

  Raises:
    UserError: the file is missing or damaged, or lacks one of `names`.
  """
  try:
    with _errors_of_buckets(path):
      content = io.BytesIO(path.read_bytes())
    # Never a pickle: a file from elsewhere must not run code here.
    file = np.load(content, allow_pickle=False)
    if not isinstance(file, np.lib.npyio.NpzFile):
      raise ValueError('it is a single array')
    with file:
      arrays = {
        name: file[name] for name in file.files if name.startswith(prefix)
      }
    missing = [name for name in names if name not in arrays]
    if missing:
      raise ValueError(f'it has no array {missing[0]}')
    return arrays
  except (
    OSError,
    ValueError,
    EOFError,
    RuntimeError,  # Includes NotImplementedError.
    zipfile.BadZipFile,
    zlib.error,
  ) as error:
    raise UserError(
      f'{path} is missing or holds no arrays of this program ({error}): '
      'restore it from a copy, or start in another --workdir'
    ) from error


def write_table(path: epath.PathLike, table: pd.DataFrame) -> None:
  """Write a table as CSV, without its index."""
  write_text(path, table.to_csv(index=False))


def read_table(
  path: epath.Path,
  columns: Sequence[str],
  dtype: type | None = None,
  identity: Sequence[str] = (),
) -> pd.DataFrame:
  """Read a CSV file.

  Args:
    columns: the columns that it must have.
    dtype: of all columns; by default each column's own.
    identity: the columns that distinguish its rows; by default rows may be
      equal.

  Raises:
    UserError: the file is missing or damaged, lacks a column, or has a row
      twice.
  """
  try:
    with _errors_of_buckets(path):
      text = path.read_text()
    numbers = _row_numbers(text)
    table = parse_table(text, dtype)
    missing = [name for name in columns if name not in table]
    if missing:
      raise ValueError(f'it lacks the columns {", ".join(missing)}')
    if identity:
      _check_rows_differ(numbers, table[list(identity)])
  except (OSError, ValueError) as error:
    raise UserError(
      f'{path} cannot be read ({error}): restore it from a copy, or start in '
      'another --workdir'
    ) from error
  return table


class Pair(NamedTuple):
  """A table NAME.csv, and NAME.npz with an array that has its rows.

  Attributes:
    name: of both files, in a workdir.
    array: the name of the array.
    identity: the columns that distinguish the rows.
  """

  name: str
  array: str
  identity: tuple[str, ...]

  def exists(self, workdir: epath.PathLike) -> bool:
    """Return whether both files are written."""
    return self._path(workdir, '.csv').exists()

  def write(
    self, workdir: epath.PathLike, table: pd.DataFrame, rows: np.ndarray
  ) -> None:
    """Write both files.

    While the array is replaced, there is no table: it marks both as written.
    """
    if processes.is_primary():
      remove(self._path(workdir, '.csv'))
    write_arrays(self._path(workdir, '.npz'), {self.array: rows})
    write_table(self._path(workdir, '.csv'), table)

  def read(self, workdir: epath.PathLike) -> tuple[pd.DataFrame, np.ndarray]:
    """Read the table and the array.

    Raises:
      UserError: a file is missing or damaged, or they do not fit together.
    """
    path = self._path(workdir, '.npz')
    table = read_table(
      path.with_suffix('.csv'), self.identity, identity=self.identity
    )
    rows = read_arrays(path, self.array)[self.array]
    if len(rows) != len(table):
      raise UserError(
        f'{path} has {len(rows)} rows, but {path.stem}.csv has {len(table)}: '
        'restore them from a copy, or start in another --workdir'
      )
    return table, rows

  def _path(self, workdir: epath.PathLike, suffix: str) -> epath.Path:
    return path_of(workdir) / f'{self.name}{suffix}'


def _row_numbers(text: str) -> list[int]:
  """Return the line number of every row, without the header and blank lines."""
  lines = enumerate(text.splitlines(), 1)
  filled = [(number, line) for number, line in lines if line.strip()]
  for number, line in filled[1:]:
    if line == filled[0][1]:
      raise ValueError(f'line {number} repeats line {filled[0][0]}')
  return [number for number, _ in filled[1:]]


def _check_rows_differ(numbers: list[int], table: pd.DataFrame) -> None:
  first = {}
  rows = table.itertuples(index=False, name=None)
  for number, row in zip(numbers, rows):
    if first.setdefault(row, number) != number:
      raise ValueError(f'line {number} repeats line {first[row]}')


def parse_table(text: str, dtype: type | None = None) -> pd.DataFrame:
  """Parse the text of a CSV file."""
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


def read_json(path: epath.Path) -> dict[str, Any]:
  """Read a JSON file that holds an object.

  Raises:
    UserError: the file is missing or damaged.
  """
  try:
    with _errors_of_buckets(path):
      text = path.read_text()
    content = json.loads(text)
    if not isinstance(content, dict):
      raise ValueError('not an object')
  except (OSError, ValueError, RecursionError) as error:
    raise UserError(
      f'{path} is damaged or cannot be read ({error}): restore it from a copy, '
      'or pass another --workdir'
    ) from error
  return content


def remove_leftovers(workdir: epath.PathLike) -> None:
  """Remove partial files of killed programs; call it while holding the lock."""
  if processes.is_primary():
    for folder in ('', '*/', '*/*/', 'checkpoints/leave_out/*/'):
      # As `write_bytes` names them.
      for path in path_of(workdir).glob(f'{folder}.*.[0-9]*.tmp'):
        remove(path)
