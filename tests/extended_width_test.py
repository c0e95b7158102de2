"""Narrow networks that train as long as the chain, from rules to the report."""

import numpy as np
import pandas as pd
import pytest

from pruning_gen import config as config_rules
from pruning_gen import runner
from pruning_gen.analysis import load
from pruning_gen.analysis import paired
from pruning_gen.analysis.figures import size_and_time
from pruning_gen.data import datasets
from pruning_gen.errors import Preempted
from pruning_gen.errors import UserError
from pruning_gen.experiments import build
from pruning_gen.experiments import effects
from pruning_gen.experiments import extended_width
from pruning_gen.experiments import label_sets
from pruning_gen.storage import results
from tests import fake_runs
from tests import restarts
from tests import small_chain


def make_config(**changes):
  """A LeNet of 64 x 20 x 10 x 10 weights, 1,580 in all."""
  config = small_chain.make_config()
  config.experiments = ('chain', 'extended_width')
  config.noise_fractions = (0.2,)
  config.replicates = 2
  config.devices.count = 1
  config.update_from_flattened_dict(changes)
  return config


@pytest.mark.parametrize(
  'num_weights, width',
  [
    # 64 x 8 x 4 x 10 are 584 weights; from 0.425 on, 64 x 9 x 4 x 10 are 652.
    (600, 0.424),
    (630, 0.425),
    # 75, the fewest; and all, of 19.5 and 9.75 units.
    (1, 0.001),
    (1580, 0.975),
  ],
)
def test_the_width_is_the_nearest_in_weights(num_weights, width):
  config = make_config()
  assert extended_width.choose_width(config, num_weights) == width


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'extended_width.width': 1.5}, r'width=1\.5 must be in \(0, 1\)'),
    ({'extended_width.width': -0.5}, r'width=-0\.5 must be in \(0, 1\)'),
    # 19.6 and 9.8 units.
    ({'extended_width.width': 0.98}, r'width=0\.98 gives the full network'),
    # No narrower network is as near to 59 weights as that of 74.
    ({'model.widths': (1,)}, r'width=0\.0 gives the full network'),
    ({'arms': ('extended_dense',)}, r"width=0\.0 needs.*arms=\('extended"),
    ({'levels': 0}, r'width=0\.0 needs.*config\.levels=0'),
  ],
)
def test_widths_that_are_refused(changes, message):
  with pytest.raises(UserError, match=message):
    config_rules.check(make_config(**changes))


def test_a_width_needs_no_chain(tmp_path):
  config = make_config(
    arms=('extended_dense',), **{'extended_width.width': 0.5}
  )
  config_rules.check(config)
  config.experiments = ('extended_width',)
  runner.check_needs(small_chain.make_run(config, tmp_path))
  config.extended_width.width = 0.0
  with pytest.raises(UserError, match="'chain' before"):
    runner.check_needs(small_chain.make_run(config, tmp_path))


@pytest.mark.slow
def test_it_is_extended_dense_training_of_a_narrower_network(tmp_path, digits):
  """To the bit, as a model of half as many units in each layer."""
  config = make_config(**{'extended_width.width': 0.5, 'replicates': 1})
  run = small_chain.make_run(config, tmp_path / 'narrow', digits)
  extended_width.train(run)
  assert extended_width.is_finished(run)
  narrower = make_config(
    arms=('extended_dense',), replicates=1, **{'model.widths': (10, 5)}
  )
  other = small_chain.make_run(narrower, tmp_path / 'chain', digits)
  extended_width.chain.train(other)
  for level in range(3):
    found = results.read_level(tmp_path / 'narrow', 'extended_width_0.5', level)
    expected = results.read_level(tmp_path / 'chain', 'chain', level)
    for name, array in expected.items():
      np.testing.assert_array_equal(found[name], array)
  table, dense = (
    results.read_results(tmp_path / name) for name in ('narrow', 'chain')
  )
  assert table.epochs_trained.tolist() == dense.epochs_trained.tolist()
  assert set(table.experiment) == {'extended_width'}
  assert set(table.num_weights) == set(dense.num_weights) == {740}
  assert set(table.weights_remaining) == {740 / 1580}


def rows_of(workdir):
  return (workdir / 'results.csv').read_text().splitlines()


@pytest.mark.long
def test_it_grows_with_the_optimal_sparsity(tmp_path, digits, monkeypatch):
  """The last level stands for the optimal one: it moves when levels grow."""
  monkeypatch.setattr(
    effects, 'optimal_level', lambda run, _: run.config.levels
  )
  more = {'noise_fractions': (0.0, 0.2)}
  with restarts.compiled_once():
    restarts.start(make_config(**more), tmp_path / 'complete', digits)
    workdir = tmp_path / 'grown'
    restarts.start(make_config(levels=1, replicates=1), workdir, digits)
    before = restarts.read_files(workdir)
    asked = stops = 0

    def should_stop():
      nonlocal asked
      asked += 1
      return asked > 4

    while True:
      asked = 0
      try:
        restarts.start(make_config(**more), workdir, digits, should_stop)
        break
      except Preempted:
        stops += 1
  assert stops > 5
  # 64 x 16 x 9 x 10 weights, near to 1,264; and 64 x 13 x 7 x 10, to 1,011.
  complete, grown = (
    restarts.read_files(tmp_path / name) for name in ('complete', 'grown')
  )
  folders = {name.split('/')[0] for name in grown if '/' in name}
  earlier = folders - {name.split('/')[0] for name in complete}
  assert len(earlier) == 1
  for name, content in grown.items():
    if name.split('/')[0] in earlier:
      # The networks of the earlier width stay as they were.
      assert content == before[name]
    elif name != 'results.csv':
      assert content == complete[name], name
  stale = [row for row in rows_of(workdir) if row.startswith('extended_width')]
  stale = [row for row in stale if ',,1,' in row]
  assert len(stale) == 2
  left = [row for row in rows_of(workdir) if row not in stale]
  assert left == rows_of(tmp_path / 'complete')


