"""A run that is interrupted at any moment ends with the same bytes.

In this process and in two, with programs compiled once. faults_test.py does it
to the real program, with signals.
"""

import collections
import contextlib
import functools
import gc
import inspect
import pathlib
import shutil
import subprocess
import sys
import time
from unittest import mock

import jax
import numpy as np
import pytest

from pruning_gen import processes
from pruning_gen.data import datasets
from pruning_gen.engine import mesh
from pruning_gen.engine.part import Run
from pruning_gen.engine.session import Session
from pruning_gen.errors import Preempted
from pruning_gen.errors import UserError
from pruning_gen.experiments import build
from pruning_gen.experiments import EXPERIMENTS
from pruning_gen.storage import results
from pruning_gen.storage.checkpoint import Checkpoints
from pruning_gen.storage.files import Pair
from tests import program
from tests import restarts
from tests import small_chain

EVERY_EPOCHS = 2

# Epochs of the chain: level 0 has 0, 1 and 2, later levels 1 and 2. It asks
# whether to stop before the first, after each, and before and after a level is
# evaluated. 'stop' answers yes from the n-th time on; 'before' and 'after' end
# the run like a kill at the n-th call of a function.
MOMENTS = {
  'chain': {
    'at step 0': ('stop', 1),
    'inside the first epoch': ('after', 'train_epoch', 1),
    'at the epoch to rewind to': ('stop', 2),
    'after the epoch to rewind to': ('after', 'set_rewind_point', 1),
    'inside an epoch': ('after', 'train_epoch', 4),
    'at the boundary of two epochs': ('after', 'save', 3),
    'at the end of an epoch': ('stop', 7),
    'at the last epoch of a level': ('stop', 8),
    'inside the last epoch of a level': ('after', 'train_epoch', 5),
    'before evaluation': ('stop', 9),
    'in evaluation': ('after', 'evaluate', 2),
    'between arrays and rows': ('before', 'write_rows', 2),
    'between training and pruning': ('stop', 10),
    'before pruning': ('before', 'start_level', 2),
    'between pruning and the next level': ('after', 'start_level', 2),
    'at the end of the last level': ('stop', 12),
    'after the last level': ('before', 'write', 1),
  },
  'el2n': {
    'in el2n': ('stop', 2),
    'inside an epoch of el2n': ('after', 'train_epoch', 2),
    'in evaluation of el2n': ('after', 'evaluate', 1),
    'before the scores of el2n': ('before', 'write', 1),
  },
  'width': {
    'in width': ('stop', 2),
    'between two widths': ('stop', 6),
    'in evaluation of width': ('before', 'evaluate', 2),
    'between rows and checkpoints': ('before', 'remove_checkpoints', 1),
  },
  'leave_out': {
    'in leave_out': ('stop', 3),
    'inside an epoch of leave_out': ('after', 'train_epoch', 2),
    'in evaluation of leave_out': ('before', 'evaluate', 1),
  },
}
WATCHED_PROGRAMS = (
  'train_epoch',
  'set_rewind_point',
  'evaluate',
  'start_level',
)
WATCHED = (
  (Checkpoints, 'save'),
  (results, 'write_rows'),
  (Pair, 'write'),
  (results, 'remove_checkpoints'),
)


def make_config(devices):
  config = small_chain.make_config()
  config.arms = ('pruning', 'extended_dense', 'weight_rewinding')
  config.noise_fractions = (0.2,)
  config.el2n.epoch = 2
  config.el2n.networks = 2
  config.width.levels = 1
  config.leave_out.sets = ('most_improved',)
  config.devices.count = devices
  config.checkpoint.every_epochs = EVERY_EPOCHS
  return config


