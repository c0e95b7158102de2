import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pruning_gen.data import streams
from pruning_gen.engine import mesh
from pruning_gen.engine.mesh import Layout
from pruning_gen.engine.over_members import over_members
from pruning_gen.models import lenet
from pruning_gen.training import epoch
from pruning_gen.training import schedule
from pruning_gen.training import step
from pruning_gen.training import train_state


def make_layout(num_members, num_devices, vectorize=False):
  devices = jax.devices()[:num_devices]
  return Layout(mesh.arrange(num_members, devices), num_members, vectorize)


@pytest.mark.parametrize('vectorize', [True, False])
def test_stacked_and_shared_arguments(vectorize):
  layout = make_layout(4, 2, vectorize)
  function = over_members(
    lambda a, shared, b: (a * shared, b['x']), layout, (0, None, 0)
  )
  a, b = jnp.arange(4.0), {'x': jnp.arange(8).reshape(4, 2)}
  product, same = function(a, jnp.float32(3), b)
  np.testing.assert_array_equal(product, [0, 3, 6, 9])
  np.testing.assert_array_equal(same, b['x'])
  assert product.sharding.is_equivalent_to(layout.stacked, 1)


def test_padding_is_skipped():
  layout = make_layout(3, 2)
  values = np.arange(1, 4, dtype=np.float32)[layout.rows]
  function = over_members(
    lambda x: {'double': 2 * x}, layout, (0,), skip_padding=True
  )
  found = function(mesh.shard(values, layout))['double']
  np.testing.assert_array_equal(found, [2, 4, 6, 0])
  np.testing.assert_array_equal(mesh.gather_members(found, layout), [2, 4, 6])


MODEL = lenet.LeNet(10, (12, 8))
OPTIMIZER = step.sgd(
  schedule.learning_rate(0.1, (), 0, steps_per_epoch=6), 0.9, 1e-4
)


@functools.cache
def create(num_members):
  """Return the keys and the initial states of a stack, made once."""
  keys = jnp.stack([streams.replicate_key(0, i) for i in range(num_members)])
  make = functools.partial(
    train_state.create, MODEL, OPTIMIZER, (8, 8, 1), False
  )
  states = jax.jit(
    jax.vmap(make), compiler_options={'xla_backend_optimization_level': 0}
  )(keys)
  return keys, jax.device_get(states)


def make_epoch(digits, num_devices, num_members, vectorize=False):
  """Return the jitted epoch of so many members, and its arguments."""

  def prepare(images):
    return epoch.normalize(mesh.spread_batch(images), digits.mean, digits.std)

  train_epoch = over_members(
    epoch.make_train_epoch(step.make_train_step(MODEL, OPTIMIZER), 32, prepare),
    make_layout(num_members, num_devices, vectorize),
    (0, 0, None, None),
    skip_padding=True,
  )
  keys, states = create(num_members)
  shape = (num_members, len(digits.train_labels))
  data = train_state.MemberData(
    key=keys,
    labels=np.broadcast_to(digits.train_labels, shape),
    example_ids=np.broadcast_to(np.arange(shape[1], dtype=np.int32), shape),
  )
  args = (states, data, digits.train_images, jnp.int32(0))
  return train_epoch, args


def test_one_after_the_other_is_bit_equal_on_any_number_of_devices(digits):
  results = []
  for num_devices in (1, 2, 4):
    train_epoch, args = make_epoch(digits, num_devices, 4)
    results.append(jax.device_get(train_epoch(*args)))
  for result in results[1:]:
    jax.tree.map(np.testing.assert_array_equal, result, results[0])


def test_a_member_does_not_depend_on_its_neighbors(digits):
  train_epoch, args = make_epoch(digits, 1, 3)
  state, losses = jax.device_get(train_epoch(*args))
  train_epoch, args = make_epoch(digits, 1, 1)
  alone, alone_losses = jax.device_get(train_epoch(*args))
  np.testing.assert_array_equal(losses[0], alone_losses[0])
  jax.tree.map(
    lambda a, b: np.testing.assert_array_equal(a[0], b[0]), state, alone
  )


def test_vmap_and_map_agree(digits):
  (mapped, args), (vectorized, _) = (
    make_epoch(digits, 1, 3, vectorize) for vectorize in (False, True)
  )
  _, losses = mapped(*args)
  _, vectorized_losses = vectorized(*args)
  np.testing.assert_allclose(losses, vectorized_losses, rtol=1e-4)


@pytest.mark.parametrize('vectorize', [False, True])
def test_what_is_left_over_splits_batches(digits, vectorize):
  alone, args = make_epoch(digits, 1, 2, vectorize)
  state, losses = jax.device_get(alone(*args))
  split, args = make_epoch(digits, 8, 2, vectorize)
  split = split.lower(*args).compile()
  split_state, split_losses = jax.device_get(split(*args))
  np.testing.assert_allclose(losses, split_losses, rtol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
    state.params,
    split_state.params,
  )
  # Gradients are summed over four devices, and nothing else is exchanged.
  text = split.as_text()
  assert 'all-reduce' in text
  assert 'all-to-all' not in text


def test_members_do_not_communicate(digits):
  train_epoch, args = make_epoch(digits, 8, 8)
  text = train_epoch.lower(*args).compile().as_text()
  for collective in (
    'all-reduce',
    'all-gather',
    'all-to-all',
    'collective-permute',
    'reduce-scatter',
  ):
    assert collective not in text
