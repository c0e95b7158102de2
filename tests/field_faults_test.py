"""What public bug reports of this field describe, tried on this program.

Paths read as patterns, damaged data and tables, homeless processes:
checkpoint_test, results_test and datasets_test try those.
"""

import functools
import json
import os
import pathlib
import subprocess
import sys
import types

import jax
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from configs import default
from pruning_gen import command_line
from pruning_gen import environment
from pruning_gen.analysis import load
from pruning_gen.analysis.figures import drawing
from pruning_gen.analysis.figures import style
from pruning_gen.data import cache
from pruning_gen.data import label_noise
from pruning_gen.data import streams
from pruning_gen.engine.inputs import Spec
from pruning_gen.engine.stack import Member
from pruning_gen.errors import UserError
from pruning_gen.experiments import label_sets
from pruning_gen.storage import provenance
from pruning_gen.storage import results
from pruning_gen.storage import roster
from pruning_gen.storage import start
from tests import fake_runs
from tests import program

ROOT = pathlib.Path(__file__).parents[1]
QUICKSTART = f'--config={ROOT}/configs/quickstart.py'
SHORT = (
  "--config.experiments=('chain',)",
  "--config.arms=('extended_dense',)",
  '--config.noise_fractions=(.15,)',
  '--config.replicates=1',
  '--config.levels=1',
  '--config.epochs=1',
  '--config.rewind_epoch=0',
  '--config.model.widths=10,',
  '--config.data.num_train=200',
)


def run(folder, *arguments):
  """Run the real program: (exit code, what it printed, its errors)."""
  return program.finish(program.start(folder / 'log', *arguments))


# Row 1.


@pytest.mark.parametrize(
  'name',
  ['gs:', 'logs:/x', 'gs:/bucket/x', 'a://b', 'a\\b', os.fsdecode(b'\xff')],
)
def test_paths_that_checkpoints_cannot_have_are_refused(tmp_path, name):
  with pytest.raises(UserError, match='--workdir='):
    provenance.check_workdir(f'{tmp_path}/{name}')
  provenance.check_workdir(tmp_path / 'x:' / 's3:' / 'a:b')


# Rows 2 and 3.


OTHER_SETTINGS = {
  'jax_default_prng_impl': 'rbg',
  'jax_threefry_partitionable': False,
  'jax_random_seed_offset': 7,
  'jax_enable_x64': True,
  'jax_default_matmul_precision': 'bfloat16',
  'jax_disable_most_optimizations': True,
}


def draw_labels(path):
  """Draw labels under each setting: in a process that has no devices yet."""
  labels, config = [], default.get_config()
  for name, value in OTHER_SETTINGS.items():
    jax.config.update(name, value)
    environment.set_up(config, 1)
    key = streams.draw_key(streams.replicate_key(0, 0), 'noise', 0)
    true_labels = np.arange(100, dtype=np.int32) % 10
    labels.append(label_noise.corrupt_labels(key, true_labels, 10, 0.5)[0])
  assert jax.config.jax_default_matmul_precision is None
  np.save(path, labels)


def test_ambient_settings_of_jax_change_no_random_number(tmp_path):
  assert program.call(draw_labels, tmp_path / 'labels.npy') == 0
  labels = np.load(tmp_path / 'labels.npy')
  assert (labels == labels[0]).all()
  assert (labels[0] != np.arange(100) % 10).sum() == 50


MEMBERS = [Member('pruning', 0.0, 0), Member('pruning', 0.15, 0)]
LABELS = {'labels': np.zeros((2, 4), np.uint16)}


@pytest.mark.parametrize(
  'members, labels, name',
  [
    (MEMBERS, {'labels': np.ones((2, 4), np.uint16)}, 'labels.npz'),
    (MEMBERS, {'labels': np.zeros((2, 4), np.uint8)}, 'labels.npz'),
    (MEMBERS, {'others': np.zeros((2, 4), np.uint16)}, 'labels.npz'),
  ],
)
def test_labels_and_members_are_never_replaced(tmp_path, members, labels, name):
  roster.add(tmp_path, 'chain', MEMBERS, LABELS)
  before = [path.read_bytes() for path in sorted(tmp_path.glob('*/*'))]
  with pytest.raises(UserError, match=name):
    roster.add(tmp_path, 'chain', members, labels)
  assert before == [path.read_bytes() for path in sorted(tmp_path.glob('*/*'))]
  # 0 and 0.0 are one.
  same = [MEMBERS[0]._replace(noise_fraction=0), MEMBERS[1]]
  roster.add(tmp_path, 'chain', same, LABELS)


