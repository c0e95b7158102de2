import jax
import numpy as np
import pytest

from pruning_gen import config as protocol
from pruning_gen.engine import memory
from pruning_gen.engine import programs as engine
from pruning_gen.errors import UserError
from pruning_gen.experiments import build


@pytest.mark.parametrize(
  'key, value, message',
  [
    ('count', 9, r'config.devices.count=9, but JAX sees 8 .*: lower it'),
    ('data_parallel', 3, r'data_parallel=3 must divide the number of devices'),
    ('data_parallel', 8, r'config.batch_size=36 must be a multiple of 8'),
  ],
)
def test_devices_that_cannot_be_had(config, key, value, message):
  config.batch_size = 36
  config.devices[key] = value
  with pytest.raises(UserError, match=message):
    engine.make_mesh(config, num_members=4)


def test_members_first_then_data(config):
  shapes = {
    members: dict(engine.make_mesh(config, members).shape)
    for members in (1, 2, 4, 12)
  }
  assert shapes == {
    1: {'member': 1, 'data': 8},
    2: {'member': 2, 'data': 4},
    4: {'member': 4, 'data': 2},
    12: {'member': 8, 'data': 1},
  }


def test_too_little_memory_is_said_before_anything_is_placed(
  config, digits, monkeypatch
):
  monkeypatch.setattr(memory, 'estimate', lambda *_: (3 << 30, 2 << 30))
  with pytest.raises(UserError, match=r'4 members need about 3.00 GB of 2 GB'):
    build.make_engine(config, digits, protocol.list_members(config))


def test_what_is_packed_does_not_depend_on_the_devices(config, digits):
  # Three devices hold four members and two copies.
  config.devices.count = 3
  made = build.make_engine(config, digits, protocol.list_members(config))
  state = made.create()
  packed = made.pack(state)
  shapes = jax.tree.map(lambda leaf: leaf.shape, packed)
  abstract = jax.tree.map(lambda leaf: leaf.shape, made.abstract_packed())
  assert shapes == abstract
  assert {leaf.shape[0] for leaf in jax.tree.leaves(packed)} == {4}
  unpacked, is_intact = made.unpack(packed)
  assert is_intact
  jax.tree.map(np.testing.assert_array_equal, unpacked, state)
  damaged = packed.replace(checksum=packed.checksum.at[3].add(1))
  assert not made.unpack(damaged)[1]
