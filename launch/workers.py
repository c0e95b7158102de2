"""Runs jobs in local processes, a few at a time, until each is done.

Exit codes as pruning_gen.main's: 0 done, 75 run me again, anything else a
failure. A process that a signal kills counts as a failure too, but failures
count only in a row: one that got further than the last starts at 1 again.
"""

import collections
import contextlib
import fcntl
import os
import pathlib
import shlex
import signal
import subprocess
import time
from typing import NamedTuple

EXIT_AGAIN = 75


class Task(NamedTuple):
  """A command to run to its end.

  Attributes:
    id: str, of the log and the lock.
    command: list of str.
    progress: () -> anything; equal before and after a run that got nowhere.
    once: bool, whether a command that was done is not run again to find out;
      for those that cost money.
  """

  id: str
  command: list
  progress: collections.abc.Callable = lambda: None
  once: bool = False


class _Run:
  """A task that is under way."""

  def __init__(self, task, folder, lock):
    self.task = task
    self.lock = lock
    self.before = task.progress()
    log = folder / 'logs' / f'{task.id}.log'
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open('ab') as output:
      self.process = subprocess.Popen(
        task.command,
        stdout=output,
        stderr=subprocess.STDOUT,
        # The lock outlives this process where the task does.
        pass_fds=(lock.fileno(),),
        # Ctrl-C reaches this process alone, which then stops the task once.
        start_new_session=True,
      )


def run(tasks, folder, workers=1, retries=2, wait=1.0, say=print):
  """Run tasks until each is done, has failed, or this process is told to stop.

  No task runs twice at once, not even where several processes run the same
  tasks, or one that was killed is started again: a task holds the lock
  FOLDER/locks/ID as long as it lives.

  Args:
    tasks: list of Task.
    folder: path, for logs/, locks/ and done/.
    workers: int, how many at once.
    retries: int, how many failures in a row without progress are run again.
    wait: seconds before a task is run again, or a lock is tried again.
    say: called with a line for every start and end.

  Returns:
    Dict from id to 'done', 'failed: ...' or 'stopped'.
  """
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  waiting = collections.deque((0.0, task) for task in tasks)
  failures = collections.Counter()
  running, outcome, stopping = [], {}, False

  def settle(task, verdict):
    say(f'{task.id}: {verdict}')
    if verdict.startswith('again'):
      waiting.append((time.monotonic() + wait, task))
    else:
      outcome[task.id] = verdict

  with _stop_signals() as stop:
    while waiting or running:
      if stop and not stopping:
        stopping = True
        for run_ in running:
          _terminate(run_.process)
      if stopping:
        outcome |= {task.id: 'stopped' for _, task in waiting}
        waiting.clear()
      for _ in range(len(waiting) if len(running) < workers else 0):
        due, task = waiting.popleft()
        try:
          begun = _begin(folder, task) if due <= time.monotonic() else None
        except OSError as error:
          reason = f'not started ({error})'
          settle(task, _count_failure(task, failures, retries, reason))
          continue
        if begun is None:
          due = max(due, time.monotonic() + wait / 10)
          waiting.append((due, task))
        elif begun == 'done':
          outcome[task.id] = 'done'
          say(f'{task.id}: done before; delete {folder}/done/{task.id} to redo')
        else:
          running.append(begun)
          say(f'{task.id}: started')
        if len(running) == workers:
          break
      for run_ in [r for r in running if r.process.poll() is not None]:
        running.remove(run_)
        if run_.process.returncode == 0:
          _note_done(folder, run_.task, say)
        run_.lock.close()
        settle(run_.task, _judge(run_, failures, retries, stopping))
      time.sleep(min(0.1, wait / 10))
  return outcome


def _begin(folder, task):
  """Start a task.

  Args:
    folder: path, as `run`'s.
    task: Task.

  Returns:
    A _Run; None: another process has it; 'done': it was done before.

  Raises:
    OSError: it cannot be started; nothing is left of the attempt.
  """
  lock = try_lock(folder, task.id)
  if lock is None:
    return None
  with contextlib.ExitStack() as stack:
    stack.enter_context(lock)
    if task.once and _was_done(folder, task):
      return 'done'
    begun = _Run(task, folder, lock)
    stack.pop_all()
    return begun


def _judge(run_, failures, retries, stopping):
  code, task = run_.process.returncode, run_.task
  if code == 0:
    return 'done'
  if stopping:
    return 'stopped'
  if code == EXIT_AGAIN:
    return 'again: stopped and saved'
  if task.progress() != run_.before:
    failures[task.id] = 0
  name = f'signal {signal.Signals(-code).name}' if code < 0 else f'code {code}'
  return _count_failure(task, failures, retries, f'ended by {name}')


def _count_failure(task, failures, retries, reason):
  failures[task.id] += 1
  verdict = 'again' if failures[task.id] <= retries else 'failed'
  return f'{verdict}: {reason}, {failures[task.id]} in a row'


def try_lock(folder, name):
  """Return the open, locked file FOLDER/locks/NAME; None: another has it."""
  path = folder / 'locks' / name
  path.parent.mkdir(parents=True, exist_ok=True)
  lock = path.open('w')
  try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    lock.close()
    return None
  return lock


def _note_done(folder, task, say):
  path = folder / 'done' / task.id
  beside = path.with_name(f'.{task.id}.tmp')
  try:
    path.parent.mkdir(exist_ok=True)
    beside.write_text(shlex.join(task.command))
    os.replace(beside, path)
  except OSError as error:
    # Other tasks are under way, and this one is done all the same.
    say(
      f'{task.id}: {path} cannot be written ({error}); the next run of this '
      'plan starts it again'
    )


def _was_done(folder, task):
  path = folder / 'done' / task.id
  return path.exists() and path.read_text() == shlex.join(task.command)


def _terminate(process):
  with contextlib.suppress(ProcessLookupError):
    # Not its group: a launcher must tidy up after its own children.
    process.terminate()


@contextlib.contextmanager
def _stop_signals():
  """Give a list that is no longer empty once this process is to stop."""
  received = []
  signals = (signal.SIGTERM, signal.SIGINT)
  old = [signal.signal(s, lambda n, _: received.append(n)) for s in signals]
  try:
    yield received
  finally:
    for number, handler in zip(signals, old):
      signal.signal(number, handler)


def workdir_progress(workdir):
  """Tell how far a run in a local workdir has come, to compare."""
  workdir = pathlib.Path(workdir)
  # Half saves, `12.orbax-checkpoint-tmp`, and the files inside of checkpoints,
  # whose names are random, also begin with digits.
  checkpoints = sorted(
    str(path)
    for path in workdir.glob('checkpoints/**/[0-9]*')
    if path.name.isdigit() and path.is_dir()
  )
  results = workdir / 'results.csv'
  size = os.path.getsize(results) if results.exists() else 0
  return checkpoints, size
