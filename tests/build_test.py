import types

import jax.numpy as jnp
import numpy as np
import optax

from pruning_gen.experiments import build

SIX_STEPS = types.SimpleNamespace(steps_per_epoch=lambda batch_size: 6)


def first_updates(config, counts):
  """Return what a parameter of 2 with gradient 1 changes by, at some steps."""
  optimizer = build.make_optimizer(config, SIX_STEPS)
  params = {'bias': jnp.array([2.0])}
  grads = {'bias': jnp.array([1.0])}
  updates = []
  for count in counts:
    state = list(optimizer.init(params))
    state[-1] = optax.ScaleByScheduleState(jnp.int32(count))
    update, _ = optimizer.update(grads, tuple(state), params)
    updates.append(float(update['bias'][0]))
  return updates


def test_sgd_follows_the_config(config):
  config.optimizer = 'sgd'
  config.learning_rate, config.weight_decay = 0.5, 0.1
  config.warmup_epochs, config.milestones = 1, (2,)
  # The gradient and weight decay are 1.2; the rate rises for one epoch, and
  # falls to a tenth after the second.
  np.testing.assert_allclose(
    first_updates(config, [0, 3, 6, 11, 12]), [0, -0.3, -0.6, -0.6, -0.06]
  )


def test_adam_follows_the_config(config):
  config.optimizer, config.learning_rate = 'adam', 0.5
  config.warmup_epochs, config.milestones = 0, (2,)
  np.testing.assert_allclose(
    first_updates(config, [0, 12]), [-0.5, -0.05], rtol=1e-5
  )
