"""Runs the experiments that a config names.

  python -m pruning_gen.main --config=configs/quickstart.py --workdir=runs/quick

Any key of the config can be set behind it: --config.epochs=5. The same command
continues a run that was stopped, and returns at once where it is finished.
Exit codes: 0 done, 75 stopped by SIGTERM with everything saved (run the same
command again), 1 anything else.
"""

import contextlib
import os
import pathlib
import signal
import sys
import threading
import traceback

EXIT_PREEMPTED = 75


def stop_at_once(*_):
  os.write(2, b'stopped, nothing to save; run the same command to continue\n')
  os._exit(EXIT_PREEMPTED)


# The imports below take seconds, in which there is nothing to save.
if __name__ == '__main__':
  signal.signal(signal.SIGTERM, stop_at_once)

# ruff: noqa: E402
import jax
from absl import app
from absl import flags
from absl import logging
from ml_collections import config_flags

from pruning_gen import config as protocol
from pruning_gen import processes
from pruning_gen import report
from pruning_gen.data import datasets
from pruning_gen.engine.session import stop_if_asked
from pruning_gen.errors import Preempted
from pruning_gen.errors import UserError
from pruning_gen.experiments import chain
from pruning_gen.experiments import el2n
from pruning_gen.experiments import leave_out
from pruning_gen.experiments import width
from pruning_gen.storage import files
from pruning_gen.storage import lock
from pruning_gen.storage import provenance

EXPERIMENTS = {
  'chain': chain,
  'width': width,
  'el2n': el2n,
  'leave_out': leave_out,
}

_CONFIG = config_flags.DEFINE_config_file(
  'config',
  None,
  'Configuration file, as configs/lenet.py. configs/default.py explains every '
  'key; set one with --config.key=value.',
  lock_config=True,
)
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Folder for results, checkpoints and the report.'
)
_ALLOW_DEVICE_CHANGE = flags.DEFINE_bool(
  'allow_device_change',
  False,
  'Go on with a workdir that was begun on other devices, or on another number '
  'of them. What follows differs in rounding; provenance.json tells.',
)
_DISTRIBUTED = flags.DEFINE_bool(
  'distributed',
  False,
  'Join the other processes of a job on several hosts (jax.distributed). On '
  'Cloud TPU and SLURM they find each other; elsewhere give --num_processes, '
  '--process_id and --coordinator_address.',
)
_COORDINATOR = flags.DEFINE_string(
  'coordinator_address', None, 'host:port of process 0.'
)
_JOIN_SECONDS = flags.DEFINE_integer(
  'join_seconds', 300, 'How long to wait for the other processes.'
)
_NUM_PROCESSES = flags.DEFINE_integer('num_processes', None, 'How many.')
_PROCESS_ID = flags.DEFINE_integer('process_id', None, 'Which one this is.')


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments: {argv[1:]}')
  # Orbax and JAX tell a story at every step; --verbosity=0 shows it.
  if not flags.FLAGS['verbosity'].present:
    logging.set_verbosity(logging.WARNING)
    logging.get_absl_logger().addFilter(without_traceback)
  stop = threading.Event()
  code = 1
  try:
    protocol.check(_CONFIG.value)
    check_flags()
    use_devices(_CONFIG.value, len(protocol.list_members(_CONFIG.value)))
    if _DISTRIBUTED.value:
      join_processes()
    # After `initialize`, which installs a handler of its own.
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    run(
      _CONFIG.value,
      _WORKDIR.value,
      stop.is_set,
      _ALLOW_DEVICE_CHANGE.value,
    )
    code = 0
  except UserError as error:
    say(f'error: {error}')
  except Preempted as preempted:
    say(f'{preempted}; run the same command to continue')
    code = EXIT_PREEMPTED
  except KeyboardInterrupt:
    say('interrupted; run the same command to continue')
  except Exception:
    say(traceback.format_exc())
  if code == 1:
    if processes.are_several():
      # The others may wait for this process, and at an orderly exit JAX would
      # wait for them. They notice that it is gone.
      os._exit(code)
    # An orderly exit ends the workers that read images, in less than a second.
    # It also waits for the parts of a save that cannot be written, 5 minutes.
    timer = threading.Timer(5, os._exit, (code,))
    timer.daemon = True
    timer.start()
  flush()
  sys.exit(code)


