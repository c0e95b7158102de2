"""Which weights pruned networks keep in common."""

import numpy as np
import pytest

from pruning_gen.analysis import load
from pruning_gen.analysis import overlap
from pruning_gen.analysis.figures import overlap as figure
from pruning_gen.storage import networks
from tests import fake_runs


def of(*layers):
  return {f'dense_{i}': np.array(layer, bool) for i, layer in enumerate(layers)}


def test_jaccard_by_hand():
  one, other = of([1, 1, 0, 0]), of([1, 0, 1, 0])
  # 1 of 3; of 2 and 2 of 4 weights, 1 is in common by chance.
  assert overlap.measure(one, other) == (1 / 3, 1 / 3)
  assert overlap.measure(one, one) == (1, 1 / 3)
  assert overlap.measure(one, of([0, 0, 1, 1])) == (0, 1 / 3)


def test_chance_goes_by_layer():
  one = of([1, 1, 1, 0], [0, 1, 0, 0])
  other = of([0, 1, 1, 1], [0, 0, 0, 1])
  # 9 / 4 and 1 / 4 of 8, where half of all weights would have 2 in common.
  assert overlap.measure(one, other) == (2 / 6, 2.5 / 5.5)


def test_layers_that_are_not_pruned_do_not_count():
  one, other = of([1, 0], [1, 1]), of([1, 0], [1, 1])
  assert overlap.measure(one, other) == (1, 0.5 / 1.5)
  # One of them has lost a weight.
  assert overlap.measure(one, of([1, 0], [1, 0])) == (2 / 3, 1.5 / 3.5)
  dense = of([1, 1], [1, 1])
  assert np.isnan(overlap.measure(dense, dense)).all()
  assert np.isnan(overlap.measure(of([0, 0]), of([0, 0]))).all()


KEPT = {
  # Replicates of two arms: 2 of 4 weights each.
  ('pruning', 0): [1, 1, 0, 0],
  ('pruning', 1): [0, 1, 1, 0],
  ('random', 0): [1, 1, 0, 0],
  ('random', 1): [1, 0, 0, 1],
}


@pytest.fixture
def workdir(tmp_path):
  """A chain that keeps networks of level 2, and dense ones, with noise."""
  arms = ('pruning', 'random', 'extended_dense')
  fake_runs.write_chain(tmp_path, arms)
  dense = {key: [1, 1, 1, 1] for key in [*KEPT, ('extended_dense', 0)]}
  for level, kept in ((0, dense), (2, KEPT | {('extended_dense', 0): [1] * 4})):
    for (arm, replicate), mask in kept.items():
      masks = {
        'dense_0': {'kernel': np.array(mask, bool), 'bias': np.ones(2, bool)},
        'output': {'kernel': np.ones(3, bool)},
      }
      network = networks.StoredNetwork(masks, {}, masks, {})
      path = networks.path_of(tmp_path, arm, 0.2, replicate, level)
      networks.write(path, network)
  # Of a level that no results are of: it has just been written.
  path = networks.path_of(tmp_path, 'pruning', 0.2, 0, 7)
  networks.write(path, network)
  return tmp_path


def test_pairs_have_the_arm_or_the_replicate_in_common(workdir):
  table = load.read(workdir).overlap
  assert set(table.noise_fraction) == {0.2} and set(table.level) == {2}
  columns = ['arm', 'other_arm', 'replicate', 'other_replicate']
  found = table.set_index(columns).overlap.to_dict()
  assert found == {
    ('pruning', 'pruning', 0, 1): 1 / 3,
    ('random', 'random', 0, 1): 1 / 3,
    ('pruning', 'random', 0, 0): 1,
    ('pruning', 'random', 1, 1): 0,
  }
  assert set(table.by_chance) == {1 / 3}


def test_a_network_that_is_superseded_is_left_out(workdir, monkeypatch):
  """While a run is in progress, a better level replaces the optimal one."""
  path = networks.path_of(workdir, 'random', 0.2, 1, 2)
  read_masks = networks.read_masks

  def read(own):
    path.unlink(missing_ok=True)
    return read_masks(own)

  monkeypatch.setattr(networks, 'read_masks', read)
  assert len(load.read(workdir).overlap) == 2


def test_the_figure_averages_over_pairs(workdir):
  drawn = figure.OVERLAP.tabulate([load.read(workdir)])
  rows = drawn.set_index(['arm', 'other_arm'])
  row = rows.loc['pruning', 'random']
  assert (row.overlap_mean, row.n) == (0.5, 2)
  assert row.overlap_std == pytest.approx(0.5**0.5)
  assert row.weights_remaining == pytest.approx(0.64)
  (axes,) = figure.draw(drawn).axes
  labels = axes.get_legend_handles_labels()[1]
  assert labels == [
    'pruning: replicates',
    'random: replicates',
    'random and pruning',
  ]


def test_networks_that_share_nothing_are_drawn(workdir):
  benchmark = load.read(workdir)
  nothing = benchmark.overlap.assign(overlap=0.0)
  drawn = figure.OVERLAP.tabulate([benchmark._replace(overlap=nothing)])
  (axes,) = figure.draw(drawn).axes
  assert axes.get_ylim()[0] < 1 / 3 < axes.get_ylim()[1]


def test_without_kept_networks(tmp_path):
  fake_runs.write_chain(tmp_path)
  benchmark = load.read(tmp_path)
  assert benchmark.overlap.empty
  assert figure.OVERLAP.tabulate([benchmark]).empty
