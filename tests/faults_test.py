"""Faults injected into the real program: nothing finished is lost.

FAULTS=100 in the environment runs so many kills (CI: 10).
"""

import json
import os
import random
import re
import signal
import subprocess
import time

import numpy as np
import pytest

from tests import main_test

pytestmark = pytest.mark.slow

FAULTS = int(os.environ.get('FAULTS', '10'))
EVERY_EPOCH = '--config.checkpoint.every_epochs=1'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp('faults')


@pytest.fixture(scope='module')
def calm(folder):
  """The results of a run that nothing happened to."""
  workdir = folder / 'calm'
  code, _, err = main_test.run(workdir, EVERY_EPOCH)
  assert code == 0, err
  return main_test.results(workdir)


def saved_epochs(workdir):
  steps = (workdir / 'checkpoints' / 'chain').glob('[0-9]*')
  return max((int(p.name) for p in steps if p.name.isdigit()), default=0)


def wait_for_training(workdir, process, beyond):
  """Wait until the program has saved an epoch of its own."""
  while process.poll() is None and saved_epochs(workdir) <= beyond:
    time.sleep(0.005)


def wait_for_save(workdir, process):
  """Wait until a save is under way: its folder has no final name yet."""
  checkpoints = workdir / 'checkpoints' / 'chain'
  while process.poll() is None:
    if any('tmp' in name for name in _listdir(checkpoints)):
      return True
    time.sleep(0.0005)
  return False


def _listdir(path):
  return os.listdir(path) if path.exists() else []


def test_sigkill_at_random_moments(calm, folder):
  workdir, generator = folder / 'killed', random.Random(0)
  kills = in_save = 0
  code = None
  while kills < FAULTS:
    if code == 0:
      # Done before all kills were dealt: again, from nothing.
      assert main_test.results(workdir) == calm
      subprocess.run(['rm', '-r', workdir], check=True)
    before = saved_epochs(workdir)
    process = main_test.start(workdir, EVERY_EPOCH)
    if kills % 3 == 0:
      in_save += wait_for_save(workdir, process)
    elif kills % 3 == 1:
      wait_for_training(workdir, process, before)
      time.sleep(generator.uniform(0, 1))
    else:
      time.sleep(generator.uniform(0, 4))
    process.kill()
    code, out, err = main_test.finish(process)
    assert code in (0, -signal.SIGKILL), err
    # Epochs are saved as they end, so no start goes back.
    assert saved_epochs(workdir) >= before
    if before and 'resuming' in out:
      assert f'resuming after {before} epochs' in out
    kills += 1
  assert in_save >= FAULTS // 4
  code, _, err = main_test.run(workdir, EVERY_EPOCH)
  assert code == 0, err
  assert main_test.results(workdir) == calm


