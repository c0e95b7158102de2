"""Narrow and extended: networks of one width that train as long as the chain.

Not in the paper, which crosses dense and smaller networks with standard and
longer training and leaves this cell out. Nothing is removed, and the learning
rate is replayed level after level, as in extended dense training.
"""

import bisect
import functools

from ml_collections import ConfigDict

from pruning_gen.data import datasets
from pruning_gen.engine.part import Part
from pruning_gen.engine.part import Run
from pruning_gen.engine.stack import Member
from pruning_gen.experiments import build
from pruning_gen.experiments import chain
from pruning_gen.experiments import effects
from pruning_gen.experiments import label_sets
from pruning_gen.experiments.workload import Workload

NAME = 'extended_width'


def needs(config: ConfigDict) -> tuple[str, ...]:
  """Return the experiments whose results this one reads."""
  return () if config.extended_width.width else (chain.NAME,)


def choose_width(config: ConfigDict, num_weights: int) -> float:
  """Return the width, in thousandths, of the network nearest in its weights.

  Args:
    num_weights: in all kernels.
  """
  info = datasets.info_in(config.data)

  @functools.cache
  def count(thousandths):
    return build.num_weights(config, info, thousandths / 1000)

  above = bisect.bisect_left(range(1000), num_weights, lo=1, key=count)
  nearest = min(
    (max(above - 1, 1), above), key=lambda i: abs(count(i) - num_weights)
  )
  return nearest / 1000


def is_narrower(config: ConfigDict) -> bool:
  """Return whether the widest network that may be trained is a narrow one."""
  info = datasets.info_in(config.data)
  full = build.num_weights(config, info)
  width = config.extended_width.width or choose_width(
    config, round(full * (1 - config.prune_fraction))
  )
  return build.num_weights(config, info, width) < full


def list_parts(run: Run) -> list[Part]:
  """List the widths, widest first: each has a folder.

  Reads a finished chain, unless the config has a width. As for leave-out, its
  optimal sparsities are of levels above 0, and label sets whose pruned network
  diverged are left out.
  """
  config, by_width = run.config, {}

  @functools.cache
  def choose(noise_fraction):
    level = effects.optimal_level(run, noise_fraction)
    size = effects.num_weights_at(run, noise_fraction, level)
    return choose_width(config, size), level

  if config.extended_width.width:
    for label_set in label_sets.list_label_sets(config):
      member = Member('dense', *label_set)
      by_width.setdefault(config.extended_width.width, []).append(member)
  else:
    for label_set in effects.known_label_sets(run):
      width, level = choose(label_set[0])
      member = Member('dense', *label_set, chosen_at=level)
      by_width.setdefault(width, []).append(member)
  return [
    Part(
      NAME, f'{NAME}_{width:g}', members, width=width, keeps_checkpoints=True
    )
    for width, members in sorted(by_width.items(), reverse=True)
  ]


def workloads(config: ConfigDict) -> list[Workload]:
  """Return its largest possible workload: the width may be known only later."""
  (dense,) = chain.workloads(config)
  networks = len(label_sets.list_label_sets(config))
  # Weights grow with the square of the width; the first level has most.
  width = config.extended_width.width or (1 - config.prune_fraction) ** 0.5
  return [dense._replace(networks=networks, width=width)]


def is_finished(run: Run) -> bool:
  """Return whether every network is in results.csv, at every level."""
  if needs(run.config) and not chain.is_finished(run):
    return False
  levels = run.config.levels
  return all(part.is_finished(run.workdir, levels) for part in list_parts(run))


def train(run: Run) -> None:
  """Train the levels of each width that are not finished."""
  for part in list_parts(run):
    chain.train_levels(run, part, chain.make_schedule(run.config))
