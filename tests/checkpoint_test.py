import gc
import os
import shutil
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pruning_gen.engine import mesh
from pruning_gen.errors import UserError
from pruning_gen.storage import checkpoint


@pytest.fixture
def stack():
  devices = np.asarray(jax.devices()[:2]).reshape(2, 1)
  layout = mesh.Layout(jax.sharding.Mesh(devices, ('member', 'data')), 4, False)
  tree = {
    'params': jnp.arange(12, dtype=jnp.float32).reshape(4, 3) / 7,
    'masks': jnp.arange(12).reshape(4, 3) % 2 == 0,
    'count': jnp.arange(4, dtype=jnp.int32),
  }
  return mesh.shard(jax.device_get(tree), layout)


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


def whole(state):
  return state, True


def test_what_is_saved_comes_back_and_old_ones_go(tmp_path, stack):
  checkpoints = checkpoint.Checkpoints(tmp_path / 'c', keep=2)
  assert checkpoints.restore_newest(abstract(stack), whole) == (None, None)
  for global_epoch in (0, 3, 4):
    checkpoints.save(
      global_epoch, stack | {'count': stack['count'] + global_epoch}
    )
  checkpoints.close()

  checkpoints = checkpoint.Checkpoints(tmp_path / 'c', keep=2)
  newest, restored = checkpoints.restore_newest(abstract(stack), whole)
  assert newest == 4
  jax.tree.map(assert_same, restored, stack | {'count': stack['count'] + 4})
  checkpoints.close()
  kept = sorted(path.name for path in (tmp_path / 'c').iterdir())
  assert kept == ['3', '4']


@pytest.mark.skipif(not os.path.exists('/proc/self/fd'), reason='needs Linux')
def test_saves_leave_no_file_open_and_no_thread(tmp_path, stack):
  checkpoints = checkpoint.Checkpoints(tmp_path / 'c', keep=1)

  def save(first):
    for global_epoch in range(first, first + 10):
      checkpoints.save(global_epoch, stack)
    checkpoints.wait()
    return len(os.listdir('/proc/self/fd')), threading.active_count()

  # What Orbax opens once, it keeps.
  before = save(0)
  files, threads = save(10)
  assert files <= before[0] and threads <= before[1]
  checkpoints.close()


def test_a_bucket_is_no_local_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert str(checkpoint._absolute('gs://bucket/run/c')) == 'gs://bucket/run/c'
  assert str(checkpoint._absolute('run/c')) == f'{tmp_path}/run/c'


@pytest.fixture
def three(tmp_path, stack):
  """Checkpoints of epochs 1, 2 and 3, whose `count` tells which they are."""
  checkpoints = checkpoint.Checkpoints(tmp_path / 'c', keep=3)
  for global_epoch in (1, 2, 3):
    checkpoints.save(
      global_epoch, stack | {'count': 0 * stack['count'] + global_epoch}
    )
  checkpoints.close()
  return tmp_path / 'c'


