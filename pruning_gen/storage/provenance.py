"""Where results come from: a config, and every start of the program."""

import json
from typing import Any

from etils import epath

from pruning_gen import processes
from pruning_gen.errors import UserError
from pruning_gen.storage import files
from pruning_gen.storage import results
from pruning_gen.storage import roster

# Incremented when a file changes its meaning; older workdirs are then refused.
LAYOUT_VERSION = 4

# Keys that say what a start trains: each may name more than the last start, or
# something else. What is finished stays, named or not.
GROWS = (
  'arms',
  'noise_fractions',
  'replicates',
  'first_replicate',
  'levels',
  'width.levels',
  'leave_out.sets',
  'leave_out.levels',
  'landscape.levels',
  'landscape.twin_levels',
)
# Keys that may change from start to start of one workdir: nothing that is
# finished depends on them, beyond rounding. The commands in provenance.json
# record them.
MAY_CHANGE = (
  *GROWS,
  'experiments',
  'on_divergence',
  'tensorboard',
  'validate_every_epochs',
  'checkpoint.every_epochs',
  'checkpoint.keep',
  'checkpoint.keep_levels',
  # One that is too large is noticed when the first level is evaluated.
  'eval_batch_size',
  'data.dir',
  'data.cache_dir',
  'data.num_workers',
  'data.on_broken',
)


def check_workdir(workdir: epath.PathLike) -> None:
  """Check that a workdir is a folder or does not exist.

  Raises:
    UserError: it is a file, cannot be reached, or would not be found again.
  """
  path = files.path_of(workdir)
  if files.is_in_bucket(workdir) != files.is_in_bucket(path):
    raise UserError(
      f'--workdir={workdir} is neither a local folder nor an address that can '
      'be opened: gs://, s3://, az:// and hf:// can'
    )
  if not files.is_in_bucket(path):
    _check_name(str(path.resolve()))
  try:
    is_file = path.exists() and not path.is_dir()
  # The libraries of buckets have their own errors.
  except Exception as error:
    raise UserError(
      f'--workdir={workdir} cannot be reached ({error}): give permission; for '
      'a bucket, log in and check that TensorFlow or gcsfs is installed'
    ) from error
  if is_file:
    raise UserError(f'--workdir={workdir} is a file: pass a folder')


def _check_name(path: str) -> None:
  """Refuse a local folder whose checkpoints would be lost."""
  # Orbax replaces gs:/ anywhere in a path; TensorStore reads a backslash as a
  # slash, and takes only text.
  if 'gs:/' in f'{path}/':
    problem = "it is in a folder whose name ends in 'gs:', like a bucket's"
  elif '\\' in path:
    problem = 'checkpoints cannot be in a path with a backslash'
  elif any('\udc80' <= letter <= '\udcff' for letter in path):
    problem = (
      'checkpoints cannot be in a path that is not UTF-8, or not so in this '
      'locale (LC_ALL=C.UTF-8 is)'
    )
  else:
    return
  raise UserError(f'--workdir={path!r}: {problem}: rename the folder')


def check_config(
  workdir: epath.PathLike,
  config: dict[str, Any],
  defaults: dict[str, Any] | None = None,
) -> None:
  """Check that a workdir may be started with a config; writes nothing.

  Until something is saved the config may change: other values correct the
  errors of a first start. Later `MAY_CHANGE` may.

  Args:
    workdir: may be missing. Hold it (`lock.hold`).
    config: nested dict of values that JSON can hold.
    defaults: nested dict, of the keys that config.json may lack because it is
      older than they are.

  Raises:
    UserError: it is of another layout version, belongs to another config (the
      message lists every key that differs), or has files that are not ours
      and would be replaced.
  """
  path = files.path_of(workdir) / 'config.json'
  if not _has_begun(workdir):
    _check_nothing_is_replaced(workdir)
    return
  if not path.exists():
    raise _missing(path)
  # Through JSON once, so that tuples compare equal to the stored lists.
  config = json.loads(json.dumps(config))
  stored = read_config(workdir)
  if differences := list_differences(stored, config, defaults or {}):
    raise UserError(
      f'{path} belongs to another configuration:\n'
      + '\n'.join(differences)
      + '\npass another --workdir, or the same values'
    )