def parse_flags(argv):
  """Parse the command line; a config's mistakes get a message, too."""
  try:
    arguments = app.parse_flags_with_usage(argv)
    # Where no key is set, a file that cannot be loaded shows only here.
    _CONFIG.value.keys()
    return arguments
  except AttributeError as error:
    # What ml_collections makes of an unknown key; another is the file's own.
    if not error.args or not isinstance(error.args[0], KeyError):
      raise
    sys.exit(
      f'error: --config has no key {error.args[0].args[0]}\nsee '
      'configs/default.py'
    )
  except (OSError, ModuleNotFoundError) as error:
    sys.exit(
      f'error: --config: {error}\nname a file, as configs/lenet.py, and start '
      'in the folder that holds configs/'
    )


def check_flags():
  """Check that no flag is given that has no effect.

  Raises:
    UserError: there is one.
  """
  if _DISTRIBUTED.value:
    return
  for flag in (_COORDINATOR, _NUM_PROCESSES, _PROCESS_ID):
    if flag.value is not None:
      raise UserError(
        f'--{flag.name}={flag.value} has no effect without --distributed: add '
        'it, or leave this out'
      )


def say(text):
  """Tell the user the last thing; the terminal may be gone, its disk full."""
  with contextlib.suppress(OSError):
    print(text, file=sys.stderr)
  flush()


def flush():
  """Write what is printed, or Python would end with its own code, 120."""
  for stream in (sys.stdout, sys.stderr):
    try:
      stream.flush()
    except OSError:
      os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def stopping_at_once():
  """Let SIGTERM end the program at once, where there is nothing to save.

  Not one of several processes: the others would wait for it.
  """
  if processes.are_several():
    yield
    return
  handler = signal.signal(signal.SIGTERM, stop_at_once)
  try:
    yield
  finally:
    signal.signal(signal.SIGTERM, handler)


def without_traceback(record):
  """Shorten a record of a log: what ends the program says it in the end.

  Orbax logs a save that cannot be written on each of its threads, at length.
  """
  record.exc_info = None
  return True


def run(config, workdir, should_stop, allow_device_change=False):
  """Run every experiment of a config that is not finished, then the report.

  Args:
    config: a ConfigDict that `protocol.check` has passed.
    workdir: path.
    should_stop: () -> bool, whether to save and stop.
    allow_device_change: bool, whether a workdir that was begun on other devices
      may go on.

  Raises:
    UserError: something the user can mend.
    Preempted: stopped on request.
  """
  provenance.check_workdir(workdir)
  check_processes_agree(config)
  with lock.hold(workdir):
    provenance.open_workdir(workdir, config.to_dict())
    files.remove_leftovers(workdir)
    check_needs(config, workdir)
    todo = [
      EXPERIMENTS[name]
      for name in config.experiments
      if not EXPERIMENTS[name].is_finished(config, workdir)
    ]
    if not todo and report.is_built(workdir):
      print(f'{workdir} is finished: nothing to do')
      return
    if todo:
      with stopping_at_once():
        stop_if_asked(should_stop, 'before data is loaded')
        dataset = protocol.load_dataset(config)
      start = provenance.describe_start() | {
        'dataset': protocol.describe_dataset(dataset),
        'resumed_from': provenance.saved_epochs(workdir),
      }
      provenance.add_provenance(workdir, start, allow_device_change)
      for experiment in todo:
        stop_if_asked(should_stop, 'between experiments')
        experiment.run(config, workdir, dataset, should_stop)
        processes.wait_for_all('experiment')
    stop_if_asked(should_stop, 'before the report')
    if processes.is_primary():
      if report.has_networks(workdir):
        print(f'report: {report.build(workdir)}')
      else:
        print(f'{workdir} has EL2N scores; a report needs other experiments')


