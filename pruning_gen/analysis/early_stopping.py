"""What early stopping would have given, next to pruning."""

import pandas as pd

from pruning_gen.analysis import paired
from pruning_gen.analysis import statistics


def compare(
  results: pd.DataFrame, summary: pd.DataFrame, epochs: pd.DataFrame
) -> pd.DataFrame:
  """Compare networks that stop early with pruned ones (early stopping).

  Each replicate stops after the epoch of its own lowest validation error: the
  dense network within standard training, and extended dense training within
  as many epochs as pruning to the optimal sparsity takes.

  Args:
    results: DataFrame like results.csv.
    summary: DataFrame from `statistics.summarize`.
    epochs: DataFrame like epochs.csv.

  Returns:
    DataFrame with noise_fraction; split, 'validation', and 'test' where it was
    measured by epoch; network, 'dense', 'dense_stopped', 'extended_dense',
    'extended_dense_stopped', 'pruning'; epochs_trained_mean and _std; and of
    the error on that split the columns of `paired.compare_errors`. Empty where
    nothing was measured.
  """
  ends = results[results.experiment == 'chain']
  measured = epochs.dropna(subset=['validation_error'])
  splits = ['validation']
  if measured.test_error.notna().all():
    splits.append('test')
  rows = []
  optima = statistics.optimal_levels(summary, 'chain', 'pruning')
  for noise_fraction, level in optima.items():
    at_end, by_epoch = (
      table[table.noise_fraction == noise_fraction]
      for table in (ends, measured)
    )
    networks = {
      'dense': _select(at_end, 'pruning', 0),
      'dense_stopped': _stop(by_epoch, 'pruning', 0),
      'extended_dense': _select(at_end, 'extended_dense', level),
      'extended_dense_stopped': _stop(by_epoch, 'extended_dense', level),
      'pruning': _select(at_end, 'pruning', level),
    }
    networks = paired.share_replicates(networks)
    if 'dense_stopped' in networks:
      rows += [
        {
          'noise_fraction': noise_fraction,
          'split': split,
          'network': name,
          'epochs_trained_mean': own.epochs_trained.mean(),
          'epochs_trained_std': own.epochs_trained.std(),
        }
        | paired.compare_errors(
          'error', own[f'{split}_error'], networks['pruning'][f'{split}_error']
        )
        for split in splits
        for name, own in networks.items()
      ]
  return pd.DataFrame(rows)


def _select(table: pd.DataFrame, arm: str, level: int) -> pd.DataFrame:
  chosen = table[(table.arm == arm) & (table.level == level)]
  return chosen.set_index('replicate')


def _stop(table: pd.DataFrame, arm: str, last_level: int) -> pd.DataFrame:
  """Select the first epoch of the lowest validation error, by replicate."""
  table = table[(table.arm == arm) & (table.level <= last_level)]
  table = table.sort_values(['validation_error', 'epochs_trained'])
  return table.drop_duplicates('replicate').set_index('replicate')
