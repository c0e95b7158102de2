"""How one member's state is saved: masks as bits, and a checksum.

Orbax's files carry no checksum of the values: bytes that changed on disk are
read back without a word. This one is computed on the device.
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from pruning_gen.training import train_state


@flax.struct.dataclass
class PackedState:
  """A TrainState as it is saved.

  Attributes:
    state: the TrainState, each mask as uint8 [ceil(size / 8)], 8 weights a
      byte.
    checksum: uint32 scalar, of all of it.
  """

  state: train_state.TrainState
  checksum: Any


def pack(state):
  """Pack a state for saving: a PackedState."""
  packed = state.replace(
    masks=jax.tree.map(lambda mask: jnp.packbits(mask.reshape(-1)), state.masks)
  )
  return PackedState(packed, checksum(packed))


def unpack(packed):
  """Unpack what was saved.

  Returns:
    state: TrainState.
    is_intact: bool scalar, whether it is, bit for bit, what was saved.
  """
  is_intact = checksum(packed.state) == packed.checksum

  def unpack_mask(bits, param):
    mask = jnp.unpackbits(bits, count=param.size).astype(bool)
    return mask.reshape(param.shape)

  masks = jax.tree.map(unpack_mask, packed.state.masks, packed.state.params)
  return packed.state.replace(masks=masks), is_intact


def checksum(tree):
  """Sum all bits of a tree, weighted by position: uint32 scalar.

  Weights are odd, so any change of a single value changes the sum.
  """
  total = jnp.uint32(0)
  for leaf in jax.tree.leaves(tree):
    bits = _as_uint32(leaf).reshape(-1)
    weights = 2 * jnp.arange(bits.size, dtype=jnp.uint32) + jnp.uint32(1)
    total = total * jnp.uint32(1_000_003) + jnp.sum(bits * weights)
  return total


def _as_uint32(leaf):
  if leaf.dtype.itemsize == 4:
    return jax.lax.bitcast_convert_type(leaf, jnp.uint32)
  return leaf.astype(jnp.uint32)