def join_processes():
  """Join the other processes of a job; end the program if they do not come.

  Before anything asks JAX for its devices.
  """
  # Google's automatic firewall opens this port between the hosts of a slice,
  # and not JAX's default one.
  os.environ.setdefault('JAX_COORDINATOR_PORT', '8476')

  def give_up():
    # JAX would abort, with a stack trace and no word on what to do.
    print(
      f'error: the processes of this job did not all come within '
      f'{_JOIN_SECONDS.value} s (--num_processes={_NUM_PROCESSES.value}, '
      f'--coordinator_address={_COORDINATOR.value}): start as many, each with '
      'a --process_id of its own from 0 on, and see that they reach that '
      'address',
      file=sys.stderr,
      flush=True,
    )
    os._exit(1)

  timer = threading.Timer(_JOIN_SECONDS.value, give_up)
  timer.start()
  try:
    jax.distributed.initialize(
      _COORDINATOR.value,
      _NUM_PROCESSES.value,
      _PROCESS_ID.value,
      # The timer comes first.
      initialization_timeout=_JOIN_SECONDS.value + 60,
      # One that died is noticed in half the time that JAX would take.
      heartbeat_timeout_seconds=60,
    )
  except (ValueError, RuntimeError) as error:
    raise UserError(
      f'--distributed: {error}\nOutside Cloud TPU and SLURM give every process '
      '--coordinator_address=HOST:PORT of process 0, --num_processes, and its '
      'own --process_id from 0 on'
    ) from error
  finally:
    timer.cancel()


def check_processes_agree(config):
  """Check that all processes of a job were started with one config.

  Raises:
    UserError: they were not.
  """
  shared = provenance.flatten(config.to_dict())
  # Hosts may keep their data where they like.
  for key in ('data.dir', 'data.cache_dir', 'data.num_workers'):
    del shared[key]
  if not processes.agree(repr(sorted(shared.items()))):
    raise UserError(
      'the processes of this job have different configs: start all with the '
      'same --config and the same --config.key=value'
    )


def check_needs(config, workdir):
  """Check that what an experiment reads is there, or runs before it.

  Raises:
    UserError: it does not.
  """
  if 'leave_out' not in config.experiments:
    return
  position = config.experiments.index('leave_out')
  for name in leave_out.needs(config):
    if name not in config.experiments[:position] and not (
      EXPERIMENTS[name].is_finished(config, workdir)
    ):
      raise UserError(
        f'config.experiments={config.experiments}: leave_out reads what {name} '
        f'leaves, and --workdir={workdir} has none: put {name!r} before it'
      )


def use_devices(config, num_members):
  """Set JAX up: one CPU device a core, precision, compiled programs' cache.

  Before anything asks JAX for its devices.

  Args:
    config: the config.
    num_members: int, how many networks train together.
  """
  if hasattr(os, 'sched_getaffinity'):
    cores = len(os.sched_getaffinity(0))
  else:
    cores = os.cpu_count()  # macOS
  if 'xla_force_host_platform_device_count' not in os.environ.get(
    'XLA_FLAGS', ''
  ):
    # A core that trains its own networks takes 0.49 s an epoch and member of
    # LeNet on MNIST, two cores that share each product 0.73 s. One member has
    # nothing to share out.
    jax.config.update(
      'jax_num_cpu_devices', config.devices.count or min(cores, num_members)
    )
  if config.matmul_precision != 'default':
    jax.config.update('jax_default_matmul_precision', config.matmul_precision)
  cache_dir = config.data.cache_dir or datasets.default_cache_dir()
  jax.config.update(
    'jax_compilation_cache_dir', str(pathlib.Path(cache_dir) / 'xla')
  )


if __name__ == '__main__':
  flags.mark_flags_as_required(['config', 'workdir'])
  app.run(main, flags_parser=parse_flags)
