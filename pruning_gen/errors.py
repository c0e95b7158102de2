"""The ways a run ends early on purpose."""

import os
from collections.abc import Mapping
from typing import TypeVar

Entry = TypeVar('Entry')

EXIT_PREEMPTED = 75


class UserError(Exception):
  """An error the user can fix: shown as one message, without a traceback.

  The message names the key or file, its value, and what would be right.
  """


class Preempted(Exception):
  """The run was asked to stop and has saved; the same command continues it."""


def stop_at_once(*_) -> None:
  """Handle SIGTERM where there is nothing to save."""
  os.write(2, b'stopped, nothing to save; run the same command to continue\n')
  os._exit(EXIT_PREEMPTED)


def lookup(table: Mapping[str, Entry], name: str, key: str) -> Entry:
  """Return an entry of one of the tables that can be extended.

  Args:
    table: the entries by name.
    name: of the entry.
    key: the key of the config that names it.

  Raises:
    UserError: the table has no such name; lists those it has.
  """
  if name not in table:
    raise UserError(f'{key}={name!r} must be one of: {", ".join(table)}')
  return table[name]
