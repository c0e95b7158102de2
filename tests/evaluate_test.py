import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pruning_gen.training import evaluate
from pruning_gen.training import train_state


class Pixels(nn.Module):
  """Takes the pixels themselves as logits."""

  @nn.compact
  def __call__(self, images, train):
    assert not train
    return images.reshape(len(images), -1)


STATE = train_state.TrainState({}, {}, {}, ())


def test_scores_by_hand():
  logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
  scores = evaluate.score_logits(logits, jnp.array([0, 1]))
  np.testing.assert_allclose(scores.cross_entropy, -np.log([0.5, 0.1]), 1e-6)
  np.testing.assert_array_equal(scores.prediction, [0, 2])
  # |(-.5, .25, .25)| and |(.1, -.9, .8)|.
  np.testing.assert_allclose(scores.el2n, np.sqrt([0.375, 1.46]), 1e-6)


@pytest.mark.parametrize('batch_size', [1, 4, 5, 11, 64])
def test_every_example_is_scored_once_in_its_place(batch_size):
  rng = np.random.RandomState(0)
  images = rng.randint(0, 256, (11, 1, 3, 1)).astype(np.uint8)
  labels = rng.randint(0, 3, 11).astype(np.int32)
  score = evaluate.make_score(Pixels(), batch_size, (0.0,), (1 / 255,))
  scores = jax.jit(score)(STATE, jnp.asarray(labels), jnp.asarray(images))
  logits = images.reshape(11, 3).astype(np.float64)
  shifted = logits - logits.max(axis=1, keepdims=True)
  log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
  expected = -log_p[np.arange(11), labels]
  np.testing.assert_allclose(scores.cross_entropy, expected, 1e-5, 1e-5)
  np.testing.assert_array_equal(scores.prediction, logits.argmax(axis=1))
  assert scores.cross_entropy.shape == scores.el2n.shape == (11,)


def test_losses_are_float32_for_low_precision_logits():
  logits = jnp.zeros((2, 3), jnp.bfloat16)
  scores = evaluate.score_logits(logits, jnp.array([0, 1]))
  assert scores.cross_entropy.dtype == scores.el2n.dtype == jnp.float32
