"""Leave-out retraining: dense networks trained without chosen examples.

Paper, sections 3 and 4, appendices D, E and K. Are the examples that pruning
affects most the ones that matter? Train a dense network from scratch without
them, and next to it one without as many examples chosen at random.
"""

import jax
import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from pruning_gen.data import streams
from pruning_gen.data import subgroups
from pruning_gen.engine import progress
from pruning_gen.engine.part import Part
from pruning_gen.engine.part import Run
from pruning_gen.engine.stack import in_order
from pruning_gen.engine.stack import Member
from pruning_gen.experiments import chain
from pruning_gen.experiments import effects
from pruning_gen.experiments import el2n
from pruning_gen.experiments import label_sets
from pruning_gen.experiments.workload import Workload
from pruning_gen.storage import results
from pruning_gen.storage import roster
from pruning_gen.training.schedule import Schedule

NAME = 'leave_out'

# Which examples to leave out: (kind of set, number) -> example_ids. The number
# is the chain level whose losses chose the set, the subgroup, or the size.
Sets = dict[tuple[str, int], Int[np.ndarray, ' n']]
# Which examples each network trains on.
ExampleIds = dict[Member, Int[np.ndarray, ' n']]


def choose_most_improved(run: Run, *label_set) -> Sets:
  """Choose the examples whose loss pruning lowers most, at each level."""
  return {
    ('most_improved', level): order[:size]
    for level, order, size in _rank_by_effect(run, *label_set)
  }


def choose_most_worsened(run: Run, *label_set) -> Sets:
  """Choose the examples whose loss pruning raises most, at each level."""
  return {
    ('most_worsened', level): order[len(order) - size :]
    for level, order, size in _rank_by_effect(run, *label_set)
  }


def _rank_by_effect(run: Run, noise_fraction: float, replicate: int):
  """Yield levels, examples by rising effect, and how many to leave out."""
  config = run.config.leave_out
  optimal = effects.optimal_level(run, noise_fraction)
  for level in config.levels or (optimal,):
    effect = effects.effect(run.workdir, noise_fraction, replicate, level)
    order = np.argsort(effect, kind='stable')[: np.isfinite(effect).sum()]
    yield level, order, round(config.fraction * len(order))


def choose_misclassified(
  run: Run, noise_fraction: float, replicate: int
) -> Sets:
  """Choose the examples that the optimally sparse network misclassifies."""
  level = effects.optimal_level(run, noise_fraction)
  pruned = effects.read_pruned(run.workdir, noise_fraction, replicate, level)
  is_wrong = ~pruned['correct'] & np.isfinite(pruned['cross_entropy'])
  return {('misclassified', level): np.flatnonzero(is_wrong)}


def choose_subgroups(run: Run, *label_set) -> Sets:
  """Choose each subgroup by EL2N in turn."""
  scores = results.read_el2n(run.workdir)[label_set]
  groups = subgroups.divide(scores, run.config.num_subgroups)
  return {
    ('subgroup', group): np.flatnonzero(groups == group)
    for group in range(run.config.num_subgroups)
  }


# What `config.leave_out.sets` chooses from.
SETS = {
  'most_improved': choose_most_improved,
  'most_worsened': choose_most_worsened,
  'misclassified': choose_misclassified,
  'subgroups': choose_subgroups,
}


def choose_sets(run: Run, noise_fraction: float, replicate: int) -> Sets:
  """Choose all sets of a label set, and a random set of each size.

  Only the random sets contain images that cannot be decoded. Empty sets are
  dropped.
  """
  sets = {}
  for name in run.config.leave_out.sets:
    sets |= SETS[name](run, noise_fraction, replicate)
  num_examples = len(results.read_labels(run.workdir, 'chain')['true_labels'])
  key = streams.replicate_key(run.config.seed, replicate)
  random_order = np.asarray(
    jax.random.permutation(streams.draw_key(key, 'leave_out', 0), num_examples)
  )
  for size in sorted({len(ids) for ids in sets.values()}):
    sets['random', size] = random_order[:size]
  return {name: ids for name, ids in sets.items() if len(ids)}


def needs(config: ConfigDict) -> tuple[str, ...]:
  """Return the experiments whose results this one reads."""
  has_subgroups = 'subgroups' in config.leave_out.sets
  return (chain.NAME, el2n.NAME) if has_subgroups else (chain.NAME,)


def workloads(config: ConfigDict) -> list[Workload]:
  """Return its largest possible workloads: some sets are known only later."""
  num_label_sets = len(label_sets.list_label_sets(config))
  sets, levels = config.leave_out.sets, len(config.leave_out.levels) or 1
  chosen = levels * len({'most_improved', 'most_worsened'}.intersection(sets))
  # Which fraction how many sets leave out; one more leaves out a random set.
  counts = [
    (config.leave_out.fraction, chosen),
    (0.0, int('misclassified' in sets)),
    (1 / config.num_subgroups, config.num_subgroups * ('subgroups' in sets)),
  ]
  return [
    Workload(num_label_sets * (count + 1), config.epochs, fraction=1 - fraction)
    for fraction, count in counts
    if count
  ]


def list_parts(run: Run) -> dict[int, tuple[Part, ExampleIds]]:
  """List what to train: networks with equally many examples form one stack.

  Reads a finished chain and EL2N scores.

  Returns:
    By the number of examples, most first: a part, and which examples each of
    its members trains on.
  """
  num_examples = len(results.read_labels(run.workdir, 'chain')['true_labels'])
  by_size = {}
  for label_set in effects.known_label_sets(run):
    for (left_out, number), ids in choose_sets(run, *label_set).items():
      kept = np.setdiff1d(np.arange(num_examples, dtype=np.int32), ids)
      member = Member('dense', *label_set, left_out=left_out, chosen_at=number)
      by_size.setdefault(len(kept), {})[member] = kept
  parts = {}
  for num_train, example_ids in sorted(by_size.items(), reverse=True):
    part = Part(NAME, f'{NAME}/train_{num_train}', in_order(example_ids))
    parts[num_train] = part, _read_example_ids(run, part) | example_ids
  return parts


def _read_example_ids(run: Run, part: Part) -> ExampleIds:
  """Read which examples the networks of earlier starts train on."""
  there = roster.read(run.workdir, part.folder)
  if not there:
    return {}
  left_out = results.read_labels(run.workdir, part.folder)['left_out']
  return {
    Member(*member): np.flatnonzero(~row).astype(np.int32)
    for member, row in zip(there, left_out)
  }


def is_finished(run: Run) -> bool:
  """Return whether every network is in results.csv."""
  config = run.config
  if not chain.is_finished(run):
    return False
  if el2n.NAME in needs(config) and not el2n.is_finished(run):
    return False
  return all(
    part.is_finished(run.workdir) or num_train < config.batch_size
    for num_train, (part, _) in list_parts(run).items()
  )


def train(run: Run) -> None:
  """Train the networks that are not finished, most examples first."""
  config = run.config
  known = effects.known_label_sets(run)
  for noise_fraction, replicate in label_sets.list_label_sets(config):
    if (noise_fraction, replicate) not in known:
      progress.say(
        NAME,
        f'skipped noise {noise_fraction:g}, replicate {replicate}: its pruned '
        'network diverged, so there is no effect to choose examples by',
      )
  for num_train, (part, example_ids) in list_parts(run).items():
    if num_train < config.batch_size:
      progress.say(
        part.name,
        f'skipped, fewer examples than config.batch_size={config.batch_size}: '
        f'{", ".join(map(str, part.members))}',
      )
    else:
      chain.train_levels(run, part, Schedule(config.epochs), example_ids)
