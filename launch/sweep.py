"""From one command to the paper's jobs, here, on Slurm or on Cloud TPU.

  python -m launch.sweep plan --sweep=paper --benchmarks=lenet,resnet20
  python -m launch.sweep run --plan=runs/paper/plan.jsonl
  python -m launch.sweep exec --plan=runs/paper/plan.jsonl --index=3

`plan` writes runs/SWEEP/plan.jsonl. `exec` runs one job of it, also for Slurm,
SkyPilot and launch.tpu_vm. `run` runs all of them: in processes here, as a
Slurm array (--engine=slurm), or as managed jobs of SkyPilot (--engine=sky).
Exit codes: 0 done (or submitted), 75 stopped and saved, run the same command
again, 2 wrong usage, 1 anything else.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from pruning_gen import output
from pruning_gen.errors import EXIT_PREEMPTED
from pruning_gen.errors import UserError
from pruning_gen.launch import devices
from pruning_gen.launch import engines
from pruning_gen.launch import plan
from pruning_gen.launch import workers


def main(argv: Sequence[str] | None = None) -> None:
  """Run a command line; ends the process with its exit code."""
  args = parse(argv)
  try:
    sys.exit(args.run(args))
  except (UserError, OSError) as error:
    sys.exit(f'error: {error}')


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
  """Parse a command line; `run` in it is the function to call."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  verbs = parser.add_subparsers(required=True)

  def verb(function, name, text):
    added = verbs.add_parser(name, help=text)
    added.set_defaults(run=function)
    return added.add_argument

  def names(text):
    return [name for name in text.split(',') if name]

  several = {'type': names, 'metavar': 'NAME,NAME'}
  configs = 'names of configs in configs/; default: the five benchmarks'
  planned = 'experiments to plan; default: the four of the paper'
  override = 'override a config key in every job; repeatable'
  add = verb(make_plan, 'plan', 'list the jobs')
  add('--sweep', required=True, help='a name for the plan')
  add('--benchmarks', default=plan.BENCHMARKS, help=configs, **several)
  add('--experiments', default=plan.EXPERIMENTS, help=planned, **several)
  add('--replicates_per_job', type=int, default=1, help='default: 1')
  add('--set', action='append', default=[], metavar='KEY=VALUE', help=override)
  add('--root', help='folder or gs:// address of workdirs; default: runs/SWEEP')

  failures = 'retry so many failures in a row without a new checkpoint'
  add = verb(run_job, 'exec', 'run one job of a plan')
  add('--plan', required=True, help='as `plan` wrote it')
  add('--index', type=int, required=True, help='line of the job, from 0')
  add('--device', help='id of the one GPU or TPU chip to use; default: all')
  add('--retries', type=int, default=0, help=failures)
  add('--wait', type=float, default=1.0, help='seconds before the first retry')
  add('--host', type=int, default=0, help='index of this host among several')
  add('extra', nargs='*', help='flags of pruning_gen.main, after --')

  add = verb(run_plan, 'run', 'run all jobs of a plan')
  add('--plan', required=True, help='as `plan` wrote it')
  choices = ('local', *engines.ENGINES)
  add('--engine', choices=choices, default='local', help='default: local')
  add('--workers', type=int, help='jobs at once here; default: one per device')
  add('--retries', type=int, default=3, help=failures)
  add('--dry_run', action='store_true', help='slurm, sky: only print commands')
  help_ = (
    'after --: flags of pruning_gen.main; with slurm, of sbatch, then after a '
    'second -- of pruning_gen.main; with sky, of sky jobs launch'
  )
  add('extra', nargs='*', help=help_)
  return parser.parse_args(argv)


def make_plan(args: argparse.Namespace) -> None:
  """Write a plan."""
  plan.check(
    args.sweep.replace('-', '').replace('_', '').isalnum(),
    f'--sweep={args.sweep} must be letters, digits, - and _',
  )
  folder = f'runs/{args.sweep}'
  jobs = plan.make_plan(
    args.benchmarks,
    args.root or folder,
    args.experiments,
    args.replicates_per_job,
    args.set,
  )
  plan.write(f'{folder}/plan.jsonl', jobs)
  for line, job in enumerate(jobs):
    print(line, job.id, f'(after {job.needs})' if job.needs else '')
  print(f'plan: {folder}/plan.jsonl')


def run_job(args: argparse.Namespace) -> int:
  """Run one job of a plan; return its program's exit code."""
  job = plan.find(args.plan, args.index)
  plan.check_revision(job)
  env = devices.environment(*devices.find(), args.device)
  if job.in_bucket:
    # Compiled programs outlive the machine.
    env['JAX_COMPILATION_CACHE_DIR'] = f'{job.workdir.rpartition("/")[0]}/xla'
  leads = args.host == 0
  task = workers.Task(job.id, job.command(args.extra), job.workdir, leads)
  is_first = not job.needs or task.marker.with_name(job.needs).exists()
  plan.check(is_first, f'{job.id} needs {job.needs}: run it first')
  with workers.stopping() as stop:
    options = workers.Options(env, '', args.retries, args.wait)
    return workers.execute(task, options, stop)


def run_plan(args: argparse.Namespace) -> int:
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
  slots = devices.share(args.workers, *devices.find())
  groups = {}
  for job in jobs:
    task = workers.Task(job.id, job.command(args.extra), job.workdir)
    groups.setdefault(job.workdir, []).append(task)
  logs = f'{pathlib.Path(args.plan).parent}/logs'
  options = workers.Options(logs=logs, retries=args.retries)
  return report(workers.run(list(groups.values()), slots, options), logs)


def report(outcome: dict[str, str], logs: str) -> int:
  """Print what became of the tasks; return the exit code."""
  verdicts = list(outcome.values())
  print(f'{verdicts.count("done")} of {len(verdicts)} jobs done')
  for name, verdict in outcome.items():
    if verdict == 'failed':
      print(f'{name} failed: see {logs}/{name}.log', file=sys.stderr)
  if 'failed' in verdicts:
    return 1
  return EXIT_PREEMPTED if 'stopped' in verdicts else 0


if __name__ == '__main__':
  output.guard()
  main()