def test_labels_of_a_start_that_saved_nothing_may_change(tmp_path):
  roster.add(tmp_path, 'chain', MEMBERS, LABELS)
  provenance.add_provenance(tmp_path, make_start())
  roster.add(tmp_path, 'chain', MEMBERS[:1], {'x': np.zeros(1)})


def make_start(devices=('cpu: cpu',), versions=None, **changed):
  described = {'cores': 2, 'cpu': 'x', 'flags': {}, 'memory_limit': 8}
  return {
    'dataset': {},
    'devices': list(devices),
    'versions': versions or {'jax': '1'},
    'environment': described | changed,
  }


@pytest.mark.parametrize(
  'changed',
  [{'cores': 1}, {'cpu': 'y'}, {'flags': {'XLA_FLAGS': {'--xla_x': '1'}}}],
)
def test_another_machine_is_refused_unless_allowed(tmp_path, changed):
  provenance.add_provenance(tmp_path, make_start())
  results.write_rows(tmp_path, [fake_runs.make_row()])
  provenance.add_provenance(tmp_path, make_start(memory_limit=4))
  (name,) = changed
  with pytest.raises(UserError, match=rf'{name}: .*\n.*--allow_device_change'):
    provenance.add_provenance(tmp_path, make_start(**changed))
  provenance.add_provenance(tmp_path, make_start(**changed), True)
  starts = provenance.read_provenance(tmp_path)['starts']
  assert starts[-1]['environment'].items() >= changed.items()
  assert len(starts) == 3


def test_cores_do_not_matter_next_to_an_accelerator(tmp_path, capsys):
  gpu = ('gpu: H100',)
  provenance.add_provenance(tmp_path, make_start(gpu))
  results.write_rows(tmp_path, [fake_runs.make_row()])
  provenance.add_provenance(tmp_path, make_start(gpu, cores=1, cpu='y'))
  assert not capsys.readouterr().out
  provenance.add_provenance(tmp_path, make_start(gpu, {'jax': '2'}))
  assert 'jax 1 -> 2' in capsys.readouterr().out


def test_flags_and_cores_are_those_that_xla_uses(tmp_path, monkeypatch):
  flags = '--xla_b=2 --xla_a --xla_dump_to=/x'
  (tmp_path / 'flags').write_text(flags)
  for value in (flags, str(tmp_path / 'flags')):
    monkeypatch.setenv('XLA_FLAGS', value)
    described = environment.describe()
    assert described['flags'] == {'XLA_FLAGS': {'--xla_a': '', '--xla_b': '2'}}
    json.dumps(described)
  monkeypatch.setenv('XLA_FLAGS', '--xla_dump_to=/x')
  assert environment.describe()['flags'] == {}
  monkeypatch.setenv('NPROC', '3')
  assert environment.describe()['cores'] == 3


# Rows 4, 13, 17, 19 and 20.


OWN = """
from configs import quickstart
def get_config():
  config = quickstart.get_config()
  {}
  return config
"""


@pytest.mark.parametrize(
  'line, key, meant',
  [
    ('config.unlock(); config.lerning_rate = 1', 'lerning_rate', 'learning_'),
    ('config.unlock(); config.model.hidden = 1', 'model.hidden', ''),
    ("config.unlock(); config.o = {'a': {'b': 1}}", 'o.a.b', ''),
    ('config.lerning_rate = 1', 'lerning_rate', 'learning_rate'),
    ("config.update({'model': {'nme': 1}})", 'model.nme', 'model.name'),
    ('config.model.nme = 1', 'model.nme', 'model.name'),
  ],
)
def test_a_key_that_nothing_reads_is_refused(tmp_path, line, key, meant):
  (tmp_path / 'own.py').write_text(OWN.format(line))
  code, _, err = run(
    tmp_path, f'--config={tmp_path}/own.py', f'--workdir={tmp_path}/run'
  )
  assert code == 1 and not (tmp_path / 'run').exists()
  assert f' {key}' in err and meant in err
  assert 'Traceback' not in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
  'argument, right',
  [
    ('--config.model=resnet20', '--config.model.name'),
    ('--config.data=mnist', '--config.data.name'),
    ('--config.checkpoint=3', '--config.checkpoint.keep'),
    ('--config.arms=pruning,extended_dense', "('pruning', 'extended_dense')"),
    ('--config.experiments=chain,el2n', "('chain', 'width')"),
    ('--config.optim.lr=1', 'optim.lr'),
    ('--config.seed.x=1', 'seed.x'),
    ('--noconfig.tensorbord', 'tensorboard'),
    (f'--config={ROOT}/configs/quickstart.py:small', 'colon'),
    (f'--config={ROOT}/configs/resnet20.py:tiny', "'small'"),
    (f'--config={ROOT}/configs/no.py', 'configs/lenet.py'),
    ('--config.prune_fraction=1.5', '(0, 1)'),
    ('--config.prun_fraction=0.5', 'prune_fraction'),
    ('--num_processes=2', '--distributed'),
    ('--workdir=', '--workdir'),
    ('--workdir= ', '--workdir'),
    ('--workdir=~nobody.there/x', "'~nobody.there/x'"),
  ],
)
def test_what_is_wrong_has_its_remedy_in_one_line(tmp_path, argument, right):
  arguments = [QUICKSTART, f'--workdir={tmp_path}/run', argument]
  if argument.startswith('--config='):
    arguments = arguments[1:]
  code, _, err = run(tmp_path, *arguments)
  assert code == 1 and not (tmp_path / 'run').exists()
  assert right in err.removeprefix(f'error: flag {argument}')
  assert err.startswith('error: ') and 'Traceback' not in err
  assert 'malformed' not in err