def test_the_width_follows_the_optimal_sparsity(tmp_path, digits, monkeypatch):
  """Each noise level's own; a diverged network has no narrow one."""
  config = make_config(noise_fractions=(0.0, 0.1, 0.2))
  run = small_chain.make_run(config, tmp_path, digits)
  levels, sizes = {0.0: 1, 0.1: 2, 0.2: 2}, {1: 1264, 2: 1011}
  known = [own for own in label_sets.list_label_sets(config) if own != (0.1, 1)]
  monkeypatch.setattr(effects, 'known_label_sets', lambda run: known)
  monkeypatch.setattr(
    effects, 'optimal_level', lambda run, noise: levels[noise]
  )
  monkeypatch.setattr(
    effects, 'num_weights_at', lambda run, noise, level: sizes[level]
  )
  wide, narrow = extended_width.list_parts(run)
  assert [(m.noise_fraction, m.replicate) for m in wide.members] == [
    (0.0, 0),
    (0.0, 1),
  ]
  assert [(m.noise_fraction, m.replicate) for m in narrow.members] == [
    (0.1, 0),
    (0.2, 0),
    (0.2, 1),
  ]
  assert {m.chosen_at for m in narrow.members} == {2}
  info = datasets.info_in(config.data)
  for part, level in ((wide, 1), (narrow, 2)):
    size = build.num_weights(config, info, part.width)
    assert abs(size - sizes[level]) < 40
    assert part.folder == f'extended_width_{part.width:g}'


@pytest.fixture
def table():
  """Pruning is best at level 2, and its width trained as long matches it."""

  def narrow(errors, **columns):
    return fake_runs.make_results(
      errors, 'dense', experiment='extended_width', **columns
    )

  chain = [
    fake_runs.make_results({0: [0.3, 0.4], 1: [0.3, 0.3], 2: [0.1, 0.2]}),
    fake_runs.make_results(
      {0: [0.3, 0.4], 1: [0.3, 0.3], 2: [0.25, 0.35]}, 'extended_dense'
    ),
  ]
  widths = [
    # Of an earlier start.
    narrow({0: [0.9, 0.9], 1: [0.9, 0.9]}, chosen_at=1),
    narrow({0: [0.2, 0.3], 1: [0.9, 0.9], 2: [0.2, 0.1]}, chosen_at=2),
  ]
  return pd.concat([*chain, *widths], ignore_index=True)


def test_size_and_time_by_hand(table):
  found = paired.compare_size_and_time(table).set_index('network')
  assert found['level'].to_dict() == {
    'dense': 0,
    'extended_dense': 2,
    'narrow': 0,
    'narrow_extended': 2,
    'pruning': 2,
  }
  assert found.test_error_mean.to_dict() == pytest.approx(
    {
      'dense': 0.35,
      'extended_dense': 0.3,
      'narrow': 0.25,
      'narrow_extended': 0.15,
      'pruning': 0.15,
    }
  )
  # + .2 twice, + .1 twice, and + .1 and - .1. Unpaired, .2 is above the root of
  # 2 x .07^2, and .1 is equal to it.
  columns = found[['against_pruning_verdict', 'against_pruning_unpaired']]
  assert columns.loc['dense'].tolist() == ['worse', 'worse']
  assert columns.loc['narrow_extended'].tolist() == ['match', 'match']
  assert found.against_pruning_mean['narrow'] == pytest.approx(0.1)
  assert found.epochs_trained['narrow_extended'] == 30


def test_without_the_width_of_the_optimal_sparsity(table):
  stale = table[
    ~((table.experiment == 'extended_width') & (table.chosen_at == 2))
  ]
  assert paired.compare_size_and_time(stale).empty
  # One that the config sets is of any sparsity.
  fixed = table.assign(chosen_at=table.chosen_at.replace({1: 0, 2: -1}))
  found = paired.compare_size_and_time(fixed).set_index('network')
  assert found.test_error_mean['narrow'] == 0.25
  assert paired.compare_size_and_time(table[table.arm != 'pruning']).empty


def test_the_figure(tmp_path, table):
  fake_runs.write_chain(tmp_path)
  benchmark = load.read(tmp_path)._replace(results=table)
  drawn = size_and_time.SIZE_AND_TIME.tabulate([benchmark])
  (axes,) = size_and_time.draw(drawn).axes
  lines = {c.get_label(): c for c in axes.containers}
  assert list(lines) == ['full width', 'narrow', 'pruning']
  narrow = lines['narrow'].lines[0]
  assert list(narrow.get_ydata()) == pytest.approx([0.25, 0.15])
  # White: narrow and extended.
  (white,) = [
    line
    for line in axes.lines
    if line.get_mfc() == 'white' and len(line.get_xdata())
  ]
  assert white.get_ydata()[0] == pytest.approx(0.15)
  (note,) = size_and_time.note_verdicts([benchmark], drawn)
  assert 'dense +20.00 ± 0.00 points, worse (unpaired: worse)' in note
  # Of another width, and without any.
  stale = benchmark._replace(results=table[table.chosen_at != 2])
  (note,) = size_and_time.note_verdicts(
    [stale], size_and_time.SIZE_AND_TIME.tabulate([stale])
  )
  assert '0 % noise is not drawn' in note
  none = benchmark._replace(results=table[table.experiment == 'chain'])
  assert not size_and_time.note_verdicts(
    [none], size_and_time.SIZE_AND_TIME.tabulate([none])
  )
