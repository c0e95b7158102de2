"""The one place where a function of one member becomes one of a stack."""

import functools
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P


class Member(NamedTuple):
  """One network of a stack, by what it is compared on.

  Attributes:
    arm: str, what is done to it.
    noise_fraction: float, part of the labels that are changed.
    replicate: int, which draw of the labels.
    network: int, 0 for the replicate's own network; EL2N scores are a mean
      over others, of other initialisations and orders on the same labels.
  """

  arm: str
  noise_fraction: float
  replicate: int
  network: int = 0

  def __str__(self):
    network = f', network {self.network}' if self.network else ''
    return (
      f'{self.arm}, noise {self.noise_fraction:g}, replicate '
      f'{self.replicate}{network}'
    )


def make_mesh(num_members, devices, data_parallel=0):
  """Arrange devices as a mesh with the axes `member` and `data`.

  Members come first: as many devices train networks of their own as shorten
  the work. What that leaves over splits each member's batches.

  Args:
    num_members: int, how many networks train together.
    devices: list of devices; all of them are used.
    data_parallel: int, the size of the axis `data`, a divisor of the number
      of devices; 0 for what is left over.

  Returns:
    A mesh whose axis `member` needs no more turns than one of any other size.
  """
  num_devices = len(devices)
  slots = num_devices // (data_parallel or 1)
  turns = -(-num_members // slots)
  rows = min(
    rows
    for rows in range(1, slots + 1)
    if slots % rows == 0 and -(-num_members // rows) == turns
  )
  if data_parallel:
    rows = slots
  return jax.sharding.Mesh(
    np.asarray(devices).reshape(rows, -1),
    ('member', 'data'),
    axis_types=(jax.sharding.AxisType.Auto,) * 2,
  )


def spread_batch(batch):
  """Split a batch over the mesh axis `data`, inside `over_members`.

  The compiler then splits all that is computed from it, and sums over the
  whole batch where it is summed: gradients and BatchNorm are of the global
  batch. Outside a mesh the batch stays as it is.
  """
  if 'data' not in jax.sharding.get_abstract_mesh().axis_names:
    return batch
  return jax.lax.with_sharding_constraint(batch, P('data'))


def padded_rows(num_members, mesh):
  """Return which member stands in each row of a stack that fills the mesh.

  The last member is repeated until every device has as many. The copies fill
  turns in which a device would idle; cut their results.
  """
  missing = -num_members % mesh.shape['member']
  rows = np.arange(num_members + missing)
  return np.minimum(rows, num_members - 1)


def cut_copies(num_members, mesh):
  """Return the jitted function that cuts what `padded_rows` added to a stack.

  What is left fits any number of devices.

  Args:
    num_members: int.
    mesh: the mesh.

  Returns:
    cut(stacked) -> tree of arrays [num_members, ...], for a tree of arrays
    [rows, ...] on the mesh; see `sharding_without_copies`.
  """
  return jax.jit(
    lambda tree: jax.tree.map(lambda leaf: leaf[:num_members], tree),
    out_shardings=sharding_without_copies(num_members, mesh),
  )


def add_copies(num_members, mesh):
  """Return the jitted function that undoes that of `cut_copies`."""
  rows = padded_rows(num_members, mesh)
  return jax.jit(
    lambda tree: jax.tree.map(lambda leaf: leaf[rows], tree),
    out_shardings=sharding(mesh),
  )


def sharding_without_copies(num_members, mesh):
  """Return how a stack without copies lies on the mesh.

  Each member on its core where they share out evenly, else all on all.
  """
  uneven = num_members % mesh.shape['member']
  return NamedSharding(mesh, P()) if uneven else sharding(mesh)


def over_members(
  function,
  mesh,
  in_axes,
  vectorize,
  num_members=None,
  donate_argnums=(),
  compiler_options=None,
):
  """Map a function of one member over a stack of them, and compile it.

  Each row of the mesh axis `member` works on its own part of the stack and
  talks to no other (`jax.shard_map`); the axis `data` is the compiler's.

  Args:
    function: pure function of one member.
    mesh: from `make_mesh`.
    in_axes: for each argument 0 where it is stacked [members, ...], None where
      all members share it, as in `jax.vmap`; or, where they share it and it
      arrives split over the axis `data`, its PartitionSpec.
    vectorize: bool, how a core runs its members: all at once (`vmap`), or one
      after the other (`lax.map`). On a CPU the latter is faster also for
      LeNet: 0.49 against 0.56 s an epoch and member with 12 of them on 2
      cores, since one network's weights fit the cache and six do not.
    num_members: int; the rows of the stack from there on are copies, which
      `lax.map` skips (their results are zeros): 3 members of LeNet on 2 cores
      take 1.54 s an epoch in place of 1.88. None: skip nothing.
    donate_argnums: arguments whose memory may be reused for the result.
    compiler_options: dict, of XLA.

  Returns:
    A jitted function with the same arguments and a stacked result.
  """
  is_stacked = [axis == 0 for axis in in_axes]

  def on_core(*args):
    if vectorize:
      vmap_axes = [0 if own else None for own in is_stacked]
      return jax.vmap(function, vmap_axes)(*args)
    stacked = [arg for arg, own in zip(args, is_stacked) if own]
    rows = len(jax.tree.leaves(stacked)[0])
    first = jax.lax.axis_index('member') * rows

    def one_member(own):
      row, own = own[0], iter(own[1:])
      call = functools.partial(
        function,
        *(
          next(own) if is_own else arg for arg, is_own in zip(args, is_stacked)
        ),
      )
      if num_members is None or num_members == rows * mesh.shape['member']:
        return call()
      return _unless(first + row >= num_members, call)

    return jax.lax.map(one_member, [jax.numpy.arange(rows), *stacked])

  specs = tuple(P('member') if own else P() for own in is_stacked)
  shardings = [
    NamedSharding(mesh, axis if isinstance(axis, P) else spec)
    for axis, spec in zip(in_axes, specs)
  ]
  mapped = jax.shard_map(
    on_core,
    mesh=mesh,
    in_specs=specs,
    out_specs=P('member'),
    axis_names={'member'},
  )
  # The name shows in profiles and in the log of compilations. The shardings
  # are given, or a result fed back as an argument would compile anew.
  return jax.jit(
    functools.wraps(function)(mapped),
    in_shardings=tuple(shardings),
    out_shardings=sharding(mesh),
    donate_argnums=donate_argnums,
    compiler_options=compiler_options,
  )


def _unless(skip, call):
  """Return `call()`, or as many zeros at once where `skip` is true."""

  def zeros():
    return jax.tree.map(
      lambda leaf: jax.lax.pcast(
        jax.numpy.zeros(leaf.shape, leaf.dtype), 'member', to='varying'
      ),
      jax.eval_shape(call),
    )

  return jax.lax.cond(skip, zeros, call)


def sharding(mesh):
  """Return how a stack lies on the mesh: each member on its core."""
  return NamedSharding(mesh, P('member'))


def shard(tree, mesh):
  """Put a stack of NumPy arrays on the mesh, each member on its devices."""
  return jax.tree.map(lambda leaf: _place(leaf, sharding(mesh)), tree)


def replicate(tree, mesh):
  """Put NumPy arrays that all members share on every device of the mesh."""
  return jax.tree.map(lambda leaf: _place(leaf, NamedSharding(mesh, P())), tree)


def _place(array, target):
  # Every process has the whole array and places its own part, in silence:
  # `device_put` would compare the copies of all processes first.
  return jax.make_array_from_callback(
    array.shape, target, lambda index: array[index]
  )


def split_batch(array, mesh, spec):
  """Put a batch on the mesh, of which each process has its own part.

  Args:
    array: NumPy array, this process's part along the axis that is split.
    mesh: the mesh.
    spec: PartitionSpec of the whole.
  """
  return jax.make_array_from_process_local_data(
    NamedSharding(mesh, spec), array
  )


def gather(stacked):
  """Move a stack to the memory of every process, as a NumPy array."""
  if stacked.is_fully_addressable:
    return np.asarray(stacked)
  return multihost_utils.process_allgather(stacked, tiled=True)
