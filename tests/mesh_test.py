import jax
import numpy as np
import pytest

from pruning_gen.engine import mesh
from pruning_gen.engine.mesh import Layout
from pruning_gen.errors import UserError


@pytest.mark.parametrize(
  'num_members, num_devices, data_parallel, shape, turns',
  [
    (1, 1, 0, (1, 1), 1),
    (1, 8, 0, (1, 8), 1),
    (2, 8, 0, (2, 4), 1),
    (3, 2, 0, (2, 1), 2),
    (3, 8, 0, (4, 2), 1),
    (4, 8, 0, (4, 2), 1),
    (12, 8, 0, (8, 1), 2),
    (24, 8, 0, (8, 1), 3),
    (4, 6, 0, (6, 1), 1),
    (12, 8, 4, (2, 4), 6),
    (1, 8, 1, (8, 1), 1),
  ],
)
def test_mesh_and_rows(num_members, num_devices, data_parallel, shape, turns):
  devices = jax.devices()[:num_devices]
  arranged = mesh.arrange(num_members, devices, data_parallel)
  rows = Layout(arranged, num_members, vectorize=False).rows
  assert (arranged.shape['member'], arranged.shape['data']) == shape
  assert len(rows) == shape[0] * turns
  np.testing.assert_array_equal(rows[:num_members], np.arange(num_members))
  assert (rows[num_members:] == num_members - 1).all()


@pytest.mark.parametrize(
  'num_members, num_devices, batch_size, shape',
  [
    (2, 8, 128, (2, 4)),
    (2, 6, 128, (3, 2)),
    (2, 6, 25, (6, 1)),
    (2, 6, 129, (2, 3)),
    (1, 6, 128, (3, 2)),
    (3, 8, 60, (4, 2)),
  ],
)
def test_devices_that_cannot_share_a_batch_hold_padding(
  num_members, num_devices, batch_size, shape
):
  devices = jax.devices()[:num_devices]
  arranged = mesh.arrange(num_members, devices, batch_size=batch_size)
  assert (arranged.shape['member'], arranged.shape['data']) == shape


def test_every_process_has_a_device(config, monkeypatch):
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  config.devices.count = 3
  with pytest.raises(UserError, match=r'config\.devices\.count=3\b.*process 1'):
    mesh.make_layout(config, num_members=4)


@pytest.mark.parametrize(
  'key, value, message',
  [
    ('count', 9, r'config\.devices\.count=9\b.*\b8\b'),
    ('data_parallel', 3, r'config\.devices\.data_parallel=3\b.*\b8\b'),
    ('data_parallel', 8, r'config\.batch_size=36\b.*\b8\b'),
  ],
)
def test_devices_that_cannot_be_had(config, key, value, message):
  config.batch_size = 36
  config.devices[key] = value
  with pytest.raises(UserError, match=message):
    mesh.make_layout(config, num_members=4)


def test_members_that_take_turns_share_all_devices(config):
  layout = mesh.make_layout(config, 4, take_turns=True)
  assert dict(layout.mesh.shape) == {'member': 1, 'data': 8}
  assert layout.rows.tolist() == [0, 1, 2, 3]


def test_processes_that_stream_images_split_every_batch(config, monkeypatch):
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  monkeypatch.setattr(mesh, '_check_processes', lambda devices: None)
  config.devices.data_parallel = 8
  layout = mesh.make_layout(config, 4, take_turns=True)
  assert dict(layout.mesh.shape) == {'member': 1, 'data': 8}
  config.devices.data_parallel = 4
  with pytest.raises(UserError, match=r'config\.devices\.data_parallel=4\b'):
    mesh.make_layout(config, 4, take_turns=True)


@pytest.mark.parametrize(
  'stacking, vectorize', [('auto', False), ('map', False), ('vmap', True)]
)
def test_a_cpu_runs_its_members_one_after_the_other(
  config, stacking, vectorize
):
  config.stacking = stacking
  assert mesh.make_layout(config, 4).vectorize == vectorize


def test_arrays_go_to_the_devices_and_come_back():
  layout = Layout(mesh.arrange(3, jax.devices()[:2]), 3, vectorize=False)
  own = np.arange(6, dtype=np.float32).reshape(3, 2)
  stacked = mesh.shard(own[layout.rows], layout)
  assert stacked.sharding == layout.stacked
  np.testing.assert_array_equal(mesh.gather_members(stacked, layout), own)
  cut = mesh.make_drop_padding(layout)(stacked)
  np.testing.assert_array_equal(mesh.gather(cut), own)
  again = mesh.make_add_padding(layout)(cut)
  np.testing.assert_array_equal(mesh.gather(again), own[[0, 1, 2, 2]])
  everywhere = mesh.broadcast(own, layout)
  assert everywhere.sharding.is_fully_replicated
  np.testing.assert_array_equal(mesh.gather(everywhere), own)
