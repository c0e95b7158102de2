"""The two ways a run ends early on purpose."""


class UserError(Exception):
  """Something the user can mend: shown as one message, without a traceback.

  The message names the key or file, its value, and what would be right.
  """


class Preempted(Exception):
  """The run was asked to stop and has saved; the same command continues it."""
