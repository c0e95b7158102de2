"""Faults of the kinds that public bug reports describe, one test per kind.

Of names of workdirs, damaged data and repeated rows, datasets_test,
checkpoint_test and results_test have the tests; stress_test draws at random.
"""

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

from pruning_gen import command_line
from pruning_gen import config as config_rules
from pruning_gen import environment
from pruning_gen import output
from pruning_gen.analysis.figures import drawing
from pruning_gen.analysis.figures import style
from pruning_gen.engine import inputs
from pruning_gen.engine.stack import Member
from pruning_gen.errors import UserError
from pruning_gen.storage import provenance
from pruning_gen.storage import results


@pytest.fixture
def settings(monkeypatch):
  """Restore JAX's settings; keep the devices that are in use."""
  monkeypatch.setenv('XLA_FLAGS', '--xla_force_host_platform_device_count=8')
  names = [
    *environment.PINNED,
    'jax_default_matmul_precision',
    'jax_compilation_cache_dir',
    'jax_persistent_cache_min_compile_time_secs',
  ]
  before = {n: jax.config.values[n] for n in names if n in jax.config.values}
  yield
  for name, value in before.items():
    jax.config.update(name, value)


@pytest.mark.parametrize(
  'name, value',
  [
    ('jax_default_prng_impl', 'rbg'),
    ('jax_threefry_partitionable', False),
    ('jax_random_seed_offset', 7),
  ],
)
def test_settings_that_change_results_are_pinned(
  config, settings, tmp_path, name, value
):
  config.data.cache_dir = str(tmp_path)
  pinned = jax.config.values[name]
  jax.config.update(name, value)
  environment.set_up(config, num_members=1)
  assert jax.config.values[name] == pinned == environment.PINNED[name]
  assert jax.config.jax_default_matmul_precision is None


def test_labels_that_differ_are_never_replaced(tmp_path):
  members = [Member('pruning', 0.5, 0)]
  labels = {'labels': np.array([[1, 2]], np.uint16), 'true_labels': np.ones(2)}
  results.write_members(tmp_path, 'chain', members, labels)
  path = tmp_path / 'chain' / 'labels.npz'
  written = path.read_bytes()
  results.write_members(tmp_path, 'chain', members, labels)
  other = labels | {'labels': np.array([[1, 3]], np.uint16)}
  with pytest.raises(UserError, match=r'labels\.npz'):
    results.write_members(tmp_path, 'chain', members, other)
  assert path.read_bytes() == written
  with pytest.raises(UserError, match=r'members\.csv'):
    results.write_members(tmp_path, 'chain', [Member('random', 0.5, 0)], labels)


def start_of(**changes):
  """Return an entry of provenance.json, with changes to its environment."""
  entry = provenance.describe_start() | {'dataset': {}}
  entry['devices'] = ['cpu: cpu']
  entry['environment'] = environment.describe() | changes
  return entry


@pytest.mark.parametrize(
  'changes, key',
  [
    ({'cores': 1}, 'cores: 2 there, 1 now'),
    ({'flags': {'XLA_FLAGS': '--xla_cpu_enable_fast_math=true'}}, 'flags'),
  ],
)
def test_another_machine_is_refused_or_recorded(tmp_path, changes, key):
  calm = {'cores': 2, 'flags': {}}
  provenance.add_provenance(tmp_path, start_of(**calm))
  # Nothing is saved yet, so nothing depends on it.
  provenance.add_provenance(tmp_path, start_of(**calm))
  results.write_rows(tmp_path, [{'experiment': 'chain', 'level': 0}])
  with pytest.raises(UserError, match=key):
    provenance.add_provenance(tmp_path, start_of(**calm | changes))
  provenance.add_provenance(
    tmp_path, start_of(**calm | changes), allow_device_change=True
  )
  assert len(provenance.read_provenance(tmp_path)['starts']) == 3


@pytest.mark.parametrize('group', ['', 'model', 'leave_out'])
def test_a_key_that_nothing_reads_is_refused(config, group):
  command_line.check_keys(config)
  with config.unlocked():
    (config[group] if group else config).lerning_rate = 0.1
  key = f'{group}.lerning_rate'.strip('.')
  with pytest.raises(UserError, match=f'no key {key}'):
    command_line.check_keys(config)


def test_a_locked_config_takes_no_new_key(config):
  with pytest.raises(AttributeError, match='lerning_rate'):
    config.lerning_rate = 0.1


def test_the_commit_of_another_repository_is_not_ours(tmp_path, monkeypatch):
  def git(*command):
    subprocess.run(['git', '-C', tmp_path, *command], check=True)

  git('init', '--quiet')
  identity = ('-c', 'user.name=x', '-c', 'user.email=x@x')
  git(*identity, 'commit', '--quiet', '--allow-empty', '-m', 'theirs')
  installed = tmp_path / 'lib' / 'provenance.py'
  installed.parent.mkdir()
  installed.write_text('')
  monkeypatch.setattr(provenance, '__file__', str(installed))
  assert provenance.git_revision() is None
  git('add', '.')
  git(*identity, 'commit', '--quiet', '-m', 'ours')
  assert len(provenance.git_revision()) == 40


