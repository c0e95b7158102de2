"""Where all randomness comes from: keys that are computed, never carried.

A draw is identified by (seed, replicate, stream, counter) and nothing else. So
the data of any step can be recomputed at any time, a resumed run needs no
saved generator, and two arms of one replicate see the same data in the same
order.
"""

import jax
from jaxtyping import Array
from jaxtyping import Int
from jaxtyping import Key

STREAMS = (
  'init',
  'order',
  'augment',
  'noise',
  'prune',
  'leave_out',
  'landscape',
)

# More than anyone will run; further networks are numbered beyond them.
MAX_REPLICATES = 2**16


def replicate_key(
  seed: int,
  replicate: int | Int[Array, ''],
  network: int | Int[Array, ''] = 0,
) -> Key[Array, '']:
  """Return the key that every stream of one network derives from.

  Args:
    replicate: below `MAX_REPLICATES`.
    network: 0 for the replicate's own network, larger for further ones that
      share its labels and nothing else.
  """
  return jax.random.fold_in(
    jax.random.key(seed), key_number(replicate, network)
  )


def key_number(
  replicate: int | Int[Array, ''], network: int | Int[Array, ''] = 0
) -> int | Int[Array, '']:
  """Return a number that is unique to a network of a seed."""
  return network * MAX_REPLICATES + replicate


def draw_key(
  key: Key[Array, ''], stream: str, counter: int | Int[Array, '']
) -> Key[Array, '']:
  """Return the key of one draw.

  Args:
    key: a replicate's key.
    stream: one of `STREAMS`.
    counter: which draw of that stream: the global epoch for 'order' and
      'augment', the level for 'prune', 0 for draws that are made once.
  """
  stream_key = jax.random.fold_in(key, STREAMS.index(stream))
  return jax.random.fold_in(stream_key, counter)
