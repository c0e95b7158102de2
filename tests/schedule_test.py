import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pruning_gen.training import schedule as schedules
from pruning_gen.training import step


def test_drops_at_milestones():
  rate = schedules.learning_rate(0.1, (2, 3), 0, steps_per_epoch=10)
  rates = [float(rate(jnp.int32(i))) for i in (0, 19, 20, 29, 30, 100)]
  np.testing.assert_allclose(rates, [0.1, 0.1, 0.01, 0.01, 0.001, 0.001], 1e-6)


def test_warms_up_linearly():
  rate = schedules.learning_rate(0.4, (3,), 2, steps_per_epoch=10)
  rates = [float(rate(jnp.int32(i))) for i in (0, 5, 10, 20, 29, 30)]
  np.testing.assert_allclose(rates, [0, 0.1, 0.2, 0.4, 0.4, 0.04], 1e-6)


def test_rewinding_replays_the_rate_and_forgets_momentum():
  rate = schedules.learning_rate(1.0, (2,), 0, steps_per_epoch=1)
  tx = step.sgd(rate, momentum=0.5, weight_decay=0.0)
  params = {'kernel': jnp.array([1.0])}
  grads = {'kernel': jnp.array([1.0])}
  opt_state, first = tx.init(params), []
  for _ in range(4):
    updates, opt_state = tx.update(grads, opt_state, params)
    first.append(float(updates['kernel'][0]))
  # Momentum 1, 1.5, 1.75, 1.875 at rates 1, 1, 0.1, 0.1.
  np.testing.assert_allclose(first, [-1, -1.5, -0.175, -0.1875], 1e-6)
  opt_state = schedules.rewind(tx, params, 1)
  assert int(optax.tree.get(opt_state, 'count')) == 1
  again = []
  for _ in range(3):
    updates, opt_state = tx.update(grads, opt_state, params)
    again.append(float(updates['kernel'][0]))
  # From step 1: rates 1, 0.1, 0.1, and momentum from zero.
  np.testing.assert_allclose(again, [-1, -0.15, -0.175], 1e-6)


def test_global_epochs_of_the_paper():
  # CIFAR: E = 160, t = 10; level L has seen E + L (E - t) epochs at its end.
  for level in range(4):
    seen = schedules.global_epoch(level, 160, 160, 10)
    assert seen == 160 + level * 150
  assert schedules.global_epoch(1, 10, 160, 10) == 160


@pytest.mark.parametrize('rewind_epoch', [0, 1, 4])
def test_every_epoch_is_new_and_can_be_located(rewind_epoch):
  expected = 0
  assert schedules.locate(0, 5, rewind_epoch) == (0, 0)
  for level in range(4):
    for epoch in range(rewind_epoch if level else 0, 5):
      at = schedules.global_epoch(level, epoch, 5, rewind_epoch)
      assert at == expected
      finished = schedules.locate(at + 1, 5, rewind_epoch)
      assert finished == (level, epoch + 1)
      expected += 1
