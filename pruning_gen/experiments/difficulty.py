"""Other scores of how hard an example is, of one training run.

EL2N and GraNd at several epochs (Paul et al. 2021), forgetting events (Toneva
et al. 2019), and the loss at the end, each a mean over dense networks. The
report compares their rankings, and what pruning does by each.
"""

import functools
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool
from jaxtyping import Float
from ml_collections import ConfigDict

from pruning_gen import processes
from pruning_gen.engine.part import Part
from pruning_gen.engine.part import Run
from pruning_gen.engine.programs import Programs
from pruning_gen.engine.stack import Member
from pruning_gen.experiments import chain
from pruning_gen.experiments import el2n
from pruning_gen.experiments import label_sets
from pruning_gen.experiments.workload import Workload
from pruning_gen.storage import difficulty_scores
from pruning_gen.training.schedule import Schedule

NAME = 'difficulty'


def is_finished(run: Run) -> bool:
  """Return whether the scores of every label set are there."""
  there = label_sets.list_scored(run.workdir, difficulty_scores.SCORES)
  return there >= set(label_sets.list_label_sets(run.config))


def list_members(config: ConfigDict) -> list[Member]:
  """List the networks: `config.difficulty.networks` for each label set."""
  return el2n.list_members(config, config.difficulty.networks)


def workloads(config: ConfigDict) -> list[Workload]:
  """Return how much it trains, and evaluates after every epoch."""
  return [Workload(len(list_members(config)), config.epochs, config.epochs)]


def train(run: Run) -> None:
  """Train all networks together; measure after every epoch; average."""
  part = Part(NAME, NAME, list_members(run.config), arrays=('cross_entropy',))
  watch = functools.partial(_measure, run)
  chain.train_levels(run, part, Schedule(run.config.epochs), watch=watch)
  if processes.is_primary():
    write_scores(run)


def _measure(run: Run, programs: Programs, state: Any, num_epochs: int) -> None:
  """Write what is measured after an epoch, before its checkpoint is saved."""
  config, stack = run.config, programs.spec.stack
  train = programs.evaluate(state)['train']
  networks = [(m.noise_fraction, m.replicate, m.network) for m in stack.members]
  arrays = {
    'network': np.array(networks, float),
    'correct': np.packbits(train.prediction == stack.labels, axis=1),
  }
  if num_epochs in config.difficulty.epochs:
    arrays['el2n'] = train.el2n
    arrays['grand'] = programs.gradient_norms(state)
  if num_epochs == config.epochs:
    arrays['cross_entropy'] = train.cross_entropy
  if processes.is_primary():
    difficulty_scores.write_epoch(run.workdir, num_epochs, arrays)


def count_forgetting(
  correct: Bool[np.ndarray, 'epoch example'],
) -> Float[np.ndarray, ' example']:
  """Count how often each example turned from right to wrong.

  Examples that were never right have as many as there are epochs, more than
  any other.
  """
  forgotten = (correct[:-1] & ~correct[1:]).sum(axis=0)
  return np.where(correct.any(axis=0), forgotten, len(correct)).astype(float)


def write_scores(run: Run) -> None:
  """Write each label set's scores: the means over its networks.

  Raises:
    UserError: all networks of a label set diverged.
  """
  networks, scores = _read_networks(run)
  is_lost = ~np.isfinite(scores['loss', run.config.epochs]).any(axis=1)
  there = label_sets.list_scored(run.workdir, difficulty_scores.SCORES)
  rows, means = [], []
  for label_set, own in el2n.divide(run, NAME, networks[~is_lost], there):
    for (score, epoch), values in scores.items():
      rows.append((*label_set, score, epoch, len(own)))
      means.append(values[own].mean(axis=0))
  columns = [*difficulty_scores.SCORES.identity, 'networks']
  table = pd.DataFrame(rows, columns=columns)
  difficulty_scores.SCORES.write(run.workdir, table, np.float32(means))


def _read_networks(
  run: Run,
) -> tuple[pd.DataFrame, dict[tuple[str, int], np.ndarray]]:
  """Read the networks that are trained, and their scores by (score, epoch).

  Returns:
    noise_fraction, replicate and network of each; arrays [network, example].
  """
  last, num_train = run.config.epochs, len(run.dataset.train_labels)
  networks = difficulty_scores.read_epoch(run.workdir, last)['network'].tolist()
  correct, scores = [], {}
  for epoch in range(1, last + 1):
    arrays = difficulty_scores.read_epoch(run.workdir, epoch)
    # Earlier epochs may have more, of a stack that was never continued.
    there = arrays.pop('network').tolist()
    rows = [there.index(network) for network in networks]
    arrays = {name: array[rows] for name, array in arrays.items()}
    bits = np.unpackbits(arrays['correct'], axis=1, count=num_train)
    correct.append(bits.astype(bool))
    for score in ('el2n', 'grand'):
      if score in arrays:
        scores[score, epoch] = arrays[score]
  by_network = np.stack(correct, axis=1)
  scores['forgetting', last] = np.stack(list(map(count_forgetting, by_network)))
  scores['loss', last] = arrays['cross_entropy']
  columns = ['noise_fraction', 'replicate', 'network']
  return pd.DataFrame(networks, columns=columns), scores
