"""Faults injected into the real program: nothing finished is lost.

FAULTS=100 in the environment kills it as often (CI: 10). -s shows what was
tried.
"""

import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

from tests import program
from tests import restarts

pytestmark = pytest.mark.slow

FAULTS = int(os.environ.get('FAULTS', '10'))
# How long a preemption waits, in seconds.
GRACE = 20
OVERRIDES = (
  '--config.checkpoint.every_epochs=1',
  '--config.data.num_train=320',
)
LEVELS = 13


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp('faults')


@pytest.fixture(scope='module')
def calm(folder):
  """The results of an uninterrupted run."""
  code, _, err = run(folder / 'calm')
  assert code == 0, err
  return read(folder / 'calm')


def read(workdir):
  return restarts.read_files(workdir, 'results.csv', 'chain/')


def start(workdir, *overrides, cache=None, log=None):
  return program.start(
    log or workdir.with_name(f'{workdir.name}_log'),
    *program.arguments(workdir, cache),
    *OVERRIDES,
    *overrides,
  )


def run(workdir, *overrides, cache=None):
  return program.finish(start(workdir, *overrides, cache=cache))


@pytest.fixture(scope='module')
def stopped_once(folder):
  """A workdir of a run that was stopped in the middle."""
  workdir = folder / 'stopped'
  process = start(workdir)
  wait_for(workdir / 'chain' / 'level_004.npz', process)
  process.terminate()
  code, _, err = program.finish(process)
  assert code == 75, err
  return workdir


@pytest.fixture
def stopped(stopped_once, folder, request):
  workdir = folder / request.node.name.replace('/', '_')
  return shutil.copytree(stopped_once, workdir)


def wait_for(path, process):
  while not path.exists():
    assert process.is_alive(), program.finish(process)
    time.sleep(0.002)


def wait_for_both(path, first, second):
  """Wait for a file of two processes that were not forked."""
  for _ in range(30_000):
    if path.exists():
      return
    for process in (first, second):
      assert process.poll() is None, program.communicate(process)
    time.sleep(0.01)
  raise AssertionError(f'{path} never came')


def saved_epochs(workdir):
  names = listdir(workdir / 'checkpoints' / 'chain')
  return max((int(name) for name in names if name.isdigit()), default=0)


def is_saving(workdir):
  """Return whether there is half a checkpoint, whose name is not yet final."""
  return any('tmp' in name for name in listdir(workdir / 'checkpoints/chain'))


def listdir(path):
  return os.listdir(path) if path.exists() else []


def wait_for_save(workdir, process):
  # The program begins by removing what the last kill left of a save.
  while process.is_alive() and is_saving(workdir):
    time.sleep(0.0005)
  while process.is_alive() and not is_saving(workdir):
    time.sleep(0.0005)


def wait_for_training(workdir, process, beyond):
  """Wait until the program has saved an epoch of its own."""
  while process.is_alive() and saved_epochs(workdir) <= beyond:
    time.sleep(0.005)


def levels_measured(outputs):
  """List the levels that some starts have measured, by their output."""
  found = re.findall(r'level +(\d+), noise 0, pruning', ''.join(outputs))
  return sorted(map(int, found))


def test_sigkill_at_random_moments(calm, folder):
  workdir, generator = folder / 'killed', random.Random(0)
  code, in_save, by_phase = None, 0, {}
  for kill in range(FAULTS):
    if code == 0:
      # Done before all kills: start from scratch.
      assert read(workdir) == calm
      shutil.rmtree(workdir)
    before = saved_epochs(workdir)
    # After every epoch, or only at the ends of levels.
    every = f'--config.checkpoint.every_epochs={generator.choice((1, 100))}'
    process = start(workdir, every)
    if kill % 3 == 0:
      wait_for_save(workdir, process)
    elif kill % 3 == 1:
      wait_for_training(workdir, process, before)
      time.sleep(generator.uniform(0, 1))
    else:
      time.sleep(generator.uniform(0, 4))
    process.kill()
    code, out, err = program.finish(process)
    assert code in (0, -signal.SIGKILL), err
    # Otherwise it is left from the kill before.
    has_begun = 'resuming after' in out or 'no checkpoint yet' in out
    if has_begun and is_saving(workdir):
      in_save += 1
    # What was saved stays, so no start goes back.
    assert saved_epochs(workdir) >= before
    if 'resuming' in out:
      assert f'resuming after {before} epochs' in out
    phase = f'{code}, {before > 0}, trained {saved_epochs(workdir) > before}'
    by_phase[phase] = by_phase.get(phase, 0) + 1
  print(f'{FAULTS} kills, {in_save} inside a save; {by_phase}')
  assert in_save >= FAULTS // 4
  code, _, err = run(workdir)
  assert code == 0, err
  assert read(workdir) == calm


