r"""One job of a plan on one Cloud TPU slice, with nothing but gcloud.

  python -m launch.tpu_vm --plan=runs/paper/plan.jsonl --index=3 \
      --zone=us-central2-b --accelerator-type=v4-8 \
      --runtime-version=tpu-ubuntu2204-base --spot [-- --config.KEY=VALUE]

Makes the slice unless it is there, runs the job to its end, and deletes the
slice. Flags that are not listed below, such as --spot, --service-account and
--network, are those of gcloud compute tpus queued-resources create.

The program runs detached, and this one only looks every now and then. It waits
for a machine as long as it takes, makes another after a preemption, and gives
up after 10 failed installations or 3 retries of the program without a new
checkpoint. Exit codes: 0 done, 75 stopped, 1 anything else.
"""

import argparse
import contextlib
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time

from launch import cloud
from launch import plan
from pruning_gen.errors import EXIT_PREEMPTED
from pruning_gen.errors import UserError

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SETUPS = 10
RETRIES = 3
# Between two looks, in seconds.
POLL = float(os.environ.get('POLL_SECONDS', '30'))
# A slice that was asked for may appear so many seconds later.
GRACE = float(os.environ.get('GRACE_SECONDS', '60'))
# After this gcloud is taken to hang.
CALL = float(os.environ.get('CALL_SECONDS', '600'))
# Unanswered calls in a row, and attempts to delete: an hour's.
PATIENCE = int(os.environ.get('PATIENCE', '120'))
# A slice whose launcher is gone so long deletes itself.
ALONE_HOURS = int(os.environ.get('ALONE_HOURS', '6'))
# Errors of gcloud that no retry mends.
FATAL = re.compile(
  r'PERMISSION_DENIED|SERVICE_DISABLED|INVALID_ARGUMENT|UNAUTHENTICATED'
  r'|[Rr]eauthentication|active account|(attribute|property) \[project\]'
  r'|unrecognized arguments|Invalid value'
)
# States of a machine that is not ready yet.
STARTING = ('CREATING', 'STARTING', 'RESTARTING', 'REPAIRING')


class CallError(Exception):
  """A call of gcloud failed; the next may not."""


class NotFoundError(CallError):
  """There is no such slice, or object."""


def main(argv: list[str]) -> None:
  """Run a command line; ends the process with its exit code."""
  args = parse(argv)
  for number in STOP_SIGNALS:
    signal.signal(number, lambda *_: sys.exit(EXIT_PREEMPTED))
  with tempfile.TemporaryDirectory() as folder:
    code = 1
    try:
      slice_ = Slice(args)
      with slice_.deleted_at_the_end():
        slice_.run(pathlib.Path(folder))
      code = 0
    except (UserError, CallError) as error:
      say(f'error: {error}')
  sys.exit(code)


