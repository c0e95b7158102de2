"""Width down-scaling: dense networks, each 0.8 times as wide as the one before.

Paper, section 5.2 and appendices F and I. The other way to make a network
smaller: if size alone were what pruning changes, this should do the same.
"""

from pruning_gen import config as protocol
from pruning_gen.engine import session
from pruning_gen.engine.over_members import Member
from pruning_gen.experiments import build

NAME = 'width'


def is_finished(config, workdir):
  """Tell whether every network is in results.csv."""
  stage, members = session.Stage(NAME, NAME), list_members(config)
  return stage.is_finished(workdir, members, config.width.levels)


def list_members(config):
  """List the networks of each width: one for every draw of the labels."""
  return [
    Member('dense', noise_fraction, replicate)
    for noise_fraction, replicate in protocol.label_sets(config)
  ]


def run(config, workdir, dataset, should_stop):
  """Train the networks of each width that is not there yet, widest first.

  Raises:
    Preempted: stopped on request, everything saved.
    UserError: a loss is not finite.
  """
  members = list_members(config)
  full = build.num_weights(config, dataset)
  for level in range(config.width.levels + 1):
    stage = session.Stage(NAME, NAME, level)
    if stage.is_finished(workdir, members):
      continue
    width = config.width.fraction**level
    engine = build.make_engine(config, dataset, members, width=width)
    columns = {'width': width, 'weights_remaining': engine.num_weights / full}
    session.train_dense(
      session.once(config), workdir, stage, engine, should_stop, columns
    )
