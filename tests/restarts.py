"""Runs in this process that end early, start again, and are compared."""

import contextlib
from unittest import mock

from pruning_gen import runner
from pruning_gen.engine.part import Run
from pruning_gen.engine.session import Session
from pruning_gen.errors import Preempted
from pruning_gen.experiments import build
from pruning_gen.experiments import EXPERIMENTS
from pruning_gen.storage import files


def read_files(workdir, *prefixes):
  """Read every result: {path below the workdir: bytes}.

  Args:
    *prefixes: what the paths to read begin with; by default all that are no
      checkpoint, and not about single starts.
  """
  paths = {
    str(path.relative_to(workdir)): path
    for path in sorted(workdir.rglob('*'))
    if path.is_file()
  }
  return {
    name: path.read_bytes()
    for name, path in paths.items()
    if name.startswith(prefixes or ('',))
    and not name.startswith('checkpoints/')
    and name not in ('config.json', 'provenance.json', 'lock.json')
  }


def start(config, workdir, dataset, should_stop=lambda: False):
  """Run what is not finished, without a report."""
  run = Run(config, workdir, None, should_stop)
  with (
    mock.patch.object(
      runner, 'load_dataset', lambda run: run._replace(dataset=dataset)
    ),
    mock.patch.object(runner, 'build_report'),
  ):
    runner.run_experiments(run)
  assert all(EXPERIMENTS[name].is_finished(run) for name in config.experiments)


class Killed(BaseException):
  """Stands for a kill: nothing in the program catches it."""


def end_threads():
  """Return a patch that ends the threads that save, as a real kill does.

  They would continue next to those of the next start, in the same folder.
  """

  def leave(self, kind, *exception):
    exit_(self, Preempted if kind is Killed else kind, *exception)

  exit_ = Session.__exit__
  return mock.patch.object(Session, '__exit__', leave)


@contextlib.contextmanager
def kill_at(number):
  """Raise `Killed` in place of writing the file of a number, from 1 on."""
  written = 0

  def write(path, content):
    nonlocal written
    written += 1
    if written == number:
      raise Killed
    write_bytes(path, content)

  write_bytes = files.write_bytes
  with end_threads(), mock.patch.object(files, 'write_bytes', write):
    yield


@contextlib.contextmanager
def compiled_once():
  """Compile the programs of one stack once, however often a run starts."""
  compiled, make_programs = {}, build.make_programs

  def make(run, stack, schedule, width):
    arrays = (stack.labels.tobytes(), stack.example_ids.tobytes())
    # The programs of a stack do not depend on how long they train.
    schedule = schedule._replace(epochs=0)
    key = str(run.config.devices), str(stack.members), arrays, schedule, width
    if key not in compiled:
      compiled[key] = make_programs(run, stack, schedule, width)
    return compiled[key]

  with mock.patch.object(build, 'make_programs', make):
    yield
