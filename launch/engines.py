"""Hands jobs to a Slurm cluster, to SkyPilot, or to launch/tpu_vm.sh."""

import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import yaml
from pruning_gen.launch import accelerators
from pruning_gen.launch import plan

from pruning_gen.errors import UserError

HERE = pathlib.Path(__file__).parent


def run_slurm(args, jobs) -> int:
  """Submit a plan as an array, and what needs its results after it."""
  for job in jobs:
    if job.in_bucket:
      raise UserError(f'{job.workdir} must be a folder that all nodes share')
  if not args.dry_run and not shutil.which('sbatch'):
    raise UserError('sbatch is not installed here: run this on a login node')
  logs = pathlib.Path(args.plan).parent / 'logs'
  # Slurm fails without a word where the folder of its log is missing.
  logs.mkdir(parents=True, exist_ok=True)
  lines = {job.id: line for line, job in enumerate(jobs)}
  first = [str(line) for line, job in enumerate(jobs) if not job.needs]
  array = _sbatch(args, logs, ','.join(first))
  for job in jobs:
    if job.needs:
      # What waits for a job that failed would wait for ever.
      after = f'--dependency=afterok:{array}_{lines[job.needs]}'
      _sbatch(args, logs, lines[job.id], after, '--kill-on-invalid-dep=yes')
  return 0


def _sbatch(args, logs, indices, *options):
  command = ['sbatch', '--parsable', f'--array={indices}', *options]
  command += [f'--output={logs}/slurm-%A_%a.log', *args.extra]
  command += [str(HERE / 'slurm.sbatch'), args.plan]
  print(shlex.join(command), flush=True)
  if args.dry_run:
    return 'ARRAY'
  result = subprocess.run(command, stdout=subprocess.PIPE, text=True)
  if result.returncode:
    raise UserError('sbatch refused it: see above')
  return result.stdout.strip().partition(';')[0]


def write_lock(args) -> int:
  """Pin every package that a machine installs, with its hash."""
  path = lock_path(args.plan)
  plan.read(args.plan)
  # Resolved for the machines, not for this one.
  command = [sys.executable, '-m', 'uv', 'pip', 'compile', '--quiet', '-']
  command += ['--generate-hashes', '--no-annotate', '--no-header']
  command += [
    '--python-platform=x86_64-manylinux_2_34',
    '--python-version=3.12',
  ]
  command += [f'--output-file={path}']
  needed = f'pruning_gen @ {plan.ROOT.as_uri()}\njax[{args.jax}]\ngcsfs\n'
  result = subprocess.run(command, input=needed, text=True)
  if result.returncode:
    raise UserError('uv could not resolve it: see above (or: pip install uv)')
  # The code itself comes with the job, at its commit.
  text = re.sub(r'(?m)^pruning[-_]gen @ .*\n', '', path.read_text())
  path.write_text(text)
  print(f'lock: {path}')
  return 0


def lock_path(path) -> pathlib.Path:
  """Return the path of the lock file of a plan."""
  return pathlib.Path(path).with_name('requirements.lock')


def check_cloud(args, jobs, zones) -> accelerators.Accelerator:
  """Check all that can be wrong before a machine is asked for.

  Raises:
    UserError: names it.
  """
  accelerator = accelerators.find(args.accelerator)
  for zone in zones:
    print(end=accelerators.check_zone(zone, accelerator), file=sys.stderr)
  for job in jobs:
    plan.check_revision(job)
    if not job.in_bucket:
      raise UserError(
        f'{job.workdir} would be lost with its machine: plan with '
        '--root=gs://BUCKET/FOLDER'
      )
    if plan.job_config(job).data.name == 'imagenet2012' and not args.data:
      raise UserError(
        f'{job.id} needs --data, the prepared ImageNet: it is larger than the '
        "machine's disk"
      )
  if not lock_path(args.plan).exists():
    raise UserError(
      f'{lock_path(args.plan)} is missing: `python -m launch.sweep lock '
      f'--plan={args.plan}` makes it'
    )
  return accelerator


def pack(path, folder):
  """Put everything that a machine needs into a folder."""
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  git = ['git', '-C', plan.ROOT]
  if subprocess.run([*git, 'diff', '--quiet', 'HEAD']).returncode:
    print('warning: uncommitted changes will not run', file=sys.stderr)
  # The code as committed, with its history for provenance.json.
  bundle = [*git, 'bundle', 'create', '--quiet']
  bundle += [folder.absolute() / 'pruning_gen.bundle', 'HEAD']
  if subprocess.run(bundle).returncode:
    raise UserError(f'{plan.ROOT} must be a git checkout')
  shutil.copy(HERE / 'machine.sh', folder / 'machine.sh')
  shutil.copy(path, folder / 'plan.jsonl')
  shutil.copy(lock_path(path), folder / 'requirements.lock')


