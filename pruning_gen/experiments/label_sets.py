"""Who trains on which labels.

A label set is one draw of the training labels: (noise_fraction, replicate).
"""

import functools

import numpy as np
from etils import epath
from jaxtyping import Int
from ml_collections import ConfigDict

from pruning_gen.data import label_noise
from pruning_gen.data import streams
from pruning_gen.engine.part import Run
from pruning_gen.engine.stack import in_order
from pruning_gen.engine.stack import Member
from pruning_gen.engine.stack import Stack
from pruning_gen.storage.files import Pair


def list_label_sets(config: ConfigDict) -> list[tuple[float, int]]:
  """List the label sets of a config, in the order of all tables."""
  first = config.first_replicate
  return sorted(
    # One in every table and name, however it is written.
    (float(noise_fraction), replicate)
    for noise_fraction in config.noise_fractions
    for replicate in range(first, first + config.replicates)
  )


def list_scored(
  workdir: epath.PathLike, scores: Pair
) -> set[tuple[float, int]]:
  """List the label sets whose examples have scores in a workdir."""
  if not scores.exists(workdir):
    return set()
  table, _ = scores.read(workdir)
  return set(zip(table.noise_fraction, table.replicate))


def list_members(config: ConfigDict) -> list[Member]:
  """List the networks of the chain."""
  return in_order(
    Member(arm, *label_set)
    for label_set in list_label_sets(config)
    for arm in config.arms
  )


def make_stack(
  run: Run,
  members: list[Member],
  example_ids: dict[Member, Int[np.ndarray, ' num_examples']] | None = None,
  num_together: int = 0,
) -> Stack:
  """Draw the training labels of a stack, the same for all arms of a replicate.

  Args:
    example_ids: the examples that each trains on; all of them by default.
    num_together: see `Stack`.
  """
  dataset = run.dataset

  # A stack of hundreds has a dozen label sets, and each is drawn once.
  @functools.cache
  def draw(noise_fraction, replicate):
    key = streams.replicate_key(run.config.seed, replicate)
    return label_noise.corrupt_labels(
      streams.draw_key(key, 'noise', 0),
      dataset.train_labels,
      dataset.num_classes,
      noise_fraction,
      run.config.noise.kind,
    )

  drawn = [draw(member.noise_fraction, member.replicate) for member in members]
  labels, is_noisy = (np.stack(arrays) for arrays in zip(*drawn))
  if example_ids is None:
    every_id = np.arange(labels.shape[1], dtype=np.int32)
    own_ids = np.broadcast_to(every_id, labels.shape)
  else:
    own_ids = np.stack([example_ids[member] for member in members])
  return Stack(members, labels, is_noisy, own_ids, num_together)
