"""Hands the jobs of a plan to a Slurm cluster or to SkyPilot."""

import argparse
import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import yaml

from pruning_gen.errors import UserError
from pruning_gen.launch import cloud
from pruning_gen.launch import plan


def run_slurm(args: argparse.Namespace, jobs: list[plan.Job]) -> int:
  """Submit a plan as an array, and what needs its results after it."""
  for job in jobs:
    shared = f'{job.workdir} must be a folder that all nodes share'
    plan.check(not job.in_bucket, shared)
  _need(args, 'sbatch', 'run this on a login node')
  logs = pathlib.Path(args.plan).parent / 'logs'
  # Slurm fails silently if the log's folder does not exist.
  logs.mkdir(parents=True, exist_ok=True)

  # Of sbatch, and from a second -- on of the program.
  split = args.extra.index('--') if '--' in args.extra else len(args.extra)

  def submit(lines, *options):
    command = ['sbatch', '--parsable', f'--array={lines}', *options]
    command += [f'--output={logs}/slurm-%A_%a.log', *args.extra[:split]]
    command += [str(plan.ROOT / 'launch' / 'slurm.sbatch'), args.plan]
    command += args.extra[split:]
    print(shlex.join(command), flush=True)
    if args.dry_run:
      return 'ARRAY'
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    plan.check(not result.returncode, 'sbatch refused it: see above')
    return result.stdout.strip().partition(';')[0]

  lines = {job.id: str(line) for line, job in enumerate(jobs)}
  array = submit(','.join(lines[job.id] for job in jobs if not job.needs))
  for job in jobs:
    if job.needs:
      # What waits for a job that failed would wait forever.
      after = f'--dependency=afterok:{array}_{lines[job.needs]}'
      submit(lines[job.id], after, '--kill-on-invalid-dep=yes')
  return 0


def _need(args, tool, remedy):
  if not args.dry_run and not shutil.which(tool):
    raise UserError(f'{tool} is not installed here: {remedy}')


def run_sky(args: argparse.Namespace, jobs: list[plan.Job]) -> int:
  """Submit the jobs that SkyPilot does not have yet; return the exit code.

  Jobs that share a workdir are one job of SkyPilot, with the name of the first.
  """
  task = pathlib.Path(args.plan).with_name('skypilot.yaml')
  plan.check(task.exists(), f'{task} is missing: docs/launch.md says how')
  mounts = yaml.safe_load(task.read_text())['file_mounts']
  cloud.check(args.plan, jobs, '~/data' in mounts)
  _need(args, 'sky', "pip install -e '.[launch]', in its own environment")
  folder = pathlib.Path(args.plan).parent / 'machine'
  cloud.pack(args.plan, folder)
  lines = {}
  for line, job in enumerate(jobs):
    lines.setdefault(job.workdir, (job.id, []))[1].append(str(line))
  known, failed = {} if args.dry_run else sky_jobs(), 0
  for name, own in lines.values():
    command = ['sky', 'jobs', 'launch', '--yes', '--detach-run', '--name', name]
    command += ['--env', f'FOLDER={folder}', '--env', f'LINES={" ".join(own)}']
    command += [*args.extra, str(task)]
    if name in known:
      print(f'{name}: {known[name]}')
    elif args.dry_run:
      print(shlex.join(command))
    elif subprocess.run(command).returncode:
      failed += 1
      print(f'{name}: not submitted, see above', file=sys.stderr)
  return int(failed > 0)


def sky_jobs() -> dict[str, str]:
  """Return the jobs that SkyPilot has, and their states.

  Raises:
    UserError: it does not answer.
  """
  # --refresh: a controller that sleeps is woken, or it would not answer.
  queue = ['sky', 'jobs', 'queue', '--all', '--refresh', '--output', 'json']
  result = subprocess.run(queue, capture_output=True, text=True)
  if 'ClusterDoesNotExist' in result.stderr:
    return {}  # The first submission makes the controller.
  # It may print messages of its own before.
  jobs = re.search(r'^\[.*', result.stdout, re.MULTILINE | re.DOTALL)
  if result.returncode or not jobs:
    raise UserError(
      f'{shlex.join(queue)} failed: {result.stderr.strip() or result.stdout}'
    )
  # The newest comes first; those that are over may be submitted again.
  states = {
    job['job_name']: job['status'] or 'PENDING'
    for job in reversed(json.loads(jobs[0]))
  }
  over = ('FAILED', 'CANCELLED')
  return {k: state for k, state in states.items() if not state.startswith(over)}


ENGINES = {'slurm': run_slurm, 'sky': run_sky}
