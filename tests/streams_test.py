import jax
import numpy as np
import pytest

from pruning_gen.data import streams


def bits(key):
  return jax.random.key_data(key).tolist()


def test_a_draw_is_named_by_seed_replicate_stream_and_counter():
  base = streams.draw_key(streams.replicate_key(1, 2), 'order', 3)
  again = streams.draw_key(streams.replicate_key(1, 2), 'order', 3)
  assert bits(base) == bits(again)
  others = [
    streams.draw_key(streams.replicate_key(0, 2), 'order', 3),
    streams.draw_key(streams.replicate_key(1, 1), 'order', 3),
    streams.draw_key(streams.replicate_key(1, 2), 'augment', 3),
    streams.draw_key(streams.replicate_key(1, 2), 'order', 4),
  ]
  assert len({tuple(bits(key)) for key in [base, *others]}) == 5


def test_bits_are_the_same_for_ever():
  # Change these, and every published run changes its data.
  key = streams.draw_key(streams.replicate_key(0, 0), 'order', 0)
  assert bits(key) == [2882751927, 2975959832]
  order = jax.random.permutation(key, 5)
  np.testing.assert_array_equal(order, [4, 3, 0, 1, 2])


def test_unknown_stream():
  with pytest.raises(ValueError, match='not in tuple'):
    streams.draw_key(jax.random.key(0), 'shuffle', 0)
