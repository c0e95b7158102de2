"""TensorBoard scalars through clu, where TensorFlow is installed."""

import functools
from collections.abc import Mapping
from collections.abc import Sequence

from etils import epath


class Writer:
  """Writes TensorBoard scalars, or nothing if that is impossible.

  Each network is a run of its own, so that TensorBoard draws them in one plot.
  Scalars are optional: neither a missing TensorFlow nor a full disk ends a run
  because of them.
  """

  def __init__(self, directory: epath.Path, names: Sequence[str]):
    """Take the folder, and the name in it of each network."""
    self._paths = {name: str(directory / name) for name in names}
    self._writers = None

  def _open(self):
    """Open an event file for each name, or turn scalars off."""
    self._writers = {}
    try:
      # TensorFlow takes seconds to import, and some machines have none.
      from clu import metric_writers

      for name, path in self._paths.items():
        self._writers[name] = metric_writers.SummaryWriter(path)
    except Exception as error:
      self._turn_off(error)

  def write(self, step: int, values: Mapping[str, Sequence[float]]) -> None:
    """Write {metric: a float for each name} at a step."""
    if self._writers is None:
      # After the first epoch, which so begins 2 s sooner.
      self._open()
    for i, name in enumerate(list(self._writers)):
      own = {metric: float(column[i]) for metric, column in values.items()}
      self._try(name, 'write_scalars', step, own)

  def close(self) -> None:
    """Flush and close the event files."""
    for name in list(self._writers or ()):
      self._try(name, 'close')

  def _try(self, name, method, *args):
    if name in self._writers:
      try:
        getattr(self._writers[name], method)(*args)
      # TensorFlow raises its own exceptions for errors of the file system.
      except Exception as error:
        self._turn_off(error)

  def _turn_off(self, error):
    remedy = ''
    if isinstance(error, ImportError):
      remedy = "; to write them, pip install 'pruning_gen[tensorflow]'"
    _warn(f'TensorBoard scalars are off: {error}{remedy}')
    self._writers = {}


@functools.cache
def _warn(text):
  """Print a warning once, and not for every part of a run."""
  print(text, flush=True)
