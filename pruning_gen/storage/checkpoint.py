"""Checkpoints of a stack of members. The only user of Orbax."""

from etils import epath
from orbax.checkpoint import v1 as ocp

_SAVE = ocp.training.save_decision_policies
_PRESERVE = ocp.training.preservation_policies


class Checkpoints:
  """The checkpoints of one experiment, named by finished global epochs.

  Saving is asynchronous and commits in one move: a process that dies while
  it saves leaves the checkpoint before as the newest.
  """

  def __init__(self, directory, keep):
    """Open a folder of checkpoints.

    Args:
      directory: path, made where it is missing.
      keep: int, how many of the newest to keep.
    """
    self._checkpointer = ocp.training.Checkpointer(
      # Orbax refuses a relative path, but only once it saves.
      epath.Path(directory).resolve(),
      # We say when to save; the default also saves whenever it has time.
      save_decision_policy=_SAVE.FixedIntervalPolicy(1),
      preservation_policy=_PRESERVE.LatestN(keep),
      cleanup_tmp_directories=True,
    )

  def latest(self):
    """Return the newest checkpoint's global epoch, or None."""
    newest = self._checkpointer.latest
    return None if newest is None else newest.step

  def save(self, global_epoch, state):
    """Start to save a stack; waits only for a save still in progress."""
    self._checkpointer.save_async(global_epoch, state, force=True)

  def restore(self, global_epoch, abstract_state):
    """Load a checkpoint.

    Args:
      global_epoch: int, which one.
      abstract_state: tree of jax.ShapeDtypeStruct with shardings to load into.

    Returns:
      The stack that was saved.
    """
    return self._checkpointer.load(global_epoch, abstract_state)

  def close(self):
    """Wait until everything is saved."""
    self._checkpointer.close()
