import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pruning_gen import export
from pruning_gen.analysis import load
from pruning_gen.errors import UserError
from pruning_gen.experiments import chain
from pruning_gen.storage import level_tables
from pruning_gen.storage import networks
from pruning_gen.storage import provenance
from pruning_gen.storage import results
from tests import small_chain


@pytest.fixture(scope='module')
def workdir(tmp_path_factory, digits):
  """A finished chain that has kept its dense and its optimal networks."""
  config = small_chain.make_config()
  folder = tmp_path_factory.mktemp('finished')
  provenance.write_config(folder, config.to_dict())
  chain.train(small_chain.make_run(config, folder, digits))
  return folder


def optima(workdir):
  """The levels that the report chooses, by arm and noise level."""
  chosen = load.read(workdir).summary.query('is_optimal')
  curves = zip(chosen.arm, chosen.noise_fraction)
  return dict(zip(curves, chosen.level))


def test_the_dense_and_the_optimal_networks_are_kept(workdir):
  found = optima(workdir)
  assert len(found) == 4 and any(found.values())
  for curve, level in found.items():
    kept = networks.list_levels(workdir, *curve, replicate=0)
    assert kept == sorted({0, level})
    assert export.find(workdir, *curve, 0) == networks.path_of(
      workdir, *curve, 0, level
    )


@pytest.mark.parametrize('suffix', networks.FORMATS)
def test_a_network_reproduces_its_results(workdir, digits, tmp_path, suffix):
  table = results.read_results(workdir)
  members = results.read_members(workdir, 'chain')
  labels = results.read_labels(workdir, 'chain')['labels']
  for i, member in members.iterrows():
    curve = member.arm, member.noise_fraction
    output = tmp_path / f'{i}{suffix}'
    assert export.export(workdir, output, *curve) == output
    network = export.load_network(output)
    level = network.metadata['level']
    (row,) = table[
      (table.arm == member.arm)
      & (table.noise_fraction == member.noise_fraction)
      & (table.level == level)
    ].itertuples()
    on_test = network.evaluate(digits.test_images, digits.test_labels)
    wrong = on_test.prediction != digits.test_labels
    assert wrong.mean() == row.test_error == network.metadata['test_error']
    on_train = network.evaluate(digits.train_images, labels[i], batch_size=64)
    arrays = results.read_level(workdir, 'chain', level)
    np.testing.assert_array_equal(on_train.prediction, arrays['prediction'][i])
    # Another program than the run's: rounding differs.
    np.testing.assert_allclose(
      on_train.cross_entropy, arrays['cross_entropy'][i], 1e-5, 1e-6
    )
    masks = networks.flatten(network.masks)
    params = networks.flatten(network.variables['params'])
    kernels = [name for name in masks if name.endswith('kernel')]
    kept = sum(masks[name].sum() for name in kernels)
    assert kept == round(row.weights_remaining * 1580)
    assert all((params[name][~masks[name]] == 0).all() for name in masks)


def test_both_formats_and_the_module(workdir, digits, tmp_path):
  (one, other) = (
    export.load_network(export.export(workdir, tmp_path / f'net{suffix}'))
    for suffix in networks.FORMATS
  )
  assert one.metadata == other.metadata and one.module == other.module
  jax.tree.map(np.testing.assert_array_equal, one.masks, other.masks)
  jax.tree.map(np.testing.assert_array_equal, one.variables, other.variables)
  logits = one.module.apply(
    one.variables, one.normalize(digits.test_images), train=False
  )
  found = one.evaluate(digits.test_images, digits.test_labels).prediction
  np.testing.assert_array_equal(jnp.argmax(logits, axis=1), found)


def test_a_file_that_exists_is_not_replaced(workdir, tmp_path):
  (tmp_path / 'net.npz').write_text('mine')
  with pytest.raises(UserError, match=r'--output=.*net\.npz'):
    export.export(workdir, tmp_path / 'net.npz')
  assert (tmp_path / 'net.npz').read_text() == 'mine'
  with pytest.raises(UserError, match=r'net\.pt .*\.safetensors'):
    export.export(workdir, tmp_path / 'net.pt')
  assert len(list(tmp_path.iterdir())) == 1


def test_what_was_not_kept_is_named(workdir, tmp_path):
  curve, level = next((k, v) for k, v in optima(workdir).items() if v)
  other = 3 - level
  with pytest.raises(UserError, match=rf'level {other} of .*but 0, {level}:'):
    export.export(workdir, tmp_path / 'a.npz', *curve, level=other)
  with pytest.raises(
    UserError, match=r'synflow .*pruning_noise_0\.2_replicate'
  ):
    export.export(workdir, tmp_path / 'a.npz', 'synflow')
  with pytest.raises(UserError, match=r'no config\.json'):
    export.export(tmp_path, tmp_path / 'a.npz')
  (workdir / 'config.json').rename(tmp_path / 'config.json')
  with pytest.raises(UserError, match=r'no network of .*keep_levels'):
    export.export(tmp_path, tmp_path / 'a.npz')
  (tmp_path / 'config.json').rename(workdir / 'config.json')


@pytest.mark.parametrize('suffix', networks.FORMATS)
def test_a_damaged_file(workdir, tmp_path, suffix):
  path = export.export(workdir, tmp_path / f'net{suffix}')
  path.write_bytes(path.read_bytes()[:-500])
  with pytest.raises(UserError, match=f'net{suffix}'):
    export.load_network(path)
  with pytest.raises(UserError, match=f'missing{suffix}'):
    export.load_network(tmp_path / f'missing{suffix}')


def test_arrays_of_another_program(tmp_path):
  from safetensors import numpy as safetensors

  np.savez(tmp_path / 'net.npz', a=np.zeros(3))
  safetensors.save_file({'a': np.zeros(3)}, tmp_path / 'net.safetensors')
  for suffix in networks.FORMATS:
    with pytest.raises(UserError, match=f'net{suffix}'):
      export.load_network(tmp_path / f'net{suffix}')


def test_layers(workdir):
  """layers.csv says what the weights and masks do."""
  table = level_tables.read(workdir, level_tables.LAYERS)
  assert len(table) == 3 * 4 * 3
  assert table.layer.tolist()[:4] == ['dense_0', 'dense_1', 'output', 'dense_0']
  for (*identity, level), rows in table.groupby(
    [*results.CHAIN_NETWORK, 'level']
  ):
    assert rows['size'].tolist() == [1280, 200, 100]
    if level not in networks.list_levels(workdir, *identity):
      continue
    network = networks.read(networks.path_of(workdir, *identity, level))
    for row in rows.itertuples():
      assert row.kept == network.masks[row.layer]['kernel'].sum()
      norm = np.linalg.norm(network.params[row.layer]['kernel'])
      assert row.l2_norm == pytest.approx(norm, 1e-6)


@pytest.mark.slow
def test_the_export_command(workdir, tmp_path):
  command = [sys.executable, '-m', 'pruning_gen.export']
  command += [f'--workdir={workdir}', f'--output={tmp_path}/net.safetensors']
  command += ['--noise_fraction=0.2', '--arm=extended_dense', '--level=0']
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  assert done.stdout == f'network: {tmp_path}/net.safetensors\n'
  about = export.load_network(tmp_path / 'net.safetensors').metadata
  assert (about['arm'], about['level']) == ('extended_dense', 0)
  done = subprocess.run(command, capture_output=True, text=True)
  assert done.returncode == 1 and '--output=' in done.stderr