def _check_nothing_is_replaced(workdir: epath.PathLike) -> None:
  """Check that a first start would replace nobody's own files."""
  if read_provenance(workdir)['starts']:
    return
  for name in ('config.json', 'summary.csv', 'report'):
    path = files.path_of(workdir) / name
    if not path.exists():
      continue
    # It may be of a start that ended before it was recorded.
    ours = {'data', 'model', 'experiments'}
    if name != 'config.json' or not ours <= files.read_json(path).keys():
      raise UserError(
        f'{path} belongs to no run of pruning_gen, and would be replaced: move '
        'it, or pass another --workdir'
      )


def write_config(workdir: epath.PathLike, config: dict[str, Any]) -> None:
  """Write config.json for a start that `check_config` has accepted.

  Raises:
    UserError: it cannot be written.
  """
  path = files.path_of(workdir) / 'config.json'
  files.write_text(path, json.dumps(config, indent=2) + '\n')


def _missing(path: epath.Path) -> UserError:
  return UserError(
    f'{path} is missing, but the workdir has results: restore it from a copy, '
    'or pass another --workdir'
  )


def _has_begun(workdir: epath.PathLike) -> bool:
  """Return whether there is anything that a start would continue from."""
  return (
    results.results_path(workdir).exists()
    or results.EL2N.exists(workdir)
    or results.MOST_WORSENED.exists(workdir)
    or bool(saved_epochs(workdir))
  )


def list_differences(
  stored: dict[str, Any], config: dict[str, Any], defaults: dict[str, Any]
) -> list[str]:
  """List the keys that differ and may not, a line each.

  Args:
    stored: nested dict, read from JSON, like config.
    defaults: nested dict of what a key that `stored` lacks stands for: an older
      version did what the key's default does.
  """
  stored, config = flatten(stored), flatten(config)
  defaults = flatten(json.loads(json.dumps(defaults)))
  lines = []
  for key in sorted((stored.keys() | config.keys()) - set(MAY_CHANGE)):
    now = config.get(key, 'absent')
    there = stored.get(key, defaults.get(key, 'absent'))
    if there != now:
      older = ', by default' if key in defaults.keys() - stored.keys() else ''
      lines.append(f'  {key}: {there!r} there{older}, {now!r} now')
  return lines


def flatten(config: dict[str, Any], prefix: str = '') -> dict[str, Any]:
  """Flatten a nested dict to {'outer.inner': value}."""
  flat = {}
  for key, value in config.items():
    if isinstance(value, dict):
      flat |= flatten(value, f'{prefix}{key}.')
    else:
      flat[prefix + key] = value
  return flat


def read_config(workdir: epath.PathLike) -> dict[str, Any]:
  """Read config.json.

  Raises:
    UserError: the folder holds no run, or one of another layout version.
  """
  path = files.path_of(workdir) / 'config.json'
  if not path.exists():
    raise UserError(
      f'--workdir={workdir} holds no run (no config.json): pass the folder '
      'that was given to pruning_gen.main'
    )
  read_provenance(workdir)
  return files.read_json(path)


def add_provenance(
  workdir: epath.PathLike,
  entry: dict[str, Any],
  allow_device_change: bool = False,
) -> None:
  """Append one start of the program to provenance.json.

  Args:
    entry: from `start.describe`, with `dataset` (a dict).
    allow_device_change: whether devices, cores and flags of compilers may
      differ from the last start's.

  Raises:
    UserError: something is saved already, and the data set differs from the
      last start's, or the machine does and may not.
  """
  history = read_provenance(workdir)
  path = files.path_of(workdir) / 'provenance.json'
  if _has_begun(workdir):
    if not history['starts']:
      raise _missing(path)
    last = history['starts'][-1]
    _check_start(workdir, last, entry, allow_device_change)
  elif history['starts']:
    # Labels of a start that saved nothing: this one may have others.
    roster.remove(workdir)
  history['starts'].append(entry)
  files.write_text(path, json.dumps(history, indent=2) + '\n')


