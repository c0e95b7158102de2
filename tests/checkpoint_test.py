import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pruning_gen.storage import checkpoint
from pruning_gen.training import members


@pytest.fixture
def stack():
  mesh = members.make_mesh(4, jax.devices()[:2])
  tree = {
    'params': jnp.arange(12, dtype=jnp.float32).reshape(4, 3) / 7,
    'masks': jnp.arange(12).reshape(4, 3) % 2 == 0,
    'count': jnp.arange(4, dtype=jnp.int32),
  }
  return members.shard(jax.device_get(tree), mesh)


def abstract(stack):
  return jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=leaf.sharding
    ),
    stack,
  )


def assert_same(a, b):
  assert a.sharding.is_equivalent_to(b.sharding, a.ndim)
  assert a.dtype == b.dtype
  np.testing.assert_array_equal(a, b)


def test_what_is_saved_comes_back_and_old_ones_go(tmp_path, stack):
  checkpoints = checkpoint.Checkpoints(tmp_path / 'c', keep=2)
  assert checkpoints.latest() is None
  for global_epoch in (0, 3, 4):
    checkpoints.save(
      global_epoch, stack | {'count': stack['count'] + global_epoch}
    )
  checkpoints.close()

  checkpoints = checkpoint.Checkpoints(tmp_path / 'c', keep=2)
  assert checkpoints.latest() == 4
  for global_epoch in (3, 4):
    restored = checkpoints.restore(global_epoch, abstract(stack))
    expected = stack | {'count': stack['count'] + global_epoch}
    jax.tree.map(assert_same, restored, expected)
  checkpoints.close()
  kept = sorted(path.name for path in (tmp_path / 'c').iterdir())
  assert kept == ['3', '4']


def test_a_relative_folder(tmp_path, monkeypatch, stack):
  monkeypatch.chdir(tmp_path)
  checkpoints = checkpoint.Checkpoints('run/c', keep=1)
  checkpoints.save(1, stack)
  checkpoints.close()
  assert (tmp_path / 'run' / 'c' / '1').exists()


def test_epoch_zero_is_an_epoch(tmp_path, stack):
  checkpoints = checkpoint.Checkpoints(tmp_path / 'c', keep=3)
  checkpoints.save(0, stack)
  checkpoints.save(1, jax.tree.map(jnp.zeros_like, stack))
  restored = checkpoints.restore(0, abstract(stack))
  jax.tree.map(assert_same, restored, stack)
  checkpoints.close()


def test_memory_may_be_reused_while_saving_goes_on(tmp_path):
  values = jnp.arange(1 << 20, dtype=jnp.float32)
  expected = np.array(values)
  checkpoints = checkpoint.Checkpoints(tmp_path / 'c', keep=1)
  overwrite = jax.jit(lambda x: -x, donate_argnums=0)
  checkpoints.save(1, {'x': values})
  overwrite(values).block_until_ready()
  checkpoints.close()
  checkpoints = checkpoint.Checkpoints(tmp_path / 'c', keep=1)
  shape = jax.ShapeDtypeStruct(
    expected.shape,
    expected.dtype,
    sharding=jax.sharding.SingleDeviceSharding(jax.devices()[0]),
  )
  restored = checkpoints.restore(1, {'x': shape})
  checkpoints.close()
  np.testing.assert_array_equal(restored['x'], expected)
