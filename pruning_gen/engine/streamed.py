"""The engine for images that do not fit on the devices: ImageNet."""

import jax
import numpy as np
from jax.sharding import PartitionSpec as P

from pruning_gen.data import imagenet
from pruning_gen.data import streams
from pruning_gen.engine import over_members as members_lib
from pruning_gen.engine import programs as engine
from pruning_gen.training import epoch
from pruning_gen.training import evaluate
from pruning_gen.training import step
from pruning_gen.training import streaming
from pruning_gen.training import train_state

# How batches lie on the mesh: [streams, batch, ...] and [batch, ...].
_TRAIN = P(None, 'data')
_SCORE = P('data')


class StreamedEngine(engine.Engine):
  """Trains and scores a stack on batches that the host reads and augments.

  Every batch is split over all devices, each process reads its own part, and
  the members take turns on it. Members that read alike share one stream.
  """

  def _make_mesh(self):
    return engine.make_mesh(self._config, num_members=1)

  def _build_data_path(self, model, tx):
    """Stack what goes over one batch."""
    dataset = self.dataset
    self._streams, self._stream_of = _distinct_streams(
      self.members, self.example_ids
    )
    train_batch = streaming.make_train_batch(
      step.make_train_step(model, tx), dataset.mean, dataset.std
    )
    score_batch = streaming.make_score_batch(model, dataset.mean, dataset.std)
    self._train = self._over_members(
      train_batch, 0, 0, 0, *(_TRAIN,) * 3, donate_argnums=(0,)
    )
    self._score_train = self._over_members(score_batch, 0, 0, *(_SCORE,) * 2)
    self._score_split = self._over_members(score_batch, 0, None, *(_SCORE,) * 2)

  def _abstract_images(self):
    shape = (len(self._streams), self._config.batch_size)
    return (
      jax.ShapeDtypeStruct((len(self._rows),), np.int32),
      jax.ShapeDtypeStruct((*shape, *self.dataset.image_shape), np.uint8),
      jax.ShapeDtypeStruct(shape, np.int32),
      jax.ShapeDtypeStruct(shape, bool),
    )

  def _place_images(self):
    """Put on the devices which stream each member reads, and the labels."""
    rows = [self._stream_of[row] for row in self._rows]
    self._stream_rows = members_lib.shard(np.asarray(rows, np.int32), self.mesh)
    self._labels = {
      split: members_lib.replicate(
        getattr(self.dataset, f'{split}_labels'), self.mesh
      )
      for split in engine.SPLITS
    }

  def train_epoch(self, state, global_epoch):
    """Train one epoch; see `Engine.train_epoch`."""
    readers = [self._read(row, global_epoch) for row in self._streams]
    losses = []
    for batches in zip(*readers):
      images, ids, valid = (
        np.stack([batch[key] for batch in batches])
        for key in ('image', 'example_id', 'valid')
      )
      state, loss = self._train(
        state,
        self._data,
        self._stream_rows,
        *(self._split(array, _TRAIN) for array in (images, ids, valid)),
      )
      losses.append(loss)
    return state, np.stack([self._own(loss) for loss in losses], axis=1)

  def score(self, state):
    """Score every example of every split; see `Engine.score`.

    Returns:
      As there; for an image that cannot be decoded NaN, and prediction -1.
    """
    return {split: self._score(state, split) for split in engine.SPLITS}

  def _train_images(self):
    return None

  def _read(self, row, global_epoch):
    """Read an epoch of one member: this process's part of every batch."""
    config, member = self._config, self.members[row]
    key = streams.replicate_key(config.seed, member.replicate, member.network)
    data = train_state.MemberData(
      key=key, labels=self.labels[row], example_ids=self.example_ids[row]
    )
    return imagenet.train_batches(
      self.dataset.sources['train'],
      epoch.batch_ids(data, np.int32(global_epoch), config.batch_size),
      config.seed,
      streams.key_number(member.replicate, member.network),
      global_epoch,
      **self._reading(),
    )

  def _score(self, state, split):
    source = self.dataset.sources[split]
    shape = (len(self.members), len(source))
    result = evaluate.ExampleScores(
      cross_entropy=np.full(shape, np.nan, np.float32),
      prediction=np.full(shape, -1, np.int32),
      el2n=np.full(shape, np.nan, np.float32),
    )
    if split == 'train':
      score, labels = self._score_train, self._data.labels
    else:
      score, labels = self._score_split, self._labels[split]
    for batch in imagenet.score_batches(
      source, self._eval_batch_size(), **self._reading()
    ):
      images, ids, valid = (
        self._split(batch[key], _SCORE)
        for key in ('image', 'example_id', 'valid')
      )
      scores = score(state, labels, images, ids)
      ids, valid = members_lib.gather(ids), members_lib.gather(valid)
      for total, part in zip(jax.tree.leaves(result), jax.tree.leaves(scores)):
        total[:, ids[valid]] = self._own(part)[:, valid]
    return result

  def _reading(self):
    return {
      'host': jax.process_index(),
      'num_hosts': jax.process_count(),
      'num_workers': self._config.data.num_workers,
      'on_broken': self._config.data.on_broken,
    }

  def _split(self, array, spec):
    return members_lib.split_batch(array, self.mesh, spec)


def _distinct_streams(members, example_ids):
  """Find which members read the same examples in the same order.

  Args:
    members: list of Member.
    example_ids: int32 [members, n].

  Returns:
    rows: list of int, for each stream the first member that reads it.
    stream_of: list of int, for each member its stream.
  """
  names = [
    (member.replicate, member.network, ids.tobytes())
    for member, ids in zip(members, example_ids)
  ]
  first = {name: row for row, name in reversed(list(enumerate(names)))}
  rows = sorted(first.values())
  return rows, [rows.index(first[name]) for name in names]
