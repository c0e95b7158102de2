"""The paper as a list of jobs: one program and one workdir each.

Whatever can run separately does: every replicate of every benchmark has a job
for its chain with EL2N, one for its width networks, and one for leave_out,
which needs the chain's results and therefore its workdir. Nothing is started
here and, except by `write`, nothing is touched.
"""

import functools
import hashlib
import json
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import NamedTuple

from absl import flags as absl_flags
from ml_collections import config_flags
from ml_collections import ConfigDict

from pruning_gen import command_line
from pruning_gen.errors import UserError
from pruning_gen.storage import files
from pruning_gen.storage import start

ROOT = pathlib.Path(__file__).parents[1]
BENCHMARKS = ('lenet', 'resnet20', 'vgg16', 'resnet32', 'resnet50')
# One job each. The last needs the results of the first, in the same workdir.
GROUPS = (('chain', 'el2n'), ('width',), ('leave_out',))
EXPERIMENTS = sum(GROUPS, ())


class Job(NamedTuple):
  """One program to run to its end.

  Attributes:
    id: the same for the same work in every plan, on every machine; valid as
      the name of a machine.
    flags: of pruning_gen.main, except for the workdir.
    workdir: a folder or gs:// address.
    needs: the id of the job that must be done first, or ''.
    revision: the commit that the plan was made for, or ''.
  """

  id: str
  flags: tuple[str, ...]
  workdir: str
  needs: str = ''
  revision: str = ''

  @property
  def in_bucket(self) -> bool:
    """Whether the workdir is an address in a bucket."""
    return files.is_in_bucket(self.workdir)

  def command(self, extra: Sequence[str] = ()) -> list[str]:
    """Return the command that does the job.

    Args:
      extra: flags of this machine that are not part of the work, such as where
        the data are.

    Raises:
      UserError: a flag would end the program at once, as if the job were done.
    """
    for flag in ('--dry_run', '--print_config'):
      check(flag not in extra, f'{flag} trains nothing: run pruning_gen.main')
    program = [sys.executable, '-m', 'pruning_gen.main']
    return [*program, *self.flags, f'--workdir={self.workdir}', *extra]


def check(holds: object, message: str) -> None:
  """Raise a UserError with a message unless something holds."""
  if not holds:
    raise UserError(message)


def make_plan(
  benchmarks: Sequence[str],
  root: str,
  experiments: Sequence[str] = EXPERIMENTS,
  replicates_per_job: int = 1,
  overrides: Sequence[str] = (),
) -> list[Job]:
  """List the jobs that together do everything asked for, each thing once.

  Args:
    benchmarks: names of configs, as 'resnet20' or 'resnet20:small'.
    root: the folder or gs:// address in which workdirs are made.
    replicates_per_job: leave_out averages over these to choose a level.
    overrides: 'key=value' of any config key except `experiments`.

  Raises:
    UserError: the plan would be empty, a name is unknown, or the program would
      reject a job's config.
  """
  unknown = ', '.join(sorted(set(experiments) - set(EXPERIMENTS)))
  choices = ', '.join(EXPERIMENTS)
  check(not unknown, f'--experiments={unknown} must be of: {choices}')
  per_job = replicates_per_job
  check(per_job >= 1, f'--replicates_per_job={per_job} must be at least 1')
  jobs = []
  for benchmark in benchmarks:
    config = load_config(benchmark, overrides)
    first, count = config.first_replicate, config.replicates
    for at in range(0, count, per_job):
      own = first + at, min(per_job, count - at)
      jobs += _jobs_of(benchmark, experiments, *own, overrides, root)
  check(
    0 < len({job.id for job in jobs}) == len(jobs),
    'a plan needs at least one benchmark, experiment and replicate, each once',
  )
  return jobs


def _jobs_of(benchmark, experiments, first, count, overrides, root):
  """List the jobs for some replicates of one benchmark."""
  # Slow to import, and `exec` does not need them.
  from pruning_gen import config as rules
  from pruning_gen.experiments import leave_out

  # Neither their order nor the size of the plan changes the work of a job.
  own = [
    o for o in sorted(overrides) if not re.match('(first_)?replicates=', o)
  ]
  jobs = []
  for group in GROUPS:
    chosen = tuple(name for name in group if name in experiments)
    if not chosen:
      continue
    work = json.dumps([benchmark, chosen, first, count, own])
    digest = hashlib.sha256(work.encode()).hexdigest()[:8]
    replicates = f'r{first}' + (f'to{first + count - 1}' if count > 1 else '')
    words = [benchmark.replace(':', '-'), chosen[0], replicates, digest]
    # Google's rule for names: lower-case letters, digits, dashes; at most 63.
    name = '-'.join(words).replace('_', '-')
    check(
      re.fullmatch('[a-z][-a-z0-9]{0,62}', name),
      f'--benchmarks={benchmark}: rename this config: {name} must be at most '
      '63 lower-case letters, digits and dashes, and begin with a letter',
    )
    flags = (
      *_flags(benchmark, own),
      f'--config.experiments=({",".join(map(repr, chosen))},)',
      f'--config.first_replicate={first}',
      f'--config.replicates={count}',
    )
    job = Job(name, flags, f'{str(root).rstrip("/")}/{name}', '', revision())
    config = read_config(flags)
    if 'leave_out' in chosen:
      missing = ', '.join(set(leave_out.needs(config)) - set(experiments))
      check(not missing, f'--experiments: leave_out needs {missing} too')
      job = job._replace(workdir=jobs[0].workdir, needs=jobs[0].id)
    try:
      rules.check(config)
    except UserError as error:
      raise UserError(f'{benchmark}: {error}') from error
    jobs.append(job)
  return jobs


