"""The pruning chain: iterative magnitude pruning with learning-rate rewinding.

Paper, sections 2 to 5. Train a dense network; then, level after level, remove
a part of the remaining weights, rewind the learning rate and train on. The
arm `extended_dense` does the same and removes nothing (section 5.1).
"""

from pruning_gen.experiments import build
from pruning_gen.experiments import protocol
from pruning_gen.experiments.session import Session
from pruning_gen.pruning import schedules
from pruning_gen.storage import results

NAME = 'chain'


def is_finished(config, workdir):
  """Tell whether every network of the chain is in results.csv."""
  networks = {
    (*member, level)
    for member in protocol.list_members(config)
    for level in range(config.levels + 1)
  }
  return networks <= results.finished_rows(workdir, NAME)


def run(config, workdir, dataset, should_stop):
  """Run the chain, from where it stopped.

  Args:
    config: the config.
    workdir: path, claimed by `results.open_workdir`.
    dataset: Dataset.
    should_stop: () -> bool, whether to save and stop after this epoch.

  Raises:
    Preempted: stopped on request, everything saved.
    UserError: a loss is not finite.
  """
  members = protocol.list_members(config)
  engine = build.make_engine(config, dataset, members)

  with Session(config, workdir, NAME, engine, should_stop) as session:
    state, epochs_trained = session.resume()
    level, epoch = schedules.locate(
      epochs_trained, config.epochs, config.rewind_epoch
    )
    while True:
      state = session.train_level(state, level, epoch)
      session.finish_level(state, level)
      if level == config.levels:
        break
      level, epoch = level + 1, config.rewind_epoch
      num_pruned = engine.num_pruned_by_level[level]
      state = engine.start_level(
        state, [num_pruned * (member.arm == 'pruning') for member in members]
      )
