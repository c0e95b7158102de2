"""The compiled program that trains and scores one stack of members."""

import functools

import jax
import numpy as np

from pruning_gen import config as protocol
from pruning_gen.data import augment
from pruning_gen.data import streams
from pruning_gen.engine import memory
from pruning_gen.engine import over_members as members_lib
from pruning_gen.engine import packing
from pruning_gen.errors import UserError
from pruning_gen.pruning import arms
from pruning_gen.pruning import masks
from pruning_gen.training import epoch
from pruning_gen.training import evaluate
from pruning_gen.training import level as level_lib
from pruning_gen.training import step
from pruning_gen.training import train_state

SPLITS = ('train', 'validation', 'test')


class Engine:
  """Trains and scores a stack: what a config says, compiled once.

  States are TrainStates with a leading [members] axis, on the devices. What
  the methods return besides is NumPy, with one row for each member.

  Attributes:
    dataset: the Dataset.
    members: list of Member.
    labels: int32 [members, num_train], training labels.
    is_noisy: bool [members, num_train], whether a label was changed.
    example_ids: int32 [members, n], the examples each trains on.
    num_weights: int, weights in all kernels of one member.
    num_pruned_by_level: list of int, weights that go before each level in
      arm `pruning`.
    images_per_epoch: int, images that all members see in an epoch.
    memory: str, what training needs of the devices' memory.
    mesh: how the devices are arranged.
  """

  def __init__(self, config, dataset, members, model, tx, example_ids=None):
    """Compile training, see that it fits, and move the data to the devices.

    Args:
      config: the config.
      dataset: Dataset.
      members: list of Member.
      model: Linen module, called as model(images, train).
      tx: optax transformation.
      example_ids: int32 [members, n], the examples each trains on; None for
        all of them.

    Raises:
      UserError: fewer devices than asked for, a batch that they cannot share
        evenly, or too little memory.
    """
    self._config = config
    self.dataset = dataset
    self.members = members
    self.labels, self.is_noisy = protocol.draw_labels(config, dataset, members)
    if example_ids is None:
      example_ids = np.broadcast_to(
        np.arange(self.labels.shape[1], dtype=np.int32), self.labels.shape
      )
    self.example_ids = example_ids
    self._steps = example_ids.shape[1] // config.batch_size
    self.images_per_epoch = len(members) * self._steps * config.batch_size
    self.mesh = self._make_mesh()
    self._rows = members_lib.padded_rows(len(members), self.mesh)
    self._build(model, tx)
    self._build_data_path(model, tx)
    self._reserve()
    self._data = self._place_data()
    self._place_images()

  def _make_mesh(self):
    return make_mesh(self._config, len(self.members))

  def _over_members(
    self,
    function,
    *in_axes,
    num_members=None,
    donate_argnums=(),
    is_short=False,
  ):
    """Stack a function of one member; see `members.over_members`.

    `is_short`: it takes longer to compile than it will ever run.
    """
    on_cpu = jax.default_backend() == 'cpu'
    stacking = self._config.stacking
    if stacking == 'auto':
      # Products of matrices make one larger product, convolutions do not.
      has_convolutions = self._config.model.name != 'lenet'
      stacking = 'map' if on_cpu or has_convolutions else 'vmap'
    return members_lib.over_members(
      function,
      self.mesh,
      in_axes,
      stacking == 'vmap',
      num_members,
      donate_argnums,
      # Initialising LeNet compiles in 1.8 s of CPU in place of 5.4 (its random
      # numbers are a lot of code), packing it in 1.5 in place of 2.2.
      {'xla_backend_optimization_level': 0} if on_cpu and is_short else None,
    )

  def _build(self, model, tx):
    """Stack what does not touch images: creation, pruning, counting."""
    config = self._config
    image_shape = self.dataset.image_shape

    def create(key):
      return train_state.create(
        model, tx, image_shape, self._rewinds_weights(), key
      )

    params = jax.eval_shape(create, jax.random.key(0)).params
    self._prunable = masks.prunable(params, config.prune_output)
    self.num_weights = masks.num_weights(params)
    self.num_pruned_by_level = masks.num_pruned_by_level(
      self.num_weights,
      masks.num_prunable(params, self._prunable),
      config.prune_fraction,
      config.levels,
    )
    self._create = self._over_members(create, 0, is_short=True)
    self._pack = self._over_members(packing.pack, 0, is_short=True)
    self._unpack = self._over_members(packing.unpack, 0, is_short=True)
    self._cut_copies = members_lib.cut_copies(len(self.members), self.mesh)
    self._add_copies = members_lib.add_copies(len(self.members), self.mesh)
    self._remember = self._over_members(
      train_state.remember, 0, donate_argnums=(0,)
    )
    self._num_kept = self._over_members(
      lambda state: masks.num_kept(state.masks), 0, is_short=True
    )
    self._make_keys = self._over_members(
      functools.partial(streams.replicate_key, config.seed), 0, 0, is_short=True
    )
    self._build_start_level(model, tx)

  def _build_start_level(self, model, tx):
    """Stack what happens between two levels."""
    config, dataset = self._config, self.dataset
    score_weights = level_lib.make_score_weights(
      model,
      self._score_names(),
      dataset.image_shape,
      self._eval_batch_size(),
      dataset.mean,
      dataset.std,
    )
    rewind_step = config.rewind_epoch * self._steps

    def start_level(num_pruned, state, member, level, images):
      return level_lib.start_level(
        tx,
        self._prunable,
        rewind_step,
        state,
        score_weights(state, member, level, images),
        num_pruned,
        member.rewinds_weights,
      )

    self._start_level = self._over_members(
      start_level, 0, 0, 0, None, None, donate_argnums=(1,)
    )

  def _score_names(self):
    used = {
      arms.ARMS.get(member.arm, arms.DENSE).score for member in self.members
    }
    return sorted(used)

  def _rewinds_weights(self):
    return any(
      arms.ARMS.get(member.arm, arms.DENSE).rewinds_weights
      for member in self.members
    )

  def _build_data_path(self, model, tx):
    """Stack what goes over images: a whole epoch, a whole split."""
    config, dataset = self._config, self.dataset
    train_epoch = epoch.make_train_epoch(
      step.make_train_step(model, tx),
      config.batch_size,
      dataset.mean,
      dataset.std,
      augment.flip_and_crop if config.data.augment else None,
    )
    score = evaluate.make_score(
      model, self._eval_batch_size(), dataset.mean, dataset.std
    )
    over_members = functools.partial(
      self._over_members, num_members=len(self.members)
    )
    self._train = over_members(
      train_epoch, 0, 0, None, None, donate_argnums=(0,)
    )
    self._score_train = over_members(score, 0, 0, None)
    self._score_split = over_members(score, 0, None, None)

  def _eval_batch_size(self):
    """Round up to what the devices can share; it changes no result."""
    batch_size = self._config.eval_batch_size
    return batch_size + -batch_size % self.mesh.shape['data']

  def _reserve(self):
    """Compile training and check that it fits, before anything is moved."""
    self._train = self._compile()
    needed, available = memory.estimate(self._train, self.mesh)
    self.memory = f'{needed / 2**30:.2f} GB of {available / 2**30:.0f} GB'
    if needed > available:
      raise UserError(
        f'{len(self.members)} members need about {self.memory} of device '
        'memory: lower config.replicates, config.noise_fractions or '
        'config.batch_size, pass --config.stacking=map, or use more devices'
      )

  def _compile(self):
    return self._train.lower(
      self.abstract_state(), self._abstract_data(), *self._abstract_images()
    ).compile()

  def _abstract_images(self):
    """Return what training takes after state and data, without values."""
    images = self.dataset.train_images
    return (
      jax.ShapeDtypeStruct(images.shape, images.dtype),
      jax.ShapeDtypeStruct((), np.int32),
    )

  def _abstract_data(self):
    by_member = (len(self._rows),)
    integers = functools.partial(jax.ShapeDtypeStruct, dtype=np.int32)
    return train_state.MemberData(
      key=jax.eval_shape(
        self._make_keys, integers(by_member), integers(by_member)
      ),
      labels=integers((*by_member, self.labels.shape[1])),
      example_ids=integers((*by_member, self.example_ids.shape[1])),
      score=integers(by_member),
      rewinds_weights=jax.ShapeDtypeStruct(by_member, bool),
    )

  def _place_data(self):
    """Put what tells the members apart on the mesh."""
    rows = [self.members[row] for row in self._rows]
    names = self._score_names()
    rows_arms = [arms.ARMS.get(member.arm, arms.DENSE) for member in rows]

    def column(values, dtype=np.int32):
      return members_lib.shard(np.asarray(values, dtype), self.mesh)

    return train_state.MemberData(
      key=self._make_keys(
        column([member.replicate for member in rows]),
        column([member.network for member in rows]),
      ),
      labels=column(self.labels[self._rows]),
      example_ids=column(self.example_ids[self._rows]),
      score=column([names.index(arm.score) for arm in rows_arms]),
      rewinds_weights=column([arm.rewinds_weights for arm in rows_arms], bool),
    )

  def _place_images(self):
    dataset = self.dataset
    self._images = members_lib.replicate(dataset.train_images, self.mesh)
    # Scored in one pass: each pass is compiled, for every engine.
    self._held_out = members_lib.replicate(
      (
        np.append(dataset.validation_labels, dataset.test_labels),
        np.concatenate([dataset.validation_images, dataset.test_images]),
      ),
      self.mesh,
    )

  def create(self):
    """Return the dense networks at initialisation, a stack of TrainStates."""
    return self._create(self._data.key)

  def pack(self, state):
    """Return a stack as it is saved: PackedStates, on any devices the same."""
    return self._cut_copies(self._pack(state))

  def unpack(self, packed):
    """Unpack a stack that was saved.

    Returns:
      state: the stack.
      is_intact: bool, whether every member is, bit for bit, what was saved.
    """
    state, is_intact = self._unpack(self._add_copies(packed))
    return state, bool(self._own(is_intact).all())

  def abstract_packed(self):
    """Return what `pack` returns, without its values."""
    num_members = len(self.members)
    sharding = members_lib.sharding_without_copies(num_members, self.mesh)
    return jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(
        (num_members, *leaf.shape[1:]), leaf.dtype, sharding=sharding
      ),
      jax.eval_shape(self._pack, self.abstract_state()),
    )

  def checkpoint_bytes(self):
    """Count the bytes of a checkpoint, before they are compressed."""
    return sum(
      leaf.size * leaf.dtype.itemsize
      for leaf in jax.tree.leaves(self.abstract_packed())
    )

  def abstract_state(self):
    """Return a stack's shapes, dtypes and shardings, without its values."""
    shapes = jax.eval_shape(self._create, self._abstract_data().key)
    sharding = members_lib.sharding(self.mesh)
    return jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(
        leaf.shape, leaf.dtype, sharding=sharding
      ),
      shapes,
    )

  def train_epoch(self, state, global_epoch):
    """Train one epoch; `state` is used up.

    Returns:
      state: the stack after it.
      losses: float32 [members, steps], cross-entropy before each step.
    """
    state, losses = self._train(
      state, self._data, self._train_images(), np.int32(global_epoch)
    )
    return state, self._own(losses)

  def remember(self, state):
    """Keep the weights as those to rewind to, if an arm rewinds weights."""
    return self._remember(state) if self._rewinds_weights() else state

  def start_level(self, state, level):
    """Prune and rewind as each member's arm does; `state` is used up.

    Args:
      state: the stack at the end of the level before.
      level: int, the level that begins.

    Returns:
      The stack before the first step of the level.
    """
    num_pruned = self.num_pruned_by_level[level] * np.asarray(
      [
        arms.ARMS.get(self.members[row].arm, arms.DENSE).prunes
        for row in self._rows
      ],
      np.int32,
    )
    return self._start_level(
      members_lib.shard(num_pruned, self.mesh),
      state,
      self._data,
      np.int32(level),
      self._train_images(),
    )

  def _train_images(self):
    return self._images

  def score(self, state):
    """Score every example of every split.

    Returns:
      Dict from split to ExampleScores, float32 and int32 [members, N]. On the
      training split by the training labels, noisy where they are noisy.
    """
    train = self._score_train(state, self._data.labels, self._images)
    held_out = self._score_split(state, *self._held_out)
    train, held_out = jax.tree.map(self._own, (train, held_out))
    cut = len(self.dataset.validation_labels)
    return {
      'train': train,
      'validation': jax.tree.map(lambda array: array[:, :cut], held_out),
      'test': jax.tree.map(lambda array: array[:, cut:], held_out),
    }

  def num_kept(self, state):
    """Count the kept weights of each member: int [members]."""
    return self._own(self._num_kept(state))

  def _own(self, stacked):
    """Move a stack to the host, without the copies that fill up a turn."""
    return members_lib.gather(stacked)[: len(self.members)]


def make_mesh(config, num_members):
  """Arrange the devices that a config asks for.

  Args:
    config: the config.
    num_members: int.

  Raises:
    UserError: there are fewer, or they cannot share a batch evenly.
  """
  devices, asked = jax.devices(), config.devices.count
  if asked > len(devices):
    raise UserError(
      f'config.devices.count={asked}, but JAX sees {len(devices)} '
      f'({devices[0].device_kind}): lower it, or pass 0 for all there are'
    )
  devices = devices[: asked or len(devices)]
  data_parallel = config.devices.data_parallel
  if data_parallel and len(devices) % data_parallel:
    raise UserError(
      f'config.devices.data_parallel={data_parallel} must divide the number '
      f'of devices, {len(devices)}'
    )
  mesh = members_lib.make_mesh(num_members, devices, data_parallel)
  if config.batch_size % mesh.shape['data']:
    raise UserError(
      f'config.batch_size={config.batch_size} must be a multiple of '
      f'{mesh.shape["data"]}, over so many devices a batch is split; or pass '
      '--config.devices.data_parallel=1'
    )
  return mesh
