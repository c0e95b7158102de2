"""Convolution, with gradients that are also fast inside `lax.scan` on a CPU.

XLA's CPU backend runs the gradients of a convolution about 30 times slower
inside a loop than outside: there it does not bring them to the layout that its
fast kernels want (jax-ml/jax issue 12868). A training step is such a loop's
body. Here both gradients are written so that nothing needs to be brought
anywhere: the input gradient as a plain NHWC convolution with an explicitly
turned kernel, the kernel gradient as matrix products of image patches.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

METHODS = ('auto', 'xla', 'patches')

# Output pixels whose patches are laid out at a time: what fits a core's cache
# (ResNet-20: 745 ms of CPU a step with 1,024, 990 with all at once).
_PIXELS_AT_ONCE = 1024


def conv2d(x, kernel, stride=1, method='auto'):
  """Convolve with `(size - 1) / 2` padding on every side, as PyTorch does.

  Args:
    x: [batch, height, width, channels].
    kernel: [size, size, channels, features], size odd.
    stride: int.
    method: how gradients are computed: 'xla' (JAX's own), 'patches' (fast
      inside a loop on a CPU), or 'auto' (the latter on a CPU).

  Returns:
    [batch, height / stride, width / stride, features], rounded up.
  """
  if method not in METHODS:
    raise ValueError(f'method {method!r}: use one of {METHODS}')
  if method == 'auto':
    method = 'patches' if jax.default_backend() == 'cpu' else 'xla'
  convolve = _convolve if method == 'xla' else _convolve_patches
  return convolve(x, kernel, stride)


def _convolve(x, kernel, stride):
  padding = kernel.shape[0] // 2
  return _plain(x, kernel, (padding, padding), stride)


def _plain(x, kernel, padding, stride=1, dilation=1):
  return lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    (padding, padding),
    lhs_dilation=(dilation, dilation),
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve_patches(x, kernel, stride):
  return _convolve(x, kernel, stride)


def _forward(x, kernel, stride):
  return _convolve(x, kernel, stride), (x, kernel)


def _backward(stride, saved, grad):
  x, kernel = saved
  return (
    _input_gradient(grad, kernel, x.shape, stride),
    _kernel_gradient(x, grad, kernel.shape[0], stride),
  )


_convolve_patches.defvjp(_forward, _backward)


def _input_gradient(grad, kernel, input_shape, stride):
  """Convolve the output's gradient with the kernel turned by 180 degrees.

  Args:
    grad: [batch, height out, width out, features].
    kernel: [size, size, channels, features].
    input_shape: of x.
    stride: int; the gradient is spread out by as much.

  Returns:
    Like x.
  """
  size = kernel.shape[0]
  turned = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
  before = size // 2
  spread = (grad.shape[1] - 1) * stride + 1
  after = input_shape[1] + size - 1 - spread - before
  return _plain(grad, turned, (before, after), dilation=stride)


def _kernel_gradient(x, grad, size, stride):
  """Multiply every patch of x by the gradient of the pixel it makes.

  A few images at a time, so that their patches, `size`^2 times the images,
  stay in the cache.

  Args:
    x: [batch, height, width, channels].
    grad: [batch, height out, width out, features].
    size: int, of the kernel.
    stride: int.

  Returns:
    [size, size, channels, features].
  """
  batch, height, width, features = grad.shape
  channels = x.shape[-1]
  images = _largest_divisor(batch, max(1, _PIXELS_AT_ONCE // (height * width)))

  def add_images(total, part):
    x, grad = part
    patches = _patches(x, size, stride, height, width)
    # Features first: the product then needs no transposition of the patches.
    grad = grad.transpose(3, 0, 1, 2).reshape(features, -1)
    return total + grad @ patches.reshape(-1, size**2 * channels), None

  split = (batch // images, images)
  total, _ = lax.scan(
    add_images,
    jnp.zeros_like(grad, shape=(features, size**2 * channels)),
    (
      x.reshape(*split, *x.shape[1:]),
      grad.reshape(*split, *grad.shape[1:]),
    ),
  )
  return total.T.reshape(size, size, channels, features)


def _patches(x, size, stride, height, width):
  """Lay out the patch of every output pixel.

  Returns:
    [batch, height, width, size^2 * channels].
  """
  padding = size // 2
  border = (padding, padding)
  x = jnp.pad(x, ((0, 0), border, border, (0, 0)))
  batch, _, _, channels = x.shape
  shifted = [
    lax.slice(
      x,
      (0, row, column, 0),
      (
        batch,
        row + (height - 1) * stride + 1,
        column + (width - 1) * stride + 1,
        channels,
      ),
      (1, stride, stride, 1),
    )
    for row in range(size)
    for column in range(size)
  ]
  return jnp.concatenate(shifted, axis=-1)


def _largest_divisor(number, limit):
  return next(i for i in range(min(number, limit), 0, -1) if number % i == 0)