def test_sigterm_at_random_moments_repeats_nothing(calm, folder):
  workdir, generator = folder / 'preempted', random.Random(1)
  outputs, waited, code = [], [], 75
  for stop in range(max(4, FAULTS // 5)):
    before = saved_epochs(workdir)
    process = start(workdir)
    if stop % 2:
      wait_for_training(workdir, process, before)
      time.sleep(generator.uniform(0, 0.3))
      # The end of an ssh session sends both; a fast machine may be done.
      if process.is_alive():
        os.kill(process.pid, signal.SIGHUP)
    else:
      time.sleep(generator.uniform(0.2, 4))
    process.terminate()
    begin = time.monotonic()
    code, out, err = program.finish(process)
    waited.append(time.monotonic() - begin)
    outputs.append(out)
    if code == 0:
      break
    assert code == 75, err
    assert 'run the same command' in err
  print(f'{len(waited)} stops, at most {max(waited):.1f} s each')
  assert max(waited) < GRACE
  if code == 75:
    code, out, err = run(workdir)
    assert code == 0, err
    outputs.append(out)
  assert read(workdir) == calm
  assert levels_measured(outputs) == list(range(LEVELS))


@pytest.mark.skipif(not os.path.exists('/proc/self/status'), reason='Linux')
def test_sigterm_while_it_imports(folder):
  process = program.popen(folder / 'early')
  status = pathlib.Path(f'/proc/{process.pid}/status')
  caught = re.compile(r'SigCgt:\s*(\w+)')
  while not int(caught.search(status.read_text())[1], 16) >> 14 & 1:
    assert process.poll() is None, program.communicate(process)
    time.sleep(0.002)
  # The imports that follow take seconds.
  process.terminate()
  code, _, err = program.communicate(process)
  assert code == 75, err
  assert len(err.splitlines()) == 1 and 'run the same command' in err
  assert not (folder / 'early').exists()


def test_ctrl_c(folder, calm):
  workdir = folder / 'interrupted'
  process = start(workdir)
  wait_for_training(workdir, process, 2)
  os.kill(process.pid, signal.SIGINT)
  code, _, err = program.finish(process)
  assert code == 1
  assert 'run the same command' in err
  assert 'Traceback' not in err
  before = saved_epochs(workdir)
  code, out, err = run(workdir)
  assert code == 0, err
  assert f'resuming after {before} epochs' in out
  assert read(workdir) == calm


def test_a_second_program_on_one_workdir_is_refused(folder):
  workdir = folder / 'twice'
  first = start(workdir)
  wait_for_training(workdir, first, 0)
  second = program.start(
    folder / 'second', *program.arguments(workdir), *OVERRIDES
  )
  code, _, err = program.finish(second)
  assert code == 1
  assert f'--workdir={workdir} ' in err and f': {first.pid}}}' in err
  first.kill()
  program.finish(first)


@pytest.mark.long
def test_sigkill_while_a_run_grows(calm, folder):
  """By a noise level and by levels, of a run that was finished without them."""
  workdir, generator = folder / 'grown', random.Random(3)
  less = '--config.noise_fractions=(0.3,)', '--config.levels=6'
  code, _, err = run(workdir, *less)
  assert code == 0, err
  before = read(workdir)
  assert before.keys() < calm.keys()
  for _ in range(max(3, FAULTS // 5)):
    process = start(workdir)
    time.sleep(generator.uniform(2, 12))
    process.kill()
    code, _, err = program.finish(process)
    assert code in (0, -signal.SIGKILL), err
  code, _, err = run(workdir)
  assert code == 0, err
  assert read(workdir) == calm


def test_checkpoints_that_are_gone_stop_the_run(stopped):
  before = read(stopped)
  shutil.rmtree(stopped / 'checkpoints')
  for _ in range(2):
    code, _, err = run(stopped)
    assert code == 1
    assert re.search(r'results\.csv .*level \d+ .*/checkpoints/chain\b', err)
    assert read(stopped) == before


def test_a_write_that_fails(stopped, calm):
  """The kernel refuses files above 20 kB, as a full disk refuses them all."""
  before = read(stopped)
  limit = ('bash', '-c', 'ulimit -S -f 20 && exec "$@"', 'bash')
  code, _, err = program.communicate(
    program.popen(stopped, *OVERRIDES, prefix=limit)
  )
  assert code == 1
  assert ends_with(err, 'cannot be written', 'free space')
  after = read(stopped)
  # Epochs are written before their checkpoint, here the one that fails.
  epochs = before.pop('chain/epochs.csv')
  assert after['chain/epochs.csv'].startswith(epochs)
  assert {name: after[name] for name in before} == before
  code, _, err = run(stopped)
  assert code == 0, err
  assert read(stopped) == calm


def ends_with(err, *words):
  """Return whether the last line is a message of ours, with these words."""
  message = err.splitlines()[-1]
  return message.startswith('error: ') and all(
    word in message for word in words
  )


@contextlib.contextmanager
def mount(folder, *options):
  """Mount a file system in memory; only root may."""
  folder.mkdir(exist_ok=True)
  command = ['mount', '-t', 'tmpfs', *options, 'tmpfs', folder]
  if subprocess.run(command, capture_output=True).returncode:
    pytest.skip('mounting a small file system needs root')
  try:
    yield folder
  finally:
    subprocess.run(['umount', '-l', folder], check=True)


def test_a_full_disk(folder, calm):
  with mount(folder / 'disk', '-o', 'size=3m') as disk:
    workdir, cache = disk / 'run', folder / 'cache'
    process = start(workdir, cache=cache, log=folder / 'disk_log')
    wait_for(workdir / 'chain' / 'level_002.npz', process)
    ballast = disk / 'ballast'
    subprocess.run(
      ['dd', 'if=/dev/zero', f'of={ballast}', 'bs=4k'], capture_output=True
    )
    code, _, err = program.finish(process)
    assert code == 1
    assert ends_with(err, 'cannot be written', 'free space')
    assert len(np.load(workdir / 'chain' / 'level_000.npz')['correct']) == 4
    ballast.unlink()
    code, _, err = run(workdir, cache=cache)
    assert code == 0, err
    assert read(workdir) == calm


def _chmod(workdir, mode):
  workdir.chmod(mode)
  for path in workdir.rglob('*/'):
    # The program may rename it meanwhile.
    with contextlib.suppress(FileNotFoundError):
      path.chmod(mode)


@contextlib.contextmanager
def read_only(workdir):
  """Forbid writing below a folder, to root too."""
  if os.geteuid():
    try:
      _chmod(workdir, 0o500)
      yield
    finally:
      _chmod(workdir, 0o700)
    return
  bind = ['mount', '--bind', workdir, workdir]
  if subprocess.run(bind, capture_output=True).returncode:
    pytest.skip('root can write anywhere, and may not mount here')
  try:
    remount = ['mount', '-o', 'remount,ro,bind', workdir]
    deadline = time.monotonic() + 120
    # It is busy while the program has a file open there to write.
    while (result := subprocess.run(remount, capture_output=True)).returncode:
      assert time.monotonic() < deadline, result.stderr
      time.sleep(0.1)
    yield
  finally:
    subprocess.run(['umount', '-l', workdir], check=True)


def test_a_read_only_folder(stopped, calm):
  before = read(stopped)
  with read_only(stopped):
    log = stopped.with_name('read_only')
    code, _, err = program.finish(
      program.start(log, *program.arguments(stopped), *OVERRIDES)
    )
  assert code == 1
  assert 'cannot be written' in err and 'give permission' in err
  assert 'Traceback' not in err
  assert read(stopped) == before
  code, _, err = run(stopped)
  assert code == 0, err
  assert read(stopped) == calm


def test_a_folder_that_turns_read_only(folder, calm):
  workdir = folder / 'turned'
  process = start(workdir)
  wait_for(workdir / 'chain' / 'level_002.npz', process)
  with read_only(workdir):
    code, _, err = program.finish(process)
  assert code == 1
  assert ends_with(err, 'cannot be written', 'give permission')
  code, _, err = run(workdir)
  assert code == 0, err
  assert read(workdir) == calm


def test_a_save_that_cannot_begin(folder, calm):
  workdir = folder / 'blocked'
  process = start(workdir)
  wait_for(workdir / 'chain' / 'level_000.npz', process)
  # Each thread of a save waits for its folder, which now cannot be made.
  checkpoints = workdir / 'checkpoints' / 'chain'
  checkpoints.rename(folder / 'away')
  checkpoints.touch()
  begin = time.monotonic()
  code, _, err = program.finish(process)
  assert time.monotonic() - begin < 60
  assert code == 1
  assert 'cannot be written' in err and 'Traceback' not in err
  checkpoints.unlink()
  (folder / 'away').rename(checkpoints)
  code, _, err = run(workdir)
  assert code == 0, err
  assert read(workdir) == calm


@pytest.mark.long
def test_other_devices_are_refused_unless_allowed(stopped):
  three = {'XLA_FLAGS': '--xla_force_host_platform_device_count=3'}
  code, _, err = program.communicate(
    program.popen(stopped, *OVERRIDES, env=three)
  )
  assert code == 1
  assert '--allow_device_change' in err and str(stopped) in err
  code, _, err = program.communicate(
    program.popen(stopped, *OVERRIDES, '--allow_device_change', env=three)
  )
  assert code == 0, err
  starts = json.loads((stopped / 'provenance.json').read_text())['starts']
  assert [len(entry['devices']) for entry in starts][-1] == 3
  assert starts[-1]['resumed_from']['chain'] >= 11


def test_a_process_that_never_comes(folder):
  address = f'localhost:{program.free_port()}'
  process = program.popen(
    folder / 'alone',
    '--distributed',
    f'--coordinator_address={address}',
    '--num_processes=2',
    '--process_id=0',
    '--join_seconds=3',
  )
  code, _, err = program.communicate(process)
  assert code == 1
  assert re.search(
    rf'\b3 s \(--num_processes=2, --coordinator_address={address}\)', err
  )
  assert 'Traceback' not in err


def test_joining_without_an_address(folder):
  process = program.popen(folder / 'lost', '--distributed')
  begin = time.monotonic()
  code, _, err = program.communicate(process)
  assert code == 1
  assert '--distributed: ' in err and '--coordinator_address=HOST:PORT' in err
  assert 'Traceback' not in err
  # Not after --join_seconds.
  assert time.monotonic() - begin < 100


def test_two_processes_with_different_configs(folder):
  processes = start_two(folder / 'differ', ('--config.seed=1',))
  for process in processes:
    code, _, err = program.communicate(process)
    assert code == 1
    assert 'error: ' in err and '--config.key=value' in err
    assert 'Traceback' not in err
  assert not (folder / 'differ').exists()


@pytest.fixture(scope='module')
def two_calm(folder):
  """The results of two uninterrupted processes."""
  assert finish_two(start_two(folder / 'two_calm')) == [0, 0]
  return read(folder / 'two_calm')


@pytest.mark.long
def test_two_processes_stop_and_continue(folder, two_calm):
  workdir = folder / 'two_stopped'
  for i in range(2):
    before = saved_epochs(workdir)
    processes = start_two(workdir)
    wait_for_both(workdir / f'checkpoints/chain/{before + 5}', *processes)
    # A preemption reaches one host first.
    processes[i].terminate()
    begin = time.monotonic()
    assert finish_two(processes) == [75, 75]
    waited = time.monotonic() - begin
    print(f'SIGTERM to process {i}: both ended after {waited:.1f} s')
    assert waited < GRACE
  assert finish_two(start_two(workdir)) == [0, 0]
  assert read(workdir) == two_calm


@pytest.mark.long
@pytest.mark.parametrize('victim', [0, 1])
def test_one_of_two_processes_dies(folder, victim):
  workdir = folder / f'two_{victim}_killed'
  processes = start_two(workdir)
  wait_for_both(workdir / 'chain' / 'level_002.npz', *processes)
  assert die(processes, victim)[1 - victim] not in (0, 75)


@pytest.mark.long
def test_one_of_two_processes_fails(folder):
  """It writes files alone, so the other one cannot know."""
  workdir = folder / 'two_failed'
  processes = start_two(workdir)
  wait_for_both(workdir / 'chain' / 'level_002.npz', *processes)
  with read_only(workdir):
    begin = time.monotonic()
    (code, _, err), (other, _, _) = map(program.communicate, processes)
    print(f'a failed process: both ended after {time.monotonic() - begin:.1f}')
  assert time.monotonic() - begin < 150
  assert code == 1 and 'cannot be written' in err
  assert other not in (0, 75)


@pytest.mark.long
def test_two_processes_killed_at_random(folder, two_calm):
  workdir, generator = folder / 'two_killed', random.Random(2)
  for _ in range(max(3, FAULTS // 20)):
    before = saved_epochs(workdir)
    processes = start_two(workdir)
    wait_for_both(workdir / f'checkpoints/chain/{before + 1}', *processes)
    time.sleep(generator.uniform(0, 2))
    die(processes, generator.randrange(2))
    assert saved_epochs(workdir) > before
  assert finish_two(start_two(workdir)) == [0, 0]
  assert read(workdir) == two_calm


def die(processes, victim):
  """Kill one of two processes; the exit codes, once the other has ended."""
  processes[victim].kill()
  begin = time.monotonic()
  codes = finish_two(processes)
  waited = time.monotonic() - begin
  print(f'process {victim} killed: the other ended after {waited:.1f} s')
  assert waited < 150
  assert codes[victim] == -signal.SIGKILL
  return codes


def start_two(workdir, overrides_of_second=()):
  port = program.free_port()
  return [
    program.popen(
      workdir,
      *OVERRIDES,
      '--distributed',
      f'--coordinator_address=localhost:{port}',
      '--num_processes=2',
      f'--process_id={i}',
      *(overrides_of_second if i else ()),
    )
    for i in range(2)
  ]


def finish_two(processes):
  return [program.communicate(process)[0] for process in processes]
