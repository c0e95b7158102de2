import json
import logging

import jax
import numpy as np
import pytest

from pruning_gen.analysis import load
from pruning_gen.errors import UserError
from pruning_gen.experiments import build
from pruning_gen.experiments import chain
from pruning_gen.storage import epochs
from pruning_gen.storage import files
from pruning_gen.storage import results
from tests import small_chain


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory, digits):
  """The small chain, run without a break; its workdir and compilations."""
  config = small_chain.make_config()
  config.validate_every_epochs = 1
  workdir = tmp_path_factory.mktemp('unbroken')
  with CompilationLog() as log:
    chain.train(small_chain.make_run(config, workdir, digits))
  return workdir, log.names


@pytest.fixture
def run(config, tmp_path, digits):
  return small_chain.make_run(config, tmp_path, digits)


def change_programs(monkeypatch, change):
  """Let a function of `Programs` replace some of them."""
  make_programs = build.make_programs
  monkeypatch.setattr(
    build, 'make_programs', lambda *args: change(make_programs(*args))
  )


def break_member(state, row):
  """Make the outputs of one member infinite."""
  kernel = state.params['output']['kernel']
  state.params['output']['kernel'] = kernel.at[row].mul(np.inf)
  return state


class CompilationLog(logging.Handler):
  """Collects the names of the functions that JAX compiles."""

  def __init__(self):
    super().__init__()
    self.names = []

  def emit(self, record):
    if record.msg.startswith('Compiling'):
      self.names.append(record.args[0])

  def __enter__(self):
    self._context = jax.log_compiles()
    self._context.__enter__()
    self._logger = logging.getLogger('jax')
    self._propagates = self._logger.propagate
    self._logger.propagate = False
    self._logger.addHandler(self)
    return self

  def __exit__(self, *exception):
    self._logger.removeHandler(self)
    self._logger.propagate = self._propagates
    self._context.__exit__(*exception)


def test_one_compilation_of_the_epoch_for_the_whole_chain(unbroken):
  _, compiled = unbroken
  names = [name for name in compiled if 'train_epoch' in str(name)]
  assert len(names) == 1, compiled
  assert sum('start_level' in str(name) for name in compiled) == 1


def test_table(unbroken, config):
  workdir, _ = unbroken
  table = results.read_results(workdir)
  assert len(table) == 3 * 4
  assert table.level.tolist() == [0] * 4 + [1] * 4 + [2] * 4
  # Kernels 64 x 20, 20 x 10, 10 x 10: 1,580, of which a fifth goes, then a
  # fifth of the 1,264 that are left.
  assert set(table.num_weights) == {1580}
  pruning = table[table.arm == 'pruning']
  kept = (pruning.weights_remaining * 1580).round(6).tolist()
  assert kept == [1580] * 2 + [1264] * 2 + [1011] * 2
  dense = table[table.arm == 'extended_dense']
  assert set(dense.weights_remaining) == {1.0}
  # E = 3 and t = 1: E + L (E - t).
  assert pruning.epochs_trained.tolist() == [3, 3, 5, 5, 7, 7]
  assert table.train_cross_entropy_noisy.isna().tolist() == (
    [True, True, False, False] * 3
  )
  assert table.test_error.between(0, 1).all()


def test_every_epoch(unbroken):
  workdir, _ = unbroken
  table = epochs.read(workdir, 'chain')
  # In the order of results.csv: level by level, epoch by epoch.
  assert table.epochs_trained.tolist() == np.repeat(range(1, 8), 4).tolist()
  assert table.level.tolist() == [0] * 12 + [1] * 8 + [2] * 8
  first = table[table.epochs_trained == 1].train_loss
  assert first.between(1, 3).all()
  own = [*results.NETWORK, 'level', 'epochs_trained']
  # The last epochs of levels.
  both = table.merge(results.read_results(workdir), on=own)
  assert len(both) == 12
  assert (both.validation_error_x == both.validation_error_y).all()
  assert (both.test_error_x == both.test_error_y).all()


def test_both_arms_begin_with_the_same_network(unbroken):
  workdir, _ = unbroken
  losses = results.read_level(workdir, 'chain', 0)['cross_entropy']
  np.testing.assert_array_equal(losses[0], losses[1])
  np.testing.assert_array_equal(losses[2], losses[3])
  later = results.read_level(workdir, 'chain', 1)['cross_entropy']
  assert (later[0] != later[1]).any()


