"""The landscape around the networks of a stack, which are read from files."""

import functools
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd
from etils import epath
from jaxtyping import Float

from pruning_gen.data import streams
from pruning_gen.engine import inputs
from pruning_gen.engine import mesh
from pruning_gen.engine import programs
from pruning_gen.engine.inputs import Spec
from pruning_gen.engine.over_members import over_members
from pruning_gen.engine.stack import Member
from pruning_gen.pruning import masks
from pruning_gen.storage import level_tables
from pruning_gen.storage import networks
from pruning_gen.storage.networks import StoredNetwork
from pruning_gen.training import epoch
from pruning_gen.training import evaluate
from pruning_gen.training import loss_surface
from pruning_gen.training import schedule
from pruning_gen.training.train_state import TrainState


class Landscape(NamedTuple):
  """The compiled measures of a stack; all that they return is NumPy.

  A state is a TrainState with a leading [members] axis, without an optimizer's.

  Attributes:
    evaluate: (state) -> {split: PerExample}, as `Programs.evaluate`.
    barriers: (state, other) -> {column of `level_tables.BARRIERS`:
      [members]}, on the paths between networks.
    curvature: (state) -> loss_surface.Curvature, each array [members].
  """

  evaluate: Callable
  barriers: Callable
  curvature: Callable


def build(spec: Spec) -> Landscape:
  """Compile the measures of a stack whose images fit on the devices."""
  dataset, layout = spec.dataset, spec.layout
  data = inputs.place_members(spec)
  images, example_ids, *test = mesh.broadcast(
    (
      dataset.train_images,
      choose_examples(spec),
      dataset.test_labels,
      dataset.test_images,
    ),
    layout,
  )
  gather = functools.partial(mesh.gather_members, layout=layout)
  path = over_members(
    _make_path(spec), layout, (0, 0, 0, *(None,) * 4), skip_padding=True
  )
  curvature = over_members(
    _make_curvature(spec), layout, (0, 0, None, None), skip_padding=True
  )

  def measure_barriers(state, other):
    found = jax.tree.map(
      gather, path(state, other, data.labels, example_ids, images, *test)
    )
    errors = found.num_wrong / len(dataset.test_labels)
    losses = found.train_cross_entropy.astype(np.float64)
    return dict(zip(level_tables.BARRIERS, map(barrier, (errors, losses))))

  def measure_curvature(state):
    found = curvature(state, data.labels, example_ids, images)
    return jax.tree.map(gather, found)

  return Landscape(
    evaluate=programs.make_evaluate(spec, data, images)['evaluate'],
    barriers=measure_barriers,
    curvature=measure_curvature,
  )


def barrier(
  values: Float[np.ndarray, 'row point'],
) -> Float[np.ndarray, ' row']:
  """Return how far paths rise above the straight line between their ends.

  As in Entezari et al. 2022. Between ends that are equal it is the barrier of
  Frankle et al. 2020, the maximum minus the mean of the ends, which between
  ends that differ, as two levels do, is never below half their difference.
  """
  begin, end = values[:, :1], values[:, -1:]
  straight = begin + (end - begin) * np.linspace(0, 1, values.shape[1])
  return (values - straight).max(axis=1)


def choose_examples(spec: Spec) -> np.ndarray:
  """Draw the training examples that all networks are measured on."""
  ids = jax.random.permutation(_key(spec, 0), len(spec.dataset.train_labels))
  return np.sort(ids[: spec.config.landscape.num_examples]).astype(np.int32)


def _key(spec: Spec, counter: int) -> jax.Array:
  """Return a key that all networks share."""
  key = jax.random.key(spec.config.seed)
  return streams.draw_key(key, 'landscape', counter)


def _batch_size(spec: Spec) -> int:
  """Divide the examples into equal batches, none larger than of evaluation."""
  num_examples = spec.config.landscape.num_examples
  batch_size = -(-num_examples // -(-num_examples // spec.eval_batch_size))
  return batch_size + -batch_size % spec.layout.mesh.shape['data']


def _make_path(spec: Spec) -> Callable:
  on_train, on_test = (
    evaluate.make_evaluate(
      spec.eval_model, batch_size, spec.prepare, spec.config.eval_precision
    )
    for batch_size in (_batch_size(spec), spec.eval_batch_size)
  )
  dataset = spec.dataset
  return loss_surface.make_path(
    spec.eval_model,
    spec.config.landscape.num_points,
    on_train,
    on_test,
    # One batch of any size cannot be split over devices.
    functools.partial(epoch.normalize, mean=dataset.mean, std=dataset.std),
  )


def _make_curvature(spec: Spec) -> Callable:
  return loss_surface.make_curvature(
    evaluate.make_loss_gradient(
      spec.eval_model, spec.config.batch_size, spec.prepare
    ),
    spec.config.landscape.num_iterations,
    _key(spec, 1),
    spec.config.eval_precision,
  )


def read_networks(
  workdir: epath.PathLike, members: Iterable[Member], level: int
) -> list[StoredNetwork]:
  """Read networks of the chain that are kept."""
  return [
    networks.read(networks.path_of(workdir, *member.identity, level))
    for member in members
  ]


def identify(members: Iterable[Member], level: int) -> pd.DataFrame:
  """Return the columns `level_tables.IDENTITY` of some networks."""
  rows = [(*member.identity, level) for member in members]
  return pd.DataFrame(rows, columns=list(level_tables.IDENTITY))


def place(spec: Spec, networks: Sequence[StoredNetwork]) -> TrainState:
  """Put networks on the devices, in the order of the stack."""
  trees = [
    (network.params, network.batch_stats, network.masks) for network in networks
  ]
  stacked = jax.tree.map(
    lambda *leaves: np.stack(leaves)[spec.layout.rows], *trees
  )
  return TrainState(*mesh.shard(stacked, spec.layout), opt_state=())


def prune(before: StoredNetwork, after: StoredNetwork) -> StoredNetwork:
  """Return what a level begins with: the last one's weights, its own masks."""
  params = jax.tree.map(np.asarray, masks.apply(before.params, after.masks))
  return before._replace(params=params, masks=after.masks)


def start_training(
  spec: Spec, state: TrainState, first_step: int
) -> TrainState:
  """Add the optimizer's state of a level that begins at a step."""

  def start(state):
    opt_state = schedule.rewind(spec.optimizer, state.params, first_step)
    return state.replace(opt_state=opt_state)

  return over_members(start, spec.layout, (0,), optimize=False)(state)
