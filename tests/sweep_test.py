"""Jobs in local processes: workers that are stopped, killed and fail.

SWEEP_KILL_SECONDS=180 in the environment kills for the three minutes of the
issue: `python -m pytest tests/sweep_test.py -m long -k killed -s`.
"""

import contextlib
import os
import pathlib
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from launch import plan
from launch import sweep
from launch import workers

ROOT = pathlib.Path(__file__).parents[1]
# The three minutes; shorter in CI.
KILL_SECONDS = float(os.environ.get('SWEEP_KILL_SECONDS', '45'))

# A program of two steps that saves after each, and writes when it lives.
PROGRAM = """
  import os, pathlib, sys, time
  name, folder, *plan = sys.argv[1:]
  folder = pathlib.Path(folder)
  alive = folder / f'{name}.alive'
  alive.open('x').close()  # Fails where another lives.
  steps = folder / f'{name}.steps'
  done = len(steps.read_text()) if steps.exists() else 0
  what = plan[min(done, len(plan) - 1)]
  time.sleep(0.05)
  if what == 'crash':
    alive.unlink()
    print('it broke')
    sys.exit(3)
  with steps.open('a') as file:
    file.write('x')
  alive.unlink()
  sys.exit({'again': 75, 'save_and_crash': 3, 'done': 0}[what])
"""


def task(folder, name, *fate):
  steps = folder / f'{name}.steps'
  program = textwrap.dedent(PROGRAM)
  return workers.Task(
    name,
    [sys.executable, '-ISc', program, name, str(folder), *fate],
    lambda: steps.exists() and steps.stat().st_size,
  )


def run(folder, tasks, **kwargs):
  return workers.run(tasks, folder, wait=0.01, say=lambda _: None, **kwargs)


def test_again_until_done(tmp_path):
  tasks = [
    task(tmp_path, 'a', 'done'),
    task(tmp_path, 'b', 'again', 'again', 'again', 'done'),
    # Three failures, but never two without progress between.
    task(tmp_path, 'c', *['save_and_crash'] * 3, 'done'),
  ]
  outcome = run(tmp_path, tasks, workers=2, retries=1)
  assert outcome == {'a': 'done', 'b': 'done', 'c': 'done'}
  assert (tmp_path / 'b.steps').read_text() == 'xxxx'


def test_failures_end(tmp_path):
  tasks = [task(tmp_path, 'a', 'crash'), task(tmp_path, 'b', 'done')]
  outcome = run(tmp_path, tasks, retries=2)
  assert outcome == {'a': 'failed: ended by code 3, 3 in a row', 'b': 'done'}
  assert (tmp_path / 'logs/a.log').read_text() == 'it broke\n' * 3


def test_what_costs_money_is_done_once(tmp_path):
  for _ in range(2):
    jobs = [task(tmp_path, 'a', 'done'), task(tmp_path, 'b', 'done')]
    jobs[0] = jobs[0]._replace(once=True)
    assert run(tmp_path, jobs) == {'a': 'done', 'b': 'done'}
  assert (tmp_path / 'a.steps').read_text() == 'x'
  assert (tmp_path / 'b.steps').read_text() == 'xx'
  # Another command, as for another bucket, is another task.
  other = task(tmp_path, 'a', 'again', 'done')._replace(once=True)
  run(tmp_path, [other])
  assert (tmp_path / 'a.steps').read_text() == 'xx'


@pytest.mark.parametrize('broken', ['locks', 'logs'])
def test_a_task_that_cannot_be_started_ends_alone(tmp_path, broken):
  # A folder where the file is to be: full disks are hard to come by.
  name = {'locks': 'a', 'logs': 'a.log'}[broken]
  (tmp_path / broken / name).mkdir(parents=True)
  tasks = [task(tmp_path, 'a', 'done'), task(tmp_path, 'b', 'again', 'done')]
  said = []
  outcome = workers.run(
    tasks, tmp_path, workers=2, retries=1, wait=0.01, say=said.append
  )
  assert outcome['b'] == 'done'
  assert outcome['a'].startswith('failed: not started ([Errno')
  assert outcome['a'].endswith('2 in a row')
  assert sum(line.startswith('a: again: not started (') for line in said) == 1
  assert not (tmp_path / 'a.steps').exists()
  # Nor does it keep others from it.
  if broken == 'logs':
    workers.try_lock(tmp_path, 'a').close()


