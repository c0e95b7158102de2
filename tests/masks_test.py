import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pruning_gen.pruning import masks

PARAMS = {
  'dense_0': {
    'bias': jnp.array([0.0, 0.0]),
    'kernel': jnp.array([[0.5, -0.1], [0.3, 0.2]]),
  },
  'output': {
    'bias': jnp.array([0.01]),
    'kernel': jnp.array([[0.05], [-0.4]]),
  },
}


def prune(params, num_pruned, prune_output, before=None):
  before = masks.all_kept(params) if before is None else before
  return masks.prune(
    before,
    jax.tree.map(jnp.abs, params),
    masks.prunable(params, prune_output),
    jnp.int32(num_pruned),
  )


def kernels(tree):
  return (
    tree['dense_0']['kernel'].astype(int).tolist(),
    tree['output']['kernel'].astype(int).tolist(),
  )


def test_smallest_magnitudes_go_over_all_layers():
  kept = prune(PARAMS, 3, prune_output=True)
  assert kernels(kept) == ([[1, 0], [1, 0]], [[0], [1]])


def test_output_layer_stays_where_it_is_not_prunable():
  kept = prune(PARAMS, 3, prune_output=False)
  assert kernels(kept) == ([[1, 0], [0, 0]], [[1], [1]])


def test_biases_stay():
  kept = prune(PARAMS, 6, prune_output=True)
  assert kernels(kept) == ([[0, 0], [0, 0]], [[0], [0]])
  assert kept['dense_0']['bias'].all() and kept['output']['bias'].all()


def test_ties_go_by_position_and_the_count_is_exact():
  params = {
    'dense_0': {'kernel': jnp.array([[1.0, 2.0, 1.0], [1.0, 1.0, 0.5]])}
  }
  for num_pruned, expected in [
    (1, [[1, 1, 1], [1, 1, 0]]),
    (2, [[0, 1, 1], [1, 1, 0]]),
    (3, [[0, 1, 0], [1, 1, 0]]),
    (4, [[0, 1, 0], [0, 1, 0]]),
  ]:
    kept = prune(params, num_pruned, prune_output=True)
    assert kept['dense_0']['kernel'].astype(int).tolist() == expected


@pytest.mark.parametrize('score', [np.inf, np.nan])
def test_biases_stay_whatever_the_scores(score):
  scores_tree = jax.tree.map(lambda leaf: jnp.full_like(leaf, score), PARAMS)
  kept = masks.prune(
    masks.all_kept(PARAMS),
    scores_tree,
    masks.prunable(PARAMS, prune_output=True),
    jnp.int32(2),
  )
  assert kept['dense_0']['bias'].all() and kept['output']['bias'].all()
  assert int(masks.num_kept(kept)) == 4


def test_what_is_pruned_stays_pruned_though_its_score_is_smallest():
  once = prune(PARAMS, 2, prune_output=True)
  params = masks.apply(PARAMS, once)
  twice = prune(params, 2, prune_output=True, before=once)
  assert kernels(twice) == ([[1, 0], [0, 0]], [[0], [1]])


@pytest.mark.parametrize('num_pruned', [0, 1, 77, 500, 999, 1000])
def test_count_is_exact_on_random_and_on_equal_weights(num_pruned):
  random = jax.random.normal(jax.random.key(0), (25, 40))
  for kernel in (random, jnp.ones((25, 40)), jnp.zeros((25, 40))):
    params = {'dense_0': {'kernel': kernel}}
    kept = prune(params, num_pruned, prune_output=True)
    assert int(masks.num_kept(kept)) == 1000 - num_pruned


def test_apply_is_exactly_zero_whatever_was_there():
  tree = {'kernel': jnp.array([1.0, jnp.nan, -jnp.inf, -2.0])}
  kept = {'kernel': jnp.array([True, False, False, False])}
  applied = np.asarray(masks.apply(tree, kept)['kernel'])
  assert applied.tobytes() == np.array([1, 0, 0, 0], np.float32).tobytes()


def test_counts_by_level():
  # By hand: 100 -> 80 -> 64 -> ceil(51.2) stay; the ceiling goes.
  assert masks.num_pruned_by_level(100, 100, 0.2, 4) == [0, 20, 16, 13, 11]
  # The output layer counts though it stays; the last levels run out.
  assert masks.num_pruned_by_level(10, 4, 0.5, 3) == [0, 4, 0, 0]
  assert masks.num_pruned_by_level(10, 10, 0.0, 2) == [0, 0, 0]
  # 0.1 * 30 is above 3 in floating point; exactly 3 weights go.
  assert masks.num_pruned_by_level(30, 30, 0.1, 1) == [0, 3]


def test_counts_of_lenet():
  # 0.2 * 266,200 is 53,240 exactly; float32 arithmetic says 53,241.
  counts = masks.num_pruned_by_level(266_200, 265_200, 0.2, 25)
  assert counts[:4] == [0, 53_240, 42_592, 34_074]
  remaining = 266_200 - np.cumsum(counts)
  np.testing.assert_allclose(
    remaining / 266_200, 0.8 ** np.arange(26), rtol=2e-3
  )
