"""TensorBoard scalars through clu, where TensorFlow is installed."""


class Writer:
  """Writes scalars for TensorBoard, or nothing where there is no TensorFlow."""

  def __init__(self, directory):
    """Open an event file in a folder; says so where that cannot be."""
    try:
      # TensorFlow takes seconds to import, and some machines have none.
      from clu import metric_writers
    except ImportError as error:
      print(f'TensorBoard scalars are off: {error}', flush=True)
      self._writer = None
    else:
      self._writer = metric_writers.SummaryWriter(str(directory))

  def write(self, step, values):
    """Write {name: float} at a step."""
    if self._writer is not None:
      self._writer.write_scalars(step, values)

  def close(self):
    """Flush and closes the event file."""
    if self._writer is not None:
      self._writer.close()
