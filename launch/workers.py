"""Runs jobs as local processes: one to its end, or many, a few at a time.

Exit codes are pruning_gen.main's: 0 done, 75 stopped and saved (run it again),
1 anything else.
"""

import collections
import contextlib
import fcntl
import functools
import os
import pathlib
import signal
import subprocess
import threading
from collections.abc import Iterator
from collections.abc import Mapping
from typing import NamedTuple

from etils import epath

from pruning_gen.errors import EXIT_PREEMPTED
from pruning_gen.errors import handling_stop
from pruning_gen.errors import LAUNCHER_SIGNALS
from pruning_gen.errors import UserError
from pruning_gen.launch import lease
from pruning_gen.storage import files
from pruning_gen.storage import provenance


class Task(NamedTuple):
  """A command to run to its end.

  Attributes:
    id: of its done-marker and its log.
    command: what to run.
    workdir: where its checkpoints and its done-marker are.
    leads: whether this process marks it as done and keeps others from its
      workdir; of several hosts the first.
  """

  id: str
  command: list[str]
  workdir: str
  leads: bool = True

  @property
  def marker(self) -> epath.Path:
    """The file that shows that the task is done."""
    return epath.Path(self.workdir) / 'done' / self.id


class Options(NamedTuple):
  """How to run tasks.

  Attributes:
    env: variables to add.
    logs: the folder for a log per task; '' to print what the program prints.
    retries: how many failures in a row without a new checkpoint to retry.
    wait: seconds before a retry; doubled by each.
  """

  env: Mapping[str, str] = {}
  logs: str = ''
  retries: int = 3
  wait: float = 1.0


say = functools.partial(print, flush=True)


def execute(task: Task, options: Options, stop: threading.Event) -> int:
  """Run a task to its end unless it is done; return 0, 75 or 1.

  `stop` sends SIGTERM to the program, which saves; a lost lease kills it.

  Raises:
    lease.InUseError: another launcher runs it.
  """
  if task.marker.exists():
    say(f'{task.id}: done before; delete {task.marker} to redo it')
    return 0
  with _hold(task) as (lost, inherited):
    failures = 0
    while True:
      before = progress(task.workdir)
      ended = _run_once(task, options, stop, lost, inherited)
      if lost.is_set():
        return 1
      if ended == 0:
        if task.leads:
          task.marker.parent.mkdir(parents=True, exist_ok=True)
          task.marker.write_text('')
        return 0
      if ended == EXIT_PREEMPTED or stop.is_set():
        return EXIT_PREEMPTED
      failures = 1 if progress(task.workdir) != before else failures + 1
      say(f'{task.id}: {ended}, failure {failures} in a row')
      if failures > options.retries:
        return 1
      if stop.wait(options.wait * 2 ** (failures - 1)):
        return EXIT_PREEMPTED


@contextlib.contextmanager
def _hold(task):
  """Hold a task's workdir.

  Yields an event that is set if it is lost, and the descriptors that a program
  must inherit: so it holds a folder even after its launcher was killed.
  """
  if not task.leads:
    yield threading.Event(), ()
  elif files.is_in_bucket(task.workdir):
    with lease.hold(task.workdir) as lost:
      yield lost, ()
  else:
    workdir = pathlib.Path(task.workdir)
    path = workdir.parent / 'locks' / workdir.name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('w') as file:
      try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError as error:
        in_use = f'{workdir} is in use by another launcher'
        raise lease.InUseError(in_use) from error
      except OSError:
        # No locks here, of which the program warns.
        pass
      yield threading.Event(), (file.fileno(),)


def _run_once(task, options, stop, lost, inherited):
  """Run a task's program; return 0, 75, or how it failed in words."""
  with contextlib.ExitStack() as stack:
    output = None
    if options.logs:
      os.makedirs(options.logs, exist_ok=True)
      path = f'{options.logs}/{task.id}.log'
      output = stack.enter_context(open(path, 'ab'))
    process = subprocess.Popen(
      task.command,
      stdout=output,
      stderr=output and subprocess.STDOUT,
      env=os.environ | options.env,
      pass_fds=inherited,
      # Ctrl-C reaches this process alone, which then stops the program once.
      start_new_session=True,
    )
  told, code = False, None
  while code is None:
    if lost.is_set():
      # The workdir is another's: the program must not save.
      process.kill()
    elif stop.is_set() and not told:
      process.terminate()
      told = True
    with contextlib.suppress(subprocess.TimeoutExpired):
      code = process.wait(0.1)
  if code in (0, EXIT_PREEMPTED):
    return code
  return f'signal {signal.Signals(-code).name}' if code < 0 else f'code {code}'


def progress(workdir: str) -> tuple[dict[str, int], int]:
  """Return a value that changes once a new checkpoint or result is saved."""
  results = epath.Path(workdir) / 'results.csv'
  size = results.stat().length if results.exists() else 0
  return provenance.saved_epochs(workdir), size


def run(
  groups: list[list[Task]], slots: list[Mapping[str, str]], options: Options
) -> dict[str, str]:
  """Run groups of tasks, each group in order, until this process is stopped.

  Args:
    groups: a task is run if the one before it in its group was done.
    slots: the environment of each worker.

  Returns:
    Dict from id to 'done', 'failed' or 'stopped'.
  """
  outcome = {task.id: 'stopped' for group in groups for task in group}
  queue = collections.deque(groups)

  def work(env):
    with contextlib.suppress(IndexError):
      while True:
        for task in queue.popleft():
          mine = options._replace(env=env)
          outcome[task.id] = _run_until_done(task, mine, stop)
          say(f'{task.id}: {outcome[task.id]}')
          if outcome[task.id] != 'done':
            break

  with stopping() as stop:
    threads = [threading.Thread(target=work, args=(slot,)) for slot in slots]
    for thread in threads:
      thread.start()
    for thread in threads:
      # In turns: a signal's handler runs between them.
      while thread.is_alive():
        thread.join(0.2)
  return outcome


def _run_until_done(task, options, stop):
  while not stop.is_set():
    try:
      code = execute(task, options, stop)
    except lease.InUseError:
      # By another launcher, or by the program of one that was killed.
      code = EXIT_PREEMPTED
    except (OSError, UserError) as error:
      say(f'{task.id}: {error}')
      code = 1
    if code != EXIT_PREEMPTED:
      return 'failed' if code else 'done'
    stop.wait(options.wait)
  return 'stopped'


@contextlib.contextmanager
def stopping() -> Iterator[threading.Event]:
  """Yield an event that is set when this process is told to stop."""
  stop = threading.Event()
  with handling_stop(lambda *_: stop.set(), LAUNCHER_SIGNALS):
    yield stop
