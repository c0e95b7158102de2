from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pruning_gen.data import augment
from pruning_gen.engine import inputs
from pruning_gen.engine import loss_surfaces
from pruning_gen.engine import memory
from pruning_gen.engine import programs
from pruning_gen.engine.stack import Member
from pruning_gen.errors import UserError
from pruning_gen.experiments import build
from pruning_gen.experiments import label_sets
from pruning_gen.training.schedule import Schedule
from tests import small_chain


def describe(config, dataset, members=None):
  """Return the run, the stack and the schedule of a chain."""
  run = small_chain.make_run(config, workdir=None, dataset=dataset)
  members = members or label_sets.list_members(config)
  stack = label_sets.make_stack(run, members)
  schedule = Schedule(config.epochs, config.rewind_epoch, config.levels)
  return run, stack, schedule


def make_programs(config, dataset, members=None):
  return build.make_programs(*describe(config, dataset, members))


def make_spec(config, dataset):
  return build.make_spec(*describe(config, dataset))


def test_a_level_starts_at_the_rewind_epoch(config, digits):
  # It prunes the output layer, too, which most configs leave whole.
  config.arms = ('pruning',)
  config.prune_output, config.prune_fraction = True, 0.9
  config.devices.count = 1
  spec = make_spec(config, digits)
  members = inputs.place_members(spec)
  state = programs._make_start_level(spec)(
    inputs.make_create(spec)(members.key),
    members,
    np.int32(1),
    digits.train_images,
  )
  # One epoch is six steps.
  assert optax.tree.get(state.opt_state, 'count').tolist() == [6, 6]
  num_kept = state.masks['output']['kernel'].sum(axis=(1, 2))
  assert ((num_kept > 0) & (num_kept < 10 * 10)).all()


@pytest.mark.parametrize('augments', [False, True])
def test_training_images_are_augmented_if_asked(
  config, digits, monkeypatch, augments
):
  flip_and_crop = mock.Mock(side_effect=lambda key, images, ids: images)
  monkeypatch.setattr(augment, 'flip_and_crop', flip_and_crop)
  config.data.augment = augments
  config.devices.count = 1
  programs.lower(make_spec(config, digits))
  assert flip_and_crop.called == augments


def test_networks_train_in_bfloat16_and_are_evaluated_in_float32(
  config, digits
):
  config.dtype = 'bfloat16'
  spec = make_spec(config, digits)
  assert spec.model.dtype == jnp.bfloat16
  assert spec.eval_model.dtype == jnp.float32


@pytest.mark.slow
def test_programs_that_sum_do_not_depend_on_eval_batch_size(config, digits):
  config.arms = ('gradient',)
  lowered = []
  for eval_batch_size in (64, 20):
    config.eval_batch_size = eval_batch_size
    spec = make_spec(config, digits)
    state, members = inputs.abstract_state(spec), inputs.abstract_members(spec)
    images, ids = digits.train_images, np.arange(50, dtype=np.int32)
    one = jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype),
      (state, members.labels),
    )
    lowered.append(
      [
        programs._make_start_level(spec).lower(
          state, members, np.int32(1), images
        ),
        programs._make_gradient_norms(spec).lower(
          state, members.labels, images
        ),
        jax.jit(loss_surfaces._make_curvature(spec)).lower(*one, ids, images),
      ]
    )
  for one, other in zip(*lowered):
    assert one.as_text() == other.as_text()


def test_too_little_memory_is_reported_before_anything_is_placed(
  config, digits, monkeypatch
):
  monkeypatch.setattr(memory, 'estimate', lambda *_: (3 << 30, 2 << 30))
  with pytest.raises(UserError, match=r'4 members .* 3\.00 GiB of 2 GiB'):
    make_programs(config, digits)


def test_an_unknown_arm_does_not_train_a_dense_network(config, digits):
  with pytest.raises(UserError, match=r"'lottery'.*pruning, extended_dense"):
    make_programs(config, digits, [Member('lottery', 0.0, 0)])


def test_a_packed_state_has_no_padding(config, digits):
  # Three devices hold four members and two rows of padding.
  config.devices.count = 3
  compiled = make_programs(config, digits)
  state = compiled.create()
  assert {leaf.shape[0] for leaf in jax.tree.leaves(state)} == {6}
  packed = compiled.pack(state)
  shapes, abstract = (
    jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
    for tree in (packed, compiled.packed)
  )
  assert shapes == abstract
  assert {leaf.shape[0] for leaf in jax.tree.leaves(packed)} == {4}
  unpacked, is_intact = compiled.unpack(packed)
  assert is_intact
  jax.tree.map(np.testing.assert_array_equal, unpacked, state)
  damaged = packed.replace(checksum=packed.checksum.at[3].add(1))
  assert not compiled.unpack(damaged)[1]
