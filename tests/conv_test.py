import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pruning_gen.models import conv

# (size, stride, height, width): every kind in the networks, and odd images.
SHAPES = [
  (3, 1, 8, 8),
  (3, 2, 8, 8),
  (3, 2, 7, 7),
  (1, 1, 8, 8),
  (1, 2, 8, 8),
  (7, 2, 16, 16),
  (3, 1, 2, 2),
  (3, 1, 1, 1),
  (3, 2, 1, 1),
]


def loss(method, stride):
  def function(x, kernel, weight):
    return (conv.conv2d(x, kernel, stride, method) * weight).sum()

  return jax.jit(jax.grad(function, (0, 1)))


def draw(size, stride, height, width, batch=6, channels=3, features=5):
  keys = jax.random.split(jax.random.key(0), 3)
  out = (-(-height // stride), -(-width // stride))
  return (
    jax.random.normal(keys[0], (batch, height, width, channels)),
    jax.random.normal(keys[1], (size, size, channels, features)),
    jax.random.normal(keys[2], (batch, *out, features)),
  )


@pytest.mark.parametrize('size, stride, height, width', SHAPES)
def test_gradients_are_those_of_jax(size, stride, height, width):
  args = draw(size, stride, height, width)
  found = loss('im2col', stride)(*args)
  expected = loss('plain', stride)(*args)
  for a, b in zip(found, expected):
    assert a.dtype == b.dtype == jnp.float32
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_pytorch_padding_is_symmetric():
  # 'SAME' would pad a 4x4 image at stride 2 on the far side alone.
  x = jnp.arange(16.0).reshape(1, 4, 4, 1)
  kernel = jnp.zeros((3, 3, 1, 1)).at[0, 0].set(1.0)
  y = conv.conv2d(x, kernel, 2)
  assert y[0, :, :, 0].tolist() == [[0, 0], [0, 5]]


def test_gradients_under_vmap_and_in_a_loop():
  args = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), draw(3, 1, 8, 8))
  found = jax.vmap(loss('im2col', 1))(*args)
  looped = jax.lax.map(lambda a: loss('im2col', 1)(*a), args)
  expected = jax.lax.map(lambda a: loss('plain', 1)(*a), args)
  for a, b, c in zip(found, looped, expected):
    np.testing.assert_allclose(a, c, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(b, c, rtol=1e-4, atol=1e-3)


def test_bfloat16():
  args = [a.astype(jnp.bfloat16) for a in draw(3, 1, 8, 8)]
  found = loss('im2col', 1)(*args)
  expected = loss('plain', 1)(*args)
  for a, b in zip(found, expected):
    assert a.dtype == jnp.bfloat16
    a, b = (np.asarray(c, np.float32) for c in (a, b))
    assert np.linalg.norm(a - b) < 0.02 * np.linalg.norm(b)


def test_unknown_method():
  with pytest.raises(ValueError, match="convolution method 'fast'"):
    conv.conv2d(*draw(3, 1, 8, 8)[:2], 1, 'fast')