def run(config, dataset, workdir, name, moment=('never',), states=None):
  """Run an experiment up to a moment.

  Args:
    config: the config.
    dataset: of the run.
    workdir: folder.
    name: of the experiment.
    moment: from `MOMENTS`.
    states: dict, gets the stacks at the ends of levels.

  Returns:
    How often each function was called.
  """
  calls = collections.Counter()
  states = {} if states is None else states

  def should_stop():
    calls['asked'] += 1
    if moment == ('stop', 'at once'):
      return calls['train_epoch'] > 0
    return moment[0] == 'stop' and calls['asked'] >= moment[1]

  def watch(name, function):
    def watched(*args, **kwargs):
      calls[name] += 1
      if moment == ('before', name, calls[name]):
        raise restarts.Killed
      result = function(*args, **kwargs)
      if moment == ('after', name, calls[name]):
        raise restarts.Killed
      return result

    return watched

  def watched_programs(*args):
    programs = make_programs(*args)
    return programs._replace(
      **{
        name: watch(name, getattr(programs, name)) for name in WATCHED_PROGRAMS
      }
    )

  def end_level(self, state, level):
    packed = self._programs.pack(state)
    states[self._part.name, level] = jax.tree.map(mesh.gather, packed)
    end_level_(self, state, level)

  make_programs = build.make_programs
  end_level_ = Session.end_level
  with contextlib.ExitStack() as stack:
    stack.enter_context(restarts.end_threads())
    for owner, function, replacement in (
      *((owner, f, watch(f, getattr(owner, f))) for owner, f in WATCHED),
      (build, 'make_programs', watched_programs),
      (Session, 'end_level', end_level),
    ):
      stack.enter_context(mock.patch.object(owner, function, replacement))
    try:
      EXPERIMENTS[name].train(Run(config, workdir, dataset, should_stop))
    except (restarts.Killed, Preempted):
      assert moment != ('never',)
    else:
      # The first process alone writes scores, and is killed there.
      is_elsewhere = name == 'el2n' and not processes.is_primary()
      assert moment == ('never',) or (
        is_elsewhere and moment == ('before', 'write', 1)
      ), f'{moment} never came'
  # The first process writes for all, the others look at it too.
  processes.wait_for_all('run')
  return calls


class Layout:
  """Runs experiments on some devices, interrupted and uninterrupted."""

  def __init__(self, folder, dataset, devices):
    self.dataset, self.config = dataset, make_config(devices)
    self._folder = folder
    self._unbroken = {}

  def check(self, name, moment, damage=None):
    """Interrupt an experiment, run it again, and compare.

    Args:
      name: of the experiment.
      moment: from `MOMENTS`.
      damage: function of the newest checkpoint's path, called in between.

    Returns:
      How often epochs were trained and levels evaluated beyond what is needed.
    """
    calm, calm_states, needed = self._run_unbroken(name)
    states = {}
    workdir = self.new_workdir(name, 'broken')
    arguments = self.config, self.dataset, workdir, name
    calls = run(*arguments, moment, states)
    if damage:
      self._damage(workdir / 'checkpoints' / name, damage)
    calls += run(*arguments, states=states)
    assert restarts.read_files(workdir) == restarts.read_files(calm)
    assert states.keys() == calm_states.keys()
    jax.tree.map(np.testing.assert_array_equal, states, calm_states)
    finished = small_chain.make_run(self.config, workdir, self.dataset)
    assert EXPERIMENTS[name].is_finished(finished)
    return {
      key: calls[key] - needed[key] for key in ('train_epoch', 'evaluate')
    }

  def _run_unbroken(self, name):
    if name not in self._unbroken:
      states, workdir = {}, self.new_workdir(name, 'calm')
      calls = run(self.config, self.dataset, workdir, name, states=states)
      self._unbroken[name] = workdir, states, calls
    return self._unbroken[name]

  def _damage(self, checkpoints, damage):
    if processes.is_primary():
      numbers = [int(p.name) for p in checkpoints.iterdir() if p.name.isdigit()]
      damage(checkpoints / str(max(numbers)))
    processes.wait_for_all('damage')

  def new_workdir(self, name, kind):
    """Make a folder with what an experiment reads."""
    workdir = self._folder / f'{kind}_{name}'
    if name == 'leave_out':
      # By all processes.
      calm_chain, *_ = self._run_unbroken('chain')
    # The others may still look at what it removes.
    processes.wait_for_all('new workdir')
    if processes.is_primary():
      shutil.rmtree(workdir, ignore_errors=True)
      if name == 'leave_out':
        shutil.copytree(calm_chain, workdir)
      workdir.mkdir(parents=True, exist_ok=True)
    processes.wait_for_all('workdir')
    return workdir


