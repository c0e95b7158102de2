import json
import os
import pathlib
import re
import signal
import subprocess
import sys
from concurrent import futures

import jax
import numpy as np
import pandas as pd
import pytest

import pruning_gen
from pruning_gen import environment
from pruning_gen import errors
from pruning_gen import processes
from pruning_gen import runner
from pruning_gen.analysis import load
from pruning_gen.analysis import statistics
from pruning_gen.data import datasets
from pruning_gen.errors import UserError
from pruning_gen.storage import provenance
from pruning_gen.storage import results
from tests import fake_runs
from tests import program
from tests import small_chain

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('run')
  fake_runs.write_all(workdir)
  return pruning_gen.load(workdir)


def test_tables_are_those_of_the_report(run):
  benchmark = load.read(run.workdir)
  for name in ('results', 'summary', 'layers'):
    pd.testing.assert_frame_equal(getattr(run, name), getattr(benchmark, name))
  assert run.config == benchmark.config
  assert len(run.members) == 8 and len(run.layers) == 8 * 4 * 2
  pd.testing.assert_frame_equal(run.benchmark().summary, run.summary)


def test_training_examples(run):
  """The loss of example i at level k is 5 - 0.1 x k x i."""
  table = run.examples(level=2)
  assert len(table) == 8 * fake_runs.NUM_TRAIN
  assert table.index.names == ['member', 'example_id']
  ids = table.index.get_level_values('example_id')
  np.testing.assert_allclose(table.effect, -0.2 * ids, atol=1e-6)
  np.testing.assert_allclose(table.cross_entropy, 5 - 0.2 * ids, 1e-6)
  assert (table.true_label == ids % fake_runs.NUM_CLASSES).all()
  assert ((table.label != table.true_label) == table.is_noisy).all()
  assert (table.is_noisy == ((table.noise_fraction > 0) & (ids >= 16))).all()
  for member, rows in table.groupby('member'):
    assert set(rows.arm) == {run.members.arm[member]}
    assert set(rows.replicate) == {run.members.replicate[member]}


@pytest.mark.parametrize(
  'split, num_examples, factor',
  [
    ('validation', fake_runs.NUM_VALIDATION, 1.5),
    ('test', fake_runs.NUM_TEST, 2),
  ],
)
def test_held_out_examples(run, split, num_examples, factor):
  """Their losses are a multiple of those of training examples."""
  table = run.examples(level=2, split=split)
  assert len(table) == 8 * num_examples
  ids = table.index.get_level_values('example_id')
  np.testing.assert_allclose(
    table.cross_entropy, factor * (5 - 0.2 * ids), 1e-6
  )
  assert (table.label == ids % fake_runs.NUM_CLASSES).all()
  # Example 0 is wrong from level 1 on, and 1 always.
  assert ((table.prediction != table.label) == (ids < 2)).all()


def test_networks_that_are_in_no_table_have_no_examples(run):
  kept = run.results[run.results.replicate == 1]
  table = run._replace(results=kept).examples(level=3)
  assert set(table.replicate) == {1} and len(table) == 4 * fake_runs.NUM_TRAIN


@pytest.mark.parametrize(
  'arguments, message',
  [
    ({'level': 7}, 'level=7.* 0, 1, 2, 3$'),
    ({'level': 0, 'experiment': 'el2n'}, 'of el2n .*: none'),
    ({'level': 0, 'split': 'dev'}, "split='dev'.*validation"),
  ],
)
def test_what_is_not_there(run, arguments, message):
  with pytest.raises(UserError, match=message):
    run.examples(**arguments)


def test_no_run_and_nothing_finished(tmp_path):
  with pytest.raises(UserError, match=r'config\.json'):
    pruning_gen.load(tmp_path)
  provenance.write_config(tmp_path, fake_runs.CONFIG)
  with pytest.raises(UserError, match='no finished level'):
    pruning_gen.load(tmp_path)


def test_a_run_that_has_only_scores(tmp_path):
  provenance.write_config(tmp_path, fake_runs.CONFIG)
  row = fake_runs.make_row(experiment='el2n', arm='dense', network=1)
  results.write_rows(tmp_path, [row])
  fake_runs.write_el2n(tmp_path)
  found = pruning_gen.load(tmp_path)
  assert tuple(found.results.columns) == results.COLUMNS
  assert found.results.empty and found.summary.empty and not found.notes
  assert tuple(found.summary.columns) == statistics.SUMMARY
  assert found.summary[found.summary.is_optimal].empty
  assert statistics.optimal_levels(found.summary) == {}


