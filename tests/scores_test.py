import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pruning_gen.engine import mesh
from pruning_gen.engine.over_members import over_members
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


def with_kernels(**kernels):
  """Return the context of a network of these kernels, all kept."""
  params = {
    name: {'kernel': jnp.asarray(kernel, jnp.float32)}
    for name, kernel in kernels.items()
  }
  kept = masks.all_kept(params)
  return scores.Context(None, params, {}, kept, None, 1, (), None)


@functools.cache
def pruner(name):
  def prune(params, kept, number):
    context = with_kernels()._replace(params=params, masks=kept)
    prunable = masks.prunable(params, prune_output=True)
    return masks.prune(kept, SCORES[name].function(context), prunable, number)

  return jax.jit(prune, compiler_options={'xla_backend_optimization_level': 0})


def prune(context, name, *num_pruned):
  """Prune by a score, in several steps, and return the masks by layer."""
  params, kept = context.params, context.masks
  for number in num_pruned:
    kept = pruner(name)(params, kept, jnp.int32(number))
    params = jax.tree.map(np.multiply, params, kept)
  return {name: np.asarray(layer['kernel']) for name, layer in kept.items()}


def count(kept):
  return [mask.sum() for mask in kept.values()]


def draw(*shapes):
  rng = np.random.default_rng(0)
  return {f'dense_{i}': rng.normal(size=own) for i, own in enumerate(shapes)}


def test_lamp_by_hand():
  own = with_kernels(dense_0=[[3, -1], [2, 1]], dense_1=[[0, 0]])
  score = scores.lamp(own)
  np.testing.assert_allclose(
    score['dense_0']['kernel'], [[1, 1 / 15], [4 / 13, 1 / 15]], rtol=1e-6
  )
  np.testing.assert_array_equal(score['dense_1']['kernel'], [[0, 0]])
  # Without the 2.
  kept = np.array([[True, True], [False, True]])
  own.masks['dense_0']['kernel'] = kept
  score = np.asarray(scores.lamp(own)['dense_0']['kernel'])
  np.testing.assert_allclose(score[kept], [1, 1 / 11, 1 / 11], rtol=1e-6)


SHAPES = (4, 50), (3, 3, 5, 6), (6, 2)


def test_lamp_empties_no_layer_before_all_have_one_weight_left():
  kernels = draw(*SHAPES)
  own = with_kernels(**kernels | {'dense_1': 0.01 * kernels['dense_1']})
  assert count(prune(own, 'lamp', 482 - 3)) == [1, 1, 1]
  assert count(prune(own, 'magnitude', 482 - 3))[1] == 0


@pytest.mark.parametrize('name', ['uniform', 'erk', 'lamp'])
def test_layers_keep_their_largest_weights_in_one_step_or_several(name):
  own = with_kernels(**draw(*SHAPES))
  once = prune(own, name, 400)
  steps = prune(own, name, 100, 1, 1, 1, 97, 200)
  for layer, mask in once.items():
    np.testing.assert_array_equal(mask, steps[layer])
    sizes = np.abs(own.params[layer]['kernel'])
    kept, gone = sizes[mask], sizes[~mask]
    assert len(kept) == 0 or len(gone) == 0 or kept.min() > gone.max()


@pytest.mark.parametrize(
  'num_kept, expected',
  [
    (15, [10, 5]),
    (9, [6, 3]),
    # 5 1/3 and 2 2/3.
    (8, [5, 3]),
    (1, [1, 0]),
    (0, [0, 0]),
  ],
)
def test_uniform_leaves_every_layer_the_same_fraction(num_kept, expected):
  own = with_kernels(**draw((2, 5), (5, 1)))
  assert count(prune(own, 'uniform', 15 - num_kept)) == expected


@pytest.mark.parametrize(
  'num_kept, expected',
  [
    # In proportion to 6, 8, 7 and 10, the sums of the dimensions.
    (24, [5, 6, 5, 8]),
    # The third has 6 weights.
    (30, [6, 8, 6, 10]),
    # 7.7, 10.3, 9.0 and 12.9, but the third has 6; then 8.5, 11.3 and 14.2, but
    # the first has 8; then 11.6 and 14.4.
    (40, [8, 12, 6, 14]),
    (62, [8, 12, 6, 36]),
  ],
)
def test_erk_quotas_by_hand(num_kept, expected):
  own = with_kernels(**draw((4, 2), (2, 6), (6, 1), (3, 3, 2, 2)))
  assert count(prune(own, 'erk', 62 - num_kept)) == expected


@pytest.mark.parametrize('name', ['uniform', 'erk'])
def test_of_equal_weights_the_first_goes_first(name):
  own = with_kernels(dense_0=np.ones((2, 3)), dense_1=-np.ones((3, 2)))
  for mask in prune(own, name, 6).values():
    assert mask.ravel().astype(int).tolist() == [0, 0, 0, 1, 1, 1]


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
  'vectorize, skip_padding', [(False, True), (True, False)]
)
def test_a_score_that_is_the_same_for_all_members_works_next_to_any_other(
  network, monkeypatch, vectorize, skip_padding
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
    skip_padding=skip_padding,
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
