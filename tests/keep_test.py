"""Which networks stay, with made-up results."""

import types

import numpy as np
import pandas as pd
import pytest

from pruning_gen.analysis import statistics
from pruning_gen.engine import inputs
from pruning_gen.engine import keep
from pruning_gen.engine.stack import Member
from pruning_gen.errors import UserError
from pruning_gen.storage import files
from pruning_gen.storage import level_tables
from pruning_gen.storage import networks
from pruning_gen.storage import results
from tests import fake_runs
from tests import small_chain

DATASET = types.SimpleNamespace(
  name='digits', num_classes=10, image_shape=(8, 8, 1), mean=(0.3,), std=(0.4,)
)
PART = types.SimpleNamespace(
  experiment='chain', folder='chain', find_optima=statistics.find_optima
)
REPLICATES = (0, 1)


def make_programs():
  kernel = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
  trees = {
    'params': {'output': {'kernel': kernel}},
    'masks': {'output': {'kernel': kernel > 0}},
    'batch_stats': {},
  }
  return types.SimpleNamespace(networks=lambda state: trees, layers=['output'])


def write_members(workdir, networks):
  """Write members.csv of a chain."""
  (workdir / 'chain').mkdir(exist_ok=True)
  table = pd.DataFrame([Member(*network) for network in networks])
  table.to_csv(workdir / 'chain' / 'members.csv', index_label='member')


def run_levels(workdir, errors, kept, diverged=()):
  """Return the levels of each replicate that are kept after each level.

  Args:
    workdir: path.
    errors: validation errors of both replicates by level.
    kept: `checkpoint.keep_levels`.
    diverged: pairs of level and replicate.
  """
  write_members(workdir, [('pruning', 0.0, i) for i in REPLICATES])
  config = small_chain.make_config()
  config.levels = len(errors) - 1
  config.checkpoint.keep_levels = kept
  run = small_chain.make_run(config, workdir, DATASET)
  found = []
  for level, by_replicate in enumerate(errors):
    rows = [
      fake_runs.make_row(
        level=level,
        replicate=i,
        validation_error=error,
        diverged=int((level, i) in diverged),
      )
      for i, error in enumerate(by_replicate)
    ]
    keep.write_level(run, PART, make_programs(), None, rows)
    # A kill before the rows are written: the level is measured again.
    keep.write_level(run, PART, make_programs(), None, rows)
    results.write_rows(workdir, rows)
    found.append(
      [networks.list_levels(workdir, 'pruning', 0.0, i) for i in REPLICATES]
    )
  return found


ERRORS = [(0.3, 0.3), (0.2, 0.3), (0.2, 0.3), (0.4, 0.2), (0.1, 0.2)]


@pytest.mark.parametrize(
  'kept, expected',
  [
    ((), [[], [], [], [], []]),
    # Equal means: the least sparse is optimal.
    (('optimal',), [[0], [1], [1], [1], [4]]),
    ((0, 'optimal'), [[0], [0, 1], [0, 1], [0, 1], [0, 4]]),
    ((1, 2, 'optimal'), [[0], [1], [1, 2], [1, 2], [1, 2, 4]]),
    ((3,), [[], [], [], [3], [3]]),
    (('all',), [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4]]),
  ],
)
def test_which_levels_are_kept(tmp_path, kept, expected):
  found = run_levels(tmp_path, ERRORS, kept)
  assert found == [[levels, levels] for levels in expected]
  assert (tmp_path / 'networks').exists() == bool(kept)


def test_a_network_that_diverges_is_not_kept(tmp_path):
  found = run_levels(tmp_path, ERRORS, (0, 'optimal'), {(3, 1), (4, 1)})
  # Replicate 0 alone chooses: again level 1, and then level 4.
  assert found[3:] == [[[0, 1], [0, 1]], [[0, 4], [0]]]


def test_sparse_arrays_are_compressed(tmp_path):
  kernel = np.random.default_rng(0).normal(size=(300, 100)).astype(np.float32)
  sizes = []
  for fraction in (1.0, 0.05):
    mask = np.arange(kernel.size).reshape(kernel.shape) < fraction * kernel.size
    pruned = np.where(mask, kernel, np.float32(0))
    network = networks.StoredNetwork(
      {'output': {'kernel': pruned}},
      {},
      {'output': {'kernel': mask}},
      {},
    )
    path = tmp_path / 'net.npz'
    networks.write(path, network)
    assert network.masks['output']['kernel'].dtype == bool
    np.testing.assert_array_equal(
      networks.read(path).params['output']['kernel'], pruned
    )
    sizes.append(path.stat().st_size)
  assert sizes[0] < 1.02 * kernel.nbytes and sizes[1] < 0.1 * kernel.nbytes


def make_layers(networks, level):
  rows = [
    (*network, level, layer, 3, 6, np.float32(0.1))
    for layer in ('dense_0', 'output')
    for network in networks
  ]
  columns = level_tables.COLUMNS[level_tables.LAYERS]
  return pd.DataFrame(rows, columns=list(columns))


def test_layers_of_networks_that_are_added_later(tmp_path):
  """The table is that of a run that had all of them from the start."""
  both = [(arm, p, 0) for p in (0.0, 0.3) for arm in ('pruning', 'random')]
  for folder, groups in (('all', [both]), ('grown', [both[::2], both])):
    (tmp_path / folder).mkdir()
    for members in groups:
      write_members(tmp_path / folder, members)
      for level in range(12):
        level_tables.write(
          tmp_path / folder, level_tables.LAYERS, make_layers(members, level)
        )
  one, other = (
    (tmp_path / folder / 'chain' / 'layers.csv').read_text()
    for folder in ('all', 'grown')
  )
  assert one == other
  table = level_tables.read(tmp_path / 'grown', level_tables.LAYERS)
  assert table.level.is_monotonic_increasing and len(table) == 12 * 8
  assert table.layer.tolist()[:4] == ['dense_0', 'output'] * 2
  assert table.arm.tolist()[:4] == ['pruning'] * 2 + ['random'] * 2


def test_layers_are_listed_from_input_to_output():
  from pruning_gen.experiments import build

  config = small_chain.make_config()
  config.model.name = 'resnet20'
  spec = types.SimpleNamespace(
    model=build.make_model(config, 10),
    dataset=types.SimpleNamespace(image_shape=(32, 32, 3)),
  )
  names = inputs.layer_names(spec)
  assert names[:3] == ['conv_stem', 'block_0_0/conv_0', 'block_0_0/conv_1']
  assert names[-1] == 'output' and len(names) == len(set(names)) == 22


def test_what_cannot_be_removed_is_named(tmp_path):
  (tmp_path / 'taken' / 'full').mkdir(parents=True)
  with pytest.raises(UserError, match=r'taken.*cannot be written'):
    files.remove(tmp_path / 'taken')
  files.remove(tmp_path / 'absent')
