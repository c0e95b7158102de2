"""The convolution, with gradients that are also fast on a CPU.

XLA's CPU compiler transposes the gradients of a convolution into the layout
that its fast kernels need only outside of loops, so that in the scan over an
epoch they run some 30 times slower
(https://github.com/jax-ml/jax/issues/12868). The custom gradients of the
methods 'im2col' and 'winograd' do not depend on that pass.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from jaxtyping import Float

from pruning_gen.models import winograd

# Positions of the output in one product of `_kernel_gradient`: few enough for
# their patches to stay in a core's cache, but enough for a large product.
_POSITIONS = 2048


def conv2d(
  x: Float[Array, 'batch height width channels'],
  kernel: Float[Array, 'size size channels features'],
  stride: int = 1,
  method: str = 'auto',
) -> Float[Array, 'batch height_out width_out features']:
  """Convolve as PyTorch does, with `(size - 1) // 2` zeros on every side.

  The output's height and width are the input's, divided by the stride and
  rounded up.

  Args:
    kernel: of the dtype of x; its size is odd.
    stride: in both directions.
    method: how to compute; all agree up to rounding. 'plain' leaves it to XLA;
      'im2col' has gradients for CPUs; 'winograd' is the same, but computes what
      it can by `winograd.convolve`; 'auto' is 'winograd' on a CPU and 'plain'
      elsewhere.

  Raises:
    ValueError: another method.
  """
  if method == 'auto':
    method = 'winograd' if jax.default_backend() == 'cpu' else 'plain'
  if method == 'plain':
    return _plain(x, kernel, stride)
  if method in ('im2col', 'winograd'):
    return _for_cpu(x, kernel, stride, method == 'winograd')
  raise ValueError(
    f"convolution={method!r} must be 'auto', 'plain', 'im2col' or 'winograd'"
  )


def _plain(x: Array, kernel: Array, stride: int) -> Array:
  pad = kernel.shape[0] // 2
  return _convolve(x, kernel, ((pad, pad), (pad, pad)), stride=stride)


def _convolve(x, kernel, padding, stride=1, dilation=1):
  """Convolve NHWC with HWIO, the one layout that is fast on every device."""
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    window_strides=(stride, stride),
    padding=padding,
    lhs_dilation=(dilation, dilation),
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )


def _convolve_for_cpu(x, kernel, stride, may_transform):
  if may_transform and winograd.supports(x, kernel, stride):
    return winograd.convolve(x, kernel)
  if stride == 1 and x.shape[3] < 8 and x.shape[2] % 2 == 0:
    return _convolve_pairs(x, kernel)
  return _plain(x, kernel, stride)


def _convolve_pairs(x, kernel):
  """Convolve with two columns of the images as one of twice the channels.

  Half of the kernel is then zeros, but rows are longer: 2.4 instead of 8.5 ms
  in ResNet-20's first layer.
  """
  batch, height, width, channels = x.shape
  size = kernel.shape[0]
  # Blocks of two columns on each side of a pair.
  reach = (size // 2 + 1) // 2
  left = 2 * reach - size // 2
  total = 2 * (2 * reach + 1)
  pairs = jnp.concatenate(
    [
      jnp.pad(kernel, ((0, 0), (i, total - size - i), (0, 0), (0, 0)))
      for i in (left, left + 1)
    ],
    axis=-1,
  ).reshape(size, 2 * reach + 1, 2 * channels, -1)
  pad = size // 2
  return _convolve(
    x.reshape(batch, height, width // 2, 2 * channels),
    pairs,
    ((pad, pad), (reach, reach)),
  ).reshape(batch, height, width, -1)


_for_cpu = jax.custom_vjp(_convolve_for_cpu, nondiff_argnums=(2, 3))


def _for_cpu_forward(x, kernel, stride, may_transform):
  # Not `_for_cpu`, or a Hessian could not differentiate this once more.
  return _convolve_for_cpu(x, kernel, stride, may_transform), (x, kernel)


def _for_cpu_backward(stride, may_transform, residuals, grad):
  # XLA removes the input's gradient if it is not used: in a network's first
  # layer.
  x, kernel = residuals
  if may_transform and winograd.supports(x, kernel, stride):
    return (
      winograd.convolve(grad, _rotate(kernel)),
      winograd.kernel_gradient(x, grad),
    )
  return (
    _input_gradient(grad, kernel, stride, x.shape),
    _kernel_gradient(x, grad, kernel.shape[0], stride).astype(kernel.dtype),
  )


_for_cpu.defvjp(_for_cpu_forward, _for_cpu_backward)


def _input_gradient(grad, kernel, stride, input_shape):
  """Return the gradient of the convolution's input.

  It is a convolution too: of the output's gradient, with `stride - 1` zeros
  between its rows and columns, and the kernel rotated by 180 degrees with its
  channels swapped.
  """
  size = kernel.shape[0]
  is_even = input_shape[1] % 2 == input_shape[2] % 2 == 0
  if is_even and (size, stride) == (3, 2) and kernel.shape[3] <= 32:
    return _input_gradient_by_parity(grad, kernel)
  before = size - 1 - size // 2
  padding = [
    (before, length + size - 2 - stride * (grad_length - 1) - before)
    for length, grad_length in zip(input_shape[1:3], grad.shape[1:3])
  ]
  return _convolve(grad, _rotate(kernel), padding, dilation=stride)


def _input_gradient_by_parity(grad, kernel):
  """Return the gradient of the input of a 3x3 convolution with stride 2.

  Pixels of even and odd rows and columns are channels of one 2x2 convolution,
  without zeros in between: 6 instead of 9 ms from 32 to 16 channels, but slower
  where there are more.
  """
  batch, height, width, features = grad.shape
  # Which row of the kernel leads from a pixel to the output at its place, and
  # to the next; row 3 holds zeros.
  rows = np.array([[1, 3], [2, 0]])
  padded = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
  # [parity, row, parity, column, channel, feature]
  phases = padded[rows][:, :, rows]
  phases = phases.transpose(1, 3, 5, 0, 2, 4).reshape(2, 2, features, -1)
  pixels = _convolve(grad, phases, ((0, 1), (0, 1)))
  return (
    pixels.reshape(batch, height, width, 2, 2, -1)
    .transpose(0, 1, 3, 2, 4, 5)
    .reshape(batch, 2 * height, 2 * width, -1)
  )


def _rotate(kernel):
  return kernel[::-1, ::-1].swapaxes(2, 3)


def _kernel_gradient(x, grad, size, stride):
  """Return the gradient of the kernel: the input's patches, times the output's.

  A few images at a time. Otherwise the patches (size**2 times the input) do
  not fit the cache, and memory halves the speed of ResNet-20.
  """
  batch, height, width, features = grad.shape
  images = _divisor(batch, _POSITIONS // (height * width))
  pad = size // 2
  # Channels first, patches are copied row by row and not channel by channel:
  # 3.1 instead of 7.8 ms in ResNet-20's first layer, and no slower elsewhere.
  last_row, last_column = stride * (height - 1), stride * (width - 1)

  def add_images(i, total):
    # Sliced here and not scanned over, for which XLA would compute a ReLU
    # before the convolution twice, to write it as [steps, images, ...].
    own_x = jax.lax.dynamic_slice_in_dim(x, i * images, images)
    own_x = jnp.pad(
      own_x.transpose(3, 0, 1, 2), ((0, 0), (0, 0), (pad, pad), (pad, pad))
    )
    own_grad = jax.lax.dynamic_slice_in_dim(grad, i * images, images)
    patches = jnp.stack(
      [
        own_x[
          ..., i : i + last_row + 1 : stride, j : j + last_column + 1 : stride
        ]
        for i in range(size)
        for j in range(size)
      ]
    )
    return total + jnp.matmul(
      patches.reshape(size**2 * x.shape[3], -1),
      own_grad.reshape(-1, features),
      preferred_element_type=jnp.float32,
    )

  total = jax.lax.fori_loop(
    0,
    batch // images,
    add_images,
    jnp.zeros_like(grad, jnp.float32, (size**2 * x.shape[3], features)),
  )
  return total.reshape(size, size, -1, features)


def _divisor(number, limit):
  """Return the largest divisor of `number` up to `limit`, at least 1."""
  return max(i for i in range(1, max(limit, 1) + 1) if number % i == 0)
