"""3x3 convolutions with fewer multiplications, for CPUs.

XLA's convolutions and products run near the peak of a CPU core, so that only
fewer multiplications make them faster. The algorithm of Winograd (Lavin and
Gray 2016, https://arxiv.org/abs/1509.09308) computes tiles of 4 x 4 outputs
from 36 products per pair of channels instead of 144: it transforms tiles of the
images and the kernel, multiplies them position by position, and transforms the
products back. In one dimension, with the matrices below,

  output = inverse @ ((kernel_matrix @ kernel) * (image_matrix @ images)).

Rounding errors are some 5e-6 of the largest output instead of 5e-7.
"""

from collections.abc import Callable
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from jaxtyping import Float

# Values of the input per block of images: few enough for the transformed block
# to stay in a core's cache. Twice or half as many are up to 15 % slower.
_BLOCK_SIZE = 2**17


class _Tiles(NamedTuple):
  """The three matrices for tiles of so many outputs per row and column."""

  images: np.ndarray  # [outputs + 2, outputs + 2]
  kernel: np.ndarray  # [outputs + 2, 3]
  inverse: np.ndarray  # [outputs, outputs + 2]


_TILES = {
  2: _Tiles(
    images=np.array(
      [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]
    ),
    kernel=np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]]) / 2,
    inverse=np.array([[1, 1, 1, 0], [0, 1, -1, -1]]),
  ),
  4: _Tiles(
    images=np.array(
      [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
      ]
    ),
    kernel=np.array(
      [
        [6, 0, 0],
        [-4, -4, -4],
        [-4, 4, -4],
        [1, 2, 4],
        [1, -2, 4],
        [0, 0, 24],
      ]
    )
    / 24,
    inverse=np.array(
      [
        [1, 1, 1, 1, 1, 0],
        [0, 1, -1, 2, -2, 0],
        [0, 1, 1, 4, 4, 0],
        [0, 1, -1, 8, -8, 1],
      ]
    ),
  ),
}


def supports(x: Array, kernel: Array, stride: int) -> bool:
  """Return whether `convolve` can take these, and gains by it."""
  _, height, width, channels = x.shape
  return (
    kernel.shape[:2] == (3, 3)
    and stride == 1
    and height % 2 == width % 2 == 0
    # Few channels make short rows: ResNet-20's first layer would take longer.
    and channels >= 8
    # bfloat16 would lose all accuracy in the transforms.
    and x.dtype == jnp.float32
  )


def convolve(
  x: Float[Array, 'batch height width channels'],
  kernel: Float[Array, '3 3 channels features'],
) -> Float[Array, 'batch height width features']:
  """Convolve with one row and column of zeros on every side.

  Height and width must be even.
  """
  batch, height, width, channels = x.shape
  outputs, images = _sizes(x.shape)
  tiles = _TILES[outputs]
  size = outputs + 2
  transform = np.kron(tiles.kernel, tiles.kernel).astype(np.float32)
  transformed = jax.lax.optimization_barrier(
    jnp.matmul(transform, kernel.reshape(9, -1)).reshape(
      size, size, *kernel.shape[2:]
    )
  )

  def convolve_images(own_x):
    products = [
      jax.lax.optimization_barrier(jnp.matmul(own, by))
      for own, by in zip(_transform_images(own_x, tiles), transformed)
    ]
    # Stacked between the two directions, or XLA would repeat the first for
    # every entry of the second.
    rows = [
      jnp.stack(_multiply(tiles.inverse, product), axis=2).reshape(
        images, height // outputs, width, -1
      )
      for product in (
        product.reshape(
          size, images * (height // outputs), width // outputs, -1
        )
        for product in products
      )
    ]
    return jnp.stack(_multiply(tiles.inverse, rows), axis=2)

  blocks = x.reshape(batch // images, images, height, width, channels)
  return jax.lax.map(convolve_images, blocks).reshape(batch, height, width, -1)


def kernel_gradient(
  x: Float[Array, 'batch height width channels'],
  grad: Float[Array, 'batch height width features'],
) -> Float[Array, '3 3 channels features']:
  """Return the gradient of the kernel from that of `convolve`'s output."""
  outputs, images = _sizes(x.shape)
  tiles = _TILES[outputs]
  shape = (outputs + 2, outputs + 2, x.shape[-1], grad.shape[-1])

  def add_images(i, total):
    own_x = jax.lax.dynamic_slice_in_dim(x, i * images, images)
    own_grad = jax.lax.dynamic_slice_in_dim(grad, i * images, images)
    return [
      so_far + jnp.einsum('jpc,jpf->jcf', of_x, of_grad)
      for so_far, of_x, of_grad in zip(
        total,
        _transform_images(own_x, tiles),
        _transform_gradients(own_grad, tiles),
      )
    ]

  total = jax.lax.fori_loop(
    0, len(x) // images, add_images, list(jnp.zeros(shape, x.dtype))
  )
  transform = np.kron(tiles.kernel, tiles.kernel).T.astype(np.float32)
  product = jnp.matmul(transform, jnp.stack(total).reshape(len(total) ** 2, -1))
  return product.reshape(3, 3, *shape[2:])


def _sizes(shape: Sequence[int]) -> tuple[int, int]:
  """Return the outputs per row of a tile, and the images per block."""
  batch, height, width, channels = shape
  outputs = 2 if height % 4 or width % 4 else 4
  most = max(_BLOCK_SIZE // (height * width * channels), 1)
  return outputs, max(i for i in range(1, most + 1) if batch % i == 0)


def _transform_images(x: Array, tiles: _Tiles) -> list[Array]:
  """Return, for each row of a tile, [column of a tile, tile, channels]."""
  outputs = len(tiles.inverse)
  batch, height, width, channels = x.shape
  x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))

  def pixel(i, j):
    return jax.lax.slice(
      x,
      (0, i, j, 0),
      (batch, i + height - outputs + 1, j + width - outputs + 1, channels),
      (1, outputs, outputs, 1),
    )

  return _stack_tiles(_both_ways(tiles.images, pixel))


def _transform_gradients(grad: Array, tiles: _Tiles) -> list[Array]:
  """Return, for each row of a tile, [column of a tile, tile, features]."""
  outputs = len(tiles.inverse)
  return _stack_tiles(
    _both_ways(tiles.inverse.T, lambda i, j: grad[:, i::outputs, j::outputs])
  )


def _stack_tiles(rows: list[list[Array]]) -> list[Array]:
  return [
    jnp.stack([entry.reshape(-1, entry.shape[-1]) for entry in row])
    for row in rows
  ]


def _both_ways(
  matrix: np.ndarray, entry: Callable[[int, int], Array]
) -> list[list[Array]]:
  """Return matrix @ entries @ matrix.T, where each entry is an array."""
  columns = [
    _multiply(matrix, [entry(i, j) for i in range(matrix.shape[1])])
    for j in range(matrix.shape[1])
  ]
  return [_multiply(matrix, row) for row in zip(*columns)]


def _multiply(matrix: np.ndarray, entries: Sequence[Array]) -> list[Array]:
  """Return matrix @ entries, without the zeros of the matrix."""
  return [
    sum(float(factor) * entry for factor, entry in zip(row, entries) if factor)
    for row in matrix
  ]
