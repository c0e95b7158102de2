"""From one command to the paper's jobs, on this machine or on Cloud TPU.

  python -m launch.sweep plan --sweep=paper --panels=lenet,resnet20
  python -m launch.sweep run --plan=runs/paper/plan.jsonl --workers=2

`plan` writes runs/SWEEP/plan.jsonl and prints it as a table. `run` does its
jobs: in processes here, in TPU VMs that gcloud makes (--engine=gcloud), or as
managed jobs of SkyPilot (--engine=sky). Exit codes: 0 all done (with sky: all
submitted), 75 stopped, run the same command again, 1 anything else.
"""

import argparse
import contextlib
import functools
import importlib.util
import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import yaml

from launch import accelerators
from launch import plan
from launch import workers
from pruning_gen.errors import UserError

HERE = pathlib.Path(__file__).parent
INSTALL = {
  'gcloud': 'https://cloud.google.com/sdk/docs/install says how',
  'sky': "pip install -e '.[launch]', in an environment of its own",
}
# What SkyPilot calls a job that is over and may be submitted again.
SKY_OVER = ('FAILED', 'CANCELLED')


def main(argv=None):
  """Run a command line; ends the process with its exit code."""
  args = parse(argv)
  try:
    sys.exit(args.run(args))
  except UserError as error:
    sys.exit(f'error: {error}')


