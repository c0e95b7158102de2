import jax
import jax.numpy as jnp
import numpy as np

from pruning_gen.data import streams
from pruning_gen.training import epoch
from pruning_gen.training import train_state


def member(replicate=0, num_examples=103):
  return train_state.MemberData(
    key=streams.replicate_key(0, replicate),
    labels=jnp.arange(num_examples, dtype=jnp.int32) % 7,
    example_ids=jnp.arange(num_examples, dtype=jnp.int32),
  )


def as_float(images):
  return images.astype(jnp.float32)


def test_an_epoch_shows_full_batches_of_distinct_examples():
  ids = epoch.batch_ids(member(), jnp.int32(0), 10)
  assert ids.shape == (10, 10)
  assert len(np.unique(ids)) == 100


def test_order_depends_on_replicate_and_global_epoch_alone():
  first = epoch.batch_ids(member(), jnp.int32(4), 10)
  np.testing.assert_array_equal(first, epoch.batch_ids(member(), 4, 10))
  assert (first != epoch.batch_ids(member(), jnp.int32(5), 10)).any()
  assert (first != epoch.batch_ids(member(1), jnp.int32(4), 10)).any()


def test_a_subset_trains_on_its_own_examples_only():
  subset = member().replace(example_ids=jnp.arange(0, 103, 2, dtype=jnp.int32))
  ids = epoch.batch_ids(subset, jnp.int32(0), 10)
  assert ids.shape == (5, 10)
  assert (np.asarray(ids) % 2 == 0).all()


def test_normalize():
  images = jnp.array([[[[0, 255]]], [[[51, 102]]]], jnp.uint8)
  scaled = epoch.normalize(images, (0.5, 0.2), (0.25, 0.1))
  assert scaled.dtype == jnp.float32
  np.testing.assert_allclose(
    scaled[:, 0, 0], [[-2, 8], [(0.2 - 0.5) / 0.25, 2]], rtol=1e-6, atol=1e-6
  )


def test_every_step_sees_its_batch_and_its_labels():
  def train_step(state, images, labels):
    return state + 1, images.sum() + 1000.0 * labels.sum().astype(jnp.float32)

  images = jnp.arange(103, dtype=jnp.uint8).reshape(103, 1, 1, 1)
  train_epoch = epoch.make_train_epoch(train_step, 10, as_float)
  steps, seen = jax.jit(train_epoch)(0, member(), images, jnp.int32(3))
  ids = np.asarray(epoch.batch_ids(member(), jnp.int32(3), 10))
  assert int(steps) == 10
  expected = (ids + 1000 * (ids % 7)).sum(axis=1)
  np.testing.assert_allclose(seen, expected, rtol=1e-6)


def test_augmentation_is_of_the_epoch_and_the_example():
  def train_step(state, images, labels):
    return state, images[:, 0, 0, 0]

  def augment(key, images, ids):
    shift = jax.vmap(
      lambda i: jax.random.bits(jax.random.fold_in(key, i), (), jnp.uint8)
    )
    return images + shift(ids)[:, None, None, None]

  images = jnp.zeros((103, 1, 1, 1), jnp.uint8)
  train_epoch = epoch.make_train_epoch(train_step, 10, as_float, augment)
  _, seen = jax.jit(train_epoch)(0, member(), images, jnp.int32(3))
  key = streams.draw_key(member().key, 'augment', 3)
  ids = epoch.batch_ids(member(), jnp.int32(3), 10)
  expected = augment(key, jnp.zeros((100, 1, 1, 1), jnp.uint8), ids.ravel())
  np.testing.assert_allclose(seen.ravel(), expected.ravel(), rtol=1e-6)
