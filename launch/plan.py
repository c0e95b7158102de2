"""The paper as a list of independent jobs, each one program and one workdir.

What can run apart does: each panel's width networks, and its chain with what
reads the chain (leave_out) and what leave_out reads beside it (el2n). On
request replicates run apart too. Pure: nothing is started and, but for
`write`, nothing is touched.
"""

import ast
import hashlib
import importlib
import json
import pathlib
import sys
from typing import NamedTuple

from launch import accelerators
from launch import cost
from pruning_gen.errors import UserError

ROOT = pathlib.Path(__file__).parents[1]
PANELS = ('lenet', 'resnet20', 'vgg16', 'resnet32', 'resnet50')
EXPERIMENTS = ('chain', 'width', 'el2n', 'leave_out')
# What must share a workdir: leave_out reads what chain and el2n leave.
TOGETHER = (('chain', 'el2n', 'leave_out'), ('width',))
# A plan has options for these: an override would contradict its jobs.
PLANNED_KEYS = ('experiments', 'replicates', 'first_replicate')


class Job(NamedTuple):
  """One program to run to its end.

  Attributes:
    id: str, the same for the same work in every plan, on every machine; fit
      for the name of a machine.
    panel: str, a config's name, with ':small' or the like behind it.
    experiments: tuple of str, in the order they run.
    first_replicate: int.
    replicates: int.
    overrides: tuple of 'key=value', of the config.
    workdir: str.
    chip_hours: float, estimated for the plan's accelerator: see cost.py.
  """

  id: str
  panel: str
  experiments: tuple[str, ...]
  first_replicate: int
  replicates: int
  overrides: tuple[str, ...]
  workdir: str
  chip_hours: float


def make_plan(
  panels,
  root,
  experiments=EXPERIMENTS,
  replicates=None,
  first_replicate=None,
  replicates_per_job=None,
  overrides=(),
  accelerator='v4-8',
):
  """List the jobs that together do all that is asked for, each thing once.

  Args:
    panels: names of configs.
    root: str, the folder or gs:// address that workdirs are made in.
    experiments: which to run.
    replicates: int, how many; None for what each panel's config says.
    first_replicate: int, or None likewise.
    replicates_per_job: int; None for all in one job.
    overrides: 'key=value' of any config key but `PLANNED_KEYS`.
    accelerator: str, that the cost is estimated for.

  Returns:
    List of Job.

  Raises:
    UserError: nothing is left to do, something in it is unknown, or the program
      would refuse a job's config.
  """
  _check_choices('--panels', panels, None)
  _check_choices('--experiments', experiments, EXPERIMENTS)
  # Another order of the same overrides is the same work.
  overrides = tuple(sorted(overrides))
  accelerator = accelerators.find(accelerator)
  jobs = []
  for panel in panels:
    config = load_config(panel, overrides)
    first = config.first_replicate
    if first_replicate is not None:
      first = first_replicate
    count = config.replicates if replicates is None else replicates
    per_job = count if replicates_per_job is None else replicates_per_job
    for name, value, least in (
      ('replicates', count, 1),
      ('replicates_per_job', per_job, 1),
      ('first_replicate', first, 0),
    ):
      if value < least:
        raise UserError(
          f'--{name}={value} must be at least {least}, or the plan is empty'
        )
    _check_needs(panel, config, experiments)
    groups = [tuple(e for e in g if e in experiments) for g in TOGETHER]
    for group in filter(None, groups):
      for start in range(first, first + count, per_job):
        size = min(per_job, first + count - start)
        job = _make_job(panel, group, start, size, overrides, root)
        config = job_config(job)
        _check_rules(panel, config)
        hours = cost.chip_hours(config, accelerator)
        jobs.append(job._replace(chip_hours=round(hours, 2)))
  return jobs


def _check_choices(flag, values, choices):
  if not values:
    raise UserError(f'{flag} is empty, and so would be the plan')
  if len(set(values)) < len(values):
    raise UserError(f'{flag}={",".join(values)} names one twice')
  for value in values:
    if choices and value not in choices:
      raise UserError(f'{flag}={value} must be one of: {", ".join(choices)}')


def _check_needs(panel, config, experiments):
  if 'leave_out' not in experiments:
    return
  needed = ['chain']
  if 'subgroups' in config.leave_out.sets:
    needed.append('el2n')
  missing = [name for name in needed if name not in experiments]
  if missing:
    raise UserError(
      f'--experiments={",".join(experiments)}: leave_out of {panel} reads what '
      f'{" and ".join(missing)} leaves: add that'
    )


def _check_rules(panel, config):
  """Check what the program would, before anything is priced or started."""
  # JAX takes 2 seconds to import, and nothing else of a sweep needs it.
  from pruning_gen import config as protocol

  try:
    protocol.check(config)
  except UserError as error:
    raise UserError(f'{panel}: {error}') from error