def test_the_report_of_a_task_without_a_log(tmp_path, capsys):
  assert sweep.report({'a': 'failed: not started (no space)'}, tmp_path) == 1
  assert 'ends with: no output' in capsys.readouterr().err


def test_a_task_that_cannot_be_noted_as_done_is_done(tmp_path, monkeypatch):
  def fail(source, target):
    raise OSError(28, 'No space left on device')

  tasks = [task(tmp_path, 'a', 'done')._replace(once=True)]
  said = []
  with monkeypatch.context() as patch:
    patch.setattr(os, 'replace', fail)
    outcome = workers.run(tasks, tmp_path, wait=0.01, say=said.append)
  assert outcome == {'a': 'done'}
  assert 'a cannot be written ([Errno 28] No space left' in said[1]
  # Nothing half written counts as done.
  assert run(tmp_path, tasks) == run(tmp_path, tasks) == {'a': 'done'}
  assert (tmp_path / 'a.steps').read_text() == 'xx'


def test_progress_is_whole_checkpoints(tmp_path):
  stage = tmp_path / 'checkpoints' / 'chain'
  (stage / '10').mkdir(parents=True)
  before = workers.workdir_progress(tmp_path)
  (stage / '15.orbax-checkpoint-tmp').mkdir()
  for name in ('1f2e', '1234'):
    (stage / '10' / name).touch()
  assert workers.workdir_progress(tmp_path) == before
  (stage / '15').mkdir()
  saved = workers.workdir_progress(tmp_path)
  assert saved != before
  (tmp_path / 'results.csv').write_text('experiment\n')
  assert workers.workdir_progress(tmp_path) != saved


def test_a_task_that_another_process_does_is_waited_for(tmp_path):
  lock = workers.try_lock(tmp_path, 'a')
  steps = tmp_path / 'a.steps'
  too_early = []

  def release():
    too_early.append(steps.exists())
    lock.close()

  timer = threading.Timer(0.3, release)
  timer.start()
  start = time.monotonic()
  assert run(tmp_path, [task(tmp_path, 'a', 'done')]) == {'a': 'done'}
  assert time.monotonic() - start > 0.3
  assert too_early == [False]
  assert steps.read_text() == 'x'


@pytest.fixture
def start_sweep():
  """Return a function that starts a sweep; what still runs is ended."""
  started = []

  def start(folder, *args):
    started.append(_start_sweep(folder, *args))
    return started[-1]

  yield start
  for process in started:
    if process.poll() is None:
      process.terminate()
      process.communicate(timeout=60)


