"""EL2N scores: which training examples are hard, and so influential.

Paper, section 3 and appendix B.3; Paul et al. 2021. For each label set, the
mean over networks that are trained for a few epochs.
"""

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from pruning_gen.engine.part import Part
from pruning_gen.engine.part import Run
from pruning_gen.engine.stack import Member
from pruning_gen.errors import UserError
from pruning_gen.experiments import chain
from pruning_gen.experiments import label_sets
from pruning_gen.experiments.workload import Workload
from pruning_gen.storage import results
from pruning_gen.training.schedule import Schedule

NAME = 'el2n'


def is_finished(run: Run) -> bool:
  """Return whether the scores of every label set are there."""
  return results.has_el2n(run.workdir) and (
    results.read_el2n(run.workdir).keys()
    >= set(label_sets.list_label_sets(run.config))
  )


def list_members(
  config: ConfigDict, num_networks: int | None = None
) -> list[Member]:
  """List the networks: as many for each distinct set of labels.

  Without noise all replicates have the same labels, and share the networks of
  replicate 0, whichever replicates a run has.

  Args:
    config: the config.
    num_networks: for each set of labels; by default `config.el2n.networks`.
  """
  distinct = dict.fromkeys(
    (noise_fraction, replicate if noise_fraction else 0)
    for noise_fraction, replicate in label_sets.list_label_sets(config)
  )
  return [
    Member('dense', noise_fraction, replicate, network)
    for noise_fraction, replicate in distinct
    for network in range(1, (num_networks or config.el2n.networks) + 1)
  ]


def workloads(config: ConfigDict) -> list[Workload]:
  """Return the experiment's workloads, for time estimates."""
  return [Workload(len(list_members(config)), config.el2n.epoch)]


def train(run: Run) -> None:
  """Train all networks together, evaluate every example, average."""
  config = run.config
  part = Part(NAME, NAME, list_members(config), arrays=('el2n', 'prediction'))
  chain.train_levels(run, part, Schedule(config.el2n.epoch))
  write_scores(run)


def write_scores(run: Run) -> None:
  """Write each label set's scores: the mean over its networks.

  Networks that diverged have no scores and are left out of the mean.

  Raises:
    UserError: all networks of a label set diverged.
  """
  table = results.read_members(run.workdir, NAME)
  scores = results.read_level(run.workdir, NAME, 0)['el2n']
  rows, means = [], []
  wanted = set(label_sets.list_label_sets(run.config))
  if results.has_el2n(run.workdir):
    # Those of earlier starts stay.
    wanted.update(results.read_el2n(run.workdir))
  for noise_fraction, replicate in sorted(wanted):
    own = scores[
      (table.noise_fraction == noise_fraction)
      & ((table.replicate == replicate) | (noise_fraction == 0))
    ]
    own = own[~np.isnan(own).all(axis=1)]
    if not len(own):
      raise UserError(
        f'el2n: all networks of noise {noise_fraction:g}, replicate '
        f'{replicate} diverged: lower config.learning_rate (now '
        f'{run.config.learning_rate:g}) in another --workdir, or drop el2n and '
        'the subgroups of leave_out'
      )
    rows.append((noise_fraction, replicate, len(own)))
    means.append(own.mean(axis=0))
  columns = ['noise_fraction', 'replicate', 'networks']
  results.write_el2n(run.workdir, pd.DataFrame(rows, columns=columns), means)
