import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import default
from pruning_gen.engine.inputs import Spec
from pruning_gen.models import lenet
from pruning_gen.training import epoch
from pruning_gen.training import evaluate
from pruning_gen.training import step
from pruning_gen.training import train_state


class Pixels(nn.Module):
  """Takes the pixels themselves as logits."""

  @nn.compact
  def __call__(self, images, train):
    assert not train
    return images.reshape(len(images), -1)


def as_float(images):
  return images.astype(jnp.float32)


STATE = train_state.TrainState({}, {}, {}, ())


def test_evaluation_by_hand():
  logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
  found = evaluate.evaluate_logits(logits, jnp.array([0, 1]))
  np.testing.assert_allclose(found.cross_entropy, -np.log([0.5, 0.1]), 1e-6)
  np.testing.assert_array_equal(found.prediction, [0, 2])
  # |(-.5, .25, .25)| and |(.1, -.9, .8)|.
  np.testing.assert_allclose(found.el2n, np.sqrt([0.375, 1.46]), 1e-6)


@pytest.mark.parametrize('batch_size', [1, 4, 5, 11, 64])
def test_every_example_is_evaluated_once_in_its_place(batch_size):
  rng = np.random.RandomState(0)
  images = rng.randint(0, 256, (11, 1, 3, 1)).astype(np.uint8)
  labels = rng.randint(0, 3, 11).astype(np.int32)
  evaluate_all = jax.jit(evaluate.make_evaluate(Pixels(), batch_size, as_float))
  found = evaluate_all(STATE, jnp.asarray(labels), jnp.asarray(images))
  logits = images.reshape(11, 3).astype(np.float64)
  shifted = logits - logits.max(axis=1, keepdims=True)
  log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
  expected = -log_p[np.arange(11), labels]
  np.testing.assert_allclose(found.cross_entropy, expected, 1e-5, 1e-5)
  np.testing.assert_array_equal(found.prediction, logits.argmax(axis=1))
  assert found.cross_entropy.shape == found.el2n.shape == (11,)


def test_losses_are_float32_for_low_precision_logits():
  logits = jnp.zeros((2, 3), jnp.bfloat16)
  found = evaluate.evaluate_logits(logits, jnp.array([0, 1]))
  assert found.cross_entropy.dtype == found.el2n.dtype == jnp.float32


def test_small_losses_are_not_rounded_to_zero():
  logits = jnp.array([[20.0, 5.0, 5.0], [5.0, 20.0, 5.0], [3.0, 3.0, -1e30]])
  found = evaluate.evaluate_logits(logits, jnp.array([0, 0, 1]))
  small = np.log1p(2 * np.exp(-15.0))
  expected = [small, 15 + small, np.log(2)]
  np.testing.assert_allclose(found.cross_entropy, expected, 1e-6)


@pytest.mark.parametrize('broken', [np.nan, np.inf])
def test_the_loss_of_logits_that_are_not_finite_is_not_finite(broken):
  logits = jnp.array([[0.0, broken, 1.0]])
  for label in range(3):
    found = evaluate.evaluate_logits(logits, jnp.array([label]))
    assert not np.isfinite(found.cross_entropy).any()


def in_float64(params, dataset):
  """Return the cross-entropy of a LeNet on its training set, in float64."""
  params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
  x = np.asarray(dataset.train_images, np.float64) / 255
  x = ((x - dataset.mean) / dataset.std).reshape(len(x), -1)
  for name in ('dense_0', 'dense_1'):
    x = np.maximum(x @ params[name]['kernel'] + params[name]['bias'], 0)
  logits = x @ params['output']['kernel'] + params['output']['bias']
  logits -= logits.max(axis=1, keepdims=True)
  rows, others = np.arange(len(logits)), np.exp(logits)
  others[rows, logits.argmax(axis=1)] = 0
  return np.log1p(others.sum(axis=1)) - logits[rows, dataset.train_labels]


@pytest.mark.slow
def test_the_losses_of_a_trained_network_agree_with_float64(digits):
  model = lenet.LeNet(10, (60, 30))
  optimizer = step.sgd(optax.constant_schedule(0.05), 0.9, 0.0)
  state = train_state.create(
    model, optimizer, (8, 8, 1), False, jax.random.key(0)
  )

  def prepare(images):
    return epoch.normalize(images, digits.mean, digits.std)

  member = train_state.MemberData(
    key=jax.random.key(0),
    labels=jnp.asarray(digits.train_labels),
    example_ids=jnp.arange(200, dtype=jnp.int32),
  )
  images = jnp.asarray(digits.train_images)
  train_epoch = jax.jit(
    epoch.make_train_epoch(step.make_train_step(model, optimizer), 20, prepare)
  )
  for i in range(30):
    state, _ = train_epoch(state, member, images, jnp.int32(i))
  run = jax.jit(evaluate.make_evaluate(model, 64, prepare))
  losses = np.asarray(run(state, member.labels, images).cross_entropy)
  expected = in_float64(state.params, digits)
  assert expected.min() < 1e-7 < 1e-3 < expected.max()
  large = expected > 1e-7
  np.testing.assert_allclose(losses[large], expected[large], rtol=1e-5)


def test_evaluation_takes_no_more_than_there_is():
  config = default.get_config()
  config.eval_batch_size = 300_000
  dataset = types.SimpleNamespace(
    train_labels=np.zeros(401), test_labels=np.zeros(100)
  )
  layout = types.SimpleNamespace(mesh=types.SimpleNamespace(shape={'data': 2}))
  spec = Spec(config, dataset, None, None, None, None, layout)
  assert spec.eval_batch_size == 402
