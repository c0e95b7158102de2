import json
import logging

import jax
import numpy as np
import pytest

from pruning_gen.analysis import load as panels
from pruning_gen.engine import programs as engine
from pruning_gen.errors import UserError
from pruning_gen.experiments import chain
from pruning_gen.storage import files
from pruning_gen.storage import results


def never():
  return False


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory, digits):
  """The small chain, run without a break; its workdir and compilations."""
  from tests import conftest

  config = conftest.config.__wrapped__()
  workdir = tmp_path_factory.mktemp('unbroken')
  with CompilationLog() as log:
    chain.run(config, workdir, digits, never)
  return workdir, log.names


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


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, config, digits):
  config.learning_rate = 1e30
  with pytest.raises(UserError) as error:
    chain.run(config, tmp_path, digits, never)
  message = str(error.value)
  assert 'the loss of member (pruning, noise 0, replicate 0) is nan' in message
  assert 'at level 0, epoch 0, step 1' in message
  assert 'lower config.learning_rate (now 1e+30)' in message
  assert not chain.is_finished(config, tmp_path)


def test_a_loss_that_is_not_finite_when_scored_stops_the_run(
  config, digits, tmp_path, monkeypatch
):
  """The last step of a level may be the one that breaks a network."""
  config.levels = 0
  train_epoch = engine.Engine.train_epoch

  def break_last(self, state, global_epoch):
    state, losses = train_epoch(self, state, global_epoch)
    if global_epoch == 2:
      kernel = state.params['output']['kernel']
      state.params['output']['kernel'] = kernel.at[1].mul(np.inf)
    return state, losses

  monkeypatch.setattr(engine.Engine, 'train_epoch', break_last)
  with pytest.raises(UserError) as error:
    chain.run(config, tmp_path, digits, never)
  assert (
    'the loss of member (extended_dense, noise 0, replicate 0) is not finite '
    'at the end of level 0'
  ) in str(error.value)
  assert not results.finished_rows(tmp_path, 'chain')


def test_dense_only(tmp_path, config, digits):
  config.levels = 0
  config.epochs = 2
  chain.run(config, tmp_path, digits, never)
  levels = {row[-1] for row in results.finished_rows(tmp_path, 'chain')}
  assert levels == {0}
  assert chain.is_finished(config, tmp_path)


def test_rows_are_written_once_the_checkpoint_is_there(
  config, digits, tmp_path, monkeypatch
):
  """Or a kill in between would leave a level that nothing can go on from."""
  config.checkpoint.every_epochs = 100
  saved = []

  def write_rows(workdir, rows):
    folders = (workdir / 'checkpoints' / 'chain').glob('*/commit_success.txt')
    saved.append(max(int(path.parent.name) for path in folders))
    write_rows_(workdir, rows)

  write_rows_ = results.write_rows
  monkeypatch.setattr(results, 'write_rows', write_rows)
  chain.run(config, tmp_path, digits, never)
  # Level 0 has 3 epochs, later levels rewind to epoch 1.
  assert saved == [3, 5, 7]


def test_a_member_that_diverges_is_marked_and_the_others_go_on(
  config, digits, tmp_path, monkeypatch, unbroken, capsys
):
  create = engine.Engine.create

  def poison(self):
    state = create(self)
    kernel = state.params['output']['kernel']
    state.params['output']['kernel'] = kernel.at[1].mul(np.inf)
    return state

  monkeypatch.setattr(engine.Engine, 'create', poison)
  with pytest.raises(UserError, match='on_divergence=continue to go on'):
    chain.run(config, tmp_path / 'stop', digits, never)
  config.on_divergence = 'continue'
  chain.run(config, tmp_path / 'go', digits, never)
  said = capsys.readouterr().out
  assert said.count('it is lost, the others go on') == 1
  assert 'member (extended_dense, noise 0, replicate 0) is nan at lev' in said
  table = results.read_results(tmp_path / 'go')
  lost = (table.arm == 'extended_dense') & (table.noise_fraction == 0)
  assert (table.diverged == lost).all()
  assert table[lost].test_error.isna().all()
  calm = results.read_results(unbroken[0])
  assert table[~lost].equals(calm[~lost])
  assert (table.weights_remaining == calm.weights_remaining).all()
  files.write_text(
    tmp_path / 'go' / 'config.json', json.dumps(config.to_dict())
  )
  panel = panels.read(tmp_path / 'go')
  assert len(panel.results) == (~lost).sum()
  assert panel.notes[0].endswith('its loss was not finite at level 0.')
