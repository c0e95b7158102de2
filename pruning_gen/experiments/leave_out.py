"""Leave-out retraining: dense networks without the examples in question.

Paper, sections 3 and 4, appendices D, E and K. Are the examples that pruning
changes most the ones that matter? Train a dense network from scratch without
them, and beside it one without as many examples chosen at random.
"""

import jax
import numpy as np
import tqdm

from pruning_gen import config as protocol
from pruning_gen.data import streams
from pruning_gen.data import subgroups
from pruning_gen.engine import session
from pruning_gen.engine.over_members import Member
from pruning_gen.experiments import build
from pruning_gen.experiments import chain
from pruning_gen.experiments import effects as selection
from pruning_gen.experiments import el2n
from pruning_gen.storage import results

NAME = 'leave_out'


def needs(config):
  """Name the experiments whose results this one reads."""
  return (
    ('chain', 'el2n') if 'subgroups' in config.leave_out.sets else ('chain',)
  )


def is_finished(config, workdir):
  """Tell whether every network is in results.csv."""
  stages = {'chain': chain, 'el2n': el2n}
  if not all(stages[n].is_finished(config, workdir) for n in needs(config)):
    return False
  stacks = list_stacks(config, workdir)
  return all(
    _stage(num_train).is_finished(workdir, members)
    for num_train, (members, _) in stacks.items()
    if num_train >= config.batch_size
  )


def run(config, workdir, dataset, should_stop):
  """Train the networks that are not there yet, by how many examples they see.

  Raises:
    Preempted: stopped on request, everything saved.
    UserError: a loss is not finite.
  """
  known = selection.label_sets(config, workdir)
  for noise_fraction, replicate in protocol.label_sets(config):
    if (noise_fraction, replicate) not in known:
      tqdm.tqdm.write(
        f'{NAME}: skipped noise {noise_fraction:g}, replicate {replicate}: its '
        'pruned network diverged, so nothing tells what to leave out'
      )
  for num_train, (members, example_ids) in list_stacks(config, workdir).items():
    stage = _stage(num_train)
    if num_train < config.batch_size:
      tqdm.tqdm.write(
        f'{stage.name}: skipped, fewer examples than config.batch_size='
        f'{config.batch_size}: {", ".join(map(str, members))}'
      )
    elif not stage.is_finished(workdir, members):
      engine = build.make_engine(config, dataset, members, example_ids)
      session.train_dense(
        session.once(config), workdir, stage, engine, should_stop
      )


def _stage(num_train):
  return session.Stage(NAME, f'{NAME}/train_{num_train}')


def list_stacks(config, workdir):
  """List what to train: networks that see as many examples make one stack.

  Args:
    config: the config.
    workdir: path, with a finished chain and EL2N scores.

  Returns:
    Dict from the number of training examples, falling, to (members,
    example_ids): list of Member and int32 [members, number].
  """
  num_examples = len(results.read_labels(workdir, 'chain')['true_labels'])
  stacks = {}
  for noise_fraction, replicate in selection.label_sets(config, workdir):
    left_out = choose_sets(config, workdir, noise_fraction, replicate)
    for arm, ids in left_out.items():
      member = Member(arm, noise_fraction, replicate)
      kept = np.ones(num_examples, bool)
      kept[ids] = False
      members, example_ids = stacks.setdefault(kept.sum(), ([], []))
      members.append(member)
      example_ids.append(np.flatnonzero(kept).astype(np.int32))
  return {
    int(num_train): (stacks[num_train][0], np.stack(stacks[num_train][1]))
    for num_train in sorted(stacks, reverse=True)
  }


def choose_sets(config, workdir, noise_fraction, replicate):
  """Choose the sets of one draw of the labels.

  What cannot be decoded is in none but the random ones.

  Returns:
    Dict from arm, 'most_improved_5' (at chain level 5), 'most_worsened_5',
    'misclassified_5', 'subgroup_03' or 'random_288' (as large as another),
    to int [n], the examples that are left out. Sets without examples are not
    there.
  """
  optimal = selection.optimal_level(config, workdir, noise_fraction)
  wanted = config.leave_out.sets
  sets = {}
  for level in config.leave_out.levels or (optimal,):
    effect = selection.effect(workdir, noise_fraction, replicate, level)
    order = np.argsort(effect, kind='stable')[: np.isfinite(effect).sum()]
    size = round(config.leave_out.fraction * len(order))
    if 'most_improved' in wanted:
      sets[f'most_improved_{level}'] = order[:size]
    if 'most_worsened' in wanted:
      sets[f'most_worsened_{level}'] = order[len(order) - size :]
  if 'misclassified' in wanted:
    pruned = selection.read_pruned(workdir, noise_fraction, replicate, optimal)
    is_wrong = ~pruned['correct'] & np.isfinite(pruned['cross_entropy'])
    sets[f'misclassified_{optimal}'] = np.flatnonzero(is_wrong)
  if 'subgroups' in wanted:
    scores = results.read_el2n(workdir)[noise_fraction, replicate]
    groups = subgroups.divide(scores, config.num_subgroups)
    for group in range(config.num_subgroups):
      sets[f'subgroup_{group:02d}'] = np.flatnonzero(groups == group)
  key = streams.replicate_key(config.seed, replicate)
  random_order = np.asarray(
    jax.random.permutation(streams.draw_key(key, 'leave_out', 0), len(effect))
  )
  for size in sorted({len(ids) for ids in sets.values()}):
    sets[f'random_{size}'] = random_order[:size]
  return {arm: ids for arm, ids in sets.items() if len(ids)}
