"""From one command to the paper's jobs, here, on Slurm or on Cloud TPU.

  python -m launch.sweep plan --sweep=paper --benchmarks=lenet,resnet20
  python -m launch.sweep run --plan=runs/paper/plan.jsonl
  python -m launch.sweep exec --plan=runs/paper/plan.jsonl --index=3

`plan` writes runs/SWEEP/plan.jsonl and prints it as a table. `exec` runs one
job of it, and everything else calls that. `run` runs all of them: in processes
here, as a Slurm array (--engine=slurm), or as managed jobs of SkyPilot
(--engine=sky). Exit codes: 0 done (or submitted), 75 stopped and saved, run the
same command again, 1 anything else.
"""

import argparse
import contextlib
import pathlib
import shlex
import sys

from pruning_gen.launch import devices
from pruning_gen.launch import engines
from pruning_gen.launch import plan
from pruning_gen.launch import workers

from pruning_gen.errors import UserError


def main(argv=None):
  """Run a command line; ends the process with its exit code."""
  args = parse(argv)
  try:
    sys.exit(args.run(args))
  except UserError as error:
    sys.exit(f'error: {error}')


def parse(argv) -> argparse.Namespace:
  """Parse a command line; `run` in it is the function to call."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  verbs = parser.add_subparsers(required=True)
  _plan_flags(verbs.add_parser('plan', help='list the jobs and what they cost'))
  path = argparse.ArgumentParser(add_help=False)
  path.add_argument('--plan', required=True, help='as `plan` wrote it')
  job = argparse.ArgumentParser(add_help=False, parents=[path])
  job.add_argument('--index', type=int, required=True, help='its line, from 0')
  _exec_flags(verbs.add_parser('exec', parents=[job], help='run one job'))
  _run_flags(verbs.add_parser('run', parents=[path], help='run all jobs'))
  lock = verbs.add_parser('lock', parents=[path], help='pin all packages')
  lock.set_defaults(run=engines.write_lock)
  lock.add_argument('--jax', default='tpu', help='tpu (default), cuda12 or cpu')
  vm = verbs.add_parser('vm', parents=[job], help='what tpu_vm.sh needs')
  vm.set_defaults(run=engines.describe_vm)
  for flag in ('--zone', '--accelerator', '--data', '--bundle'):
    vm.add_argument(flag, default='', help='as of tpu_vm.sh')
  return parser.parse_args(argv)


def _names(text):
  return [name for name in text.split(',') if name]


def _plan_flags(parser):
  parser.set_defaults(run=make_plan)
  add = parser.add_argument
  names = {'type': _names, 'metavar': 'NAME,NAME'}
  add('--sweep', required=True, help='a name for the plan')
  add('--benchmarks', default=plan.BENCHMARKS, help='of configs/', **names)
  add('--experiments', default=plan.EXPERIMENTS, help='of a config', **names)
  add('--replicates', type=int, help="default: the config's")
  add('--first_replicate', type=int, help='to extend a sweep')
  add('--replicates_per_job', type=int, default=1, help='default: 1')
  add('--set', action='append', default=[], metavar='KEY=VALUE', help='of all')
  add('--root', help='folder or gs:// address for workdirs; runs/SWEEP')
  add('--accelerator', default='v4-8', help='to estimate the cost for')


def _exec_flags(parser):
  parser.set_defaults(run=run_job)
  add = parser.add_argument
  add(
    '--device', type=_names, help='ids of the devices it may use, as 0 or 0,1'
  )
  add('--platform', help='fail rather than use another: tpu, cuda or cpu')
  add('--retries', type=int, default=0, help='failures without a checkpoint')
  add('--hosts', type=int, default=1, help='processes of the job, one per host')
  add('--host', type=int, default=0, help='which of them this is')
  add('--logs', help='folder of the log; default: next to the workdirs')
  add('--nolock', action='store_true', help='do not lock the workdir')
  add('--dry_run', action='store_true', help='check and print, run nothing')
  add('extra', nargs='*', help='flags of pruning_gen.main, after --')


def _run_flags(parser):
  parser.set_defaults(run=run_plan)
  add = parser.add_argument
  engine = {'choices': ('local', *engines.ENGINES), 'default': 'local'}
  add('--engine', help='default: local', **engine)
  add('--workers', type=int, help='jobs at once here; default: one per device')
  add('--retries', type=int, default=3, help='failures without a checkpoint')
  add('--wait', type=float, default=1.0, help='seconds before a retry')
  add('--accelerator', default='v4-8', help='of sky')
  add('--zone', default='', help='of sky; several: ZONE,ZONE')
  add('--data', default='', help='of sky: gs:// address of prepared data sets')
  add('--on_demand', action='store_true', help='of sky: no spot machines')
  add('--dry_run', action='store_true', help='print, run nothing')
  add('extra', nargs='*', help='after --: flags of main; of slurm: of sbatch')


def make_plan(args):
  """Write a plan and print it."""
  # Traces the networks; JAX takes 2 seconds to import.
  from pruning_gen.launch import cost

  plan.check(
    args.sweep.replace('-', '').replace('_', '').isalnum(),
    f'--sweep={args.sweep} must be letters, digits, - and _',
  )
  jobs = plan.make_plan(
    args.benchmarks,
    args.root or f'runs/{args.sweep}',
    args.experiments,
    args.replicates,
    args.first_replicate,
    args.replicates_per_job,
    args.set,
  )
  table = cost.format_plan(jobs, args.accelerator)
  path = f'runs/{args.sweep}/plan.jsonl'
  plan.write(path, jobs)
  print(f'{table}\nplan: {path}')


def make_task(job: plan.Job, extra=(), hosts=1, host=0) -> workers.Task:
  """Return the task that runs a job in a process of this machine."""
  if hosts > 1:
    # On Cloud TPU hosts find each other; a missing host is then an error.
    extra = [*extra, '--distributed', f'--num_processes={hosts}']
  command = plan.command(job, extra=extra)
  return workers.Task(job.id, command, job.workdir, leads=host == 0)


def run_job(args):
  """Run one job of a plan; return its program's exit code."""
  job = plan.find(args.plan, args.index)
  plan.check_revision(job)
  hosts = args.hosts
  plan.check(
    0 <= args.host < hosts, f'--host={args.host} must be 0 to {hosts - 1}'
  )
  env = _environment(args.device, args.platform)
  if job.in_bucket:
    # Compiled programs outlive the machine.
    env['JAX_COMPILATION_CACHE_DIR'] = f'{job.root}/xla'
  task = make_task(job, args.extra, hosts, args.host)
  if args.dry_run:
    print(shlex.join(task.command))
    return 0
  needed = task.marker.with_name(job.needs or job.id)
  plan.check(
    not job.needs or needed.exists(),
    f'{job.id} needs {job.needs}: run it first',
  )
  logs = '' if job.in_bucket else f'{job.root}/logs'
  if args.logs is not None:
    logs = args.logs
  options = workers.Options(
    env=env, logs=logs, retries=args.retries, lock=not args.nolock
  )
  with workers.stopping() as stop:
    code = workers.execute(task, options, stop)
  if code == 1 and logs:
    print(f'see {logs}/{job.id}.log', file=sys.stderr)
  return code


