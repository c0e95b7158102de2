import jax
import numpy as np
import pytest

from pruning_gen.engine import memory
from pruning_gen.engine.stack import Member
from pruning_gen.errors import UserError
from pruning_gen.experiments import build
from pruning_gen.experiments import label_sets
from pruning_gen.training.schedule import Schedule
from tests import small_chain


def make_programs(config, dataset, members=None):
  run = small_chain.make_run(config, workdir=None, dataset=dataset)
  members = members or label_sets.list_members(config)
  stack = label_sets.make_stack(run, members)
  schedule = Schedule(config.epochs, config.rewind_epoch, config.levels)
  return build.make_programs(run, stack, schedule)


def test_too_little_memory_is_reported_before_anything_is_placed(
  config, digits, monkeypatch
):
  monkeypatch.setattr(memory, 'estimate', lambda *_: (3 << 30, 2 << 30))
  with pytest.raises(UserError, match=r'4 members .* 3\.00 GiB of 2 GiB'):
    make_programs(config, digits)


def test_an_unknown_arm_does_not_train_a_dense_network(config, digits):
  with pytest.raises(UserError, match=r"'lottery'.*pruning, extended_dense"):
    make_programs(config, digits, [Member('lottery', 0.0, 0)])


def test_a_packed_state_does_not_depend_on_the_devices(config, digits):
  # Three devices hold four members and two copies.
  config.devices.count = 3
  programs = make_programs(config, digits)
  state = programs.create()
  assert {leaf.shape[0] for leaf in jax.tree.leaves(state)} == {6}
  packed = programs.pack(state)
  shapes, abstract = (
    jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
    for tree in (packed, programs.packed)
  )
  assert shapes == abstract
  assert {leaf.shape[0] for leaf in jax.tree.leaves(packed)} == {4}
  unpacked, is_intact = programs.unpack(packed)
  assert is_intact
  jax.tree.map(np.testing.assert_array_equal, unpacked, state)
  damaged = packed.replace(checksum=packed.checksum.at[3].add(1))
  assert not programs.unpack(damaged)[1]