@pytest.mark.parametrize('value', ['', ' ', '\n', None])
def test_an_empty_path_is_no_folder(value):
  with pytest.raises(UserError, match='--output'):
    command_line.local_path('output', value)


def run_where_configs_is_another(folder, log, arguments):
  # This module has imported ours.
  for name in [name for name in sys.modules if name.startswith('configs')]:
    del sys.modules[name]
  sys.path.insert(0, folder)
  os.chdir(folder)
  program.run_main(log, arguments)


@pytest.mark.parametrize('content', ["raise ImportError('x')", ''])
def test_another_package_called_configs(tmp_path, content):
  (tmp_path / 'configs').mkdir()
  (tmp_path / 'configs' / '__init__.py').write_text(content)
  said = 'config.batch_size=100000'
  arguments = (f'--workdir={tmp_path}/run', f'--{said}')
  names = ('--config=configs/quickstart.py', '--config=quickstart')
  target = functools.partial(run_where_configs_is_another, str(tmp_path))
  for config in (QUICKSTART, *names):
    code, _, err = program.finish(
      program.start(tmp_path / 'log', config, *arguments, target=target)
    )
    assert code == 1 and said in err and 'Traceback' not in err


def ask_for(settings, path):
  for name, value in settings.items():
    jax.config.update(name, value)
  try:
    environment.check_devices()
  except UserError as error:
    path.write_text(str(error))


@pytest.mark.parametrize(
  'settings',
  [
    {'jax_platforms': 'cuda'},
    {'jax_platforms': 'cuda,cpu'},
    {'jax_platforms': 'nonsense'},
    {'jax_platform_name': 'gpu'},
  ],
)
@pytest.mark.filterwarnings('ignore')
def test_an_accelerator_that_is_absent(tmp_path, settings):
  assert program.call(ask_for, settings, tmp_path / 'said') == 0
  said = (tmp_path / 'said').read_text()
  (name, value), *_ = settings.items()
  assert said.startswith(f'{name.upper()}={value}, ')
  assert 'cpu' in said.removeprefix(f'{name.upper()}={value}')
  assert 'pip install' in said and f'unset {name.upper()}' in said


# Rows 5, 8 and 10.


def test_axes_of_weights_end_where_weights_do():
  weights = pd.Series([1.0, 0.1, 0.01, 0.0, 0.0])
  rows = pd.DataFrame({'test_error_mean': [0.1] * 5, 'test_error_std': 0.01})
  axes = Figure().subplots()
  drawing.draw_curve(axes, weights, rows, 'test_error', color='k')
  drawing.set_weights_axis(axes, weights)
  drawing.draw_stars(axes, [(0.0, 0.1, 'k'), (0.1, 0.1, 'k')])
  high, low = axes.get_xlim()
  assert 1 < high < 2 and 0.005 < low < 0.01
  assert ' 0 ' in axes.get_xlabel()
  stars = [line for line in axes.lines if line.get_marker() == '*']
  assert [line.get_xdata()[0] for line in stars] == [0.1]
  axes.figure.canvas.draw()
  drawing.set_weights_axis(axes, weights[:3])
  assert ' 0 ' not in axes.get_xlabel()


def test_figures_have_our_settings():
  with mpl.rc_context({'text.usetex': True, 'font.size': 40}):
    with style.context():
      assert not mpl.rcParams['text.usetex']
      assert mpl.rcParams['font.size'] == style.STYLE['font.size']
    assert mpl.rcParams['font.size'] == 40