def expect(moment, beyond):
  """Check how much was done again."""
  if moment[0] == 'stop':
    assert beyond == {'train_epoch': 0, 'evaluate': 0}
  else:
    assert 0 <= beyond['train_epoch'] <= EVERY_EPOCHS
    assert 0 <= beyond['evaluate'] <= 1


ROWS = [
  (name, moment, how)
  for name, moments in MOMENTS.items()
  for moment, how in moments.items()
]


def on_layouts(rows, is_long):
  """Make parameters: on one device and on four."""
  return [
    pytest.param(
      devices,
      *row,
      marks=pytest.mark.long if is_long(devices, row) else (),
    )
    for devices in (1, 4)
    for row in rows
  ]


@pytest.fixture(scope='module')
def layouts(tmp_path_factory, digits):
  """Layouts by the number of devices."""
  folder = tmp_path_factory.mktemp('resume')
  with restarts.compiled_once():
    yield {n: Layout(folder / str(n), digits, n) for n in (1, 4)}


@pytest.mark.slow
@pytest.mark.parametrize(
  'devices, name, moment, how',
  on_layouts(ROWS, lambda devices, row: devices > 1 and row[0] != 'chain'),
)
def test_the_same_bytes(layouts, devices, name, moment, how):
  expect(how, layouts[devices].check(name, how))


@pytest.mark.slow
def test_a_stop_says_where(layouts):
  layout = layouts[1]
  workdir = layout.new_workdir('width', 'stopped')
  # Seven times until level 1 begins: see `MOMENTS`.
  polls = iter([False] * 7 + [True])
  with pytest.raises(Preempted, match=r'^width-1 .* level 1, epoch 1$'):
    EXPERIMENTS['width'].train(
      Run(layout.config, workdir, layout.dataset, polls.__next__)
    )


@pytest.mark.slow
def test_twenty_preemptions_in_a_row(layouts, tmp_path):
  """Stopped at the end of every epoch but the last, it does nothing twice."""
  config = make_config(1)
  config.epochs = 8
  calm, broken = {}, {}
  start = functools.partial(run, config, layouts[1].dataset)
  needed = start(tmp_path / 'calm', 'chain', states=calm)
  # 8 epochs, then two levels of 7.
  assert needed['train_epoch'] == 22
  total = collections.Counter()
  for _ in range(21):
    calls = start(tmp_path / 'run', 'chain', ('stop', 'at once'), broken)
    assert calls['train_epoch'] == 1
    total += calls
  total += start(tmp_path / 'run', 'chain', states=broken)
  assert restarts.read_files(tmp_path / 'run') == restarts.read_files(
    tmp_path / 'calm'
  )
  jax.tree.map(np.testing.assert_array_equal, broken, calm)
  for name in ('train_epoch', 'evaluate', 'write_rows'):
    assert total[name] == needed[name], name


def largest_file(folder):
  paths = [path for path in folder.rglob('*') if path.is_file()]
  return max(paths, key=lambda path: (path.stat().st_size, path))


def cut_short(folder):
  path = largest_file(folder)
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(folder):
  largest_file(folder).write_bytes(b'')


def remove_file(folder):
  largest_file(folder).unlink()


def remove_marker(folder):
  (folder / 'commit_success.txt').unlink()


def garble(folder):
  path = largest_file(folder)
  content = bytearray(path.read_bytes())
  middle = len(content) // 2
  content[middle : middle + 64] = bytes(b ^ 0x5A for b in content[middle:][:64])
  path.write_bytes(content)


