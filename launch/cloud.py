"""What every machine in the cloud is given, and what is checked before."""

import argparse
import pathlib
import shutil
import subprocess
import sys

from launch import plan
from pruning_gen.errors import UserError

# Beside machine.sh itself.
FILES = ('machine.sh', 'plan.jsonl', 'requirements.lock', 'pruning_gen.bundle')


def write_lock(args: argparse.Namespace) -> None:
  """Pin every package that a machine installs, with its hash."""
  path = _lock_path(args.plan)
  plan.read(args.plan)
  # Resolved for the machines, not for this one. The code itself, and so its
  # setup.py, comes with the job.
  command = [sys.executable, '-m', 'uv', 'pip', 'compile', '--quiet']
  command += ['--generate-hashes', '--no-annotate', '--no-header']
  command += [
    '--python-platform=x86_64-manylinux_2_34',
    '--python-version=3.12',
    f'--output-file={path}',
    str(plan.ROOT / 'setup.py'),
    '-',
  ]
  needed = f'jax[{args.jax}]\ngcsfs\n'
  result = subprocess.run(command, input=needed, text=True)
  plan.check(
    not result.returncode,
    'uv could not resolve it: see above (or: pip install uv)',
  )
  print(f'lock: {path}')


def _lock_path(path):
  return pathlib.Path(path).with_name('requirements.lock')


def check(args: argparse.Namespace, jobs: list[plan.Job]) -> None:
  """Check all that can be wrong before a machine is asked for.

  Raises:
    UserError: names it.
  """
  for job in jobs:
    plan.check_revision(job)
    plan.check(
      job.in_bucket,
      f'{job.workdir} would be lost with its machine: plan with '
      '--root=gs://BUCKET/FOLDER',
    )
    data = plan.read_config(job.flags).data.name
    plan.check(
      data != 'imagenet2012' or args.data,
      f'{job.id} needs --data, the prepared ImageNet: it is larger than the '
      "machine's disk",
    )
  lock = _lock_path(args.plan)
  made_by = f'`python -m launch.sweep lock --plan={args.plan}` makes it'
  plan.check(lock.exists(), f'{lock} is missing: {made_by}')


def pack(path: str, folder: pathlib.Path) -> None:
  """Put `FILES`, everything that a machine needs, into a folder."""
  folder.mkdir(parents=True, exist_ok=True)
  git = ['git', '-C', plan.ROOT]
  if subprocess.run([*git, 'diff', '--quiet', 'HEAD']).returncode:
    print('warning: uncommitted changes will not run', file=sys.stderr)
  # The code as committed, with its history for provenance.json.
  bundle = folder.absolute() / 'pruning_gen.bundle'
  command = [*git, 'bundle', 'create', '--quiet', bundle, 'HEAD']
  if subprocess.run(command).returncode:
    raise UserError(f'{plan.ROOT} must be a git checkout')
  shutil.copy(plan.ROOT / 'launch' / 'machine.sh', folder)
  shutil.copy(path, folder / 'plan.jsonl')
  shutil.copy(_lock_path(path), folder)
