"""Standard output whose failure does not end a run.

A terminal closes, a reader such as `head` ends, the disk of a log fills up:
what cannot be shown is dropped, and training continues.
"""

import contextlib
import os
import sys
from typing import Any


def say_last(text: str) -> None:
  """Print a final message to standard error, and drop what follows it there.

  The threads of a save that failed go on logging, which would bury it. One of
  them may be in the middle of a line.
  """
  last, encoding = os.dup(2), sys.stderr.encoding
  _silence(2)
  begin = '' if sys.stderr.is_at_line_start else '\n'
  with (
    contextlib.suppress(OSError),
    os.fdopen(last, 'w', encoding=encoding, errors='backslashreplace') as file,
  ):
    print(f'{begin}{text}', file=file)


def _silence(number: int) -> None:
  """Send what is printed to a file descriptor to /dev/null."""
  os.dup2(os.open(os.devnull, os.O_WRONLY), number)


class _Guarded:
  """A text stream that switches to /dev/null at its first error."""

  def __init__(self, stream: Any):
    self._stream = stream
    self.is_at_line_start = True

  def write(self, text: str) -> int:
    """Write a text, or drop it."""
    # The text that erases a progress bar ends with a carriage return.
    self.is_at_line_start = text.endswith(('\n', '\r'))
    return self._try(self._stream.write, text)

  def flush(self) -> None:
    """Flush; Python would otherwise exit with a code of its own, 120."""
    self._try(self._stream.flush)

  def _try(self, function, *args):
    try:
      return function(*args)
    except OSError:
      # Replace the descriptor, so that buffered text is dropped, too.
      _silence(self._stream.fileno())
      return function(*args)

  def __getattr__(self, name: str) -> Any:
    return getattr(self._stream, name)


def guard() -> None:
  """Guard standard output and error; call it before files are opened.

  A stream that was closed (`>&-`) is replaced: a file that took its number
  would get what libraries print.
  """
  for number in range(3):
    try:
      os.fstat(number)
    except OSError:
      os.open(os.devnull, os.O_RDWR)
  for number, name in ((1, 'stdout'), (2, 'stderr')):
    stream = getattr(sys, name)
    if stream is None:
      stream = os.fdopen(number, 'w', closefd=False)
    # A folder's name may have letters that the terminal has not.
    if hasattr(stream, 'reconfigure'):
      # And a log should have its lines when they are printed.
      stream.reconfigure(errors='backslashreplace', line_buffering=True)
    if not isinstance(stream, _Guarded):
      setattr(sys, name, _Guarded(stream))