def test_noise_levels_do_not_look_alike():
  fractions = (0.0, 0.0001, 0.004, 0.15, 0.1501, 1.0)
  labels = [style.noise_label(fraction) for fraction in fractions]
  assert len(set(labels)) == len(fractions)
  assert labels[0].startswith('0 ') and labels[3].startswith('15 ')


# Row 6.


def git(folder, *command):
  names = ('-c', 'user.name=x', '-c', 'user.email=x')
  subprocess.run(['git', '-C', folder, *names, *command], check=True)


def test_the_commit_of_another_repository_is_not_ours(tmp_path, monkeypatch):
  theirs = tmp_path / 'their [repo]'
  package = theirs / 'site-packages'
  package.mkdir(parents=True)
  git(theirs, 'init', '-q')
  git(theirs, 'commit', '-q', '--allow-empty', '-m', 'x')
  (package / 'start.py').touch()
  monkeypatch.setattr(start, '__file__', str(package / 'start.py'))
  assert start.git_revision() is None
  git(theirs, 'add', '.')
  git(theirs, 'commit', '-q', '-m', 'x')
  commit = start.git_revision()
  assert len(commit) == 40
  # As in a hook of another one.
  git(tmp_path, 'init', '-q')
  git(tmp_path, 'commit', '-q', '--allow-empty', '-m', 'y')
  monkeypatch.setenv('GIT_DIR', str(tmp_path / '.git'))
  assert start.git_revision() == commit


# Rows 7 and 16.