def load_config(benchmark: str, overrides: Sequence[str] = ()) -> ConfigDict:
  """Load the config of a benchmark, as 'resnet20' or 'resnet20:small'.

  Raises:
    UserError: no such benchmark or key, or a value of another type.
  """
  names = command_line.config_names()
  choices = ', '.join(names)
  is_known = benchmark.partition(':')[0] in names
  check(is_known, f'--benchmarks={benchmark} must be of: {choices}')
  keys = [override.partition('=')[0] for override in overrides]
  check('experiments' not in keys, '--set=experiments: use --experiments')
  # The program would concatenate tuples.
  once = len(set(keys)) == len(keys)
  check(once, f'--set: {", ".join(keys)} must have each key once')
  return read_config(_flags(benchmark, overrides))


def _flags(benchmark, overrides):
  return (f'--config={benchmark}', *(f'--config.{text}' for text in overrides))


def read_config(flags: Sequence[str]) -> ConfigDict:
  """Return the config that flags of the program stand for.

  Raises:
    UserError: the program would not understand them.
  """
  words = ['', *command_line.locate_config(flags)]
  values = absl_flags.FlagValues()
  config_flags.DEFINE_config_file(
    'config',
    # A model has keys of its own.
    lock_config=False,
    accept_new_attributes=True,
    flag_values=values,
    sys_argv=words,
  )
  try:
    values(words)
    command_line.check_keys(values.config)
  except (AttributeError, KeyError) as error:
    key = command_line.wrong_key(error, words)
    raise UserError(command_line.unknown_key(key)) from error
  except absl_flags.Error as error:
    reason = str(error).strip().splitlines()[-1]
    raise UserError(
      f'{" ".join(flags)} is wrong ({reason}); configs/default.py explains '
      'every key'
    ) from error
  return values.config


@functools.cache
def revision() -> str:
  """Return the commit of this checkout, or '' where there is none."""
  return (start.git_revision() or '').removesuffix('+changes')


def check_revision(job: Job) -> None:
  """Check that this checkout is the one a job was planned for.

  Raises:
    UserError: it is at another commit.
  """
  here = revision()
  check(
    not here or job.revision in ('', here),
    f'{job.id} was planned for commit {job.revision[:12]}, but this checkout '
    f'is at {here[:12]}: run `git checkout {job.revision[:12]}`, or make the '
    'plan again to continue with this code',
  )


def write(path: str | pathlib.Path, jobs: Sequence[Job]) -> None:
  """Write a plan as JSON lines, or accept the same plan if it is there.

  Jobs that differ only in their revision are the same; the new one is kept.

  Raises:
    UserError: another plan is there.
  """
  path = pathlib.Path(path)
  if path.exists():
    old, new = (
      {job._replace(revision='') for job in some} for some in (read(path), jobs)
    )
    check(
      old == new,
      f'{path} holds another plan: {len(old - new)} jobs only there, '
      f'{len(new - old)} only here; delete it, or use another --sweep, with '
      f'--root={jobs[0].workdir.rpartition("/")[0]} to find what is done',
    )
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(''.join(json.dumps(job._asdict()) + '\n' for job in jobs))


def read(path: str | pathlib.Path) -> list[Job]:
  """Read a plan.

  Raises:
    UserError: it is missing, or not a plan.
  """
  path = pathlib.Path(path)
  check(path.is_file(), f'--plan={path} is no file: run launch.sweep plan')
  try:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    jobs = [Job(**line | {'flags': tuple(line['flags'])}) for line in lines]
  except (ValueError, TypeError, KeyError) as error:
    raise UserError(
      f'--plan={path} is not a plan ({error}): delete it and plan again'
    ) from error
  check(jobs, f'--plan={path} is empty: delete it and plan again')
  return jobs


def find(path: str | pathlib.Path, index: int) -> Job:
  """Return line `index` of a plan, from 0 on.

  Raises:
    UserError: the plan has no such line, or cannot be read.
  """
  jobs = read(path)
  check(
    0 <= index < len(jobs),
    f'--index={index} must be 0 to {len(jobs) - 1}, the jobs of --plan={path}',
  )
  return jobs[index]
