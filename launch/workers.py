"""Runs jobs as local processes: one to its end, or many, a few at a time.

Exit codes are pruning_gen.main's: 0 done, 75 stopped and saved (run it again),
1 anything else.
"""

import collections
import contextlib
import functools
import importlib.metadata
import json
import os
import shlex
import signal
import subprocess
import threading
from typing import NamedTuple

from etils import epath
from pruning_gen.launch import lease

from pruning_gen.errors import UserError

EXIT_AGAIN = 75


class Task(NamedTuple):
  """A command to run to its end.

  Attributes:
    id: of its done-marker and its log.
    command: what to run.
    workdir: where its checkpoints and its done-marker are.
    leads: whether this process marks and locks; of several hosts the first.
  """

  id: str
  command: list[str]
  workdir: str
  leads: bool = True

  @property
  def marker(self) -> epath.Path:
    """The file that shows that the task is done."""
    return epath.Path(self.workdir) / 'done' / self.id

  @property
  def work(self) -> str:
    """The command without its interpreter, which does not matter."""
    return shlex.join(self.command[1:])

  def is_done(self) -> bool:
    """Return whether the task was done, by the same command."""
    return self.marker.exists() and self.marker.read_text() == self.work


class Options(NamedTuple):
  """How to run tasks.

  Attributes:
    env: variables to add.
    logs: the folder for a log per task; '' to print what the program prints.
    retries: how many failures in a row without a new checkpoint to retry.
    wait: seconds before a retry; doubled by each.
    lock: whether to keep other launchers from the workdir.
    say: called with a line for the user.
  """

  env: dict | None = None
  logs: str = ''
  retries: int = 3
  wait: float = 1.0
  lock: bool = True
  say: collections.abc.Callable = functools.partial(print, flush=True)


def execute(task: Task, options: Options, stop: threading.Event) -> int:
  """Run a task to its end unless it is done; return 0, 75 or 1.

  If `stop` is set, the program is sent SIGTERM, and saves.

  Raises:
    lease.InUseError: another launcher runs it.
  """
  if task.is_done():
    options.say(f'{task.id}: done before; delete {task.marker} to redo it')
    return 0
  with _hold(task, options) as (lock, lost):
    warn_of_versions(task.workdir, options.say)
    failures = 0
    while True:
      before = progress(task.workdir)
      ended = _run_once(task, options, lock, lambda: stop.is_set() or lost())
      if ended == 0:
        _mark_done(task, options.say)
      if ended == 0 or lost():
        return int(ended != 0)
      if ended == EXIT_AGAIN or stop.is_set():
        return EXIT_AGAIN
      failures = 1 if progress(task.workdir) != before else failures + 1
      options.say(f'{task.id}: {ended}, failure {failures} in a row')
      if failures > options.retries:
        return 1
      if stop.wait(options.wait * 2 ** (failures - 1)):
        return EXIT_AGAIN


@contextlib.contextmanager
def _hold(task, options):
  """Hold a task's workdir: a descriptor to inherit, and whether it was lost."""
  if not (options.lock and task.leads):
    yield None, lambda: False
  elif '://' in task.workdir:
    with lease.hold_bucket(task.workdir, options.say) as lost:
      yield None, lost.is_set
  else:
    with lease.hold_folder(task.workdir, options.say) as lock:
      yield lock, lambda: False


def _run_once(task, options, lock, should_stop):
  """Run a task's program; return 0, 75, or how it failed in words."""
  try:
    with _output(task, options.logs) as output:
      process = subprocess.Popen(
        task.command,
        stdout=output,
        stderr=output and subprocess.STDOUT,
        env=os.environ | (options.env or {}),
        pass_fds=() if lock is None else (lock,),
        # Ctrl-C reaches this process alone, which then stops the program once.
        start_new_session=True,
      )
  except OSError as error:
    return f'not started ({error})'
  told, code = False, None
  while code is None:
    if should_stop() and not told:
      process.terminate()
      told = True
    with contextlib.suppress(subprocess.TimeoutExpired):
      code = process.wait(0.1)
  if code in (0, EXIT_AGAIN):
    return code
  return f'signal {signal.Signals(-code).name}' if code < 0 else f'code {code}'


@contextlib.contextmanager
def _output(task, logs):
  if not logs:
    yield None
    return
  os.makedirs(logs, exist_ok=True)
  with open(f'{logs}/{task.id}.log', 'ab') as output:
    yield output


def _mark_done(task, say):
  if not task.leads:
    return
  try:
    task.marker.parent.mkdir(parents=True, exist_ok=True)
    temporary = task.marker.with_name(f'.{task.id}.tmp')
    temporary.write_text(task.work)
    temporary.replace(task.marker)
  except OSError as error:
    # Other tasks are running, and this one is done all the same.
    say(f'{task.marker} cannot be written ({error}): the task will run again')


def progress(workdir: str):
  """Return a value that changes once a new checkpoint or result is saved."""
  folder = epath.Path(workdir) / 'checkpoints'
  # Unfinished saves and files inside of checkpoints also begin with digits.
  checkpoints = sorted(
    str(path)
    for pattern in ('*/[0-9]*', '*/*/[0-9]*')
    for path in folder.glob(pattern)
    if path.name.isdigit()
  )
  results = epath.Path(workdir) / 'results.csv'
  return checkpoints, results.stat().length if results.exists() else 0


def warn_of_versions(workdir: str, say):
  """Warn if a workdir was last run with another jax, jaxlib or libtpu."""
  path = epath.Path(workdir) / 'provenance.json'
  starts = json.loads(path.read_text())['starts'] if path.exists() else []
  last = starts[-1]['versions'] if starts else {}
  for name in {'jax', 'jaxlib', 'libtpu'} & last.keys():
    try:
      here = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      here = None
    if here != last[name]:
      say(
        f'warning: {workdir} was last run with {name} {last[name]}, now with '
        f'{here}: results may differ in rounding (provenance.json records it)'
      )


def run(groups: list[list[Task]], slots: list[dict], options: Options) -> dict:
  """Run groups of tasks, each group in order, until this process is stopped.

  Args:
    groups: a task is run if the one before it in its group was done.
    slots: the environment of each worker.
    options: of all tasks.

  Returns:
    Dict from id to 'done', 'failed' or 'stopped'.
  """
  outcome = {}
  queue = collections.deque(groups)

  def work(env):
    with contextlib.suppress(IndexError):
      while True:
        for task in queue.popleft():
          mine = options._replace(env=env)
          outcome[task.id] = _run_until_done(task, mine, stop)
          options.say(f'{task.id}: {outcome[task.id]}')
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
  tasks = [task for group in groups for task in group]
  return {task.id: outcome.get(task.id, 'stopped') for task in tasks}


def _run_until_done(task, options, stop):
  while not stop.is_set():
    try:
      code = execute(task, options, stop)
    except lease.InUseError:
      # Another launcher's, or one's that was killed, whose program lives on.
      code = EXIT_AGAIN
    except (OSError, UserError) as error:
      options.say(f'{task.id}: {error}')
      code = 1
    if code != EXIT_AGAIN:
      return 'failed' if code else 'done'
    stop.wait(options.wait)
  return 'stopped'


@contextlib.contextmanager
def stopping():
  """Yield a threading.Event that is set when this process is told to stop."""
  stop = threading.Event()
  signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
  old = [signal.signal(s, lambda *_: stop.set()) for s in signals]
  try:
    yield stop
  finally:
    for number, handler in zip(signals, old):
      signal.signal(number, handler)