def test_home_is_expanded_in_every_path(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  assert command_line.local_path('workdir', '~/x') == f'{tmp_path}/x'
  assert command_line.local_path('workdir', 'a/~') == 'a/~'
  assert cache.folder('~/x') == tmp_path / 'x'
  monkeypatch.setenv('XDG_CACHE_HOME', '~/y')
  assert cache.folder() == tmp_path / 'y' / 'pruning_gen'


def test_a_bucket_is_no_cache_however_it_is_named(monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', 'gs://bucket/x')
  with pytest.raises(UserError, match=r'XDG_CACHE_HOME=.*data\.cache_dir'):
    cache.folder()
  assert cache.folder('here') == pathlib.Path('here')


# Row 9.


SAY = """
from pruning_gen import output
from pruning_gen.storage import roster
output.guard()
import sys
for i in range(3):
  print('läuft ' * 2000, flush=True)
  print('läuft', file=sys.stderr)
sys.exit(75)
"""


@pytest.mark.parametrize(
  'redirected',
  [
    *('>&-', '2>&-', '>&- 2>&-', '| head -c 1'),
    pytest.param(
      '>/dev/full 2>&1',
      marks=pytest.mark.skipif(
        not os.path.exists('/dev/full'), reason='needs Linux'
      ),
    ),
  ],
)
@pytest.mark.parametrize('encoding', ['utf-8', 'ascii'])
def test_what_cannot_be_printed_is_dropped(tmp_path, redirected, encoding):
  (tmp_path / 'say.py').write_text(SAY)
  command = f'"$0" say.py {redirected}; exit ${{PIPESTATUS[0]}}'
  ended = subprocess.run(
    ['bash', '-c', command, sys.executable],
    cwd=tmp_path,
    env=os.environ | {'PYTHONPATH': str(ROOT), 'PYTHONIOENCODING': encoding},
    capture_output=True,
  )
  assert ended.returncode == 75
  assert b'Traceback' not in ended.stderr


# Row 11.


def test_a_number_is_one_however_it_is_written(tmp_path):
  spellings = ((0, 0.2), [0.0, 0.2], (0.0, 0.20))
  # Replicates 0 and 1 are all that a fake run has.
  workdirs = [tmp_path / str(i) for i in range(2)]
  for i, (workdir, noise_fractions) in enumerate(zip(workdirs, spellings)):
    fake_runs.write_chain(
      workdir,
      config={
        'noise_fractions': noise_fractions,
        'first_replicate': i,
        'replicates': 1,
      },
      replicates=(i,),
    )
    fake_runs.write_most_worsened(workdir, (i,))
  (benchmark,) = load.read_all(workdirs)
  assert set(benchmark.results.replicate) == {0, 1}
  # A second start has the same config.
  for noise_fractions in spellings:
    own = {'noise_fractions': noise_fractions, 'replicates': 1}
    provenance.open_workdir(workdirs[0], fake_runs.CONFIG | own)
  config = default.get_config()
  config.noise_fractions = (0, 1)
  drawn = label_sets.list_label_sets(config)
  assert {type(fraction) for fraction, _ in drawn} == {float}


# Row 18.


def test_runs_that_all_diverged_name_the_learning_rate(tmp_path):
  config = fake_runs.CONFIG | {'learning_rate': 1e30}
  provenance.open_workdir(tmp_path, config)
  provenance.add_provenance(tmp_path, {'command': 'python'})
  rows = [fake_runs.make_row(diverged=1, replicate=i) for i in range(2)]
  results.write_rows(tmp_path, rows)
  with pytest.raises(UserError) as error:
    load.read(str(tmp_path))
  assert 'config.learning_rate (now 1e+30)' in str(error.value)
  assert 'run pruning_gen.main' not in str(error.value)


# Row 21.


def test_evaluation_takes_no_more_than_there_is():
  config = default.get_config()
  config.eval_batch_size = 300_000
  dataset = types.SimpleNamespace(
    train_labels=np.zeros(401), test_labels=np.zeros(100)
  )
  layout = types.SimpleNamespace(mesh=types.SimpleNamespace(shape={'data': 2}))
  spec = Spec(config, dataset, None, None, None, None, layout)
  assert spec.eval_batch_size == 402


@pytest.mark.parametrize(
  'group, path',
  [
    ('0::/', '/sys/fs/cgroup/memory.max'),
    ('0::/slurm/job_1', '/sys/fs/cgroup/slurm/job_1/memory.max'),
    ('0::/slurm/job_1', '/sys/fs/cgroup/slurm/memory.max'),
    ('4:memory:/x', '/sys/fs/cgroup/memory/x/memory.limit_in_bytes'),
    ('4:cpu:/x', '/sys/fs/cgroup/memory/memory.limit_in_bytes'),
  ],
)
def test_the_memory_limit_is_the_containers(monkeypatch, group, path):
  texts = {'/proc/self/cgroup': f'1:name=systemd:/y\n{group}\n', path: '5000\n'}

  def read_text(self):
    if str(self) not in texts:
      raise FileNotFoundError
    return texts[str(self)]

  monkeypatch.setattr(pathlib.Path, 'read_text', read_text)
  assert environment.memory_limit() == 5000
  texts[path] = 'max'
  assert environment.memory_limit() > 10**6


# The real program.


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  folder = tmp_path_factory.mktemp('field faults')
  workdir = folder / 'run [1]'
  code, _, err = run(folder, QUICKSTART, f'--workdir={workdir}', *SHORT)
  assert code == 0, err
  return workdir, err


@pytest.mark.slow
def test_a_run_begins_with_its_devices_and_records_them(finished):
  workdir, err = finished
  first = err.splitlines()[0]
  assert first.startswith('devices: ') and 'cpu' in first
  (start,) = provenance.read_provenance(workdir)['starts']
  described = start['environment']
  assert described['cores'] == environment.cores()
  assert described['jax'].items() >= environment.PINNED.items()
  assert described['memory_limit'] > 0 and described['flags'] == {}


@pytest.mark.slow
def test_a_report_in_awkward_surroundings(finished, tmp_path):
  workdir, _ = finished
  (tmp_path / 'matplotlibrc').write_bytes(b'text.usetex: True\n# \xff')
  ended = subprocess.run(
    [
      'bash',
      '-c',
      '"$0" -m pruning_gen.report "--output=~/rep [1]" "$1" >&-',
      sys.executable,
      workdir,
    ],
    cwd=ROOT,
    env=os.environ
    | {
      'HOME': str(tmp_path),
      'MPLBACKEND': 'module://matplotlib_inline.backend_inline',
      'MATPLOTLIBRC': str(tmp_path / 'matplotlibrc'),
    },
    capture_output=True,
    text=True,
  )
  assert ended.returncode == 0, ended.stderr
  assert (tmp_path / 'rep [1]' / 'index.html').exists()


@pytest.mark.slow
def test_a_reader_that_ends_stops_no_training(finished, tmp_path):
  workdir, _ = finished
  command = (
    '"$0" -m pruning_gen.main "$@" 2>&1 | head -1; exit ${PIPESTATUS[0]}'
  )
  ended = subprocess.run(
    [
      *('bash', '-c', command, sys.executable),
      *(QUICKSTART, f'--workdir={tmp_path}/run', *SHORT),
    ],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert ended.returncode == 0
  assert len(ended.stdout.splitlines()) == 1
  written = (tmp_path / 'run' / 'results.csv').read_bytes()
  assert written == (workdir / 'results.csv').read_bytes()