def test_rows_are_the_means_of_the_arrays(unbroken):
  workdir, _ = unbroken
  table = results.read_results(workdir)
  with np.load(workdir / 'chain' / 'labels.npz') as file:
    labels = dict(file)
  for level in range(3):
    arrays = results.read_level(workdir, 'chain', level)
    assert arrays['cross_entropy'].shape == (4, 200)
    assert arrays['cross_entropy'].dtype == np.float32
    rows = table[table.level == level]
    losses = arrays['cross_entropy'].astype(np.float64)
    np.testing.assert_allclose(
      rows.train_cross_entropy, losses.mean(axis=1), 1e-12
    )
    noisy = labels['is_noisy']
    np.testing.assert_allclose(
      rows.train_cross_entropy_noisy.iloc[2:],
      [losses[i][noisy[i]].mean() for i in (2, 3)],
      1e-12,
    )
    wrong = arrays['prediction'] != labels['labels']
    np.testing.assert_allclose(rows.train_error, wrong.mean(axis=1), 1e-12)
    losses = arrays['test_cross_entropy'].astype(np.float64)
    np.testing.assert_allclose(
      rows.test_cross_entropy, losses.mean(axis=1), 1e-12
    )
    for split in ('validation', 'test'):
      wrong = arrays[f'{split}_prediction'] != labels[f'{split}_labels']
      np.testing.assert_allclose(
        rows[f'{split}_error'], wrong.mean(axis=1), 1e-12
      )


def test_a_loss_that_is_not_finite_stops_the_run(run):
  run.config.learning_rate = 1e30
  with pytest.raises(UserError) as error:
    chain.train(run)
  message = str(error.value)
  assert '(pruning, noise 0, replicate 0) is nan' in message
  assert 'level 0, epoch 1, step 2' in message
  assert 'config.learning_rate (now 1e+30)' in message
  assert not chain.is_finished(run)


def test_a_loss_that_is_not_finite_when_evaluated_stops_the_run(
  run, monkeypatch
):
  """The last step of a level may be the one that breaks a network."""
  run.config.levels = 0

  def break_last(programs):
    def train_epoch(state, global_epoch):
      state, losses = programs.train_epoch(state, global_epoch)
      return break_member(state, 1) if global_epoch == 2 else state, losses

    return programs._replace(train_epoch=train_epoch)

  change_programs(monkeypatch, break_last)
  with pytest.raises(
    UserError, match=r'\(extended_dense, noise 0, replicate 0\).* level 0'
  ):
    chain.train(run)
  assert not results.finished_rows(run.workdir, 'chain')


def test_dense_only(run):
  run.config.levels = 0
  run.config.epochs = 2
  chain.train(run)
  levels = {row[-1] for row in results.finished_rows(run.workdir, 'chain')}
  assert levels == {0}
  assert chain.is_finished(run)


def test_rows_are_written_once_the_checkpoint_is_there(run, monkeypatch):
  """A kill in between would leave a level that nothing can continue from."""
  run.config.checkpoint.every_epochs = 100
  saved = []

  def write_rows(workdir, rows, members):
    folders = (workdir / 'checkpoints' / 'chain').glob('*/commit_success.txt')
    saved.append(max(int(path.parent.name) for path in folders))
    write_rows_(workdir, rows, members)

  write_rows_ = results.write_rows
  monkeypatch.setattr(results, 'write_rows', write_rows)
  chain.train(run)
  # Level 0 has 3 epochs, later levels rewind to epoch 1.
  assert saved == [3, 5, 7]


def test_a_member_that_diverges_is_marked_and_the_others_continue(
  run, tmp_path, monkeypatch, unbroken, capsys
):
  change_programs(
    monkeypatch,
    lambda programs: programs._replace(
      create=lambda: break_member(programs.create(), 1)
    ),
  )
  run = run._replace(workdir=tmp_path / 'stop')
  with pytest.raises(UserError, match=r'--config\.on_divergence=continue'):
    chain.train(run)
  run.config.on_divergence = 'continue'
  run = run._replace(workdir=tmp_path / 'continue')
  chain.train(run)
  said = capsys.readouterr().out
  assert said.count('(extended_dense, noise 0, replicate 0) is nan') == 1
  assert said.count('is nan') == 1
  table = results.read_results(run.workdir)
  lost = (table.arm == 'extended_dense') & (table.noise_fraction == 0)
  assert (table.diverged == lost).all()
  assert table[lost].test_error.isna().all()
  calm = results.read_results(unbroken[0])
  assert table[~lost].equals(calm[~lost])
  assert (table.weights_remaining == calm.weights_remaining).all()
  files.write_text(
    run.workdir / 'config.json', json.dumps(run.config.to_dict())
  )
  shown = load.read(run.workdir)
  assert len(shown.results) == (~lost).sum()
  assert 'extended_dense' in shown.notes[0] and 'level 0' in shown.notes[0]