def _check_start(
  workdir: epath.PathLike,
  last: dict[str, Any],
  entry: dict[str, Any],
  allow_device_change: bool,
) -> None:
  if entry['dataset'] != last['dataset']:
    raise UserError(
      f'--workdir={workdir} was started on another version of the data set:\n'
      f'  {last["dataset"]} there\n  {entry["dataset"]} now\n'
      'set config.data.dir back to it, or pass another --workdir'
    )
  there, now = _describe_machine(last), _describe_machine(entry)
  changes = [
    f'  {key}: {there[key]} there, {now[key]} now'
    # Older starts did not record all of them.
    for key in now
    if key in there and there[key] != now[key]
  ]
  if changes and not allow_device_change:
    raise UserError(
      f'--workdir={workdir} was last trained on another machine:\n'
      + '\n'.join(changes)
      + '\nlater results would differ in rounding: use the same, or pass '
      '--allow_device_change to continue; provenance.json records it'
    )
  _warn_of_versions(last, entry)


def _describe_machine(start: dict[str, Any]) -> dict[str, Any]:
  """Return what rounding depends on, of an entry of provenance.json."""
  machine = {'devices': start['devices']}
  # Hosts of one job may differ, and the first records its own.
  if 'environment' not in start or not processes.is_primary():
    return machine
  environment = start['environment']
  machine['flags'] = environment['flags']
  # An accelerator computes the same next to any processor.
  if all(device.startswith('cpu:') for device in start['devices']):
    machine |= {key: environment[key] for key in ('cores', 'cpu')}
  return machine


def _warn_of_versions(last: dict[str, Any], entry: dict[str, Any]) -> None:
  there, now = last.get('versions', {}), entry.get('versions', {})
  changed = [
    f'{name} {there.get(name)} -> {now[name]}'
    for name in now
    if now[name] != there.get(name)
  ]
  if there and changed and processes.is_primary():
    print(
      f'warning: other versions than at the last start ({", ".join(changed)}): '
      'results may differ in rounding',
      flush=True,
    )


def saved_epochs(workdir: epath.PathLike) -> dict[str, int]:
  """Return the finished epochs of the newest checkpoint, by its folder."""
  root = files.path_of(workdir) / 'checkpoints'
  newest = {}
  # chain/12, and leave_out/train_48000/12.
  for path in [*root.glob('*/[0-9]*'), *root.glob('*/*/[0-9]*')]:
    if path.name.isdigit():
      folder = str(path.parent.relative_to(root))
      newest[folder] = max(int(path.name), newest.get(folder, 0))
  return dict(sorted(newest.items()))


def read_provenance(workdir: epath.PathLike) -> dict[str, Any]:
  """Read provenance.json: its `layout_version`, and a list of `starts`.

  Raises:
    UserError: it is damaged, or of another layout version.
  """
  path = files.path_of(workdir) / 'provenance.json'
  if not path.exists():
    return {'layout_version': LAYOUT_VERSION, 'starts': []}
  history = files.read_json(path)
  version = history.get('layout_version')
  if version != LAYOUT_VERSION:
    raise UserError(
      f'{path} has layout version {version}, but this program reads '
      f'{LAYOUT_VERSION}: use the version of pruning_gen that wrote it'
    )
  return history


def num_cpu_devices(workdir: epath.PathLike) -> int:
  """Return how many CPU devices the results are from; 0 if none are."""
  starts = read_provenance(workdir)['starts']
  devices = starts[-1]['devices'] if starts and _has_begun(workdir) else []
  return sum(device.startswith('cpu:') for device in devices)
