"""EL2N scores: which training examples are hard, and so influential.

Paper, section 3 and appendix B.3; Paul et al. 2021. For every draw of the
labels, a mean over networks that are trained for a few epochs.
"""

import numpy as np
import pandas as pd

from pruning_gen import config as protocol
from pruning_gen.engine import session
from pruning_gen.engine.over_members import Member
from pruning_gen.errors import UserError
from pruning_gen.experiments import build
from pruning_gen.storage import results

NAME = 'el2n'

STAGE = session.Stage(NAME, NAME, arrays=('el2n', 'prediction'))


def is_finished(config, workdir):
  """Tell whether the scores are there."""
  del config
  return results.has_el2n(workdir)


def list_members(config):
  """List the networks: as many for each distinct set of labels.

  Without noise all replicates have the same labels, and share the networks of
  replicate 0, wherever they run.
  """
  distinct = dict.fromkeys(
    (noise_fraction, replicate if noise_fraction else 0)
    for noise_fraction, replicate in protocol.label_sets(config)
  )
  return [
    Member('dense', noise_fraction, replicate, network)
    for noise_fraction, replicate in distinct
    for network in range(1, config.el2n.networks + 1)
  ]


def run(config, workdir, dataset, should_stop):
  """Train all networks together, score every example, average.

  Raises:
    Preempted: stopped on request, everything saved.
    UserError: a loss is not finite.
  """
  members = list_members(config)
  if not STAGE.is_finished(workdir, members):
    engine = build.make_engine(config, dataset, members)
    short = session.once(config, config.el2n.epoch)
    session.train_dense(short, workdir, STAGE, engine, should_stop)
  write_scores(config, workdir)


def write_scores(config, workdir):
  """Write each label set's scores: the mean over its networks.

  Those that diverged have no scores, and do not count.

  Raises:
    UserError: all networks of a label set diverged.
  """
  table = results.read_members(workdir, NAME)
  scores = results.read_level(workdir, NAME, 0)['el2n']
  rows, means = [], []
  for noise_fraction, replicate in protocol.label_sets(config):
    own = scores[
      (table.noise_fraction == noise_fraction)
      & ((table.replicate == replicate) | (noise_fraction == 0))
    ]
    own = own[~np.isnan(own).all(axis=1)]
    if not len(own):
      raise UserError(
        f'el2n: all networks of noise {noise_fraction:g}, replicate '
        f'{replicate} diverged: lower config.learning_rate (now '
        f'{config.learning_rate:g}) in another --workdir, or drop el2n and the '
        'subgroups of leave_out'
      )
    rows.append((noise_fraction, replicate, len(own)))
    means.append(own.mean(axis=0))
  columns = ['noise_fraction', 'replicate', 'networks']
  results.write_el2n(workdir, pd.DataFrame(rows, columns=columns), means)
