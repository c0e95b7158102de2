import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pruning_gen.models import lenet
from pruning_gen.models import resnet
from pruning_gen.pruning import masks
from pruning_gen.pruning import scores
from pruning_gen.training import evaluate
from pruning_gen.training import level
from pruning_gen.training import train_state

MEAN, STD = (0.2,), (0.5,)


@pytest.fixture(scope='module')
def network():
  """A two-layer network, 10 images of 2 x 2 and a member that sees 7."""
  model = lenet.LeNet(3, (5,))
  params = model.init(jax.random.key(0), jnp.zeros((1, 2, 2, 1)), train=False)[
    'params'
  ]
  state = train_state.TrainState(params, {}, masks.all_kept(params), ())
  images = jax.random.randint(jax.random.key(1), (10, 2, 2, 1), 0, 256)
  member = train_state.MemberData(
    key=jax.random.key(2),
    labels=jnp.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0], jnp.int32),
    example_ids=jnp.array([0, 1, 2, 4, 5, 7, 9], jnp.int32),
    score=jnp.int32(0),
  )
  return model, state, member, images.astype(jnp.uint8)


def test_gradient_is_that_of_the_members_examples(network):
  model, state, member, images = network
  # Batches of 3 of 7 examples: the padding must weigh nothing.
  loss_gradient = evaluate.make_loss_gradient(model, 3, MEAN, STD)
  grads = loss_gradient(state, member.labels, member.example_ids, images)

  def loss(kernel, row, column, step):
    kernel = kernel.at[row, column].add(step)
    params = state.params | {
      'dense_0': state.params['dense_0'] | {'kernel': kernel}
    }
    total = 0.0
    for i in member.example_ids.tolist():
      image = (np.asarray(images[i : i + 1], np.float64) / 255 - 0.2) / 0.5
      logits = model.apply({'params': params}, jnp.float32(image), train=False)
      logits = np.asarray(logits[0], np.float64)
      total += np.log(np.exp(logits).sum()) - logits[member.labels[i]]
    return total / 7

  kernel = state.params['dense_0']['kernel']
  for row, column in [(0, 0), (2, 3), (3, 4)]:
    step = 1e-2
    difference = loss(kernel, row, column, step) - loss(
      kernel, row, column, -step
    )
    expected = difference / (2 * step)
    got = float(grads['dense_0']['kernel'][row, column])
    assert got == pytest.approx(expected, rel=1e-2, abs=1e-4)


def test_gradient_score_by_hand():
  score = scores.gradient(
    {'kernel': jnp.array([2.0, -3.0])}, {'kernel': jnp.array([-0.5, 0.25])}
  )
  np.testing.assert_array_equal(score['kernel'], [1.0, 0.75])


def test_synflow_in_closed_form(network):
  model, state, _, _ = network
  pruned = state.masks['dense_0']['kernel'].at[1, 2].set(False)
  kept = state.masks | {'dense_0': state.masks['dense_0'] | {'kernel': pruned}}
  score = scores.synflow(model, state.params, {}, kept, (2, 2, 1))
  first = np.abs(state.params['dense_0']['kernel']) * np.asarray(pruned)
  last = np.abs(state.params['output']['kernel'])
  # R = 1 |A| |B| 1, so the part of a_ij is |a_ij| times what leaves unit j.
  scale = 1 / (first @ last).sum()
  np.testing.assert_allclose(
    score['dense_0']['kernel'], scale * first * last.sum(1), rtol=1e-5
  )
  np.testing.assert_allclose(
    score['output']['kernel'], scale * first.sum(0)[:, None] * last, rtol=1e-5
  )
  assert score['dense_0']['kernel'][1, 2] == 0


@pytest.mark.parametrize('gain', [1e-6, 1.0, 1e12])
def test_synflow_of_a_layer_sums_to_one(network, gain):
  model, state, _, _ = network
  params = jax.tree.map(lambda leaf: leaf * gain, state.params)
  score = scores.synflow(model, params, {}, state.masks, (2, 2, 1))
  for layer in score.values():
    assert float(layer['kernel'].sum()) == pytest.approx(1, rel=1e-5)


def test_synflow_of_a_network_that_lets_nothing_through(network):
  model, state, _, _ = network
  none = jax.tree.map(jnp.zeros_like, state.masks)
  score = scores.synflow(model, state.params, {}, none, (2, 2, 1))
  assert not any(leaf.any() for leaf in jax.tree.leaves(score))


def test_synflow_flows_through_batch_norm():
  model = resnet.CifarResNet(num_classes=3, blocks_per_stage=1, num_filters=2)

  @functools.partial(
    jax.jit, compiler_options={'xla_backend_optimization_level': 0}
  )
  def init_and_score(key):
    variables = model.init(key, jnp.zeros((1, 8, 8, 3)), train=False)
    params, batch_stats = variables['params'], variables['batch_stats']
    kept = masks.all_kept(params)
    return scores.synflow(model, params, batch_stats, kept, (8, 8, 3))

  score = init_and_score(jax.random.key(0))
  # What flows into the network flows out of it.
  first, last = score['conv_stem'], score['output']
  assert float(first['kernel'].sum()) == pytest.approx(
    float(last['kernel'].sum()), rel=1e-3
  )


def test_random_scores_depend_on_level_and_key(network):
  _, state, member, _ = network
  draw = [
    scores.random(state.params, key, jnp.int32(at))['dense_0']['kernel']
    for key, at in [
      (member.key, 1),
      (member.key, 1),
      (member.key, 2),
      (jax.random.key(3), 1),
    ]
  ]
  np.testing.assert_array_equal(draw[0], draw[1])
  assert (draw[0] != draw[2]).all()
  assert (draw[0] != draw[3]).all()


def test_each_member_goes_by_its_own_score(network):
  model, state, member, images = network
  names = ['gradient', 'magnitude', 'random', 'synflow']
  score_weights = level.make_score_weights(
    model, names, (2, 2, 1), 4, MEAN, STD
  )
  kernels = [
    score_weights(
      state, member.replace(score=jnp.int32(i)), jnp.int32(1), images
    )['dense_0']['kernel']
    for i in range(4)
  ]
  np.testing.assert_array_equal(
    kernels[1], np.abs(state.params['dense_0']['kernel'])
  )
  grads = evaluate.make_loss_gradient(model, 4, MEAN, STD)(
    state, member.labels, member.example_ids, images
  )
  np.testing.assert_allclose(
    kernels[0],
    np.abs(state.params['dense_0']['kernel'] * grads['dense_0']['kernel']),
    rtol=1e-6,
  )
