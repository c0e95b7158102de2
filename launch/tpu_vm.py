r"""One job of a plan on one Cloud TPU slice, with nothing but gcloud.

  python -m launch.tpu_vm --plan=runs/paper/plan.jsonl --index=3 \
      --zone=us-central2-b --accelerator-type=v4-8 \
      --runtime-version=tpu-ubuntu2204-base --spot [-- --config.KEY=VALUE]

Requests a slice, waits until the job is done, and deletes the slice. Flags that
are not listed below, such as --spot, --service-account and --network, are those
of gcloud compute tpus queued-resources create.

The slice takes everything it needs from the bucket when it boots (machine.sh),
and reports there; this program only looks. It waits for a machine as long as it
takes, makes another after a preemption, and gives up when the machine
has, after 10 failed installations or 3 retries of the program without a new
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
from collections.abc import Iterator

from pruning_gen.errors import EXIT_PREEMPTED
from pruning_gen.errors import LAUNCHER_SIGNALS
from pruning_gen.errors import on_stop
from pruning_gen.errors import UserError
from pruning_gen.launch import cloud
from pruning_gen.launch import plan

# Between two looks, in seconds.
POLL = float(os.environ.get('POLL_SECONDS', '30'))
# A slice that was asked for may appear so many seconds later.
GRACE = float(os.environ.get('GRACE_SECONDS', '60'))
# A call to gcloud that takes longer counts as hung.
CALL = float(os.environ.get('CALL_SECONDS', '600'))
# Unanswered calls in a row, and attempts to delete: an hour's.
PATIENCE = int(os.environ.get('PATIENCE', '120'))
# A slice deletes itself once its launcher has been gone this long.
ALONE_HOURS = int(os.environ.get('ALONE_HOURS', '6'))
# gcloud errors that a retry cannot fix.
FATAL = re.compile(
  r'PERMISSION_DENIED|SERVICE_DISABLED|INVALID_ARGUMENT|UNAUTHENTICATED'
  r'|[Rr]eauthentication|active account|(attribute|property) \[project\]'
  r'|unrecognized arguments|Invalid value'
)
# States of a machine that does not need to be replaced.
NODE_STATES = ('READY', 'CREATING', 'STARTING', 'RESTARTING', 'REPAIRING')
# What a slice does when it boots, on every host, as root.
STARTUP = """#!/bin/bash
export HOME="${{HOME:-/root}}" PATH="$PATH:/snap/bin"
cd "$HOME"
until gcloud storage cp {source} . --recursive; do sleep 10; done
exec bash machine/machine.sh boot {arguments}
"""


class CallError(Exception):
  """A call of gcloud failed; the next may not."""


class NotFoundError(CallError):
  """There is no such slice, or object."""


def main(argv: list[str]) -> None:
  """Run a command line; ends the process with its exit code."""
  args = parse(argv)
  on_stop(lambda *_: sys.exit(EXIT_PREEMPTED), LAUNCHER_SIGNALS)
  code = 0
  try:
    slice_ = Slice(args)
    with slice_.deleted_at_the_end():
      slice_.run()
  except (UserError, CallError) as error:
    say(f'error: {error}')
    code = 1
  except SystemExit as stopped:
    code = stopped.code
  # Python's exit takes a moment, in which a signal would replace the code.
  on_stop(signal.SIG_IGN, LAUNCHER_SIGNALS)
  sys.exit(code)


def parse(argv: list[str]) -> argparse.Namespace:
  """Parse a command line; flags that it does not know go to gcloud."""
  parser = argparse.ArgumentParser(
    description=__doc__,
    formatter_class=argparse.RawTextHelpFormatter,
    allow_abbrev=False,
  )
  add = parser.add_argument
  add('--plan', required=True, help='as launch.sweep plan wrote it')
  add('--index', type=int, required=True, help='its line, from 0')
  add('--zone', required=True)
  add('--accelerator-type', required=True)
  add('--project', help="not gcloud's own")
  data = 'folder with the prepared data set, to mount read-only:\n'
  data += 'gs://BUCKET/FOLDER, or `disk` for that of --data-disk'
  add('--data', default='', help=data)
  split = argv.index('--') if '--' in argv else len(argv)
  args, args.create = parser.parse_known_args(argv[:split])
  args.extra = argv[split + 1 :]
  if args.project:
    # For every call: a slice in another project would not be found again.
    os.environ['CLOUDSDK_CORE_PROJECT'] = args.project
  return args


def say(line: str) -> None:
  """Print a line; if the terminal is gone, the work is not."""
  with contextlib.suppress(OSError):
    print(f'tpu_vm: {line}', file=sys.stderr, flush=True)


def gcloud(*words: str) -> str:
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
    # gcloud is a script that starts Python: they end together.
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


class Slice:
  """A slice, asked for or there, and the job that it runs."""

  def __init__(self, args: argparse.Namespace):
    """Check all that can be wrong before a machine is asked for."""
    self.args = args
    self.job = plan.find(args.plan, args.index)
    self.name = self.job.id
    self.machine = f'{self.job.workdir}/machine'
    cloud.check(args.plan, [self.job], has_data=bool(args.data))
    self.asked_at = None  # None if it is neither asked for nor there.
    self.waits = 0

  def tpus(self, *words: str) -> str:
    """Call gcloud compute tpus."""
    return gcloud('compute', 'tpus', *words, f'--zone={self.args.zone}')

  def run(self) -> None:
    """Run the job to its end, on as many slices as it takes."""
    args = self.args
    self.tpus('queued-resources', 'list', '--limit=1')
    try:
      self.tpus('accelerator-types', 'describe', args.accelerator_type)
    except NotFoundError:
      say(f'warning: {args.accelerator_type} is not known to be in {args.zone}')
    if needs := self.job.needs:
      try:
        gcloud('storage', 'ls', f'{self.job.workdir}/done/{needs}')
      except NotFoundError as error:
        raise UserError(f'{self.name} needs {needs}: run it first') from error
    with tempfile.TemporaryDirectory() as folder:
      self.upload(pathlib.Path(folder))
      last = None
      while not self.is_done():
        state = self.look()
        if state != last:
          say(f'{self.name}: {" ".join(state)}')
        last = state
        self.tend(state[0], folder)
        time.sleep(POLL)
    say(f'{self.name}: done')

  def upload(self, folder: pathlib.Path) -> None:
    """Upload the machine's files, which checks that the bucket is writable."""
    cloud.pack(self.args.plan, folder)
    gcloud('storage', 'cp', *map(str, folder.iterdir()), f'{self.machine}/')
    if self.look()[0] == 'GONE':
      with contextlib.suppress(CallError):
        # Of an earlier slice.
        gcloud('storage', 'rm', f'{self.machine}/failed')
    words = [self.name, self.args.zone, self.job.workdir, str(ALONE_HOURS)]
    words += [self.args.data, str(self.args.index), *self.args.extra]
    (folder / 'startup.sh').write_text(
      STARTUP.format(source=self.machine, arguments=shlex.join(words))
    )

  def is_done(self) -> bool:
    """Return whether the job is done.

    Raises:
      UserError: the machine has given up.
    """
    with contextlib.suppress(CallError):
      failed = gcloud('storage', 'cat', f'{self.machine}/failed')
      raise UserError(f'{self.name} failed:\n{failed}')
    with contextlib.suppress(CallError):
      gcloud('storage', 'ls', f'{self.job.workdir}/done/{self.name}')
      return True
    return False

  def tend(self, state: str, folder: str) -> None:
    """Act on the state of the slice."""
    if state == 'GONE':
      self.create(folder)
    elif state == 'ACTIVE':
      self.waits = max(self.waits - 1, 0)
      with contextlib.suppress(CallError):
        # Its launcher is alive.
        gcloud('storage', 'cp', f'{folder}/plan.jsonl', f'{self.machine}/alive')
        words = ('describe', self.name, '--format=value(state)')
        node = self.tpus('tpu-vm', *words).strip()
        if node not in NODE_STATES:
          say(f'{self.name}: taken away ({node})')
          self.replace()
    elif state in ('FAILED', 'SUSPENDING', 'SUSPENDED'):
      self.replace()

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

  def create(self, folder: str) -> None:
    """Ask for a slice."""
    words = [self.name, f'--node-id={self.name}', '--async', *self.args.create]
    words.append(f'--accelerator-type={self.args.accelerator_type}')
    words.append(f'--metadata-from-file=startup-script={folder}/startup.sh')
    self.asked_at = time.monotonic()
    try:
      self.tpus('queued-resources', 'create', *words)
    except CallError as error:
      say(f'{self.name}: no machine: {error}')
      self.back_off()
    # Also one that failed may appear, from now on.
    self.asked_at = time.monotonic()

  def replace(self) -> None:
    """Make room for another slice."""
    self.delete()
    self.back_off()

  def back_off(self) -> None:
    """Wait twice as long each time, up to an hour, unless it went well."""
    self.waits = min(self.waits + 1, 7)
    time.sleep(POLL * 2**self.waits)

  def delete(self) -> None:
    """Delete the slice, and look until it is gone.

    Raises:
      UserError: it could not be deleted.
    """
    for _ in range(PATIENCE):
      with contextlib.suppress(CallError):
        self.tpus('queued-resources', 'delete', self.name, '--force', '--quiet')
      if self.look()[0] == 'GONE':
        self.asked_at = None
        return
      time.sleep(POLL)
    raise UserError(f'{self.name} could not be deleted')

  @contextlib.contextmanager
  def deleted_at_the_end(self) -> Iterator[None]:
    """Leave no slice behind, however this ends."""
    try:
      yield
    finally:
      # From here on nothing interrupts.
      on_stop(lambda *_: None, LAUNCHER_SIGNALS)
      if self.asked_at is not None:
        say(f'deleting {self.name}')
        try:
          self.delete()
        except UserError as error:
          raise UserError(
            f'{error}: it MAY COST MONEY: gcloud compute tpus queued-resources '
            f'delete {self.name} --zone={self.args.zone} --force'
          ) from error


if __name__ == '__main__':
  main(sys.argv[1:])
