"""The pruning chain: iterative magnitude pruning with learning-rate rewinding.

Paper, sections 2 to 5. Train a dense network; then, level after level, remove
a part of the remaining weights, rewind the learning rate and train on. The
arm `extended_dense` does the same and removes nothing (section 5.1).
"""

import numpy as np

from pruning_gen.experiments import measure
from pruning_gen.experiments import protocol
from pruning_gen.experiments import session as session_lib
from pruning_gen.experiments.engine import Engine
from pruning_gen.pruning import schedules
from pruning_gen.storage import results

NAME = 'chain'


def is_finished(config, workdir):
  """Tell whether every level of the chain is in results.csv."""
  levels = set(range(config.levels + 1))
  return levels <= results.finished_levels(workdir, NAME)


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
  labels, is_noisy = protocol.draw_labels(config, dataset, members)
  results.write_members(
    workdir,
    NAME,
    members,
    {
      'labels': labels.astype(np.uint16),
      'is_noisy': is_noisy,
      'true_labels': dataset.train_labels.astype(np.uint16),
    },
  )
  engine = Engine(config, dataset, members, labels)

  def finish_level(state, level):
    scores = engine.score(state)
    rows = measure.rows(
      members,
      scores,
      labels,
      is_noisy,
      dataset,
      {
        'experiment': NAME,
        'level': level,
        'width': 1.0,
        'num_weights': engine.num_weights,
        'weights_remaining': engine.num_kept(state) / engine.num_weights,
        'epochs_trained': epochs_trained(config, level),
      },
    )
    # The rows last: they tell that the level is finished.
    arrays = measure.example_arrays(scores['train'])
    results.write_level(workdir, NAME, level, arrays)
    results.write_rows(workdir, rows)
    session.after_level(rows, epochs_trained(config, level))

  with session_lib.Session(
    config, workdir, NAME, members, should_stop
  ) as session:
    state, finished_epochs = session.resume(engine)
    first_level, first_epoch = schedules.locate(
      finished_epochs, config.epochs, config.rewind_epoch
    )
    session.start_progress(
      finished_epochs,
      epochs_trained(config, config.levels),
      engine.images_per_epoch,
    )
    for level in range(first_level, config.levels + 1):
      if level > first_level:
        num_pruned = engine.num_pruned_by_level[level]
        state = engine.start_level(
          state,
          [num_pruned * (member.arm == 'pruning') for member in members],
        )
        first_epoch = config.rewind_epoch
      for epoch in range(first_epoch, config.epochs):
        global_epoch = schedules.global_epoch(
          level, epoch, config.epochs, config.rewind_epoch
        )
        state, losses = engine.train_epoch(state, global_epoch)
        session.after_epoch(state, losses, level, epoch, global_epoch)
      if level not in results.finished_levels(workdir, NAME):
        finish_level(state, level)


def epochs_trained(config, level):
  """Count the epochs that a member has trained at the end of a level."""
  return schedules.global_epoch(
    level, config.epochs, config.epochs, config.rewind_epoch
  )
