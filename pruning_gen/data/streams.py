"""Where all randomness comes from: keys that are computed, never carried.

A draw is named by (seed, replicate, stream, counter) and nothing else. So the
data of any step can be recomputed at any time, a resumed run needs no saved
generator, and two arms of one replicate see the same data in the same order.
"""

import jax

STREAMS = ('init', 'order', 'augment', 'noise', 'prune', 'leave_out')

# More than anyone will run; networks are numbered beyond them.
MAX_REPLICATES = 2**16


def replicate_key(seed, replicate, network=0):
  """Return the key that every stream of one network derives from.

  Args:
    seed: int.
    replicate: int or int32 scalar, below `MAX_REPLICATES`.
    network: int or int32 scalar; 0 for the replicate's own network, above it
      for further ones that share its labels and nothing else.
  """
  return jax.random.fold_in(
    jax.random.key(seed), key_number(replicate, network)
  )


def key_number(replicate, network=0):
  """Return a number of its own for every network of a seed."""
  return network * MAX_REPLICATES + replicate


def draw_key(key, stream, counter):
  """Return the key of one draw.

  Args:
    key: a replicate's key.
    stream: one of `STREAMS`.
    counter: int or int32 scalar, which draw of that stream: the global epoch
      for 'order' and 'augment', the level for 'prune', 0 for what is drawn
      once.

  Returns:
    A scalar PRNG key.
  """
  stream_key = jax.random.fold_in(key, STREAMS.index(stream))
  return jax.random.fold_in(stream_key, counter)