def cut_short_for_one(folder):
  """Cut what one of two processes alone reads."""
  cut_short(next(folder.rglob('ocdbt.process_1')))


DAMAGES = (cut_short, empty, remove_file, remove_marker, garble)
DAMAGES_OF_TWO = (*DAMAGES, cut_short_for_one)


@pytest.fixture
def warnings_of_orbax():
  """Collects the coroutines that a damaged file leaves, within the test."""
  yield
  deadline = time.monotonic() + 10
  gc.collect()
  # Threads of Orbax may hold some for a moment longer.
  while any(map(inspect.iscoroutine, gc.get_objects())):
    if time.monotonic() > deadline:
      break
    time.sleep(0.1)
    gc.collect()


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize(
  'devices, damage',
  on_layouts([(damage,) for damage in DAMAGES], lambda devices, _: devices > 1),
)
def test_the_newest_checkpoint_is_damaged(
  layouts, devices, damage, capsys, warnings_of_orbax
):
  # Saved after 3, 4 and 5 epochs, the last of level 1.
  beyond = layouts[devices].check('chain', ('stop', 8), damage)
  assert beyond == {'train_epoch': 1, 'evaluate': 0}
  said = capsys.readouterr().out
  assert 'chain/5 is damaged' in said
  assert 'resuming after 4 epochs' in said


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
def test_no_checkpoint_is_intact(layouts, warnings_of_orbax):
  """However often it starts, it refuses to start over."""
  layout = layouts[1]
  workdir = layout.new_workdir('chain', 'damaged')
  start = functools.partial(
    run, layout.config, layout.dataset, workdir, 'chain'
  )
  # Before anything is in results.csv.
  start(('stop', 3))
  saved = sorted((workdir / 'checkpoints' / 'chain').glob('[0-9]*'))
  assert [path.name for path in saved] == ['2']
  empty(saved[0])
  for _ in range(2):
    with pytest.raises(UserError, match=r'checkpoints/chain\b.*\[2\]'):
      start()


@pytest.mark.slow
def test_results_that_are_gone_stop_the_run(layouts):
  layout = layouts[1]
  workdir = layout.new_workdir('chain', 'without_results')
  start = functools.partial(
    run, layout.config, layout.dataset, workdir, 'chain'
  )
  start(('stop', 8))
  (workdir / 'results.csv').unlink()
  with pytest.raises(UserError, match=r'results\.csv .*level 0 of chain'):
    start()


@pytest.mark.long
@pytest.mark.slow
def test_the_same_bytes_in_two_processes(tmp_path):
  port = program.free_port()
  workers = [
    subprocess.Popen(
      [sys.executable, '-m', 'tests.resume_test', str(port), str(i), tmp_path],
      cwd=program.ROOT,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    for i in range(2)
  ]
  try:
    outputs = [worker.communicate(timeout=900)[0] for worker in workers]
  finally:
    for worker in workers:
      worker.kill()
  assert [worker.returncode for worker in workers] == [0, 0], outputs
  num_checks = len(ROWS) + len(DAMAGES_OF_TWO)
  assert outputs[0].count('the same bytes: ') == num_checks


def main(port, process, folder):
  """Check every row in one of two processes with a device each."""
  jax.config.update('jax_num_cpu_devices', 1)
  jax.distributed.initialize(f'localhost:{port}', 2, int(process))
  layout = Layout(
    pathlib.Path(folder), datasets.load('digits', num_train=200), 2
  )
  # As many members on each: neither reads the other's part of a checkpoint.
  layout.config.noise_fractions = (0.0, 0.2)
  with restarts.compiled_once():
    for name, moment, how in ROWS:
      expect(how, layout.check(name, how))
      print('the same bytes:', moment, flush=True)
    for damage in DAMAGES_OF_TWO:
      beyond = layout.check('chain', ('stop', 8), damage)
      assert beyond == {'train_epoch': 1, 'evaluate': 0}
      print('the same bytes:', damage.__name__, flush=True)


if __name__ == '__main__':
  main(*sys.argv[1:])
