import numpy as np

from pruning_gen.experiments import label_sets
from tests import small_chain


def test_members_and_their_labels(config, digits):
  config.replicates = 2
  config.first_replicate = 5
  members = label_sets.list_members(config)
  assert len(members) == 8
  assert [str(member) for member in members[:3]] == [
    'pruning, noise 0, replicate 5',
    'extended_dense, noise 0, replicate 5',
    'pruning, noise 0, replicate 6',
  ]
  run = small_chain.make_run(config, workdir=None, dataset=digits)
  stack = label_sets.make_stack(run, members)
  labels, is_noisy = stack.labels, stack.is_noisy
  assert labels.shape == is_noisy.shape == stack.example_ids.shape == (8, 200)
  assert is_noisy.sum(axis=1).tolist() == [0] * 4 + [40] * 4
  np.testing.assert_array_equal(labels[0], digits.train_labels)
  # Both arms of a replicate see the same labels; replicates differ.
  np.testing.assert_array_equal(labels[4], labels[5])
  assert (labels[4] != labels[6]).any()
  np.testing.assert_array_equal(labels[4] != digits.train_labels, is_noisy[4])
  # 6 whole batches of 32, and a remainder of 8 that is left out.
  assert stack.steps_per_epoch(32) == 6
  assert stack.images_per_epoch(32) == 8 * 192


def test_the_kind_of_noise_is_that_of_the_config(config, digits):
  config.noise.kind = 'pair'
  run = small_chain.make_run(config, workdir=None, dataset=digits)
  stack = label_sets.make_stack(run, label_sets.list_members(config))
  is_noisy = stack.is_noisy[2]
  assert is_noisy.sum() == 40
  np.testing.assert_array_equal(
    stack.labels[2], (digits.train_labels + is_noisy) % 10
  )
