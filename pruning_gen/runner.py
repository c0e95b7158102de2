"""Runs the experiments of a config in a workdir, then builds the report."""

from etils import epath
from ml_collections import ConfigDict

from pruning_gen import config as config_rules
from pruning_gen import environment
from pruning_gen import estimate
from pruning_gen import processes
from pruning_gen import report
from pruning_gen.data import datasets
from pruning_gen.engine.part import Run
from pruning_gen.errors import UserError
from pruning_gen.experiments import EXPERIMENTS
from pruning_gen.experiments import label_sets
from pruning_gen.storage import files
from pruning_gen.storage import lock
from pruning_gen.storage import provenance
from pruning_gen.storage import roster
from pruning_gen.storage import start


def set_up(
  config: ConfigDict,
  workdir: epath.PathLike | None,
  keep_devices: bool = True,
) -> None:
  """Configure JAX, with the last start's settings where they affect results."""
  num_cpu_devices = 0
  if workdir is not None:
    provenance.check_workdir(workdir)
    if keep_devices:
      num_cpu_devices = provenance.num_cpu_devices(workdir)
  num_members = len(label_sets.list_members(config))
  environment.set_up(config, num_members, num_cpu_devices)


def run_experiments(run: Run, allow_device_change: bool = False) -> None:
  """Run every experiment of a config that is not finished, then the report.

  Args:
    run: its dataset is None, and is loaded only if something is left to train.
    allow_device_change: whether a workdir may continue on other devices than
      it was started on.

  Raises:
    UserError: the user can fix it.
    Preempted: stopped on request.
  """
  config, workdir = run.config, run.workdir
  check_processes_agree(config)
  with lock.hold(workdir):
    defaults = config_rules.defaults(config)
    provenance.check_config(workdir, config.to_dict(), defaults)
    if provenance.read_provenance(workdir)['starts']:
      files.remove_leftovers(workdir)
    roster.undo_unfinished(workdir)
    processes.wait_for_all('workdir')
    check_needs(run)
    todo = [
      EXPERIMENTS[name]
      for name in config.experiments
      if not EXPERIMENTS[name].is_finished(run)
    ]
    if todo:
      run = load_dataset(run)
      record_start(run, allow_device_change)
    # A start that is refused leaves config.json as it was.
    provenance.write_config(workdir, config.to_dict())
    if todo:
      estimate.warn_if_long(run)
    elif report.is_built(workdir):
      print(f'{workdir} is finished: nothing to do')
      return
    for experiment in todo:
      run.stop_if_asked('between experiments')
      experiment.train(run)
      processes.wait_for_all('experiment')
    run.stop_if_asked('before the report')
    if processes.is_primary():
      build_report(workdir)
    # JAX gives a process that has ended 300 s to be followed by the others.
    processes.wait_for_all('report')


def check_processes_agree(config: ConfigDict) -> None:
  """Check that all processes of a job were started with one config.

  Raises:
    UserError: they were not.
  """
  shared = provenance.flatten(config.to_dict())
  # Hosts may keep their data where they like.
  for key in ('data.dir', 'data.cache_dir', 'data.num_workers'):
    del shared[key]
  if not processes.agree(repr(sorted(shared.items()))):
    raise UserError(
      'the processes of this job have different configs: start all of them '
      'with the same --config and the same --config.key=value'
    )


def check_needs(run: Run) -> None:
  """Check that the results that an experiment reads are there, or come first.

  Raises:
    UserError: names the experiment, and what it needs.
  """
  names = list(run.config.experiments)
  for i, name in enumerate(names):
    for needed in EXPERIMENTS[name].needs(run.config):
      if needed not in names[:i] and not EXPERIMENTS[needed].is_finished(run):
        raise UserError(
          f'config.experiments={tuple(names)}: {name} reads the results of '
          f'{needed}, and --workdir={run.workdir} has none: put {needed!r} '
          'before it'
        )


def load_dataset(run: Run) -> Run:
  """Load the data set of a run."""
  with processes.stopping_at_once():
    run.stop_if_asked('before data is loaded')
    data = run.config.data
    dataset = datasets.load(
      data.name,
      data.dir,
      data.cache_dir,
      data.num_train,
      **datasets.stated_in(data),
    )
  return run._replace(dataset=dataset)


def record_start(run: Run, allow_device_change: bool) -> None:
  """Record this start in provenance.json."""
  entry = start.describe() | {
    'environment': environment.describe(),
    'dataset': datasets.describe(run.dataset),
    'resumed_from': provenance.saved_epochs(run.workdir),
  }
  provenance.add_provenance(run.workdir, entry, allow_device_change)


def build_report(workdir: epath.PathLike) -> None:
  """Build the report, if there are networks that it shows."""
  if report.has_networks(workdir):
    print(f'report: {report.build(workdir)}')
  else:
    print(f'{workdir} has only scores of examples, of which there is no report')
