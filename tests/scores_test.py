import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pruning_gen.engine import mesh
from pruning_gen.engine.over_members import over_members
from pruning_gen.errors import UserError
from pruning_gen.models import lenet
from pruning_gen.models import resnet
from pruning_gen.pruning import masks
from pruning_gen.pruning import scores
from pruning_gen.pruning.scores import SCORES
from pruning_gen.training import epoch
from pruning_gen.training import evaluate
from pruning_gen.training import level
from pruning_gen.training import train_state


def prepare(images):
  return epoch.normalize(images, (0.2,), (0.5,))


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


@pytest.fixture(scope='module')
def context(network):
  model, state, member, _ = network
  return scores.Context(
    model,
    state.params,
    state.batch_stats,
    state.masks,
    member.key,
    jnp.int32(1),
    (2, 2, 1),
    loss_gradient=lambda: pytest.fail('the gradient of the loss was computed'),
  )


def test_gradient_is_that_of_the_members_examples(network):
  model, state, member, images = network
  # Batches of 3 of 7 examples: the padding must weigh nothing.
  loss_gradient = evaluate.make_loss_gradient(model, 3, prepare)
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


def test_gradient_score_by_hand(context):
  score = scores.gradient(
    context._replace(
      params={'kernel': jnp.array([2.0, -3.0])},
      loss_gradient=lambda: {'kernel': jnp.array([-0.5, 0.25])},
    )
  )
  np.testing.assert_array_equal(score['kernel'], [1.0, 0.75])


@pytest.mark.parametrize('name', SCORES)
def test_only_a_score_that_needs_images_pays_for_the_gradient(context, name):
  called = []

  def loss_gradient():
    called.append(name)
    return context.params

  score = SCORES[name].function(context._replace(loss_gradient=loss_gradient))
  assert jax.tree.structure(score) == jax.tree.structure(context.params)
  assert bool(called) == SCORES[name].needs_images


def test_an_unknown_score_is_refused_with_those_that_there_are():
  assert scores.score_of('random') is SCORES['random']
  with pytest.raises(UserError) as error:
    scores.score_of('hessian')
  assert {'hessian', *SCORES} <= set(re.findall(r'\w+', str(error.value)))


def test_synflow_in_closed_form(context):
  params, kept = context.params, context.masks
  pruned = kept['dense_0']['kernel'].at[1, 2].set(False)
  kept = kept | {'dense_0': kept['dense_0'] | {'kernel': pruned}}
  score = scores.synflow(context._replace(masks=kept))
  first = np.abs(params['dense_0']['kernel']) * np.asarray(pruned)
  last = np.abs(params['output']['kernel'])
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
def test_synflow_of_a_layer_sums_to_one(context, gain):
  params = jax.tree.map(lambda leaf: leaf * gain, context.params)
  score = scores.synflow(context._replace(params=params))
  for layer in score.values():
    assert float(layer['kernel'].sum()) == pytest.approx(1, rel=1e-5)


def test_synflow_of_a_network_that_lets_nothing_through(context):
  none = jax.tree.map(jnp.zeros_like, context.masks)
  score = scores.synflow(context._replace(masks=none))
  assert not any(leaf.any() for leaf in jax.tree.leaves(score))


def test_synflow_flows_through_batch_norm(context):
  model = resnet.CifarResNet(num_classes=3, blocks_per_stage=1, num_filters=2)

  @functools.partial(
    jax.jit, compiler_options={'xla_backend_optimization_level': 0}
  )
  def init_and_score(key):
    variables = model.init(key, jnp.zeros((1, 8, 8, 3)), train=False)
    return scores.synflow(
      context._replace(
        model=model,
        masks=masks.all_kept(variables['params']),
        image_shape=(8, 8, 3),
        **variables,
      )
    )

  score = init_and_score(jax.random.key(0))
  # What flows into the network flows out of it.
  first, last = score['conv_stem'], score['output']
  assert float(first['kernel'].sum()) == pytest.approx(
    float(last['kernel'].sum()), rel=1e-3
  )


def test_random_scores_depend_on_level_and_key(context):
  draw = [
    scores.random(context._replace(key=key, level=jnp.int32(at)))
    for key, at in [
      (context.key, 1),
      (context.key, 1),
      (context.key, 2),
      (jax.random.key(3), 1),
    ]
  ]
  first, again, *others = (score['dense_0']['kernel'] for score in draw)
  np.testing.assert_array_equal(first, again)
  for other in others:
    assert (first != other).all()


def make_score_weights(model, names):
  loss_gradient = evaluate.make_loss_gradient(model, 4, prepare)
  return level.make_score_weights(model, names, (2, 2, 1), loss_gradient)


def test_each_member_goes_by_its_own_score(network):
  model, state, member, images = network
  score_weights = make_score_weights(
    model, ['gradient', 'magnitude', 'random', 'synflow']
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
  grads = evaluate.make_loss_gradient(model, 4, prepare)(
    state, member.labels, member.example_ids, images
  )
  np.testing.assert_allclose(
    kernels[0],
    np.abs(state.params['dense_0']['kernel'] * grads['dense_0']['kernel']),
    rtol=1e-6,
  )


def constant(context):
  return jax.tree.map(jnp.ones_like, context.params)


def by_position(context):
  """Varies over no member, and is an integer: so many weights come before."""
  return jax.tree.map(
    lambda leaf: jnp.argsort(jnp.zeros(leaf.size)).reshape(leaf.shape),
    context.params,
  )


def of_one_key(context):
  key = jax.random.key(7)
  return jax.tree.map(
    lambda leaf: jax.random.uniform(key, leaf.shape), context.params
  )


@pytest.mark.parametrize(
  'vectorize, skip_copies', [(False, True), (True, False)]
)
def test_a_score_that_is_the_same_for_all_members_works_next_to_any_other(
  network, monkeypatch, vectorize, skip_copies
):
  model, state, member, images = network
  new = (constant, by_position, of_one_key)
  for function in new:
    monkeypatch.setitem(SCORES, function.__name__, scores.Score(function))
  names = ['magnitude', *(function.__name__ for function in new), 'gradient']
  devices = np.asarray(jax.devices()[:4]).reshape(2, 2)
  layout = mesh.Layout(
    jax.sharding.Mesh(
      devices,
      ('member', 'data'),
      axis_types=(jax.sharding.AxisType.Auto,) * 2,
    ),
    num_members=len(names),
    vectorize=vectorize,
  )
  rows = layout.rows
  stack = jax.tree.map(
    lambda leaf: jnp.stack([leaf] * len(rows)), (state, member)
  )
  states, members = stack
  score_weights = over_members(
    make_score_weights(model, names),
    layout,
    (0, 0, None, None),
    skip_copies=skip_copies,
  )
  by_member = score_weights(
    states,
    members.replace(score=jnp.asarray(rows, jnp.int32)),
    jnp.int32(1),
    images,
  )
  kernels = dict(zip(names, np.asarray(by_member['output']['kernel'])))
  weights = state.params['output']['kernel']
  np.testing.assert_array_equal(kernels['magnitude'], np.abs(weights))
  np.testing.assert_array_equal(kernels['constant'], np.ones((5, 3)))
  np.testing.assert_array_equal(
    kernels['by_position'], np.arange(15).reshape(5, 3)
  )
  np.testing.assert_array_equal(
    kernels['of_one_key'], jax.random.uniform(jax.random.key(7), (5, 3))
  )
  assert (kernels['gradient'] > 0).any()
