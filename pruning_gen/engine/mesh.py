"""How a stack is laid out on the devices, and how arrays get there and back."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array
from jaxtyping import Int
from ml_collections import ConfigDict

from pruning_gen.errors import UserError
from pruning_gen.models import MODELS


class Layout(NamedTuple):
  """How a stack is laid out, and how each device runs its members.

  Attributes:
    mesh: devices with the axes `member` and `data`.
    num_members: how many networks the stack has.
    vectorize: whether a device runs its members all at once (`vmap`) rather
      than one after the other (`lax.map`).
  """

  mesh: Mesh
  num_members: int
  vectorize: bool

  @property
  def rows(self) -> Int[np.ndarray, ' row']:
    """Which member each row of a stack on the mesh belongs to.

    The last member is repeated until every device has as many. This padding
    fills what would be idle time, and its results are dropped.
    """
    missing = -self.num_members % self.mesh.shape['member']
    rows = np.arange(self.num_members + missing)
    return np.minimum(rows, self.num_members - 1)

  @property
  def platform(self) -> str:
    """'cpu', 'gpu' or 'tpu'."""
    return self.mesh.devices.flat[0].platform

  @property
  def stacked(self) -> NamedSharding:
    """The sharding of a stack: each member on its devices."""
    return NamedSharding(self.mesh, P('member'))

  @property
  def shared(self) -> NamedSharding:
    """The sharding of arrays that all members share: a copy per device."""
    return NamedSharding(self.mesh, P())

  @property
  def without_padding(self) -> NamedSharding:
    """The sharding of a stack without padding.

    As `stacked` if the members divide evenly, otherwise all on all devices.
    """
    uneven = self.num_members % self.mesh.shape['member']
    return self.shared if uneven else self.stacked


def make_layout(
  config: ConfigDict,
  num_members: int,
  *,
  num_together: int = 0,
  take_turns: bool = False,
  devices: list | None = None,
) -> Layout:
  """Lay a stack out on the devices that a config asks for.

  Args:
    num_members: how many networks train together.
    num_together: arrange the devices for this many networks instead, so that
      those that are added later compute the same bits.
    take_turns: whether all devices share every member's batches, and members
      take turns.
    devices: all of `jax.devices()` by default.

  Raises:
    UserError: there are too few devices, some process has none of them, or
      they cannot share a batch evenly, or among processes.
  """
  devices, asked = devices or jax.devices(), config.devices.count
  if asked > len(devices):
    raise UserError(
      f'config.devices.count={asked}, but JAX sees {len(devices)} '
      f'({devices[0].device_kind}): lower it, or pass 0 to use all of them'
    )
  devices = devices[: asked or len(devices)]
  data_parallel = config.devices.data_parallel
  if data_parallel and len(devices) % data_parallel:
    raise UserError(
      f'config.devices.data_parallel={data_parallel} must divide the number '
      f'of devices, {len(devices)}'
    )
  _check_processes(devices)
  if take_turns:
    # Each process reads its own part of every batch.
    if jax.process_count() > 1 and data_parallel not in (0, len(devices)):
      raise UserError(
        f'config.devices.data_parallel={data_parallel} must be 0 (or '
        f'{len(devices)}, all devices) where several processes stream images'
      )
    mesh = arrange(1, devices, data_parallel)
  else:
    together = num_together or num_members
    mesh = arrange(together, devices, data_parallel, config.batch_size)
  if config.batch_size % mesh.shape['data']:
    raise UserError(
      f'config.batch_size={config.batch_size} must be a multiple of '
      f'{mesh.shape["data"]}, the number of devices that a batch is split '
      'over; or pass --config.devices.data_parallel=1'
    )
  stacking = config.stacking
  if stacking == 'auto':
    on_cpu = devices[0].platform == 'cpu'
    # Matrix products combine into one larger product, convolutions do not.
    convolves = MODELS[config.model.name].has_convolutions
    stacking = 'map' if on_cpu or convolves else 'vmap'
  return Layout(mesh, num_members, stacking == 'vmap')


def _check_processes(devices: list) -> None:
  """Check that every process of a job has one of the devices."""
  idle = {*range(jax.process_count())} - {own.process_index for own in devices}
  if idle:
    raise UserError(
      f'config.devices.count={len(devices)} leaves process {min(idle)} of this '
      'job without a device: pass 0 to use all of them'
    )


def arrange(
  num_members: int, devices: list, data_parallel: int = 0, batch_size: int = 0
) -> Mesh:
  """Arrange devices as a mesh with the axes `member` and `data`.

  Members come first: the axis `member` is as long as it must be for the fewest
  turns, and no longer. The devices left over split each member's batches, if
  that can be done evenly; otherwise some hold padding.

  Args:
    num_members: how many networks train together.
    devices: all of them are used.
    data_parallel: the size of the axis `data`, a divisor of the number of
      devices; 0 for what is left over.
    batch_size: what is left over must divide it; 0 for any.
  """
  num_devices = len(devices)
  if data_parallel:
    rows = num_devices // data_parallel
  else:
    turns = -(-num_members // num_devices)
    rows = min(
      rows
      for rows in range(1, num_devices + 1)
      if num_devices % rows == 0
      and -(-num_members // rows) == turns
      and batch_size % (num_devices // rows) == 0
    )
  return Mesh(
    np.asarray(devices).reshape(rows, -1),
    ('member', 'data'),
    axis_types=(jax.sharding.AxisType.Auto,) * 2,
  )


def spread_batch(batch: Array) -> Array:
  """Split a batch over the mesh axis `data`, inside `over_members`.

  The compiler then splits everything computed from it, and sums over the
  whole batch: gradients and BatchNorm are of the global batch. Outside a mesh
  the batch is returned unchanged.
  """
  if 'data' not in jax.sharding.get_abstract_mesh().axis_names:
    return batch
  return jax.lax.with_sharding_constraint(batch, P('data'))


def shard(tree: Any, layout: Layout) -> Any:
  """Put a stack of NumPy arrays on the mesh, each member on its devices."""
  return jax.tree.map(lambda leaf: _place(leaf, layout.stacked), tree)


def broadcast(tree: Any, layout: Layout) -> Any:
  """Put NumPy arrays that all members share on every device of the mesh."""
  return jax.tree.map(lambda leaf: _place(leaf, layout.shared), tree)


def _place(array: np.ndarray, sharding: NamedSharding) -> Array:
  # Every process has the whole array and places its own part without
  # communication: `device_put` would first compare all processes' copies.
  return jax.make_array_from_callback(
    array.shape, sharding, lambda index: array[index]
  )


def split_batch(array: np.ndarray, layout: Layout, spec: P) -> Array:
  """Put a batch on the mesh, of which each process has its own part."""
  return jax.make_array_from_process_local_data(
    NamedSharding(layout.mesh, spec), array
  )


def gather(stacked: Array) -> np.ndarray:
  """Copy an array to the memory of every process."""
  if stacked.is_fully_addressable:
    return np.asarray(stacked)
  return multihost_utils.process_allgather(stacked, tiled=True)


def gather_members(stacked: Array, layout: Layout) -> np.ndarray:
  """Copy a stack to the memory of every process, without padding."""
  return gather(stacked)[: layout.num_members]


def make_drop_padding(layout: Layout) -> Callable:
  """Return the jitted function that drops the padding of a stack.

  Without it a stack fits any number of devices.
  """
  return jax.jit(
    lambda tree: jax.tree.map(lambda leaf: leaf[: layout.num_members], tree),
    out_shardings=layout.without_padding,
  )


def make_add_padding(layout: Layout) -> Callable:
  """Return the jitted inverse of `make_drop_padding`."""
  rows = layout.rows
  return jax.jit(
    lambda tree: jax.tree.map(lambda leaf: leaf[rows], tree),
    out_shardings=layout.stacked,
  )