def parse(argv):
  """Parse a command line; `run` in it is the function to call."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  commands = parser.add_subparsers(required=True)

  def names(text):
    return [name for name in text.split(',') if name]

  make = commands.add_parser('plan', help='list the jobs and what they cost')
  make.set_defaults(run=make_plan)
  make.add_argument('--sweep', required=True, help='a name for the plan')
  make.add_argument(
    '--panels',
    type=names,
    default=plan.PANELS,
    help='of configs/, as lenet,resnet20:small; default: '
    + ','.join(plan.PANELS),
  )
  make.add_argument(
    '--experiments',
    type=names,
    default=plan.EXPERIMENTS,
    help=f'default: all, {",".join(plan.EXPERIMENTS)}',
  )
  make.add_argument('--replicates', type=int, help="default: the config's")
  make.add_argument('--first_replicate', type=int, help='to add to a sweep')
  make.add_argument(
    '--replicates_per_job', type=int, help='default: all in one job'
  )
  make.add_argument(
    '--set',
    action='append',
    default=[],
    metavar='KEY=VALUE',
    help='a config key for all jobs; may be repeated',
  )
  make.add_argument(
    '--root', help='folder or gs:// address for workdirs; runs/SWEEP'
  )
  make.add_argument('--output', help='runs/SWEEP/plan.jsonl')
  make.add_argument(
    '--accelerator', default='v4-8', help='for the estimate of the cost'
  )

  run = commands.add_parser('run', help='do the jobs of a plan')
  run.set_defaults(run=run_plan)
  run.add_argument('--plan', required=True, help='as `plan` wrote it')
  run.add_argument(
    '--engine',
    choices=('local', 'gcloud', 'sky'),
    default='local',
    help='what does the jobs; default: local',
  )
  run.add_argument('--workers', type=int, default=1, help='jobs at once')
  run.add_argument(
    '--retries', type=int, default=2, help='failures in a row without progress'
  )
  run.add_argument('--wait', type=float, default=1.0, help=argparse.SUPPRESS)
  run.add_argument('--accelerator', default='v4-8', help='of gcloud and sky')
  run.add_argument('--zone', help='of gcloud and sky')
  run.add_argument('--on_demand', action='store_true', help='no spot machines')
  run.add_argument('--dry_run', action='store_true', help='print, do nothing')
  return parser.parse_args(argv)


def make_plan(args):
  """Write a plan and print it."""
  accelerator = accelerators.find(args.accelerator)
  if not args.sweep.replace('-', '').replace('_', '').isalnum():
    raise UserError(f'--sweep={args.sweep}: letters, digits, - and _ only')
  folder = f'runs/{args.sweep}'
  jobs = plan.make_plan(
    args.panels,
    args.root or folder,
    args.experiments,
    args.replicates,
    args.first_replicate,
    args.replicates_per_job,
    args.set,
    args.accelerator,
  )
  output = args.output or f'{folder}/plan.jsonl'
  plan.write(output, jobs)
  print(format_table(jobs, accelerator))
  print(f'plan: {output}')


def format_table(jobs, accelerator):
  """Format a plan for people, a line each job and one for the sum.

  Args:
    jobs: list of Job.
    accelerator: accelerators.Accelerator, that they were planned for.
  """
  rows = [('job', 'experiments', 'replicates', 'chip-hours', 'spot $')]
  zone = accelerator.zones[0]
  total = sum(job.chip_hours for job in jobs)
  for job in jobs:
    last = job.first_replicate + job.replicates - 1
    rows.append(
      (
        job.id,
        ' '.join(job.experiments),
        f'{job.first_replicate}-{last}',
        f'{job.chip_hours:,.1f}',
        f'{job.chip_hours * accelerator.price(zone):,.0f}',
      )
    )
  dollars = total * accelerator.price(zone)
  rows.append((f'{len(jobs)} jobs', '', '', f'{total:,.1f}', f'{dollars:,.0f}'))
  widths = [max(map(len, column)) for column in zip(*rows)]
  lines = [
    '  '.join(
      [cell.ljust(width) for cell, width in zip(row[:3], widths)]
      + [cell.rjust(width) for cell, width in zip(row[3:], widths[3:])]
    ).rstrip()
    for row in rows
  ]
  note = (
    f'estimated for {accelerator.name} in {zone}, not measured; price of '
    f'{accelerators.PRICES_READ}: check {accelerators.PRICE_LIST}'
  )
  return '\n'.join([*lines, note])


def run_plan(args):
  """Do the jobs of a plan; return the exit code."""
  for name, least in (('workers', 1), ('retries', 0)):
    if getattr(args, name) < least:
      raise UserError(f'--{name}={getattr(args, name)}: at least {least}')
  jobs = plan.read(args.plan)
  folder = pathlib.Path(args.plan).parent
  if args.engine == 'local':
    check_bucket_reader(jobs)
    tasks = [local_task(job) for job in jobs]
  else:
    accelerator = check_cloud(args, jobs)
    if args.engine == 'sky':
      return submit_to_sky(args, jobs, folder, accelerator)
    tasks = [gcloud_task(args, job, accelerator) for job in jobs]
  if args.dry_run:
    for task in tasks:
      print(shlex.join(task.command), flush=True)
      if args.engine == 'gcloud':
        # A dry run itself: it prints what it would do.
        subprocess.run(task.command, check=True)
    return 0
  outcome = workers.run(
    tasks, folder, args.workers, args.retries, args.wait, say
  )
  return report(outcome, folder)


def say(line):
  """Print a line at once; where a full disk has no room for it, jobs go on."""
  with contextlib.suppress(OSError):
    print(line, flush=True)


def report(outcome, folder):
  """Print what became of the tasks; return the exit code."""
  done = sum(verdict == 'done' for verdict in outcome.values())
  print(f'{done} of {len(outcome)} jobs done')
  failed = {k: v for k, v in outcome.items() if v.startswith('failed')}
  for name, verdict in failed.items():
    log = folder / 'logs' / f'{name}.log'
    # There is none of a task that could not be started.
    text = log.read_text(errors='replace') if log.exists() else ''
    lines = text.splitlines() or ['no output']
    print(f'{name} {verdict}; {log} ends with: {lines[-1]}', file=sys.stderr)
  if failed:
    return 1
  return 0 if done == len(outcome) else workers.EXIT_AGAIN


def local_task(job):
  """Return the task that does a job in a process of this machine."""
  progress = functools.partial(workers.workdir_progress, job.workdir)
  return workers.Task(job.id, plan.command(job), progress)


def gcloud_task(args, job, accelerator):
  """Return the task that does a job in a TPU VM of its own."""
  return workers.Task(
    job.id,
    [
      str(HERE / 'tpu_vm.sh'),
      'run',
      f'--name={job.id}',
      f'--accelerator={accelerator.name}',
      f'--zone={args.zone}',
      *(['--on-demand'] if args.on_demand else []),
      *(['--dry-run'] if args.dry_run else []),
      '--',
      *remote_command(job, accelerator),
    ],
    once=True,
  )


def remote_command(job, accelerator):
  """Return the command that does a job on every host of a slice."""
  command = plan.command(job, python='python')
  if accelerator.hosts > 1:
    # On Cloud TPU hosts find each other; a host too few is then an error.
    command += ['--distributed', f'--num_processes={accelerator.hosts}']
  return command


def submit_to_sky(args, jobs, folder, accelerator):
  """Submit the jobs that SkyPilot does not have yet; return the exit code."""
  task = yaml.safe_load((HERE / 'skypilot.yaml').read_text())
  task['resources'] |= {
    'infra': f'gcp/{accelerators.region(args.zone)}/{args.zone}',
    'accelerators': f'tpu-{accelerator.name}',
    'accelerator_args': {'runtime_version': accelerator.runtime_version},
    'use_spot': not args.on_demand,
  }
  if args.dry_run:
    for job in jobs:
      print(shlex.join(sky_command(folder, job)))
    return 0
  # Two at once would both find a job missing, and it would run twice.
  lock = workers.try_lock(folder, 'sky')
  if lock is None:
    raise UserError(f'another process submits the jobs of {args.plan}: wait')
  with lock:
    known, failed = sky_jobs(), 0
    for job in jobs:
      command = sky_command(folder, job)
      path = pathlib.Path(command[-1])
      path.parent.mkdir(exist_ok=True)
      envs = {'COMMAND': shlex.join(remote_command(job, accelerator))}
      path.write_text(yaml.safe_dump(task | {'name': job.id, 'envs': envs}))
      for _ in range(args.retries + 1):
        if job.id in known or subprocess.run(command).returncode == 0:
          print(f'{job.id}: submitted')
          break
        # One that failed may have arrived.
        known = sky_jobs()
      else:
        failed += 1
        print(f'{job.id}: not submitted, see above', file=sys.stderr)
  return 1 if failed else 0


def sky_command(folder, job):
  """Return the command that submits a job."""
  path = folder / 'sky' / f'{job.id}.yaml'
  return ['sky', 'jobs', 'launch', '--yes', '--detach-run', str(path)]


def sky_jobs():
  """Return the names of the jobs SkyPilot has, is doing, or has done."""
  # --refresh: a controller that sleeps is woken, or it would tell nothing.
  queue = ['sky', 'jobs', 'queue', '--all', '--refresh', '--output', 'json']
  result = subprocess.run(queue, capture_output=True, text=True)
  if 'ClusterDoesNotExist' in result.stderr:
    return set()  # No controller yet: the first submission makes it.
  # It may speak of its own affairs before.
  jobs = re.search(r'^\[.*', result.stdout, re.MULTILINE | re.DOTALL)
  if result.returncode or not jobs:
    raise UserError(
      f'{shlex.join(queue)} failed: {result.stderr.strip() or result.stdout}'
    )
  return {
    job['job_name']
    for job in json.loads(jobs[0])
    if not (job['status'] or '').startswith(SKY_OVER)
  }


def check_cloud(args, jobs):
  """Check all that can be wrong before a machine is asked for.

  Returns:
    The Accelerator.

  Raises:
    UserError: says what.
  """
  accelerator = accelerators.find(args.accelerator)
  if not args.zone:
    raise UserError(
      f'--engine={args.engine} needs --zone: {accelerator.name} is in '
      f'{", ".join(accelerator.zones)}'
    )
  accelerators.check_zone(args.zone, accelerator)
  for job in jobs:
    if not job.workdir.startswith('gs://'):
      raise UserError(
        f'--plan={args.plan}: the workdir {job.workdir} is lost with its '
        'machine; plan with --root=gs://BUCKET/FOLDER'
      )
  if args.dry_run:
    return accelerator
  for program in dict.fromkeys(('gcloud', args.engine)):
    if not shutil.which(program):
      raise UserError(f'there is no {program} here: {INSTALL[program]}')
  for bucket in sorted({job.workdir.split('/')[2] for job in jobs}):
    check_bucket(bucket, args.zone)
  return accelerator


def check_bucket(bucket, zone):
  """Check that a bucket is there; warn where it is in another region."""
  describe = ['gcloud', 'storage', 'buckets', 'describe', f'gs://{bucket}']
  result = subprocess.run(
    [*describe, '--format=value(location)'], capture_output=True, text=True
  )
  if result.returncode:
    raise UserError(
      f'gs://{bucket} cannot be read ({result.stderr.strip()}); make it with '
      f'gcloud storage buckets create gs://{bucket} '
      f'--location={accelerators.region(zone)}'
    )
  warning = accelerators.check_bucket(result.stdout.strip(), zone)
  if warning:
    print(warning, file=sys.stderr)


def check_bucket_reader(jobs):
  """Check that what a workdir in a bucket needs is installed.

  Raises:
    UserError: it is not.
  """
  in_bucket = [job for job in jobs if job.workdir.startswith('gs://')]
  if in_bucket and not any(map(_is_installed, ('tensorflow', 'gcsfs'))):
    raise UserError(
      f'the workdir {in_bucket[0].workdir} is in a bucket, and nothing here '
      'reads buckets: pip install gcsfs'
    )


def _is_installed(package):
  return importlib.util.find_spec(package) is not None


if __name__ == '__main__':
  main()