def _start_sweep(folder, *args):
  return subprocess.Popen(
    [
      *(sys.executable, '-m', 'launch.sweep', 'run'),
      f'--plan={folder}/plan.jsonl',
      *args,
    ],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def finish(process, seconds=1800):
  output, _ = process.communicate(timeout=seconds)
  return process.returncode, output


def test_a_bad_plan_is_named(tmp_path, start_sweep):
  (tmp_path / 'plan.jsonl').touch()
  code, output = finish(start_sweep(tmp_path))
  assert code == 1 and 'plan.jsonl is empty: delete it and plan again' in output


def tiny_plan(folder, num_jobs=12, **overrides):
  """Plan jobs of seconds; a cache shared between them."""
  keys = {
    'arms': ('pruning', 'extended_dense'),
    'noise_fractions': (0.0, 0.15),
    # So that the kills hit runs, and not their start alone.
    'levels': max(8, round(KILL_SECONDS / 8)),
    'data.num_train': 640,
    'epochs': 3,
    'rewind_epoch': 1,
    'momentum': 0.9,
    'learning_rate': 0.02,
    'batch_size': 32,
    'model.widths': (20, 10),
    'checkpoint.every_epochs': 2,
    'tensorboard': False,
    'data.cache_dir': str(folder.parent / 'cache'),
  } | overrides
  jobs = plan.make_plan(
    ['quickstart'],
    folder,
    ['chain'],
    replicates=num_jobs,
    replicates_per_job=1,
    overrides=[
      f'{key}={value}'.replace(' ', '') for key, value in keys.items()
    ],
  )
  plan.write(folder / 'plan.jsonl', jobs)
  return jobs


def results(jobs):
  return [pathlib.Path(j.workdir, 'results.csv').read_bytes() for j in jobs]


def running_processes(jobs):
  """Find the processes that do jobs: {process id: job id}."""
  found, parents = {}, {}
  for path in pathlib.Path('/proc').glob('[0-9]*'):
    try:
      words = (path / 'cmdline').read_bytes().decode().split('\0')
      stat = (path / 'stat').read_text()
    except OSError:
      continue
    for job in jobs:
      if f'--workdir={job.workdir}' in words:
        found[int(path.name)] = job.id
        parents[int(path.name)] = int(stat.rpartition(')')[2].split()[1])
  # A child about to become another program still looks like its parent.
  return {pid: job for pid, job in found.items() if parents[pid] not in found}


needs_proc = pytest.mark.skipif(
  not pathlib.Path('/proc/self/cmdline').exists(), reason='needs /proc'
)


@needs_proc
@pytest.mark.slow
@pytest.mark.long
def test_a_killed_sweep_ends_like_a_calm_one(tmp_path, start_sweep):
  calm, wild = tmp_path / 'calm', tmp_path / 'wild'
  calm_jobs = tiny_plan(calm)
  code, output = finish(start_sweep(calm, '--workers=2'))
  assert code == 0, output

  rng = random.Random(0)
  jobs = tiny_plan(wild)
  process = start_sweep(wild, '--workers=2', '--retries=99')
  kills = {signal.SIGKILL: 0, signal.SIGTERM: 0}
  end = time.monotonic() + KILL_SECONDS
  while time.monotonic() < end and process.poll() is None:
    time.sleep(rng.uniform(2, 8))
    living = running_processes(jobs)
    # No job has two processes.
    assert len(set(living.values())) == len(living) <= 2
    if living:
      number = rng.choice(list(kills))
      with contextlib.suppress(ProcessLookupError):
        os.kill(rng.choice(list(living)), number)
        kills[number] += 1
  code, output = finish(process)
  assert code == 0, output
  assert '12 of 12 jobs done' in output
  print({number.name: count for number, count in kills.items()})
  print(f'{output.count(": started")} starts for 12 jobs')
  assert all(kills.values())
  assert results(jobs) == results(calm_jobs)


@needs_proc
@pytest.mark.slow
@pytest.mark.long
def test_a_sweep_is_started_again(tmp_path, start_sweep):
  folder = tmp_path / 'sweep'
  jobs = tiny_plan(folder, num_jobs=2)

  def wait_for_two():
    for _ in range(1200):
      if len(running_processes(jobs)) == 2:
        return
      time.sleep(0.1)
    raise AssertionError('two jobs never ran')

  process = start_sweep(folder, '--workers=2')
  wait_for_two()
  time.sleep(4)  # Both are past their imports and heed SIGTERM.
  process.terminate()
  code, output = finish(process)
  assert code == 75, output
  assert not running_processes(jobs)

  # Killed, it leaves its jobs to themselves; the next one waits for them.
  process = start_sweep(folder, '--workers=2')
  wait_for_two()
  process.kill()
  process.wait()
  process.stdout.close()
  orphans = running_processes(jobs)
  assert len(orphans) == 2
  process = start_sweep(folder, '--workers=2')
  while process.poll() is None:
    living = running_processes(jobs)
    assert len(set(living.values())) == len(living)
    time.sleep(0.2)
  code, output = finish(process)
  assert code == 0, output
