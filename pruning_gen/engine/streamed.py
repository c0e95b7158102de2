"""The programs of a stack whose images are streamed from the host: ImageNet.

Every batch is split over all devices, each process reads its own part, and
the members take turns on it. Members that read alike share one stream.
"""

from collections.abc import Iterator

import jax
import numpy as np
from jax.sharding import PartitionSpec as P

from pruning_gen.data import stream
from pruning_gen.data import streams
from pruning_gen.engine import inputs
from pruning_gen.engine import memory
from pruning_gen.engine import mesh
from pruning_gen.engine import programs
from pruning_gen.engine.inputs import Spec
from pruning_gen.engine.over_members import over_members
from pruning_gen.engine.programs import Programs
from pruning_gen.engine.stack import Stack
from pruning_gen.training import epoch
from pruning_gen.training import evaluate
from pruning_gen.training import step
from pruning_gen.training.train_state import MemberData

# How batches lie on the mesh: [streams, batch, ...] and [batch, ...].
_TRAIN = P(None, 'data')
_EVALUATE = P('data')


def build(spec: Spec) -> Programs:
  """Build the programs of a stack whose images are streamed from the host.

  Raises:
    UserError: there is too little memory.
  """
  layout = spec.layout
  train = lower(spec).compile()
  memory_needed = memory.check(train, layout)
  data = inputs.place_members(spec)
  first_members, stream_of = distinct_streams(spec.stack)
  row = mesh.shard(np.int32([stream_of[i] for i in layout.rows]), layout)

  def train_epoch(state, global_epoch):
    readers = [read_epoch(spec, i, global_epoch) for i in first_members]
    losses = []
    for batches in zip(*readers):
      arrays = (
        mesh.split_batch(
          np.stack([batch[key] for batch in batches]), layout, _TRAIN
        )
        for key in ('image', 'example_id', 'valid')
      )
      state, loss = train(state, data, row, *arrays)
      losses.append(loss)
    losses = [mesh.gather_members(loss, layout) for loss in losses]
    return state, np.stack(losses, axis=1)

  return programs.assemble(
    spec,
    data,
    images=None,
    train_epoch=train_epoch,
    **_make_evaluate(spec, data),
    memory=memory_needed,
  )


def lower(spec: Spec) -> jax.stages.Lowered:
  """Lower one step of training on a batch of every stream."""
  first_members, _ = distinct_streams(spec.stack)
  train_batch = epoch.make_train_batch(
    step.make_train_step(spec.model, spec.optimizer), spec.prepare
  )
  mapped = over_members(
    train_batch, spec.layout, (0, 0, 0, *(_TRAIN,) * 3), donate_argnums=(0,)
  )
  shape = (len(first_members), spec.config.batch_size)
  return mapped.lower(
    inputs.abstract_state(spec),
    inputs.abstract_members(spec),
    jax.ShapeDtypeStruct((len(spec.layout.rows),), np.int32),
    jax.ShapeDtypeStruct((*shape, *spec.dataset.image_shape), np.uint8),
    jax.ShapeDtypeStruct(shape, np.int32),
    jax.ShapeDtypeStruct(shape, bool),
  )


def _make_evaluate(spec: Spec, data: MemberData):
  """Make `Programs.evaluate` and `Programs.evaluate_held_out`.

  An image that cannot be decoded gets NaN, and -1 as its prediction.
  """
  dataset, layout = spec.dataset, spec.layout
  evaluate_batch = evaluate.make_evaluate_batch(
    spec.eval_model, spec.prepare, spec.config.eval_precision
  )
  on_train, on_held_out = (
    over_members(evaluate_batch, layout, (0, axis, *(_EVALUATE,) * 2))
    for axis in (0, None)
  )
  held_out_labels = {
    split: mesh.broadcast(getattr(dataset, f'{split}_labels'), layout)
    for split in ('validation', 'test')
  }

  def evaluate_split(run_batch, labels, state, split):
    source = dataset.sources[split]
    shape = (layout.num_members, len(source))
    result = evaluate.PerExample(
      cross_entropy=np.full(shape, np.nan, np.float32),
      prediction=np.full(shape, -1, np.int32),
      el2n=np.full(shape, np.nan, np.float32),
    )
    for batch in stream.eval_batches(
      source, spec.eval_batch_size, _reading(spec)
    ):
      images, ids, valid = (
        mesh.split_batch(batch[key], layout, _EVALUATE)
        for key in ('image', 'example_id', 'valid')
      )
      found = run_batch(state, labels, images, ids)
      ids, valid = mesh.gather(ids), mesh.gather(valid)
      for total, part in zip(jax.tree.leaves(result), jax.tree.leaves(found)):
        own = mesh.gather_members(part, layout)
        total[:, ids[valid]] = own[:, valid]
    return result

  def evaluate_held_out(state):
    return {
      split: evaluate_split(on_held_out, labels, state, split)
      for split, labels in held_out_labels.items()
    }

  def evaluate_splits(state):
    on_train_split = evaluate_split(on_train, data.labels, state, 'train')
    return {'train': on_train_split, **evaluate_held_out(state)}

  return {'evaluate': evaluate_splits, 'evaluate_held_out': evaluate_held_out}


def read_epoch(
  spec: Spec, row: int, global_epoch: int
) -> Iterator[dict[str, np.ndarray]]:
  """Read an epoch of one member: this process's part of every batch."""
  config, stack = spec.config, spec.stack
  member = stack.members[row]
  key = streams.replicate_key(config.seed, member.replicate, member.network)
  data = MemberData(
    key=key, labels=stack.labels[row], example_ids=stack.example_ids[row]
  )
  return stream.train_batches(
    spec.dataset.sources['train'],
    epoch.batch_ids(data, np.int32(global_epoch), config.batch_size),
    config.seed,
    streams.key_number(member.replicate, member.network),
    global_epoch,
    _reading(spec),
  )


def _reading(spec: Spec) -> stream.Reading:
  return stream.Reading(
    host=jax.process_index(),
    num_hosts=jax.process_count(),
    num_workers=spec.config.data.num_workers,
    on_broken=spec.config.data.on_broken,
  )


def distinct_streams(stack: Stack) -> tuple[list[int], list[int]]:
  """Find which members read the same examples in the same order.

  Returns:
    first_members: for each stream the first member that reads it.
    stream_of: for each member its stream.
  """
  names = [
    (member.replicate, member.network, ids.tobytes())
    for member, ids in zip(stack.members, stack.example_ids)
  ]
  first = {name: row for row, name in reversed(list(enumerate(names)))}
  rows = sorted(first.values())
  return rows, [rows.index(first[name]) for name in names]
