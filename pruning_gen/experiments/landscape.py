"""The loss around the networks of a chain, of levels whose weights are kept.

How much damage pruning does before the network is trained again (Bartoldson et
al. 2020); whether a straight line leads from one level to the next without a
barrier, and to a twin, which differs in the order of its data alone (linear
mode connectivity, Frankle et al. 2020); and how flat the training loss is.
Only twins are trained.
"""

import functools

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from pruning_gen import processes
from pruning_gen.engine import loss_surfaces
from pruning_gen.engine import measure
from pruning_gen.engine import progress
from pruning_gen.engine.inputs import Spec
from pruning_gen.engine.part import Run
from pruning_gen.engine.stack import Member
from pruning_gen.errors import UserError
from pruning_gen.experiments import build
from pruning_gen.experiments import chain
from pruning_gen.experiments import label_sets
from pruning_gen.experiments import twins
from pruning_gen.experiments.workload import Workload
from pruning_gen.storage import level_tables
from pruning_gen.storage import networks
from pruning_gen.storage import results

NAME = twins.FOLDER


def needs(config: ConfigDict) -> tuple[str, ...]:
  """Return the experiments whose results this one reads."""
  del config
  return (chain.NAME,)


def workloads(config: ConfigDict) -> list[Workload]:
  """Return its workloads, for time estimates: measuring, and training twins."""
  levels = len(config.landscape.levels)
  if not levels:
    keep = config.checkpoint.keep_levels
    levels = config.levels + 1 if 'all' in keep else len(keep)
  # To measure a network takes about as long as to evaluate it four times.
  measured = Workload(len(label_sets.list_members(config)), 0, 4 * levels)
  return [measured, *twins.workloads(config)]


def list_kept(run: Run) -> dict[Member, set[int]]:
  """List the levels at which each network of the chain was kept.

  Raises:
    UserError: one that the config asks for was trained and not kept.
  """
  config = run.config.landscape
  table = results.read_results(run.workdir)
  table = table[(table.experiment == chain.NAME) & (table.diverged == 0)]
  curves = table.groupby(results.CHAIN_NETWORK)['level'].agg(set).to_dict()
  found = {}
  for member in label_sets.list_members(run.config):
    trained = curves.get(member.identity, set())
    kept = {*networks.list_levels(run.workdir, *member.identity)} & trained
    wanted = {*config.levels, *twins.list_needed(run.config, member)}
    if not kept and run.config.levels in trained:
      wanted.add(0)
    missing = sorted(wanted & trained - kept)
    if missing:
      raise UserError(
        f'{NAME}: {run.workdir} has not kept the network of level {missing[0]} '
        f'of {member}: name others in config.landscape (it has '
        f'{", ".join(map(str, sorted(kept))) or "none"}), or train in another '
        '--workdir with --config.checkpoint.keep_levels="(\'all\',)"'
      )
    found[member] = kept
  return found


def list_unmeasured(run: Run) -> dict[int, list[Member]]:
  """List the networks that landscape.csv does not have yet, by level."""
  table = level_tables.read(run.workdir, level_tables.LANDSCAPE)[
    list(level_tables.IDENTITY)
  ]
  measured = set(table.itertuples(index=False, name=None))
  kept = list_kept(run)
  levels = run.config.landscape.levels or range(run.config.levels + 1)
  todo = {
    level: [
      member
      for member in kept
      if level in kept[member] and (*member.identity, level) not in measured
    ]
    for level in sorted(levels)
  }
  return {level: members for level, members in todo.items() if members}


def is_finished(run: Run) -> bool:
  """Return whether all networks are measured, and all twins."""
  # First: it raises errors before anything is trained.
  todo = list_unmeasured(run)
  return (
    chain.is_finished(run)
    and not todo
    and not twins.list_unfinished(run, list_kept(run))
  )


def train(run: Run) -> None:
  """Measure the networks that are kept; then train twins, and measure them."""
  todo = list_unmeasured(run)
  # Before any process writes: all must measure the same.
  processes.wait_for_all(NAME)
  tools = functools.cache(functools.partial(_make_tools, run))
  for level, members in todo.items():
    run.stop_if_asked(f'{NAME} before level {level}')
    table = _measure_level(run, *tools(tuple(members)), level)
    if processes.is_primary():
      level_tables.write(run.workdir, level_tables.LANDSCAPE, table)
    progress.say(NAME, f'level {level:2d} is measured')
  for part in twins.list_unfinished(run, list_kept(run)):
    twins.train(run, part)


def _make_tools(
  run: Run, members: tuple[Member, ...]
) -> tuple[Spec, loss_surfaces.Landscape]:
  progress.say(NAME, f'compiling for {len(members)} networks')
  together = len(results.read_members(run.workdir, chain.NAME))
  stack = label_sets.make_stack(run, list(members), num_together=together)
  spec = build.make_spec(run, stack, chain.make_schedule(run.config))
  return spec, loss_surfaces.build(spec)


def _measure_level(
  run: Run, spec: Spec, tools: loss_surfaces.Landscape, level: int
) -> pd.DataFrame:
  """Measure the networks of a stack at one level.

  Returns:
    The columns of landscape.csv.
  """
  members = spec.stack.members
  after = loss_surfaces.read_networks(run.workdir, members, level)
  state = loss_surfaces.place(spec, after)
  curvature = tools.curvature(state)
  table = loss_surfaces.identify(members, level).assign(
    hessian_eigenvalue=curvature.eigenvalue, hessian_residual=curvature.residual
  )
  columns = level_tables.COLUMNS[level_tables.LANDSCAPE]
  table = table.reindex(columns=list(columns))
  is_known = np.array(
    [
      level - 1 in networks.list_levels(run.workdir, *member.identity)
      for member in members
    ]
  )
  if not is_known.any():
    return table
  # Where the level before was not kept, the network itself stands in for it.
  before = [
    loss_surfaces.read_networks(run.workdir, [member], level - 1)[0]
    if known
    else own
    for member, known, own in zip(members, is_known, after)
  ]
  pruned = [loss_surfaces.prune(*pair) for pair in zip(before, after)]
  evaluated = tools.evaluate(loss_surfaces.place(spec, pruned))
  labels = run.dataset.test_labels
  table['test_error_before_pruning'] = [
    own.metadata['test_error'] for own in before
  ]
  table['test_error_after_pruning'] = [
    measure.error(own, labels) for own in evaluated['test'].prediction
  ]
  table['train_cross_entropy_after_pruning'] = [
    own.mean(dtype=np.float64) for own in evaluated['train'].cross_entropy
  ]
  barriers = tools.barriers(loss_surfaces.place(spec, before), state)
  table = table.assign(**barriers)
  # What they begin with is older than the level before.
  rewound = [not twins.has_one(member) for member in members]
  table.loc[rewound, list(level_tables.AFTER_PRUNING)] = np.nan
  table.loc[~is_known, list(level_tables.COMPARED)] = np.nan
  return table
