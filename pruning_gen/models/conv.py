"""The convolution, with gradients that are also fast on a CPU.

XLA's CPU compiler transposes the gradients of a convolution into the layout
that its fast kernels need only outside of loops, so that in the scan over an
epoch they run some 30 times slower
(https://github.com/jax-ml/jax/issues/12868). The custom gradients of the
methods 'im2col' and 'winograd' do not depend on that pass.
"""

import functools

import jax
import jax.numpy as jnp
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
    x: images.
    kernel: of the same dtype; its size is odd.
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


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _for_cpu(x, kernel, stride, may_transform):
  if may_transform and winograd.supports(x, kernel, stride):
    return winograd.convolve(x, kernel)
  return _plain(x, kernel, stride)


def _for_cpu_forward(x, kernel, stride, may_transform):
  return _for_cpu(x, kernel, stride, may_transform), (x, kernel)


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
  before = size - 1 - size // 2
  padding = [
    (before, length + size - 2 - stride * (grad_length - 1) - before)
    for length, grad_length in zip(input_shape[1:3], grad.shape[1:3])
  ]
  return _convolve(grad, _rotate(kernel), padding, dilation=stride)


def _rotate(kernel):
  return kernel[::-1, ::-1].swapaxes(2, 3)


def _kernel_gradient(x, grad, size, stride):
  """Return the gradient of the kernel: the output's, times the input's patches.

  A few images at a time. Otherwise the patches (size**2 times the input) do
  not fit the cache, and memory halves the speed of ResNet-20.
  """
  batch, height, width, features = grad.shape
  images = _divisor(batch, _POSITIONS // (height * width))
  # Transposed here, the product has the form that XLA's fastest kernel wants.
  grad = grad.transpose(3, 0, 1, 2)

  def add_images(i, total):
    # Sliced here and not scanned over, for which XLA would compute a ReLU
    # before the convolution twice, to write it as [steps, images, ...].
    own_x = jax.lax.dynamic_slice_in_dim(x, i * images, images)
    own_grad = jax.lax.dynamic_slice_in_dim(grad, i * images, images, axis=1)
    return total + jnp.matmul(
      own_grad.reshape(features, -1),
      _patches(own_x, size, stride, height, width),
      preferred_element_type=jnp.float32,
    )

  total = jax.lax.fori_loop(
    0,
    batch // images,
    add_images,
    jnp.zeros_like(grad, jnp.float32, (features, size**2 * x.shape[-1])),
  )
  return total.T.reshape(size, size, -1, features)


def _patches(x, size, stride, height, width):
  """Return the input patch of every output position.

  Args:
    x: [batch, height in, width in, channels].
    size: int, of the kernel.
    stride: int.
    height: int, of the output.
    width: int, of the output.

  Returns:
    [batch * height * width, size * size * channels].
  """
  pad = size // 2
  x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
  last_row, last_column = stride * (height - 1), stride * (width - 1)
  columns = [
    x[:, i : i + last_row + 1 : stride, j : j + last_column + 1 : stride]
    for i in range(size)
    for j in range(size)
  ]
  return jnp.concatenate(columns, axis=-1).reshape(
    -1, size * size * x.shape[-1]
  )


def _divisor(number, limit):
  """Return the largest divisor of `number` up to `limit`, at least 1."""
  return max(i for i in range(1, max(limit, 1) + 1) if number % i == 0)
