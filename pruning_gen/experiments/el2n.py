"""EL2N scores: which training examples are hard, and so influential.

Paper, section 3 and appendix B.3; Paul et al. 2021. For each label set, the
mean over networks that are trained for a few epochs.
"""

from collections.abc import Iterable
from collections.abc import Iterator

import numpy as np
import pandas as pd
from jaxtyping import Int
from ml_collections import ConfigDict

from pruning_gen import processes
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
  there = label_sets.list_scored(run.workdir, results.EL2N)
  return there >= set(label_sets.list_label_sets(run.config))


def list_members(
  config: ConfigDict, num_networks: int | None = None
) -> list[Member]:
  """List the networks: as many for each distinct set of labels.

  Without noise all replicates have the same labels, and share the networks of
  replicate 0, whichever replicates a run has.

  Args:
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
  # Others would read scores that the first process is replacing.
  if processes.is_primary():
    write_scores(run)


def write_scores(run: Run) -> None:
  """Write each label set's scores: the mean over its networks.

  Raises:
    UserError: all networks of a label set diverged.
  """
  members = results.read_members(run.workdir, NAME)
  scores = results.read_level(run.workdir, NAME, 0)['el2n']
  is_lost = np.isnan(scores).all(axis=1)
  there = label_sets.list_scored(run.workdir, results.EL2N)
  rows, means = [], []
  for label_set, own in divide(run, NAME, members[~is_lost], there):
    rows.append((*label_set, len(own)))
    means.append(scores[own].mean(axis=0))
  columns = [*results.EL2N.identity, 'networks']
  table = pd.DataFrame(rows, columns=columns)
  results.EL2N.write(run.workdir, table, np.stack(means))


def divide(
  run: Run,
  experiment: str,
  networks: pd.DataFrame,
  there: Iterable[tuple[float, int]],
) -> Iterator[tuple[tuple[float, int], Int[np.ndarray, ' n']]]:
  """Yield the label sets, each with the networks that its scores are means of.

  Args:
    networks: noise_fraction and replicate of those that have not diverged.
    there: label sets of earlier starts, whose scores stay.

  Yields:
    A label set, and the index of its networks.

  Raises:
    UserError: all networks of a label set diverged.
  """
  for label_set in sorted({*label_sets.list_label_sets(run.config), *there}):
    noise_fraction, replicate = label_set
    is_own = networks.noise_fraction == noise_fraction
    # Without noise all replicates share the networks of replicate 0.
    if noise_fraction:
      is_own &= networks.replicate == replicate
    if not is_own.any():
      readers = ' and the subgroups of leave_out' if experiment == NAME else ''
      raise UserError(
        f'{experiment}: all networks of noise {noise_fraction:g}, replicate '
        f'{replicate} diverged: lower config.learning_rate (now '
        f'{run.config.learning_rate:g}) in another --workdir, or drop '
        f'{experiment}{readers}'
      )
    yield label_set, networks.index[is_own].to_numpy()
