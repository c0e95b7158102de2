"""Where all randomness comes from: keys that are computed, never carried.

A draw is named by (seed, replicate, stream, counter) and nothing else. So the
data of any step can be recomputed at any time, a resumed run needs no saved
generator, and two arms of one replicate see the same data in the same order.
"""

import jax

STREAMS = ('init', 'order', 'augment', 'noise')


def replicate_key(seed, replicate):
  """Return the key that every stream of one replicate derives from."""
  return jax.random.fold_in(jax.random.key(seed), replicate)


def draw_key(key, stream, counter):
  """Return the key of one draw.

  Args:
    key: a replicate's key.
    stream: one of `STREAMS`.
    counter: int or int32 scalar, which draw of that stream: the global epoch
      for 'order' and 'augment', 0 for what is drawn once.

  Returns:
    A scalar PRNG key.
  """
  stream_key = jax.random.fold_in(key, STREAMS.index(stream))
  return jax.random.fold_in(stream_key, counter)
