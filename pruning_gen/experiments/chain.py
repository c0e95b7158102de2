"""The pruning chain: iterative magnitude pruning with learning-rate rewinding.

Paper, sections 2 to 5. Train a dense network; then, level after level, remove
a part of the remaining weights, rewind the learning rate and train on. The
arm `extended_dense` does the same and removes nothing (section 5.1); arms.py
has the ablations (appendices C and J).
"""

from pruning_gen import config as protocol
from pruning_gen import processes
from pruning_gen.engine.session import Session
from pruning_gen.engine.session import Stage
from pruning_gen.experiments import build
from pruning_gen.experiments import effects as selection
from pruning_gen.storage import results
from pruning_gen.training import schedule as schedules

STAGE = Stage('chain', 'chain')


def is_finished(config, workdir):
  """Tell whether every network is in results.csv, and all else written."""
  members = protocol.list_members(config)
  return STAGE.is_finished(workdir, members, config.levels) and (
    results.has_most_worsened(workdir) or not _prunes(config)
  )


def _prunes(config):
  return 'pruning' in config.arms and config.levels > 0


def run(config, workdir, dataset, should_stop):
  """Run the chain, from where it stopped.

  Args:
    config: the config.
    workdir: path, claimed by `provenance.open_workdir`.
    dataset: Dataset.
    should_stop: () -> bool, whether to save and stop after this epoch.

  Raises:
    Preempted: stopped on request, everything saved.
    UserError: a loss is not finite.
  """
  members = protocol.list_members(config)
  engine = build.make_engine(config, dataset, members)

  with Session(config, workdir, STAGE, engine, should_stop) as session:
    state, epochs_trained = session.resume()
    level, epoch = schedules.locate(
      epochs_trained, config.epochs, config.rewind_epoch
    )
    if level == 0 and epoch <= config.rewind_epoch:
      state = session.train_level(state, 0, epoch, config.rewind_epoch)
      state = engine.remember(state)
      epoch = config.rewind_epoch
    while True:
      state = session.train_level(state, level, epoch)
      session.finish_level(state, level)
      if level == config.levels:
        break
      session.stop_if_asked(f'after level {level}')
      level, epoch = level + 1, config.rewind_epoch
      state = engine.start_level(state, level)
  # Other processes read what the first has written.
  processes.wait_for_all(STAGE.name)
  if _prunes(config):
    selection.write_most_worsened(config, workdir, dataset)
