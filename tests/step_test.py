import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pruning_gen.models import lenet
from pruning_gen.pruning import masks
from pruning_gen.training import level
from pruning_gen.training import schedule
from pruning_gen.training import step
from pruning_gen.training import train_state


@pytest.fixture(scope='module')
def setup():
  model = lenet.LeNet(3, (5, 4))
  optimizer = step.sgd(
    optax.constant_schedule(0.1), momentum=0.9, weight_decay=0.01
  )
  state = train_state.create(
    model, optimizer, (2, 2, 1), True, jax.random.key(0)
  )
  key = jax.random.key(1)
  images = jax.random.normal(key, (20, 8, 2, 2, 1))
  labels = jax.random.randint(key, (20, 8), 0, 3)
  return model, optimizer, state, images, labels


def start_level(
  optimizer, prunable, rewind_step, state, num_pruned, rewinds=False
):
  """Start level 1, before which so many weights go, by magnitude."""
  start = level.make_start_level(
    optimizer,
    lambda state, *_: jax.tree.map(jnp.abs, state.params),
    prunable,
    rewind_step,
  )
  member = train_state.MemberData(
    key=jax.random.key(0),
    labels=jnp.zeros(1, jnp.int32),
    example_ids=jnp.zeros(1, jnp.int32),
    num_pruned=jnp.array([0, num_pruned], jnp.int32),
    rewinds_weights=jnp.bool(rewinds),
  )
  return start(state, member, jnp.int32(1), None)


OPTIMIZERS = {
  'sgd': step.sgd(optax.constant_schedule(0.1), 0.9, 0.01),
  'adam': step.adam(optax.constant_schedule(0.01), 0.01),
}


def moments(opt_state):
  """List the trees of momentum, or of Adam's moments."""
  state = opt_state[1]
  if isinstance(state, optax.ScaleByAdamState):
    return [state.mu, state.nu]
  return [state.trace]


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_a_pruned_weight_and_its_moments_stay_zero_bit_for_bit(setup, name):
  model, _, state, images, labels = setup
  optimizer = OPTIMIZERS[name]
  state = state.replace(opt_state=optimizer.init(state.params))
  train_step = jax.jit(step.make_train_step(model, optimizer))
  # Moments first, on a dense network: then prune without resetting them in
  # the weights, as a careless loop would.
  for i in range(5):
    state, _ = train_step(state, images[i], labels[i])
  prunable = masks.prunable(state.params, prune_output=True)
  state = start_level(optimizer, prunable, 0, state, num_pruned=20)
  pruned = jax.tree.map(jnp.logical_not, state.masks)
  for i in range(20):
    state, _ = train_step(state, images[i], labels[i])
    for tree in (state.params, *moments(state.opt_state)):
      gone = jax.tree.map(lambda leaf, at: leaf[at], tree, pruned)
      flat, _ = jax.flatten_util.ravel_pytree(gone)
      assert flat.shape == (20,)
      assert not np.asarray(flat).view(np.uint32).any()
  kept, _ = jax.flatten_util.ravel_pytree(state.params)
  assert (kept != 0).sum() == kept.size - 20


def test_adam_by_hand():
  # The first step is lr * g / |g| whatever g; the second, for g = 0, has
  # m = .9 * .1 / (1 - .81) and v = .999 * .001 / (1 - .999 ** 2).
  optimizer = step.adam(optax.constant_schedule(0.5), weight_decay=0.0)
  params = {'bias': jnp.array([2.0])}
  opt_state = optimizer.init(params)
  second = 0.5 * (0.09 / 0.19) / (0.000999 / (1 - 0.999**2)) ** 0.5
  for grad, expected in [(1.0, 1.5), (0.0, 1.5 - second)]:
    updates, opt_state = optimizer.update(
      {'bias': jnp.array([grad])}, opt_state, params
    )
    params = optax.apply_updates(params, updates)
    assert float(params['bias'][0]) == pytest.approx(expected, rel=1e-5)


def test_rewinding_restarts_the_schedule_and_not_the_count_of_adam():
  state = schedule.rewind(OPTIMIZERS['adam'], {'kernel': jnp.ones(3)}, 7)
  assert int(state[1].count) == 0
  assert not state[1].mu['kernel'].any() and not state[1].nu['kernel'].any()
  assert int(state[2].count) == 7


