import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pruning_gen.training import schedule
from pruning_gen.training import step
from pruning_gen.training.schedule import Schedule


def test_drops_at_milestones():
  rate = schedule.learning_rate(0.1, (2, 3), 0, steps_per_epoch=10)
  rates = [float(rate(jnp.int32(i))) for i in (0, 19, 20, 29, 30, 100)]
  np.testing.assert_allclose(rates, [0.1, 0.1, 0.01, 0.01, 0.001, 0.001], 1e-6)


def test_warms_up_linearly():
  rate = schedule.learning_rate(0.4, (3,), 2, steps_per_epoch=10)
  rates = [float(rate(jnp.int32(i))) for i in (0, 5, 10, 20, 29, 30)]
  np.testing.assert_allclose(rates, [0, 0.1, 0.2, 0.4, 0.4, 0.04], 1e-6)


def test_rewinding_replays_the_rate_and_forgets_momentum():
  rate = schedule.learning_rate(1.0, (2,), 0, steps_per_epoch=1)
  optimizer = step.sgd(rate, momentum=0.5, weight_decay=0.0)
  params = {'kernel': jnp.array([1.0])}
  grads = {'kernel': jnp.array([1.0])}
  opt_state, first = optimizer.init(params), []
  for _ in range(4):
    updates, opt_state = optimizer.update(grads, opt_state, params)
    first.append(float(updates['kernel'][0]))
  # Momentum 1, 1.5, 1.75, 1.875 at rates 1, 1, 0.1, 0.1.
  np.testing.assert_allclose(first, [-1, -1.5, -0.175, -0.1875], 1e-6)
  opt_state = schedule.rewind(optimizer, params, 1)
  assert int(optax.tree.get(opt_state, 'count')) == 1
  again = []
  for _ in range(3):
    updates, opt_state = optimizer.update(grads, opt_state, params)
    again.append(float(updates['kernel'][0]))
  # From step 1: rates 1, 0.1, 0.1, and momentum from zero.
  np.testing.assert_allclose(again, [-1, -0.15, -0.175], 1e-6)


def test_epochs_of_the_paper():
  # CIFAR: E = 160, t = 10; level L has seen E + L (E - t) epochs at its end.
  cifar = Schedule(epochs=160, rewind_epoch=10, levels=20)
  assert [cifar.epochs_by(level) for level in range(4)] == [160, 310, 460, 610]
  assert cifar.global_epoch(0, 10) == 10
  assert cifar.global_epoch(1, 10) == 160


@pytest.mark.parametrize('levels', [0, 3])
@pytest.mark.parametrize('rewind_epoch', [0, 1, 4])
def test_what_remains_after_any_number_of_epochs(rewind_epoch, levels):
  """Every epoch once, in order; a level that is trained is still measured."""
  own = Schedule(5, rewind_epoch, levels)
  epochs = [
    (level, epoch)
    for level in range(levels + 1)
    for epoch in range(rewind_epoch if level else 0, 5)
  ]
  # Global epochs number all of them without a gap.
  assert [own.global_epoch(*at) for at in epochs] == list(range(len(epochs)))
  assert own.epochs_by(levels) == len(epochs)
  for done in range(len(epochs) + 1):
    last = epochs[done - 1][0] if done else 0
    assert own.level_of(done) == last
    remaining = list(own.remaining(done))
    assert [level for level, _ in remaining] == list(range(last, levels + 1))
    left = [(level, epoch) for level, each in remaining for epoch in each]
    assert left == epochs[done:]