def damage(folder, kind):
  for path in sorted(folder.rglob('*')):
    if path.is_file() and path.stat().st_size:
      if kind == 'missing':
        path.unlink()
      else:
        size = path.stat().st_size
        content = path.read_bytes()
        path.write_bytes(
          {
            'empty': b'',
            'cut': content[: size // 2],
            'garbage': bytes(byte ^ 0x5A for byte in content),
          }[kind]
        )


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('kind', ['missing', 'empty', 'cut', 'garbage'])
def test_a_damaged_checkpoint_falls_back_and_is_kept(three, stack, kind, capfd):
  damage(three / '3', kind)
  checkpoints = checkpoint.Checkpoints(three, keep=3)
  newest, restored = checkpoints.restore_newest(abstract(stack), whole)
  assert newest == 2
  assert restored['count'].tolist() == [2] * 4
  assert f'{three}/3' in capfd.readouterr().out
  assert (three / 'damaged_3').exists()
  # The same epoch can be saved again.
  checkpoints.save(3, stack)
  checkpoints.close()
  checkpoints = checkpoint.Checkpoints(three, keep=3)
  assert checkpoints.restore_newest(abstract(stack), whole)[0] == 3
  checkpoints.close()


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
def test_no_file_is_missed_in_silence(three, stack, tmp_path, capfd):
  """Without any one file it prints a warning, or what it loads is right."""
  fell_back = set()
  for path in [p for p in (three / '3').rglob('*') if p.is_file()]:
    copy = shutil.copytree(three, tmp_path / 'copy')
    (copy / path.relative_to(three)).unlink()
    checkpoints = checkpoint.Checkpoints(copy, keep=3)
    newest, restored = checkpoints.restore_newest(abstract(stack), whole)
    checkpoints.close()
    assert restored['count'].tolist() == [newest] * 4
    np.testing.assert_array_equal(restored['params'], stack['params'])
    said = f'{copy}/3' in capfd.readouterr().out
    assert (newest, said) in ((3, False), (2, True))
    if newest == 2:
      fell_back.add(str(path.relative_to(three / '3')))
    shutil.rmtree(copy)
  gc.collect()
  assert fell_back >= {'commit_success.txt', 'state/manifest.ocdbt'}


def test_a_checksum_that_does_not_match_falls_back(three, stack):
  checkpoints = checkpoint.Checkpoints(three, keep=3)
  newest, _ = checkpoints.restore_newest(
    abstract(stack), lambda state: (state, state['count'][0] < 3)
  )
  assert newest == 2
  checkpoints.close()


class UnavailableError(Exception):
  """As TensorFlow says it of a bucket."""


@pytest.mark.parametrize(
  'error',
  [
    RuntimeError('RESOURCE_EXHAUSTED: Out of memory'),
    UnavailableError('Error executing an HTTP request: code 503'),
    OSError(24, 'Too many open files'),
    MemoryError(),
  ],
)
def test_trouble_of_another_kind_is_no_damage(three, stack, monkeypatch, error):
  def load(*_):
    raise ValueError('it cannot be read') from error

  monkeypatch.setattr(checkpoint.ocp, 'load', load)
  checkpoints = checkpoint.Checkpoints(three, keep=3)
  with pytest.raises(UserError, match=r'c/3\b.*nothing is lost'):
    checkpoints.restore_newest(abstract(stack), whole)
  checkpoints.close()
  assert sorted(path.name for path in three.iterdir()) == ['1', '2', '3']


@pytest.mark.filterwarnings('ignore')
def test_all_damaged(three, stack):
  for epoch in (1, 2, 3):
    damage(three / str(epoch), 'empty')
  # They stay where they are, so the next start stops too.
  for _ in range(2):
    checkpoints = checkpoint.Checkpoints(three, keep=3)
    with pytest.raises(UserError, match=r'c\b.*\[3, 2, 1\]'):
      checkpoints.restore_newest(abstract(stack), whole)
    checkpoints.close()
  gc.collect()


def test_a_folder_that_cannot_be_written(tmp_path, stack):
  (tmp_path / 'file').write_text('mine')
  with pytest.raises(UserError, match='file/c'):
    checkpoint.Checkpoints(tmp_path / 'file' / 'c', keep=1)


def test_a_relative_folder(tmp_path, monkeypatch, stack):
  monkeypatch.chdir(tmp_path)
  checkpoints = checkpoint.Checkpoints('run/c', keep=1)
  checkpoints.save(1, stack)
  checkpoints.close()
  assert (tmp_path / 'run' / 'c' / '1').exists()


@pytest.mark.parametrize(
  'name', ['lenet[seed 1]', '[!a]', 'a*b', 'what?', '**', '%7B{0}~$X é']
)
def test_no_name_of_a_folder_is_a_pattern(tmp_path, stack, name):
  folder = tmp_path / name / 'c'
  for global_epoch in (1, 2):
    checkpoints = checkpoint.Checkpoints(folder, keep=1)
    newest, _ = checkpoints.restore_newest(abstract(stack), whole)
    assert newest == {1: None, 2: 1}[global_epoch]
    checkpoints.save(global_epoch, stack)
    checkpoints.close()
  assert [path.name for path in folder.iterdir()] == ['2']
  assert (folder / '2' / 'state' / 'manifest.ocdbt').exists()


def test_a_save_without_its_manifest_is_none(tmp_path, stack, monkeypatch):
  """As Orbax once left it in a folder whose name it read as a pattern."""
  checkpoints = checkpoint.Checkpoints(tmp_path / 'c', keep=2)
  checkpoints.save(1, stack)
  checkpoints.wait()
  monkeypatch.setattr(
    type(checkpoints._directory), 'glob', lambda self, pattern: iter(())
  )
  checkpoints.save(2, stack)
  with pytest.raises(UserError, match=r'2/state/manifest\.ocdbt'):
    checkpoints.wait()
  checkpoints.close()
  monkeypatch.undo()
  checkpoints = checkpoint.Checkpoints(tmp_path / 'c', keep=2)
  assert checkpoints.restore_newest(abstract(stack), whole)[0] == 1
  checkpoints.close()


def test_memory_may_be_reused_during_a_save(tmp_path):
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
  _, restored = checkpoints.restore_newest({'x': shape}, whole)
  checkpoints.close()
  np.testing.assert_array_equal(restored['x'], expected)
