"""What every machine in the cloud is given, and what is checked before."""

import pathlib
import shutil
import subprocess
import sys

from pruning_gen.errors import UserError
from pruning_gen.launch import plan


def check(path: str, jobs: list[plan.Job], has_data: bool) -> None:
  """Check all that can be wrong before a machine is asked for.

  Args:
    path: the plan.
    jobs: those of it that are to run.
    has_data: whether prepared data sets are mounted.

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
      data != 'imagenet2012' or has_data,
      f'{job.id} needs the prepared ImageNet to be mounted, as it is larger '
      "than the machine's disk: docs/launch.md says how",
    )
  lock = _lock_path(path)
  plan.check(lock.exists(), f'{lock} is missing: docs/launch.md says how')


def _lock_path(path):
  return pathlib.Path(path).with_name('requirements.lock')


def pack(path: str, folder: pathlib.Path) -> None:
  """Put everything that a machine needs into a folder."""
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
