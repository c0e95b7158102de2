"""The paper as a list of jobs: one program and one workdir each.

Whatever can run separately does: every replicate of every benchmark has a job
for its chain with EL2N, one for its width networks, and one for leave_out,
which needs the chain's results and therefore its workdir. Nothing is started
here and, except by `write`, nothing is touched.
"""

import ast
import functools
import hashlib
import importlib
import json
import pathlib
import re
import subprocess
import sys
from typing import NamedTuple

from pruning_gen import configs
from pruning_gen.errors import UserError

ROOT = pathlib.Path(__file__).parents[1]
BENCHMARKS = ('lenet', 'resnet20', 'vgg16', 'resnet32', 'resnet50')
EXPERIMENTS = ('chain', 'width', 'el2n', 'leave_out')
# One job each. The last needs the results of the first, in the same workdir.
GROUPS = (('chain', 'el2n'), ('width',), ('leave_out',))
# A plan has options for these; an override would contradict its jobs.
PLANNED_KEYS = ('experiments', 'replicates', 'first_replicate')


class Job(NamedTuple):
  """One program to run to its end.

  Attributes:
    id: the same for the same work in every plan, on every machine; valid as
      the name of a machine.
    benchmark: a config's name, optionally with ':small'.
    experiments: in the order they run.
    first_replicate: the first of `replicates`.
    overrides: 'key=value' of the config.
    workdir: a folder or gs:// address.
    needs: the id of the job that must be done first, or ''.
    revision: the commit that the plan was made for, or ''.
  """

  id: str
  benchmark: str
  experiments: tuple[str, ...]
  first_replicate: int
  replicates: int
  overrides: tuple[str, ...]
  workdir: str
  needs: str = ''
  revision: str = ''

  @property
  def root(self) -> str:
    """The folder that holds the workdirs of the plan."""
    return self.workdir.rpartition('/')[0]

  @property
  def in_bucket(self) -> bool:
    """Whether the workdir is an address in a bucket."""
    return '://' in self.workdir


def check(holds, message: str):
  """Raise a UserError with a message unless something holds."""
  if not holds:
    raise UserError(message)


def make_plan(
  benchmarks,
  root: str,
  experiments=EXPERIMENTS,
  replicates=None,
  first_replicate=None,
  replicates_per_job=1,
  overrides=(),
) -> list[Job]:
  """List the jobs that together do everything asked for, each thing once.

  Args:
    benchmarks: names of configs.
    root: the folder or gs:// address in which workdirs are made.
    experiments: which to run.
    replicates: how many; None for each config's own number.
    first_replicate: None for each config's own.
    replicates_per_job: leave_out averages over these to choose a level.
    overrides: 'key=value' of any config key except `PLANNED_KEYS`.

  Raises:
    UserError: the plan would be empty, a name is unknown, or the program would
      reject a job's config.
  """
  for flag, names in ('benchmarks', benchmarks), ('experiments', experiments):
    wanted = f'--{flag}={",".join(names)} must name at least one, each once'
    check(names and len(set(names)) == len(names), wanted)
  for name in experiments:
    choices = ', '.join(EXPERIMENTS)
    check(name in EXPERIMENTS, f'--experiments={name} must be of: {choices}')
  jobs = []
  for benchmark in benchmarks:
    config = load_config(benchmark, overrides)
    first = config.first_replicate
    if first_replicate is not None:
      first = first_replicate
    count = config.replicates if replicates is None else replicates
    for flag, value, least in (
      ('replicates', count, 1),
      ('replicates_per_job', replicates_per_job, 1),
      ('first_replicate', first, 0),
    ):
      check(value >= least, f'--{flag}={value} must be at least {least}')
    _check_needs(benchmark, config, experiments)
    for start in range(first, first + count, replicates_per_job):
      size = min(replicates_per_job, first + count - start)
      jobs += _jobs_of(benchmark, experiments, start, size, overrides, root)
  return jobs


def _check_needs(benchmark, config, experiments):
  needed = {'chain'} if 'leave_out' in experiments else set()
  if needed and 'subgroups' in config.leave_out.sets:
    needed.add('el2n')
  missing = ', '.join(sorted(needed - set(experiments)))
  check(
    not missing,
    f'--experiments: leave_out of {benchmark} needs {missing} too',
  )


def _jobs_of(benchmark, experiments, first, count, overrides, root):
  """List the jobs for some replicates of one benchmark."""
  # The order of overrides does not change the work.
  overrides = tuple(sorted(overrides))
  jobs = []
  for group in GROUPS:
    chosen = tuple(name for name in group if name in experiments)
    if not chosen:
      continue
    work = json.dumps([benchmark, chosen, first, count, overrides])
    digest = hashlib.sha256(work.encode()).hexdigest()[:8]
    replicates = f'r{first}' + (f'to{first + count - 1}' if count > 1 else '')
    words = [benchmark.replace(':', '-'), chosen[0], replicates, digest]
    # Google's rule for names: lower-case letters, digits, dashes; at most 63.
    job_id = '-'.join(words).replace('_', '-')
    workdir, needs = f'{str(root).rstrip("/")}/{job_id}', ''
    if group == ('leave_out',):
      workdir, needs = jobs[0].workdir, jobs[0].id
    job = Job(
      *(job_id, benchmark, chosen, first, count, overrides, workdir),
      *(needs, revision()),
    )
    check_config(job)
    jobs.append(job)
  return jobs