def _environment(device, platform):
  """Return the variables that give a job its devices."""
  found, ids = devices.find()
  env = {'JAX_PLATFORMS': found} if ids else {}
  if device is not None:
    plan.check(
      set(device) <= set(ids),
      f'--device={",".join(device)} must be of: {", ".join(ids) or "none"}',
    )
    env = devices.environment(found, device)
  return env | ({'JAX_PLATFORMS': platform} if platform else {})


def run_plan(args):
  """Run the jobs of a plan; return the exit code."""
  jobs = plan.read(args.plan)
  for job in jobs:
    plan.check_revision(job)
  if args.engine != 'local':
    plan.check(
      args.workers is None,
      f'--workers={args.workers} has no effect with --engine={args.engine}, '
      'which runs as many as there is room for',
    )
    return engines.ENGINES[args.engine](args, jobs)
  for name, least in (('retries', 0), ('workers', 1)):
    value = getattr(args, name)
    plan.check(
      value is None or value >= least,
      f'--{name}={value} must be at least {least}',
    )
  slots = devices.share(args.workers, *devices.find())
  groups = {}
  for job in jobs:
    groups.setdefault(job.workdir, []).append(make_task(job, args.extra))
  if args.dry_run:
    for group in groups.values():
      for task in group:
        print(shlex.join(task.command))
    return 0
  logs = f'{pathlib.Path(args.plan).parent}/logs'
  options = workers.Options(
    logs=logs, retries=args.retries, wait=args.wait, say=say
  )
  return report(workers.run(list(groups.values()), slots, options), logs)


def say(line: str):
  """Print a line at once; on a full disk the jobs continue without it."""
  with contextlib.suppress(OSError):
    print(line, flush=True)


def report(outcome: dict[str, str], logs: str) -> int:
  """Print what became of the tasks; return the exit code."""
  verdicts = list(outcome.values())
  print(f'{verdicts.count("done")} of {len(verdicts)} jobs done')
  for name, verdict in outcome.items():
    if verdict == 'failed':
      log = pathlib.Path(logs) / f'{name}.log'
      # A task that could not be started has none.
      text = log.read_text(errors='replace') if log.exists() else ''
      end = (text.splitlines() or ['no output'])[-1]
      print(f'{name} failed; {log} ends with: {end}', file=sys.stderr)
  if 'failed' in verdicts:
    return 1
  return workers.EXIT_AGAIN if 'stopped' in verdicts else 0


if __name__ == '__main__':
  main()
