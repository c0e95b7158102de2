"""The pruning chain: iterative magnitude pruning with learning-rate rewinding.

Paper, sections 2 to 5. Train a dense network; then, level after level, remove
a fraction of the remaining weights, rewind the learning rate and train again.
The arm `extended_dense` does the same and removes nothing (section 5.1);
`arms.ARMS` has the ablations (appendices C and J).
"""

from ml_collections import ConfigDict

from pruning_gen.engine.session import Part
from pruning_gen.engine.session import Run
from pruning_gen.experiments import build
from pruning_gen.experiments import effects
from pruning_gen.experiments import label_sets
from pruning_gen.storage import results
from pruning_gen.training.schedule import Schedule

NAME = 'chain'


def make_part(config: ConfigDict) -> Part:
  """Return the networks of the chain, which train as one stack."""
  members = label_sets.list_members(config)
  return Part(NAME, NAME, members, keeps_checkpoints=True)


def is_finished(run: Run) -> bool:
  """Return whether all networks are in results.csv, and all else is written."""
  config, workdir = run.config, run.workdir
  return make_part(config).is_finished(workdir, config.levels) and (
    results.has_most_worsened(workdir) or not _prunes(config)
  )


def _prunes(config: ConfigDict) -> bool:
  return 'pruning' in config.arms and config.levels > 0


def train(run: Run) -> None:
  """Train the chain from where it stopped."""
  config = run.config
  schedule = Schedule(config.epochs, config.rewind_epoch, config.levels)
  build.train(run, make_part(config), schedule)
  if _prunes(config):
    effects.write_most_worsened(run)
