"""TensorBoard scalars through clu, where TensorFlow is installed."""

import functools


class Writer:
  """Writes TensorBoard scalars, or nothing if that is impossible.

  Scalars are optional: neither a missing TensorFlow nor a full disk ends a run
  because of them.
  """

  def __init__(self, directory):
    """Open an event file in a folder, or turn scalars off with a warning."""
    self._writer = None
    try:
      # TensorFlow takes seconds to import, and some machines have none.
      from clu import metric_writers

      self._writer = metric_writers.SummaryWriter(str(directory))
    except Exception as error:
      self._turn_off(error)

  def write(self, step, values):
    """Write {name: float} at a step."""
    self._try('write_scalars', step, values)

  def close(self):
    """Flush and close the event file."""
    self._try('close')

  def _try(self, method, *args):
    if self._writer is not None:
      try:
        getattr(self._writer, method)(*args)
      # TensorFlow raises its own exceptions for errors of the file system.
      except Exception as error:
        self._turn_off(error)

  def _turn_off(self, error):
    remedy = ''
    if isinstance(error, ImportError):
      remedy = "; to write them, pip install 'pruning_gen[tensorflow]'"
    _warn(f'TensorBoard scalars are off: {error}{remedy}')
    self._writer = None


@functools.cache
def _warn(text):
  """Print a warning once, and not for every part of a run."""
  print(text, flush=True)
