"""The real program in processes of its own.

Starting it as users do takes seconds, mostly for imports; killing it a hundred
times must not. So there is also a process that is forked with its imports
done. Signals and exit codes are the kernel's here too.
"""

import multiprocessing
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

from absl import app
from absl import flags

from pruning_gen import command_line
from pruning_gen import main

ROOT = pathlib.Path(__file__).parents[1]
CONTEXT = multiprocessing.get_context('forkserver')
CONTEXT.set_forkserver_preload([__name__])

# 12 levels of 3 epochs, 4 members: seconds, and long enough to be interrupted.
OVERRIDES = (
  "--config.experiments=('chain',)",
  "--config.arms=('pruning','extended_dense')",
  '--config.prune_fraction=0.25',
  '--config.levels=12',
  '--config.epochs=3',
  '--config.rewind_epoch=1',
  '--config.replicates=1',
  '--config.momentum=0.9',
  '--config.learning_rate=0.02',
  '--config.model.widths=(40,20)',
  '--config.checkpoint.every_epochs=2',
)


def arguments(workdir, cache=None):
  """Return the command line of a short chain."""
  return (
    f'--config={ROOT}/configs/quickstart.py',
    f'--workdir={workdir}',
    f'--config.data.cache_dir={cache or workdir.parent / "cache"}',
    *OVERRIDES,
  )


def popen(workdir, *overrides, env=None, prefix=()):
  """Start a short chain as users do."""
  command = (*prefix, sys.executable, '-m', 'pruning_gen.main')
  return subprocess.Popen(
    (*command, *arguments(workdir), *overrides),
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env=os.environ | {'PYTHONWARNINGS': 'default'} | (env or {}),
  )


def communicate(process):
  """Wait for it: (exit code, what it printed, its errors)."""
  out, err = process.communicate(timeout=300)
  return process.returncode, out, err


def call(target, *args):
  """Call a function in a forked process; return its exit code."""
  process = CONTEXT.Process(target=target, args=args)
  process.start()
  process.join()
  return process.exitcode


def run_main(log, arguments):
  """Run the program in this process; see `start`."""
  for stream, end in ((sys.stdout, '.out'), (sys.stderr, '.err')):
    file = os.open(log.with_suffix(end), os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    os.dup2(file, stream.fileno())
  flags.mark_flag_as_required('config')
  # A shell's background job ignores it.
  signal.signal(signal.SIGINT, signal.default_int_handler)
  # Where config_flags looks for overrides.
  sys.argv = ['pruning_gen.main', *arguments]
  app.run(
    main.main,
    flags_parser=lambda argv: command_line.parse(argv, main._CONFIG),
  )


def start(log, *arguments, target=run_main):
  """Start the program in a forked process; its output goes to two files.

  Args:
    log: path without a suffix, to which `.out` and `.err` are added.
    *arguments: of the command line.
    target: function of both, which ends with `run_main`.

  Returns:
    A multiprocessing.Process with the attribute `log`.
  """
  process = CONTEXT.Process(target=target, args=(log, arguments))
  process.start()
  process.log = log
  return process


def finish(process, timeout=300):
  """Wait for a forked one: (exit code, what it printed, its errors)."""
  process.join(timeout)
  assert process.exitcode is not None, 'it never ended'
  texts = [process.log.with_suffix(end).read_text() for end in ('.out', '.err')]
  return process.exitcode, *texts


def free_port():
  """Return a port that nobody listens on."""
  with socket.socket() as free:
    free.bind(('localhost', 0))
    return free.getsockname()[1]


def wait_for(condition, seconds=600):
  """Return the first true value of a function, called until then."""
  end = time.monotonic() + seconds
  while not (value := condition()):
    assert time.monotonic() < end, 'it never happened'
    time.sleep(0.01)
  return value