@pytest.mark.long
def test_sigterm_again_and_again_repeats_nothing(calm, folder):
  workdir, generator = folder / 'preempted', random.Random(1)
  outputs, code = [], 75
  for _ in range(max(3, FAULTS // 5)):
    before = saved_epochs(workdir)
    process = main_test.start(workdir, EVERY_EPOCH)
    wait_for_training(workdir, process, before)
    time.sleep(generator.uniform(0, 0.3))
    process.terminate()
    start = time.monotonic()
    code, out, err = main_test.finish(process)
    assert time.monotonic() - start < 20
    outputs.append(out)
    if code == 0:
      break
    assert code == 75, err
  if code == 75:
    code, out, err = main_test.run(workdir, EVERY_EPOCH)
    assert code == 0, err
    outputs.append(out)
  assert main_test.results(workdir) == calm
  # Every level was measured once, whichever start did it.
  measured = re.findall(r'level +(\d+), noise 0, pruning', ''.join(outputs))
  assert sorted(map(int, measured)) == list(range(13))


def test_a_second_program_on_one_workdir_is_refused(folder):
  workdir = folder / 'twice'
  first = main_test.start(workdir, EVERY_EPOCH)
  main_test.wait_for(workdir / 'lock.json', first)
  time.sleep(0.2)
  code, _, err = main_test.run(workdir, EVERY_EPOCH)
  assert code == 1
  assert 'is in use ({"host": ' in err and f': {first.pid}}})' in err
  first.kill()
  main_test.finish(first)


@pytest.fixture
def stopped(folder, request):
  """A workdir of a run that was stopped in the middle."""
  workdir = folder / request.node.name.replace('/', '_')
  process = main_test.start(workdir, EVERY_EPOCH)
  main_test.wait_for(workdir / 'chain' / 'level_004.npz', process)
  process.terminate()
  code, _, err = main_test.finish(process)
  assert code == 75, err
  return workdir


def test_bytes_that_change_on_disk_are_seen(stopped, calm):
  newest = saved_epochs(stopped)
  folder = stopped / 'checkpoints' / 'chain' / str(newest)
  values = max(
    (p for p in folder.rglob('*') if p.is_file()),
    key=lambda p: p.stat().st_size,
  )
  content = bytearray(values.read_bytes())
  for i in range(len(content) // 2, len(content) // 2 + 64):
    content[i] ^= 0x5A
  values.write_bytes(content)
  code, out, err = main_test.run(stopped, EVERY_EPOCH)
  assert code == 0, err
  assert f'/{newest} is damaged' in out
  assert f'resuming after {newest - 1} epochs' in out
  assert main_test.results(stopped) == calm


def test_checkpoints_that_are_gone_stop_the_run(stopped):
  before = main_test.results(stopped)
  subprocess.run(['rm', '-r', stopped / 'checkpoints'], check=True)
  code, _, err = main_test.run(stopped, EVERY_EPOCH)
  assert code == 1
  assert 'results.csv has level' in err and 'has no checkpoint' in err
  assert main_test.results(stopped) == before


def test_a_write_that_fails(stopped, calm):
  """The kernel refuses files above 20 kB, as a full disk refuses them all."""
  before = main_test.results(stopped)

  limit = ('bash', '-c', 'ulimit -S -f 20 && exec "$@"', 'bash')
  code, _, err = main_test.finish(
    main_test.start(stopped, EVERY_EPOCH, prefix=limit)
  )
  assert code == 1
  assert 'error: ' in err and 'cannot be written' in err
  assert 'Traceback' not in err
  after = main_test.results(stopped)
  assert {name: after[name] for name in before} == before
  code, _, err = main_test.run(stopped, EVERY_EPOCH)
  assert code == 0, err
  assert main_test.results(stopped) == calm


@pytest.fixture
def small_disk(tmp_path):
  """A file system of 3 MB; only root may mount one."""
  mounted = tmp_path / 'disk'
  mounted.mkdir()
  command = ['mount', '-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', mounted]
  if subprocess.run(command, capture_output=True).returncode:
    pytest.skip('mounting a small file system needs root')
  yield mounted
  subprocess.run(['umount', '-l', mounted], check=True)


@pytest.mark.long
def test_a_full_disk(small_disk, calm):
  workdir = small_disk / 'run'
  cache = f'--config.data.cache_dir={small_disk.parent / "cache"}'
  process = main_test.start(workdir, EVERY_EPOCH, cache)
  main_test.wait_for(workdir / 'chain' / 'level_002.npz', process)
  ballast = small_disk / 'ballast'
  subprocess.run(
    ['dd', 'if=/dev/zero', f'of={ballast}', 'bs=4k'], capture_output=True
  )
  code, _, err = main_test.finish(process)
  assert code == 1
  assert 'cannot be written' in err and 'make space' in err
  assert len(np.load(workdir / 'chain' / 'level_000.npz')['correct']) == 4
  ballast.unlink()
  code, _, err = main_test.run(workdir, EVERY_EPOCH, cache)
  assert code == 0, err
  assert main_test.results(workdir) == calm


@pytest.mark.long
def test_other_devices_are_refused_unless_allowed(stopped):
  three = {'XLA_FLAGS': '--xla_force_host_platform_device_count=3'}
  code, _, err = main_test.finish(
    main_test.start(stopped, EVERY_EPOCH, env=three)
  )
  assert code == 1
  assert 'was begun on other devices' in err
  code, _, err = main_test.finish(
    main_test.start(stopped, EVERY_EPOCH, '--allow_device_change', env=three)
  )
  assert code == 0, err
  starts = json.loads((stopped / 'provenance.json').read_text())['starts']
  assert [len(entry['devices']) for entry in starts][-1] == 3
  assert starts[-1]['resumed_from']['chain'] >= 11


@pytest.mark.long
def test_two_processes_stop_and_go_on(folder):
  calm, stopped = folder / 'two_calm', folder / 'two_stopped'
  assert finish_two(start_two(calm)) == [0, 0]
  processes = start_two(stopped)
  main_test.wait_for(stopped / 'chain' / 'level_004.npz', processes[0])
  # A preemption reaches one host first.
  processes[1].terminate()
  assert finish_two(processes) == [75, 75]
  assert finish_two(start_two(stopped)) == [0, 0]
  assert main_test.results(stopped) == main_test.results(calm)


def test_a_process_that_never_comes(folder):
  process = main_test.start(
    folder / 'alone',
    '--distributed',
    '--coordinator_address=localhost:28476',
    '--num_processes=2',
    '--process_id=0',
    '--join_seconds=3',
  )
  code, _, err = main_test.finish(process)
  assert code == 1
  assert 'did not all come within 3 s (--num_processes=2' in err
  assert 'Traceback' not in err


@pytest.mark.long
def test_one_of_two_processes_dies(folder):
  processes = start_two(folder / 'two_killed')
  main_test.wait_for(
    folder / 'two_killed' / 'chain' / 'level_002.npz', processes[0]
  )
  processes[1].kill()
  start = time.monotonic()
  codes = finish_two(processes)
  assert time.monotonic() - start < 150
  assert codes[1] == -signal.SIGKILL
  assert codes[0] not in (0, 75)


def start_two(workdir):
  port = 20_000 + random.SystemRandom().randrange(20_000)
  return [
    main_test.start(
      workdir,
      EVERY_EPOCH,
      '--distributed',
      f'--coordinator_address=localhost:{port}',
      '--num_processes=2',
      f'--process_id={i}',
    )
    for i in range(2)
  ]


def finish_two(processes):
  return [main_test.finish(process)[0] for process in processes]
