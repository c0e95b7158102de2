"""How one network's state is saved: masks as bits, and a checksum.

Orbax's files carry no checksum of the values, so corrupted bytes would be read
back unnoticed. This one is computed on the device.
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array
from jaxtyping import Bool
from jaxtyping import UInt32

from pruning_gen.training.train_state import TrainState


@flax.struct.dataclass
class PackedState:
  """A TrainState as it is saved.

  Attributes:
    state: the TrainState, each mask as uint8 [ceil(size / 8)], 8 weights per
      byte.
    checksum: of the whole state.
  """

  state: TrainState
  checksum: UInt32[Array, '']


def pack(state: TrainState) -> PackedState:
  """Pack a state for saving."""
  packed = state.replace(
    masks=jax.tree.map(lambda mask: jnp.packbits(mask.reshape(-1)), state.masks)
  )
  return PackedState(packed, checksum(packed))


def unpack(packed: PackedState) -> tuple[TrainState, Bool[Array, '']]:
  """Unpack a saved state; return whether it is bit for bit what was saved."""
  is_intact = checksum(packed.state) == packed.checksum

  def unpack_mask(bits, param):
    mask = jnp.unpackbits(bits, count=param.size).astype(bool)
    return mask.reshape(param.shape)

  masks = jax.tree.map(unpack_mask, packed.state.masks, packed.state.params)
  return packed.state.replace(masks=masks), is_intact


def checksum(tree: Any) -> UInt32[Array, '']:
  """Sum all bits of a tree, weighted by position.

  Weights are odd, so any change of a single value changes the sum.
  """
  total = jnp.uint32(0)
  for leaf in jax.tree.leaves(tree):
    bits = _as_uint32(leaf).reshape(-1)
    weights = 2 * jnp.arange(bits.size, dtype=jnp.uint32) + jnp.uint32(1)
    total = total * jnp.uint32(1_000_003) + jnp.sum(bits * weights)
  return total


def _as_uint32(leaf: Array) -> UInt32[Array, '...']:
  if leaf.dtype.itemsize == 4:
    return jax.lax.bitcast_convert_type(leaf, jnp.uint32)
  return leaf.astype(jnp.uint32)
