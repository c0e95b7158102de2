"""The ways a run ends early on purpose."""

import os

EXIT_PREEMPTED = 75


class UserError(Exception):
  """Something the user can mend: shown as one message, without a traceback.

  The message names the key or file, its value, and what would be right.
  """


class Preempted(Exception):
  """The run was asked to stop and has saved; the same command continues it."""


def stop_at_once(*_) -> None:
  """Handle SIGTERM where there is nothing to save."""
  os.write(2, b'stopped, nothing to save; run the same command to continue\n')
  os._exit(EXIT_PREEMPTED)