def test_local_paths(monkeypatch):
  monkeypatch.setenv('HOME', '/home/me')
  assert command_line.local_path('workdir', '~/runs/x') == '/home/me/runs/x'
  assert command_line.local_path('workdir', 'runs/~x') == 'runs/~x'
  for empty in ('', ' '):
    with pytest.raises(UserError, match='--output is empty'):
      command_line.local_path('output', empty)


def test_a_reader_that_ends_breaks_nothing():
  reading, writing = os.pipe()
  stream = output._Guarded(os.fdopen(writing, 'w'))
  os.close(reading)
  for _ in range(3):
    stream.write('a line\n' * 20_000)
    stream.flush()
  stream.close()


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs Linux')
@pytest.mark.parametrize('redirect', ['>&-', '2>&-', '>&- 2>&-', '>/dev/full'])
def test_closed_and_full_output(tmp_path, redirect):
  # A file that is opened must not get what is printed.
  code = (
    'import sys; from pruning_gen import output; output.guard(); '
    f'file = open("{tmp_path}/results", "w"); '
    'print("out"); print("err", file=sys.stderr); '
    'sys.stdout.flush(); file.write("mine")'
  )
  subprocess.run(
    f"'{sys.executable}' -c '{code}' {redirect}",
    shell=True,
    check=True,
    cwd=pathlib.Path(__file__).parents[1],
  )
  assert (tmp_path / 'results').read_text() == 'mine'


@pytest.mark.parametrize(
  'key, value',
  [
    ('noise_fractions', (0.0, 0.0001)),
    ('model.widths', ()),
    ('prune_fraction', 0.0),
  ],
)
def test_what_has_no_effect_is_refused(config, key, value):
  config.update_from_flattened_dict({key: value})
  with pytest.raises(UserError, match=rf'config\.{key}='):
    config_rules.check(config)


def test_spellings_of_one_config(config, tmp_path):
  stored = config.to_dict() | {'noise_fractions': (0.0, 0.2)}
  provenance.open_workdir(tmp_path, stored)
  provenance.add_provenance(tmp_path, start_of())
  results.write_rows(tmp_path, [{'experiment': 'chain', 'level': 0}])
  provenance.open_workdir(tmp_path, stored | {'noise_fractions': [0, 0.2]})
  with pytest.raises(UserError, match='noise_fractions'):
    provenance.open_workdir(tmp_path, stored | {'noise_fractions': (0, 0.3)})


@pytest.mark.parametrize('error', [RuntimeError('none'), AssertionError()])
def test_an_accelerator_that_is_absent(monkeypatch, error):
  asked = {'jax_platforms': 'cuda', 'jax_platform_name': ''}
  monkeypatch.setattr(
    environment.jax,
    'config',
    types.SimpleNamespace(values=asked, update=lambda *_: monkeypatch.undo()),
  )

  def fail():
    raise error

  monkeypatch.setattr(environment.jax, 'devices', fail)
  with pytest.raises(UserError, match=r'JAX_PLATFORMS=cuda.*8 x cpu'):
    environment.check_devices()


@pytest.mark.parametrize(
  'message, part',
  [
    (
      'Traceback\nTypeError: get_config() takes 0 positional arguments but 1 '
      'was given',
      'no variants',
    ),
    ("ValueError: size 'tiny' must be 'small'", "'tiny'"),
    (
      "flag --config.model=vgg16: Failed to parse 'vgg16' as a ConfigDict",
      '--config.model.name',
    ),
  ],
)
def test_a_spelling_that_is_wrong_gets_one_line(message, part):
  explained = command_line._explain(message)
  assert part in explained
  assert '\n' not in explained


def test_evaluation_needs_no_more_than_a_split(config, digits):
  config.eval_batch_size = 300_000
  mesh = types.SimpleNamespace(shape={'data': 3})
  layout = types.SimpleNamespace(mesh=mesh)
  spec = inputs.Spec(config, digits, None, None, None, layout)
  largest = max(len(digits.train_labels), len(digits.test_labels))
  assert largest <= spec.eval_batch_size < largest + 3


def test_the_limit_of_a_container_counts(tmp_path, monkeypatch):
  limit = tmp_path / 'memory.max'
  monkeypatch.setattr(environment, '_cgroup_files', lambda: iter([limit]))
  physical = environment.memory_limit()
  limit.write_text('max\n')
  assert environment.memory_limit() == physical
  limit.write_text('1048576\n')
  assert environment.memory_limit() == 1_048_576


def test_an_axis_of_a_chain_that_loses_all_weights():
  axes = Figure().subplots()
  drawing.set_weights_axis(axes, pd.Series([1.0, 0.1, 0.01, 0.0]))
  left, right = axes.get_xlim()
  assert left > 1 and 0 < right < 0.01
  assert '0 is off the axis' in axes.get_xlabel()


def test_settings_of_the_user_do_not_reach_the_figures():
  with mpl.rc_context({'text.usetex': True, 'font.family': 'fantasy'}):
    with style.context():
      assert not mpl.rcParams['text.usetex']
      assert mpl.rcParams['font.family'] == ['sans-serif']
    assert mpl.rcParams['text.usetex']


def test_labels_tell_noise_fractions_apart():
  labels = [style.noise_label(q) for q in (0, 0.0001, 0.004, 0.15, 1)]
  assert len(set(labels)) == 5