def describe_vm(args) -> int:
  """Check a job for tpu_vm.sh, and print what that needs as assignments."""
  job = plan.find(args.plan, args.index)
  accelerator = check_cloud(args, [job], [args.zone])
  check_bucket(job.workdir.split('/')[2], args.zone)
  pack(args.plan, args.bundle)
  for name, value in (
    ('name', job.id),
    ('workdir', job.workdir),
    ('runtime', accelerator.runtime_version),
    ('hosts', accelerator.hosts),
  ):
    print(f'{name}={shlex.quote(str(value))}')
  return 0


def check_bucket(bucket: str, zone: str):
  """Check that a bucket is there; warn where it is in another region.

  Raises:
    UserError: it cannot be read.
  """
  location = '--format=value(location)'
  result = subprocess.run(
    ['gcloud', 'storage', 'buckets', 'describe', f'gs://{bucket}', location],
    capture_output=True,
    text=True,
  )
  if result.returncode:
    raise UserError(
      f'gs://{bucket} cannot be read ({result.stderr.strip()}); docs/launch.md '
      'has the commands that make it'
    )
  location = result.stdout.strip()
  print(end=accelerators.check_bucket(location, zone), file=sys.stderr)


def run_sky(args, jobs) -> int:
  """Submit the jobs that SkyPilot does not have yet; return the exit code."""
  zones = args.zone.split(',')
  accelerator = check_cloud(args, jobs, zones)
  folder = pathlib.Path(args.plan).parent / 'sky'
  pack(args.plan, folder)
  for line, job in enumerate(jobs):
    task = make_sky_task(args, accelerator, zones, folder, line, job)
    (folder / f'{job.id}.yaml').write_text(yaml.safe_dump(task))
  if args.dry_run:
    for job in jobs:
      print(shlex.join(_launch(folder, job)))
    return 0
  if not shutil.which('sky'):
    raise UserError(
      "sky is not installed here: pip install -e '.[launch]', in an "
      'environment of its own'
    )
  known, failed, waiting = sky_jobs(), 0, 0
  for job in jobs:
    if job.id in known:
      print(f'{job.id}: {known[job.id]}')
    elif job.needs and known.get(job.needs) != 'SUCCEEDED':
      waiting += 1
    elif subprocess.run(_launch(folder, job)).returncode:
      failed += 1
      # One that failed may have arrived.
      known = sky_jobs()
      print(f'{job.id}: not submitted, see above', file=sys.stderr)
  if waiting:
    print(
      f'{waiting} jobs need others first: run this again when those are done'
    )
  return int(failed > 0)


def make_sky_task(args, accelerator, zones, folder, line, job) -> dict:
  """Return a job as a task of SkyPilot."""
  task = yaml.safe_load((HERE / 'skypilot.yaml').read_text())
  task['name'] = job.id
  task['resources'] |= {
    'any_of': [
      {'infra': f'gcp/{accelerators.region(zone)}/{zone}'} for zone in zones
    ],
    'accelerators': f'tpu-{accelerator.name}',
    'use_spot': not args.on_demand,
  }
  task['resources']['accelerator_args'] |= {
    'runtime_version': accelerator.runtime_version
  }
  # Hosts that retry each on their own would not meet again.
  task['envs'] |= {
    'REVISION': job.revision,
    'RETRIES': str(args.retries if accelerator.hosts == 1 else 0),
    'JOB': shlex.join([str(line), str(accelerator.hosts), '--', *args.extra]),
  }
  task['file_mounts'] = {
    f'~/job/{name}': str(folder.absolute() / name)
    for name in (
      *('pruning_gen.bundle', 'plan.jsonl', 'requirements.lock', 'machine.sh'),
    )
  }
  if args.data:
    task['file_mounts']['~/job/data'] = {'source': args.data, 'mode': 'MOUNT'}
  return task


def _launch(folder, job):
  path = str(folder / f'{job.id}.yaml')
  return ['sky', 'jobs', 'launch', '--yes', '--detach-run', path]


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
  states = {}
  # The newest comes first; those that are over may be submitted again.
  for job in reversed(json.loads(jobs[0])):
    state = job['status'] or 'PENDING'
    states[job['job_name']] = state
    if state.startswith(('FAILED', 'CANCELLED')):
      del states[job['job_name']]
  return states


ENGINES = {'slurm': run_slurm, 'sky': run_sky}