def test_sgd_by_hand():
  # v = 0.9 v + (g + wd p); p = p - lr v.
  optimizer = step.sgd(
    optax.constant_schedule(0.5), momentum=0.9, weight_decay=0.1
  )
  params = {'bias': jnp.array([2.0])}
  opt_state = optimizer.init(params)
  for grad, expected in [(1.0, 1.4), (0.0, 0.79)]:
    updates, opt_state = optimizer.update(
      {'bias': jnp.array([grad])}, opt_state, params
    )
    params = optax.apply_updates(params, updates)
    # v: 1.2 then 1.08 + 0.14 = 1.22; p: 2 - 0.6, then 1.4 - 0.61.
    assert float(params['bias'][0]) == pytest.approx(expected, rel=1e-6)


def test_loss_is_the_mean_before_the_step(setup):
  model, optimizer, state, images, labels = setup
  _, loss = step.make_train_step(model, optimizer)(state, images[0], labels[0])
  logits = model.apply({'params': state.params}, images[0], train=False)
  expected = optax.softmax_cross_entropy_with_integer_labels(
    logits, labels[0]
  ).mean()
  assert float(loss) == pytest.approx(float(expected), rel=1e-6)


def test_images_that_are_not_valid_train_nothing(setup):
  model, optimizer, state, images, labels = setup
  train_step = step.make_train_step(model, optimizer)
  valid = jnp.arange(8) % 2 == 0
  found, loss = train_step(state, images[0], labels[0], valid)
  expected, own_loss = train_step(state, images[0, ::2], labels[0, ::2])
  assert float(loss) == pytest.approx(float(own_loss), rel=1e-6)
  jax.tree.map(
    lambda one, other: np.testing.assert_allclose(one, other, atol=1e-7),
    found.params,
    expected.params,
  )


def test_on_a_tpu_no_logits_are_looked_up(setup):
  model, optimizer, state, images, labels = setup
  traced = jax.jit(step.make_train_step(model, optimizer)).trace(
    state, images[0], labels[0]
  )
  assert {
    platform: 'gather' in traced.lower(lowering_platforms=(platform,)).as_text()
    for platform in ('cpu', 'tpu')
  } == {'cpu': True, 'tpu': False}


def test_start_level_carries_weights_and_rewinds(setup):
  model, optimizer, state, images, labels = setup
  state, _ = step.make_train_step(model, optimizer)(state, images[0], labels[0])
  prunable = masks.prunable(state.params, prune_output=False)
  start = start_level(optimizer, prunable, 7, state, num_pruned=4)
  assert int(optax.tree.get(start.opt_state, 'count')) == 7
  assert not any(leaf.any() for leaf in jax.tree.leaves(start.opt_state[1]))
  assert int(masks.num_kept(start.masks)) == 4 * 5 + 5 * 4 + 4 * 3 - 4
  np.testing.assert_array_equal(
    start.params['output']['kernel'], state.params['output']['kernel']
  )
  np.testing.assert_array_equal(
    start.params['dense_0']['bias'], state.params['dense_0']['bias']
  )


def test_weight_rewinding_sets_back_what_is_kept(setup):
  model, optimizer, state, images, labels = setup
  first = state.params
  state, _ = step.make_train_step(model, optimizer)(state, images[0], labels[0])
  prunable = masks.prunable(state.params, prune_output=True)
  start = start_level(optimizer, prunable, 0, state, num_pruned=9, rewinds=True)
  # The weights that the *trained* network can spare go; the others are those
  # of the beginning.
  expected = masks.prune(
    state.masks, jax.tree.map(jnp.abs, state.params), prunable, jnp.int32(9)
  )
  jax.tree.map(np.testing.assert_array_equal, start.masks, expected)
  jax.tree.map(
    np.testing.assert_array_equal, start.params, masks.apply(first, expected)
  )
  jax.tree.map(
    np.testing.assert_array_equal, start.rewind_point, state.rewind_point
  )


@pytest.mark.parametrize('rewinds, expected', [(False, 5), (True, 1)])
def test_statistics_of_batch_norm_rewind_with_the_weights(rewinds, expected):
  params = {'conv': {'kernel': jnp.array([1.0, 2.0, 3.0])}}
  optimizer = OPTIMIZERS['sgd']
  state = train_state.TrainState(
    jax.tree.map(lambda leaf: 10 * leaf, params),
    {'mean': jnp.array([5.0])},
    masks.all_kept(params),
    optimizer.init(params),
    rewind_point=(params, {'mean': jnp.array([1.0])}),
  )
  prunable = masks.prunable(params, prune_output=True)
  start = start_level(optimizer, prunable, 0, state, 1, rewinds)
  assert start.batch_stats['mean'].tolist() == [expected]