@pytest.mark.parametrize('may_change, num_devices', [(False, 3), (True, 0)])
def test_train_keeps_the_number_of_devices(
  tmp_path, monkeypatch, may_change, num_devices
):
  fake_runs.write_chain(tmp_path)
  path = tmp_path / 'provenance.json'
  history = json.loads(path.read_text())
  history['starts'][0]['devices'] = ['cpu: cpu'] * 3
  path.write_text(json.dumps(history))
  asked = []
  monkeypatch.setattr(environment, 'set_up', lambda *args: asked.append(args))
  monkeypatch.setattr(runner, 'run_experiments', lambda *_: None)
  config = small_chain.make_config()
  pruning_gen.train(config, tmp_path, may_change)
  assert asked == [(config, 4, num_devices)]


def set_up_twice(folder):
  """Set up JAX while it is in use: in a process of its own."""
  config = small_chain.make_config()
  assert len(jax.devices()) < 5
  config.devices.count = 5
  config.data.cache_dir = str(folder)
  with pytest.raises(RuntimeError, match='jax_num_cpu_devices'):
    environment.set_up(config, 1)
  assert jax.config.jax_compilation_cache_dir == str(folder / 'xla')
  assert jax.config.jax_persistent_cache_min_compile_time_secs == 0


@pytest.mark.slow
def test_programs_are_cached_where_jax_is_in_use(tmp_path, monkeypatch):
  monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR', raising=False)
  assert program.call(set_up_twice, tmp_path) == 0


def test_the_package_has_no_other_names():
  with pytest.raises(AttributeError, match='loda'):
    _ = pruning_gen.loda


# What the page promises, after its last block.
CHECKS = """
assert losses.shape == (12, 1000)
assert worst.is_monotonic_decreasing
assert state['params']['dense_0']['kernel'].shape == (12, 64, 300)
assert set(run.examples(1, 'validation').replicate) == {0, 1, 2}
assert run.network('extended_dense', level=1).metadata['level'] == 1
# JAX is in use, and the run is finished: nothing is trained.
assert pruning_gen.train(config, 'runs/library').summary.equals(run.summary)
"""


@pytest.mark.slow
def test_the_page_runs_as_it_is(tmp_path):
  text = (ROOT / 'docs' / 'library.md').read_text()
  blocks = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
  assert len(blocks) == 6
  done = subprocess.run(
    [sys.executable, '-c', '\n'.join([*blocks, CHECKS])],
    cwd=tmp_path,
    env=os.environ | {'PYTHONPATH': str(ROOT)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
  'changed, said',
  [
    ({'levels': 9}, '--allow_device_change'),
    ({'experiments': ('el2n',)}, '--allow_device_change'),
    ({'experiments': ('leave_out',), 'levels': 9}, 'config.experiments'),
  ],
)
def test_a_start_that_is_refused_changes_no_file(
  tmp_path, config, digits, changed, said
):
  provenance.write_config(tmp_path, config.to_dict())
  entry = {'dataset': datasets.describe(digits), 'devices': ['gpu: x']}
  provenance.add_provenance(tmp_path, entry)
  results.write_rows(tmp_path, [fake_runs.make_row()])
  before = {path: path.read_bytes() for path in tmp_path.iterdir()}
  config.update(changed)
  with pytest.raises(UserError, match=said):
    runner.run_experiments(small_chain.make_run(config, tmp_path))
  after = {path: path.read_bytes() for path in tmp_path.iterdir()}
  after.pop(tmp_path / 'lock.json')
  assert after == before


def test_signals_stay_those_of_the_program_that_trains():
  numbers, own = errors.STOP_SIGNALS, [lambda *_: 0, lambda *_: 1]
  before = [signal.signal(*pair) for pair in zip(numbers, own)]
  try:
    with processes.stopping_at_once():
      assert {*map(signal.getsignal, numbers)} == {errors.stop_at_once}
    assert [*map(signal.getsignal, numbers)] == own
    # Only the main thread may handle signals.
    with futures.ThreadPoolExecutor(1) as pool:
      entered = pool.submit(processes.stopping_at_once().__enter__)
      assert entered.exception() is None
    assert [*map(signal.getsignal, numbers)] == own
  finally:
    for pair in zip(numbers, before):
      signal.signal(*pair)


def test_a_signal_that_is_ignored_stays_ignored():
  numbers, own = errors.LAUNCHER_SIGNALS, lambda *_: 0
  before = [signal.signal(number, own) for number in numbers]
  try:
    # As under nohup.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with errors.handling_stop(signal.SIG_DFL, numbers):
      found = {number: signal.getsignal(number) for number in numbers}
      assert found.pop(signal.SIGHUP) == signal.SIG_IGN
      assert {*found.values()} == {signal.SIG_DFL}
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) == own
  finally:
    for pair in zip(numbers, before):
      signal.signal(*pair)


def test_a_stop_after_the_terminal_has_closed():
  script = (
    'import os; from pruning_gen import errors; os.close(2); '
    'errors.stop_at_once()'
  )
  done = subprocess.run(
    [sys.executable, '-c', script], env=os.environ | {'PYTHONPATH': str(ROOT)}
  )
  assert done.returncode == errors.EXIT_PREEMPTED