def parse(argv: list[str]) -> argparse.Namespace:
  """Parse a command line; what is not known goes to gcloud."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  add = parser.add_argument
  add('--plan', required=True, help='as launch.sweep plan wrote it')
  add('--index', type=int, required=True, help='its line, from 0')
  add('--zone', required=True)
  add('--accelerator-type', required=True)
  add(
    '--data',
    default='',
    help='prepared data sets, mounted read-only:\n'
    'gs://BUCKET/FOLDER, or `disk` for that of --data-disk',
  )
  split = argv.index('--') if '--' in argv else len(argv)
  args, args.create = parser.parse_known_args(argv[:split])
  args.extra = argv[split + 1 :]
  return args


def say(line: str) -> None:
  """Print a line; if the terminal is gone, the work is not."""
  with contextlib.suppress(OSError):
    print(f'tpu_vm: {line}', file=sys.stderr, flush=True)


class Slice:
  """A slice, asked for or there, and the program on it."""

  def __init__(self, args: argparse.Namespace):
    """Check all that can be wrong before a machine is asked for."""
    self.args = args
    self.job = plan.find(args.plan, args.index)
    self.name = self.job.id
    cloud.check(args, [self.job])
    self.asked_at = None  # None if it is neither asked for nor there.
    self.is_set_up = False
    self.setups = self.waits = self.silent = self.failures = 0
    self.checkpoints = ''

  def gcloud(self, *words: str) -> str:
    """Call gcloud and return what it prints; show its errors at once.

    Raises:
      CallError: it failed, or did not answer.
      UserError: it failed, and would again.
    """
    with subprocess.Popen(
      ['gcloud', *words],
      stdin=subprocess.DEVNULL,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      # gcloud is a script that starts Python and ssh: they end together.
      start_new_session=True,
    ) as process:
      try:
        output, errors = process.communicate(timeout=CALL)
      except subprocess.TimeoutExpired as error:
        raise CallError(f'gcloud {words[0]} does not answer') from error
      finally:
        # It hangs, or this program is told to stop.
        if process.poll() is None:
          os.killpg(process.pid, signal.SIGKILL)
    if not process.returncode:
      return output
    if re.search('NOT_FOUND|matched no objects', errors):
      raise NotFoundError(errors)
    say(f'gcloud {shlex.join(words)}: {errors}')
    plan.check(not FATAL.search(errors), 'gcloud refused: see above')
    raise CallError(errors)

  def tpus(self, *words: str) -> str:
    """Call gcloud compute tpus."""
    return self.gcloud('compute', 'tpus', *words, f'--zone={self.args.zone}')

  def on_hosts(self, *words: str) -> str:
    """Call gcloud's ssh or scp for all hosts."""
    hosts = ('--worker=all', '--strict-host-key-checking=no')
    return self.tpus('tpu-vm', *words, *hosts)

  def machine(self, *words: str) -> str:
    """Call machine.sh on all hosts."""
    command = f'bash job/machine.sh {shlex.join(words)}'
    return self.on_hosts('ssh', self.name, f'--command={command}')

  def objects(self, pattern: str) -> str:
    """List objects of the workdir; '' if there are none, or no answer."""
    with contextlib.suppress(CallError):
      return self.gcloud('storage', 'ls', f'{self.job.workdir}/{pattern}')
    return ''

  def run(self, folder: pathlib.Path) -> None:
    """Run the job to its end, on as many slices as it takes.

    Args:
      folder: an empty one, for what is copied to the machine.
    """
    args = self.args
    self.tpus('queued-resources', 'list', '--limit=1')
    try:
      self.tpus('accelerator-types', 'describe', args.accelerator_type)
    except NotFoundError:
      say(f'warning: {args.accelerator_type} is not known to be in {args.zone}')
    cloud.pack(args.plan, folder)
    # One object, to know that the bucket can be written.
    copy = (str(folder / 'plan.jsonl'), f'{self.job.workdir}/plan.jsonl')
    self.gcloud('storage', 'cp', *copy)
    self.checkpoints = self.objects('checkpoints/*/')
    last = None
    while True:
      state = self.look()
      if state != last:
        say(f'{self.name}: {" ".join(state)}')
      last = state
      if state[0] == 'GONE':
        self.asked_at, self.is_set_up = None, False
        if self.objects(f'done/{self.name}'):
          break
        self.create()
      elif state[0] == 'ACTIVE' and self.tend(folder):
        break
      elif state[0] == 'FAILED':
        self.delete()
        self.back_off()
      elif state[0] in ('SUSPENDING', 'SUSPENDED'):
        self.delete()
      time.sleep(POLL)
    say(f'{self.name}: done')

  def look(self) -> tuple[str, str]:
    """Return the slice's state, GONE if there is none, and why it failed."""
    wanted = '--format=value(state.state,state.failedData.error.message)'
    for _ in range(PATIENCE):
      try:
        found = self.tpus('queued-resources', 'describe', self.name, wanted)
      except NotFoundError:
        # What was asked for a moment ago may still appear.
        is_new = self.asked_at and time.monotonic() < self.asked_at + GRACE
        return 'ASKED' if is_new else 'GONE', ''
      except CallError:
        found = ''
      state, _, why = found.strip().partition('\t')
      if state:
        self.asked_at = self.asked_at or time.monotonic()
        return state, why
      time.sleep(POLL)
    raise UserError(f'{self.name}: gcloud does not answer: see above')

  def create(self) -> None:
    """Ask for a slice."""
    words = [self.name, f'--node-id={self.name}', '--async', *self.args.create]
    words.append(f'--accelerator-type={self.args.accelerator_type}')
    self.asked_at = time.monotonic()
    try:
      self.tpus('queued-resources', 'create', *words)
    except CallError as error:
      say(f'{self.name}: no machine: {error}')
      self.back_off()
    # Also one that failed may appear, from now on.
    self.asked_at = time.monotonic()

  def back_off(self) -> None:
    """Wait twice as long each time, up to an hour."""
    self.waits = min(self.waits + 1, 7)
    time.sleep(POLL * 2**self.waits)

  def delete(self) -> None:
    """Delete the slice, and look until it is gone.

    Raises:
      UserError: it could not be deleted.
    """
    self.is_set_up = False
    for _ in range(PATIENCE):
      with contextlib.suppress(CallError):
        self.tpus('queued-resources', 'delete', self.name, '--force', '--quiet')
      if self.look()[0] == 'GONE':
        self.asked_at = None
        return
      time.sleep(POLL)
    raise UserError(f'{self.name} could not be deleted')

  @contextlib.contextmanager
  def deleted_at_the_end(self):
    """Leave no slice behind, however this ends."""
    try:
      yield
    finally:
      # From here on nothing interrupts.
      for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: None)
      if self.asked_at is not None:
        say(f'deleting {self.name}')
        try:
          self.delete()
        except UserError as error:
          raise UserError(
            f'{error}: it MAY COST MONEY: gcloud compute tpus queued-resources '
            f'delete {self.name} --zone={self.args.zone} --force'
          ) from error

  def tend(self, folder: pathlib.Path) -> bool:
    """Look after a slice that is there; return whether the job is done."""
    try:
      state = '--format=value(state)'
      node = self.tpus('tpu-vm', 'describe', self.name, state).strip()
      if node not in (*STARTING, 'READY'):
        say(f'{self.name}: taken away ({node})')
        self.delete()
      if node != 'READY' or not (self.is_set_up or self.set_up(folder)):
        return False
      polled = self.machine('poll')
    except CallError:
      # A connection that breaks is no failure: the program runs without it.
      self.silent += 1
      if self.silent > PATIENCE:
        say(f'{self.name}: does not answer')
        self.delete()
      return False
    self.silent = 0
    ends = re.findall('^pruning_gen: (?:ended )?(.+)', polled, re.MULTILINE)
    if set(ends) == {'0'}:
      return True
    if ends and 'running' not in ends:
      if not {'absent', '0', '75'}.issuperset(ends):
        self.count_failure(f'ended with {", ".join(ends)}')
      try:
        self.machine('start', str(self.args.index), *self.args.extra)
      except CallError:
        self.count_failure('could not be started')
    return False

  def set_up(self, folder: pathlib.Path) -> bool:
    """Install on all hosts; return whether that worked.

    Raises:
      UserError: it did not for the last time.
    """
    watch = f'{self.name} {self.args.zone} {ALONE_HOURS}'
    try:
      self.on_hosts('ssh', self.name, '--command=mkdir -p job')
      files = [str(folder / name) for name in cloud.FILES]
      self.on_hosts('scp', *files, f'{self.name}:job/')
      self.machine('setup', *filter(None, [self.args.data]))
      self.machine('start_watch', *watch.split())
    except CallError as error:
      self.setups += 1
      failed = f'{self.name} could not be set up {SETUPS} times'
      if self.setups == SETUPS:
        raise UserError(failed) from error
      return False
    self.is_set_up, self.setups, self.waits = True, 0, 0
    return True

  def count_failure(self, how: str) -> None:
    """Count failures in a row without a new checkpoint.

    Raises:
      UserError: that was the last.
    """
    found = self.objects('checkpoints/*/')
    self.failures = 1 if found != self.checkpoints else self.failures + 1
    self.checkpoints = found
    with contextlib.suppress(CallError):
      say(self.machine('log'))
    message = f'{self.name} {how}, failure {self.failures} in a row'
    plan.check(self.failures <= RETRIES, message)
    say(message)


if __name__ == '__main__':
  main(sys.argv[1:])