def load_config(benchmark: str, overrides=()):
  """Load the config of a benchmark, as 'resnet20' or 'resnet20:small'.

  Raises:
    UserError: no such benchmark or key, or a value of another type.
  """
  name, _, size = benchmark.partition(':')
  names = sorted(
    path.stem for path in pathlib.Path(configs.__file__).parent.glob('[!_]*.py')
  )
  check(
    name in names, f'--benchmarks={benchmark} must be of: {", ".join(names)}'
  )
  get_config = importlib.import_module(f'pruning_gen.configs.{name}').get_config
  try:
    config = get_config(size) if size else get_config()
  except TypeError as error:
    raise UserError(
      f'--benchmarks={benchmark}: configs/{name}.py has no size {size}'
    ) from error
  except ValueError as error:
    raise UserError(f'--benchmarks={benchmark}: {error}') from error
  config.lock()
  # A model may have keys of its own.
  config.model.unlock()
  seen = set()
  for override in overrides:
    key, separator, _ = override.partition('=')
    check(separator, f'--set={override} must have the form key=value')
    # The program would concatenate two tuples.
    check(key not in seen, f'--set={override}: {key} is set twice')
    seen.add(key)
    check(key not in PLANNED_KEYS, f'--set={override}: use --{key} instead')
    _set(config, benchmark, override)
  return config


def _set(config, benchmark, override):
  """Set one key of a config, a value as on the command line."""
  key, _, text = override.partition('=')
  try:
    try:
      value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
      value = text
    if value is None:
      # ml_collections accepts it for any key, the program for none.
      raise ValueError('no key may be None')
    config.update_from_flattened_dict({key: value})
  except (KeyError, TypeError, ValueError, AttributeError) as error:
    raise UserError(
      f'--set={override} does not fit {benchmark} ({error}); '
      'configs/default.py explains every key'
    ) from error


def job_config(job: Job):
  """Return the config a job runs with."""
  config = load_config(job.benchmark, job.overrides)
  config.experiments = job.experiments
  config.first_replicate = job.first_replicate
  config.replicates = job.replicates
  return config


def check_config(job: Job):
  """Check a job's config by the program's own rules.

  Raises:
    UserError: the program would reject it.
  """
  # JAX takes 2 seconds to import, and `exec` does not need it.
  from pruning_gen import config as rules

  try:
    rules.check(job_config(job))
  except UserError as error:
    raise UserError(f'{job.benchmark}: {error}') from error


def command(job: Job, python=sys.executable, extra=()) -> list[str]:
  """Return the command that does a job.

  Args:
    job: the job.
    python: the interpreter.
    extra: flags of this machine that are not part of the work, such as where
      the data are.
  """
  experiments = ','.join(map(repr, job.experiments))
  return [
    *(python, '-m', 'pruning_gen.main'),
    f'--config={job.benchmark}',
    f'--workdir={job.workdir}',
    f'--config.experiments=({experiments},)',
    f'--config.first_replicate={job.first_replicate}',
    f'--config.replicates={job.replicates}',
    *(f'--config.{override}' for override in job.overrides),
    *extra,
  ]


@functools.cache
def revision() -> str:
  """Return the commit of this checkout, or '' where there is none."""
  if not (ROOT / 'setup.py').exists():
    # Installed, perhaps in somebody else's repository.
    return ''
  git = ['git', '-C', ROOT, 'rev-parse', 'HEAD']
  try:
    result = subprocess.run(git, capture_output=True, text=True, check=True)
  except (OSError, subprocess.CalledProcessError):
    return ''
  return result.stdout.strip()


def check_revision(job: Job):
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


def write(path, jobs: list[Job]):
  """Write a plan as JSON lines, or accept the same plan if it is there.

  Jobs that differ only in their revision are the same; the new one is kept.

  Raises:
    UserError: another plan is there.
  """
  path = pathlib.Path(path)
  old = (
    {job._replace(revision='') for job in read(path)} if path.exists() else ()
  )
  new = {job._replace(revision='') for job in jobs}
  check(
    not old or old == new,
    f'{path} holds another plan: {len(set(old) - new)} jobs only there, '
    f'{len(new - set(old))} only here; use another --sweep, or delete it',
  )
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(''.join(json.dumps(job._asdict()) + '\n' for job in jobs))


def read(path) -> list[Job]:
  """Read a plan.

  Raises:
    UserError: it is missing, empty, or not a plan.
  """
  path = pathlib.Path(path)
  check(
    path.is_file(), f'--plan={path} is no file: `launch.sweep plan` makes it'
  )
  try:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    tuples = ('experiments', 'overrides')
    jobs = [
      Job(**line | {key: tuple(line[key]) for key in tuples}) for line in lines
    ]
    for job in jobs:
      if not re.fullmatch(r'[a-z]([-a-z0-9]{0,61}[a-z0-9])?', job.id):
        raise ValueError(f'id={job.id!r} must be letters, digits and dashes')
    if len({job.id for job in jobs}) < len(jobs):
      raise ValueError('an id occurs twice')
  except (ValueError, TypeError, KeyError) as error:
    raise UserError(
      f'--plan={path} is not a plan ({error}): delete it and plan again'
    ) from error
  check(jobs, f'--plan={path} is empty: delete it and plan again')
  return jobs


def find(path, index: int) -> Job:
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
