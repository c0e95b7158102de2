"""The real program in processes that are forked with its imports done.

Starting it as users do takes seconds, mostly for imports; killing it a hundred
times must not. Signals and exit codes are the kernel's here too.
"""

import multiprocessing
import os
import signal
import sys

from absl import app
from absl import flags

from pruning_gen import command_line
from pruning_gen import main

CONTEXT = multiprocessing.get_context('forkserver')
CONTEXT.set_forkserver_preload([__name__])


def start(log, *arguments):
  """Start the program; its output goes to two files.

  Args:
    log: path without a suffix, to which `.out` and `.err` are added.
    *arguments: of the command line.

  Returns:
    A multiprocessing.Process with the attribute `log`.
  """
  process = CONTEXT.Process(target=_run, args=(log, arguments))
  process.start()
  process.log = log
  return process


def finish(process, timeout=300):
  """Wait for a program: (exit code, what it printed, its errors)."""
  process.join(timeout)
  assert process.exitcode is not None, 'it never ended'
  texts = [process.log.with_suffix(end).read_text() for end in ('.out', '.err')]
  return process.exitcode, *texts


def _run(log, arguments):
  for stream, end in ((sys.stdout, '.out'), (sys.stderr, '.err')):
    file = os.open(log.with_suffix(end), os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    os.dup2(file, stream.fileno())
  flags.mark_flags_as_required(['config', 'workdir'])
  # A shell's background job ignores it.
  signal.signal(signal.SIGINT, signal.default_int_handler)
  # Where config_flags looks for overrides.
  sys.argv = ['pruning_gen.main', *arguments]
  app.run(
    main.main,
    flags_parser=lambda argv: command_line.parse(argv, main._CONFIG),
  )
