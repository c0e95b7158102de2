"""The ways a run ends early on purpose."""

import contextlib
import os
import signal
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TypeVar

Entry = TypeVar('Entry')

EXIT_PREEMPTED = 75
# A scheduler sends the first; the end of an ssh session sends both.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
# Launchers clean up after Ctrl-C, too.
LAUNCHER_SIGNALS = (*STOP_SIGNALS, signal.SIGINT)


class UserError(Exception):
  """An error the user can fix: shown as one message, without a traceback.

  The message names the key or file, its value, and what would be right.
  """


class Preempted(Exception):
  """The run was asked to stop and has saved; the same command continues it."""


def on_stop(
  handler: Callable | signal.Handlers, signals: Sequence[int] = STOP_SIGNALS
) -> None:
  """Handle every signal that asks the program to stop.

  Except one that is ignored, as SIGHUP is under nohup.
  """
  for number in signals:
    if signal.getsignal(number) != signal.SIG_IGN:
      signal.signal(number, handler)


@contextlib.contextmanager
def handling_stop(
  handler: Callable, signals: Sequence[int] = STOP_SIGNALS
) -> Iterator[None]:
  """Do `on_stop`, and restore the earlier handlers at the end."""
  handlers = {number: signal.getsignal(number) for number in signals}
  on_stop(handler, signals)
  try:
    yield
  finally:
    for number, earlier in handlers.items():
      signal.signal(number, earlier)


def stop_at_once(*_) -> None:
  """Handle a signal to stop where there is nothing to save."""
  # The terminal may be closed.
  with contextlib.suppress(OSError):
    os.write(2, b'stopped, nothing to save; run the same command to continue\n')
  os._exit(EXIT_PREEMPTED)


def lookup(table: Mapping[str, Entry], name: str, key: str) -> Entry:
  """Return an entry of one of the tables that can be extended.

  Args:
    key: the key of the config that names it.

  Raises:
    UserError: the table has no such name; lists those it has.
  """
  if name not in table:
    raise UserError(f'{key}={name!r} must be one of: {", ".join(table)}')
  return table[name]
