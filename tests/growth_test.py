"""A run that grows ends with the bytes of one that had all from the start."""

import json
import shutil

import pytest

from pruning_gen.engine import growth
from pruning_gen.engine.part import Run
from pruning_gen.errors import Preempted
from pruning_gen.errors import UserError
from pruning_gen.experiments import width
from pruning_gen.storage import results
from pruning_gen.storage import roster
from tests import restarts
from tests import small_chain

pytestmark = pytest.mark.slow

ALL = (
  'chain',
  'width',
  'el2n',
  'leave_out',
  'difficulty',
  'extended_width',
  'landscape',
)
# What the first start names less of.
LESS = {
  'a level': {'levels': 1},
  'an arm': {'arms': ('pruning', 'weight_rewinding')},
  'a replicate': {'replicates': 1, 'first_replicate': 1},
  'a noise fraction': {'noise_fractions': (0.2,)},
}
LESS_OF_ALL = {
  'an arm with weights to rewind to': {'arms': ('pruning', 'extended_dense')},
  'an experiment': {'experiments': ('chain', 'el2n')},
  'a width': {'width.levels': 0},
  'a set to leave out': {'leave_out.sets': ('misclassified',)},
  'a level to leave out at': {'leave_out.levels': (2,)},
  'much': {
    'levels': 1,
    'arms': ('pruning',),
    'replicates': 1,
    'width.levels': 0,
    # Others are chosen at the optimal sparsity.
    'leave_out.sets': ('most_improved',),
    'leave_out.levels': (1,),
  },
}


def make_config(**changes):
  config = small_chain.make_config()
  config.experiments = ('chain',)
  config.arms = ('weight_rewinding', 'pruning', 'extended_dense')
  config.replicates = 2
  config.el2n.epoch = config.el2n.networks = config.width.levels = 1
  config.leave_out.sets = ('most_improved', 'misclassified')
  # Not the optimal sparsity: more replicates or levels may move it.
  config.leave_out.levels = (1, 2)
  config.extended_width.width = 0.5
  config.difficulty.epochs = (1,)
  config.difficulty.networks = 1
  config.checkpoint.keep_levels = ('all',)
  config.landscape.num_examples = 50
  config.landscape.num_points = 3
  config.landscape.num_iterations = 3
  config.landscape.twin_levels = (1,)
  config.devices.count = 2
  config.update_from_flattened_dict(changes)
  return config


def expect_same(workdir, complete):
  found = restarts.read_files(workdir)
  assert found.keys() == complete.keys()
  for name, content in found.items():
    assert content == complete[name], name


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  with restarts.compiled_once():
    yield tmp_path_factory.mktemp('growth')


@pytest.fixture(scope='module')
def complete(folder, digits):
  """A chain that had all from the start."""
  restarts.start(make_config(), folder / 'complete', digits)
  return restarts.read_files(folder / 'complete')


@pytest.fixture(scope='module')
def without_an_arm(folder, digits):
  restarts.start(make_config(**LESS['an arm']), folder / 'without', digits)
  return folder / 'without'


@pytest.mark.parametrize('what', LESS)
def test_a_chain_grown_by(folder, digits, complete, what):
  workdir = folder / what
  restarts.start(make_config(**LESS[what]), workdir, digits)
  assert restarts.read_files(workdir) != complete
  restarts.start(make_config(), workdir, digits)
  expect_same(workdir, complete)


def test_after_keys_were_added_to_the_program(folder, digits, complete):
  workdir = folder / 'older'
  restarts.start(make_config(levels=1), workdir, digits)
  path = workdir / 'config.json'
  stored = json.loads(path.read_text())
  for key in ('noise', 'optimizer', 'eval_precision'):
    del stored[key]
  path.write_text(json.dumps(stored))
  with pytest.raises(UserError, match=r"noise\.kind: 'other' .* 'pair' now"):
    restarts.start(make_config(**{'noise.kind': 'pair'}), workdir, digits)
  restarts.start(make_config(), workdir, digits)
  expect_same(workdir, complete)


