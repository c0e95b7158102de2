import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pruning_gen.engine import packing
from pruning_gen.models import lenet
from pruning_gen.pruning import masks
from pruning_gen.training import step
from pruning_gen.training import train_state


@pytest.fixture(scope='module')
def state():
  optimizer = step.sgd(
    optax.constant_schedule(0.1), momentum=0.9, weight_decay=0.0
  )
  state = train_state.create(
    lenet.LeNet(3, (5, 4)), optimizer, (2, 2, 1), True, jax.random.key(0)
  )
  drawn = jax.tree.map(lambda leaf: leaf > 0, state.params)
  return state.replace(masks=drawn, params=masks.apply(state.params, drawn))


def test_what_is_packed_comes_back(state):
  unpacked, is_intact = packing.unpack(packing.pack(state))
  assert is_intact
  jax.tree.map(np.testing.assert_array_equal, unpacked, state)
  same = jax.tree.map(lambda a, b: a.dtype == b.dtype, unpacked, state)
  assert all(jax.tree.leaves(same))


def test_masks_are_bits(state):
  packed = packing.pack(state).state.masks['dense_0']
  # A kernel of 4 x 5 weights and a bias of 5.
  assert packed['kernel'].shape == (3,)
  assert packed['bias'].shape == (1,)
  assert packed['kernel'].dtype == jnp.uint8


def test_any_flipped_bit_is_seen(state):
  packed = packing.pack(state)
  leaves, structure = jax.tree.flatten(packed.state)
  for i, leaf in enumerate(leaves):
    values = np.array(leaf)
    raw = values.reshape(-1).view(np.uint8)
    for byte in (0, len(raw) - 1):
      for bit in (0, 7):
        raw[byte] ^= 1 << bit
        changed = [*leaves[:i], jnp.asarray(values), *leaves[i + 1 :]]
        damaged = packed.replace(state=jax.tree.unflatten(structure, changed))
        assert not packing.unpack(damaged)[1], (i, byte, bit)
        raw[byte] ^= 1 << bit


def test_checksum_by_hand():
  tree = [jnp.array([1, 2, 3], jnp.uint32), jnp.array([5], jnp.uint8)]
  first = 1 * 1 + 2 * 3 + 3 * 5
  assert int(packing.checksum(tree)) == first * 1_000_003 + 5