def _make_job(panel, experiments, first, count, overrides, root):
  work = json.dumps([panel, experiments, first, count, overrides])
  digest = hashlib.sha256(work.encode()).hexdigest()[:8]
  replicates = str(first) if count == 1 else f'{first}to{first + count - 1}'
  words = [panel.replace(':', '-'), experiments[0], f'r{replicates}', digest]
  # Google's rule for names: small letters, digits and dashes, 63 at most.
  job_id = '-'.join(words).replace('_', '-')
  workdir = f'{str(root).rstrip("/")}/{job_id}'
  return Job(job_id, panel, experiments, first, count, overrides, workdir, 0.0)


def load_config(panel, overrides=()):
  """Load a panel's config, as the program would.

  Args:
    panel: str, as 'resnet20' or 'resnet20:small'.
    overrides: 'key=value', values as on the command line.

  Raises:
    UserError: no such panel or key, or a value of another type.
  """
  name, _, size = panel.partition(':')
  if not (ROOT / 'configs' / f'{name}.py').exists():
    names = sorted(path.stem for path in (ROOT / 'configs').glob('[!_]*.py'))
    raise UserError(f'--panels={panel}: configs/ has {", ".join(names)}')
  get_config = importlib.import_module(f'configs.{name}').get_config
  try:
    config = get_config(size) if size else get_config()
  except TypeError as error:
    raise UserError(
      f'--panels={panel}: configs/{name}.py has no sizes; leave :{size} away'
    ) from error
  except ValueError as error:
    raise UserError(f'--panels={panel}: {error}') from error
  config.lock()
  seen = set()
  for override in overrides:
    key, separator, text = override.partition('=')
    if key in seen:
      # The program would join two tuples to one.
      raise UserError(f'--set={override}: {key} is set twice')
    seen.add(key)
    if not separator:
      raise UserError(f'--set={override} has not the form key=value')
    if key in PLANNED_KEYS:
      raise UserError(f'--set={override}: say --{key} instead')
    try:
      value = _parse(text)
      if value is None:
        # ml_collections would take it for any key, the program for none.
        raise ValueError('None is no value')
      config.update_from_flattened_dict({key: value})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
      raise UserError(
        f'--set={override} does not fit {panel} ({error}); '
        'configs/default.py explains every key'
      ) from error
  return config


def _parse(text):
  try:
    return ast.literal_eval(text)
  except (SyntaxError, ValueError):
    return text


def job_config(job):
  """Return the config a job runs with."""
  config = load_config(job.panel, job.overrides)
  config.experiments = job.experiments
  config.first_replicate = job.first_replicate
  config.replicates = job.replicates
  return config


def command(job, python=sys.executable):
  """Return the command that does a job, a list of str."""
  name, _, size = job.panel.partition(':')
  experiments = ','.join(map(repr, job.experiments))
  return [
    python,
    '-m',
    'pruning_gen.main',
    f'--config=configs/{name}.py' + (f':{size}' if size else ''),
    f'--workdir={job.workdir}',
    f'--config.experiments=({experiments},)',
    f'--config.first_replicate={job.first_replicate}',
    f'--config.replicates={job.replicates}',
    *(f'--config.{override}' for override in job.overrides),
  ]


def write(path, jobs):
  """Write a plan as JSON lines, or find the same plan there.

  Jobs that only the estimate of their cost tells apart are the same.

  Raises:
    UserError: another plan is there.
  """
  path = pathlib.Path(path)
  text = ''.join(json.dumps(job._asdict()) + '\n' for job in jobs)
  if path.exists():
    old, new = (
      {job.id: job._replace(chip_hours=0.0) for job in plan}
      for plan in (read(path), jobs)
    )
    if old == new:
      return
    changed = [
      name for name in old.keys() & new.keys() if old[name] != new[name]
    ]
    raise UserError(
      f'{path} holds another plan: {len(old.keys() - new.keys())} jobs only '
      f'there, {len(new.keys() - old.keys())} only here, {len(changed)} '
      'changed; take another --sweep, or delete that file'
    )
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text)


def read(path):
  """Read a plan.

  Raises:
    UserError: it is not there, is empty, or is no plan.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise UserError(f'--plan={path} is no file: `launch.sweep plan` writes one')
  try:
    fields = [json.loads(line) for line in path.read_text().splitlines()]
    jobs = [
      Job(
        **field
        | {name: tuple(field[name]) for name in ('experiments', 'overrides')}
      )
      for field in fields
    ]
  except (ValueError, TypeError, KeyError) as error:
    raise UserError(
      f'--plan={path} is no plan ({error}): delete it and plan again'
    ) from (error)
  if not jobs:
    raise UserError(f'--plan={path} is empty: delete it and plan again')
  for key in ('id', 'workdir'):
    if len({getattr(job, key) for job in jobs}) < len(jobs):
      raise UserError(
        f'--plan={path} has a {key} twice: delete it and plan again'
      )
  return jobs