def test_killed_at_every_file_that_is_written(
  without_an_arm, digits, complete, tmp_path
):
  number, finished = 0, False
  while not finished:
    number += 1
    workdir = tmp_path / str(number)
    shutil.copytree(without_an_arm, workdir)
    before = results.finished_rows(workdir, 'chain')
    with restarts.kill_at(number):
      try:
        restarts.start(make_config(), workdir, digits)
        finished = True
      except restarts.Killed:
        assert results.finished_rows(workdir, 'chain') >= before
    restarts.start(make_config(), workdir, digits)
    expect_same(workdir, complete)
  # Rows of three levels, their arrays before and after, and more.
  assert number > 12


def test_stopped_while_it_grows_by_a_level_and_an_arm(
  without_an_arm, digits, complete, tmp_path
):
  workdir = tmp_path / 'run'
  restarts.start(make_config(**LESS['an arm'], levels=1), workdir, digits)
  asked = 0

  def should_stop():
    nonlocal asked
    asked += 1
    return asked > 5

  stops = 0
  while True:
    asked = 0
    try:
      restarts.start(make_config(), workdir, digits, should_stop)
      break
    except Preempted:
      stops += 1
  assert stops > 2
  expect_same(workdir, complete)


def test_what_a_start_does_not_name_stays(
  without_an_arm, digits, complete, tmp_path
):
  workdir = shutil.copytree(without_an_arm, tmp_path / 'run')
  restarts.start(
    make_config(arms=('extended_dense',), levels=1), workdir, digits
  )
  table = results.read_results(workdir)
  levels = table.groupby('arm')['level'].max().to_dict()
  assert levels == {'pruning': 2, 'weight_rewinding': 2, 'extended_dense': 1}
  # Less than there is: nothing to do.
  before = restarts.read_files(workdir)
  restarts.start(make_config(arms=('pruning',), replicates=1), workdir, digits)
  assert restarts.read_files(workdir) == before
  restarts.start(make_config(), workdir, digits)
  expect_same(workdir, complete)


def test_a_stack_continues_after_the_first_is_gone(tmp_path):
  """Width removes the checkpoints of a stack that is finished."""
  config = make_config(replicates=3, noise_fractions=(0.2,))
  run = Run(config, tmp_path, None, lambda: False)
  part = width.list_parts(config)[-1]
  first, second, third = part.members
  roster.write_stack(tmp_path, f'{part.name}+1', [second])
  found = growth.list_unfinished(run, part)
  assert [(own.name, own.members) for own in found] == [
    ('width-1+1', [second]),
    ('width-1', [first, third]),
  ]
  roster.write_stack(tmp_path, part.name, [first])
  found = growth.list_unfinished(run, part)
  assert [(own.name, own.members) for own in found] == [
    ('width-1', [first]),
    ('width-1+1', [second]),
    ('width-1+2', [third]),
  ]


def test_another_learning_rate_is_refused(without_an_arm, digits):
  before = restarts.read_files(without_an_arm)
  with pytest.raises(UserError, match=r'learning_rate: 0\.05 there, 0\.1 now'):
    restarts.start(make_config(learning_rate=0.1), without_an_arm, digits)
  assert restarts.read_files(without_an_arm) == before


def test_checkpoints_of_networks_that_are_to_grow_are_gone(
  without_an_arm, digits, tmp_path
):
  workdir = shutil.copytree(without_an_arm, tmp_path / 'run')
  shutil.rmtree(workdir / 'checkpoints')
  with pytest.raises(UserError, match='level 2 of chain'):
    restarts.start(make_config(levels=3), workdir, digits)


@pytest.fixture(scope='module')
def all_experiments(folder, digits):
  restarts.start(make_config(experiments=ALL), folder / 'all', digits)
  return restarts.read_files(folder / 'all')


@pytest.mark.long
@pytest.mark.parametrize('what', LESS_OF_ALL)
def test_every_experiment_grows(folder, digits, all_experiments, what):
  workdir = folder / what
  less = {'experiments': ALL} | LESS_OF_ALL[what]
  restarts.start(make_config(**less), workdir, digits)
  assert restarts.read_files(workdir) != all_experiments
  restarts.start(make_config(experiments=ALL), workdir, digits)
  expect_same(workdir, all_experiments)
