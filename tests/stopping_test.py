import pandas as pd
import pytest

from pruning_gen.analysis import statistics
from pruning_gen.analysis.figures import stopping
from tests import fake_runs


def make_epochs(arm, rows):
  """Return rows of epochs.csv: level, epoch, and the errors of 2 replicates."""
  table = [
    ('pruning' if arm == 'dense' else arm, i, level, epoch, *own)
    for level, epoch, *errors in rows
    for i, own in enumerate(errors)
  ]
  columns = ['arm', 'replicate', 'level', 'epochs_trained']
  columns += ['validation_error', 'test_error']
  return pd.DataFrame(table, columns=columns).assign(noise_fraction=0.0)


def test_stopping_early_against_pruning():
  pruning = fake_runs.make_results({0: [0.3, 0.3], 1: [0.1, 0.1], 2: [0.5] * 2})
  dense = fake_runs.make_results({0: [0.3] * 2, 1: [0.4] * 2, 2: [0] * 2})
  results = pd.concat([pruning, dense.assign(arm='extended_dense')])
  summary = statistics.summarize(results, 0.2)
  epochs = pd.concat(
    [
      # The lowest errors are of different epochs; the first of equals counts.
      make_epochs(
        'pruning',
        [
          (0, 4, (0.12, 0.15), (0.2, 0.2)),
          (0, 6, (None, None), (None, None)),
          (0, 8, (0.12, 0.09), (0.1, 0.13)),
          (0, 10, (None, None), (None, None)),
          # Pruned networks do not count.
          (1, 12, (0.01, 0.01), (0.01, 0.01)),
        ],
      ),
      make_epochs(
        'extended_dense',
        [
          (0, 4, (0.12, 0.15), (0.2, 0.2)),
          (0, 8, (0.3, 0.3), (0.3, 0.3)),
          (1, 12, (0.08, 0.08), (0.08, 0.1)),
          (1, 16, (0.3, 0.3), (0.3, 0.3)),
          (1, 20, (0.3, 0.3), (0.3, 0.3)),
          # Beyond the optimal sparsity.
          (2, 24, (0.0, 0.0), (0.0, 0.0)),
        ],
      ),
    ]
  )
  found = stopping.compare(results, summary, epochs)
  found = found.set_index(['split', 'network'])
  columns = ['epochs_trained_mean', 'error_mean', 'n']
  test = found.loc['test']
  assert test[columns].to_numpy() == pytest.approx(
    pd.DataFrame(
      [
        ('dense', 10, 0.3, 2),
        ('dense_stopped', 6, 0.14, 2),
        ('extended_dense', 20, 0.4, 2),
        ('extended_dense_stopped', 12, 0.09, 2),
        ('pruning', 20, 0.1, 2),
      ],
    )
    .set_index(0)
    .to_numpy(float)
  )
  assert found.loc['validation'].error_mean['dense_stopped'] == (
    pytest.approx(0.11)
  )
  # Differences of .05 and .03, and of -.02 and 0.
  assert test.against_pruning_mean.iloc[[1, 3]].tolist() == (
    pytest.approx([0.04, -0.01])
  )
  assert test.against_pruning_verdict.to_dict() == {
    'dense': 'worse',
    'dense_stopped': 'worse',
    'extended_dense': 'worse',
    'extended_dense_stopped': 'match',
    'pruning': 'match',
  }
  assert test.against_pruning_unpaired['dense_stopped'] == 'worse'


@pytest.mark.parametrize(
  'measured', [[9, 10], [1, 2, 4, 6, 8, 10], [4, 8, 9, 10], [2, 4, 8, 10]]
)
def test_stopping_early_among_epochs_of_which_some_were_not_measured(measured):
  results = fake_runs.make_results({0: [0.3] * 2, 1: [0.1] * 2})
  summary = statistics.summarize(results, 0.2)
  every_epoch = [(0, i, (0.2,) * 2, (0.2,) * 2) for i in range(1, 11)]
  epochs = make_epochs('dense', every_epoch)
  found = stopping.compare(results, summary, epochs)
  assert found.n.tolist() == [2] * 6
  # As if validate_every_epochs had changed on the way, in one replicate.
  is_left = ~epochs.epochs_trained.isin(measured) & (epochs.replicate == 1)
  errors = ['validation_error', 'test_error']
  epochs.loc[is_left, errors] = None
  found = stopping.compare(results, summary, epochs)
  assert found.n.tolist() == [2, 1, 2] * 2
  epochs.loc[~epochs.epochs_trained.isin(measured), errors] = None
  assert stopping.compare(results, summary, epochs).empty


def test_stopping_early_where_test_errors_or_all_are_missing():
  results = fake_runs.make_results({0: [0.3, 0.3], 1: [0.1, 0.1]})
  summary = statistics.summarize(results, 0.2)
  epochs = make_epochs('dense', [(0, 4, (0.2, None), (0.2, None))])
  found = stopping.compare(results, summary, epochs)
  assert found.split.tolist() == ['validation'] * 3
  assert found.network.tolist() == ['dense', 'dense_stopped', 'pruning']
  assert stopping.compare(results, summary, epochs.head(0)).empty
  not_measured = epochs.assign(validation_error=None)
  assert stopping.compare(results, summary, not_measured).empty
