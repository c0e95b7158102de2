"""Runs the experiments that a config names, then builds the report.

  python -m pruning_gen.main --config=configs/quickstart.py --workdir=runs/quick

Any key of the config can be set on the command line: --config.epochs=5. The
same command continues a run that was stopped, and returns at once if the run
is finished. Exit codes: 0 done, 75 stopped by SIGTERM or SIGHUP with everything
saved (run the same command again), 1 anything else.
"""

import signal
import sys
import threading
import traceback

from pruning_gen import errors
from pruning_gen import output

# The imports below take seconds, in which there is nothing to save.
if __name__ == '__main__':
  output.guard()
  errors.on_stop(errors.stop_at_once)

from absl import app
from absl import flags
from absl import logging
from ml_collections import config_flags

from pruning_gen import command_line
from pruning_gen import config as config_rules
from pruning_gen import environment
from pruning_gen import estimate
from pruning_gen import processes
from pruning_gen import report
from pruning_gen import runner
from pruning_gen.engine.part import Run
from pruning_gen.errors import Preempted
from pruning_gen.errors import UserError

_CONFIG = config_flags.DEFINE_config_file(
  'config',
  None,
  'Configuration file, such as configs/lenet.py, or the name of one in '
  'configs/. configs/default.py explains every key; set one with '
  '--config.key=value.',
  # A model has keys of its own; `command_line.check_keys` knows all.
  lock_config=False,
  accept_new_attributes=True,
)
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Folder for results, checkpoints and the report.'
)
_ALLOW_DEVICE_CHANGE = flags.DEFINE_bool(
  'allow_device_change',
  False,
  'Continue a workdir on other devices, another number of them or of cores, or '
  "with other flags of XLA, than the last start's. Later results differ in "
  'rounding; provenance.json records the change.',
)
_DRY_RUN = flags.DEFINE_bool(
  'dry_run',
  False,
  'Print what the config trains, its memory and checkpoints, and how long it '
  'takes, measured on a few steps. Needs no --workdir, and writes none.',
)
_PRINT_CONFIG = flags.DEFINE_bool(
  'print_config', False, 'Print every key of the config and its value, and end.'
)
_DISTRIBUTED = flags.DEFINE_bool(
  'distributed',
  False,
  'Join the other processes of a job on several hosts (jax.distributed). On '
  'Cloud TPU and Slurm they find each other; elsewhere pass --num_processes, '
  '--process_id and --coordinator_address.',
)
_COORDINATOR = flags.DEFINE_string(
  'coordinator_address', None, 'host:port of process 0.'
)
_NUM_PROCESSES = flags.DEFINE_integer(
  'num_processes', None, 'How many processes the job has.'
)
_PROCESS_ID = flags.DEFINE_integer(
  'process_id', None, 'The number of this process, counting from 0.'
)
_JOIN_SECONDS = flags.DEFINE_integer(
  'join_seconds', 300, 'How long to wait for the other processes.'
)


def main(argv: list[str]) -> None:
  """Run the program, and exit with its code."""
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments: {argv[1:]}')
  output.guard()
  quiet_logs()
  report.ignore_plot_settings()
  stop = threading.Event()
  code = 1
  try:
    config = _CONFIG.value
    command_line.check_keys(config)
    config_rules.check(config)
    check_flags()
    if _PRINT_CONFIG.value:
      print(command_line.format_config(config))
      sys.exit()
    workdir = None
    if _WORKDIR.value is not None or not _DRY_RUN.value:
      workdir = command_line.local_path('workdir', _WORKDIR.value)
    may_differ = _ALLOW_DEVICE_CHANGE.value or _DISTRIBUTED.value
    runner.set_up(config, workdir, keep_devices=not may_differ)
    if _DISTRIBUTED.value:
      processes.join(
        _COORDINATOR.value,
        _NUM_PROCESSES.value,
        _PROCESS_ID.value,
        _JOIN_SECONDS.value,
      )
    # After `join`, in which JAX installs a handler of its own. There is nothing
    # to save in a dry run.
    errors.on_stop(
      errors.stop_at_once if _DRY_RUN.value else lambda *_: stop.set()
    )
    print(f'devices: {environment.check_devices()}', file=sys.stderr)
    run = Run(config, workdir, None, stop.is_set)
    if _DRY_RUN.value:
      print(estimate.describe(runner.load_dataset(run)))
    else:
      runner.run_experiments(run, _ALLOW_DEVICE_CHANGE.value)
    code = 0
  except UserError as error:
    output.say_last(f'error: {error}')
  except Preempted as preempted:
    output.say_last(f'{preempted}; run the same command to continue')
    code = errors.EXIT_PREEMPTED
  except KeyboardInterrupt:
    output.say_last('interrupted; run the same command to continue')
  except Exception:
    output.say_last(traceback.format_exc())
  if code == 1:
    processes.exit_soon(code)
  # Nothing is left to stop, and the code is decided: Python's exit takes a
  # second, in which a late signal would replace it.
  errors.on_stop(signal.SIG_IGN)
  sys.exit(code)


def check_flags() -> None:
  """Check that no flag is passed that has no effect.

  Raises:
    UserError: names the flag.
  """
  if _DISTRIBUTED.value:
    return
  for flag in (_COORDINATOR, _NUM_PROCESSES, _PROCESS_ID, _JOIN_SECONDS):
    if flag.present:
      raise UserError(
        f'--{flag.name}={flag.value} has no effect without --distributed: add '
        'it, or drop this flag'
      )


def quiet_logs() -> None:
  """Show warnings only, unless --verbosity is set.

  Orbax and JAX log every step at INFO. Orbax also logs a save that cannot be
  written on each of its threads; the traceback of the error that ends the
  program is printed at the end.
  """

  def without_traceback(record):
    record.exc_info = None
    return True

  if not flags.FLAGS['verbosity'].present:
    logging.set_verbosity(logging.WARNING)
    logging.get_absl_logger().addFilter(without_traceback)


if __name__ == '__main__':
  flags.mark_flag_as_required('config')
  app.run(main, flags_parser=lambda argv: command_line.parse(argv, _CONFIG))
