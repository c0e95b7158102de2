"""Early stopping as a rival explanation of what pruning does."""

import pandas as pd
from matplotlib.figure import Figure as Drawing

from pruning_gen.analysis import paired
from pruning_gen.analysis import statistics
from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import extended
from pruning_gen.analysis.load import Benchmark

MARKERS = {
  'dense': 'D',
  'dense_stopped': 'v',
  'extended_dense': 'o',
  'extended_dense_stopped': '^',
}
NEEDS = '--config.validate_every_epochs above 0'


def compare(
  results: pd.DataFrame, summary: pd.DataFrame, epochs: pd.DataFrame
) -> pd.DataFrame:
  """Compare networks that stop early with pruned ones (early stopping).

  Each replicate stops after the epoch of its own lowest validation error: the
  dense network within standard training, and extended dense training within
  as many epochs as pruning to the optimal sparsity takes.

  Args:
    results: results.csv.
    summary: `statistics.summarize` of it.
    epochs: epochs.csv of the chain.

  Returns:
    DataFrame with noise_fraction; split, 'validation', and 'test' where it was
    measured by epoch; network, 'dense', 'dense_stopped', 'extended_dense',
    'extended_dense_stopped', 'pruning'; epochs_trained_mean and _std; and of
    the error on that split the columns of `paired.compare_errors`. Empty where
    nothing was measured.
  """
  ends = results[results.experiment == 'chain']
  splits = ['validation']
  if epochs.dropna(subset=['validation_error']).test_error.notna().all():
    splits.append('test')
  rows = []
  optima = statistics.optimal_levels(summary)
  for noise_fraction, level in optima.items():
    at_end, by_epoch = (
      table[table.noise_fraction == noise_fraction] for table in (ends, epochs)
    )
    networks = {
      'dense': statistics.select(at_end, arm='pruning', level=0),
      'dense_stopped': _stop(by_epoch, 'pruning', 0),
      'extended_dense': statistics.select(
        at_end, arm='extended_dense', level=level
      ),
      'extended_dense_stopped': _stop(by_epoch, 'extended_dense', level),
      'pruning': statistics.select(at_end, arm='pruning', level=level),
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


def _stop(table: pd.DataFrame, arm: str, last_level: int) -> pd.DataFrame:
  """Select the first epoch of the lowest validation error, by replicate.

  Replicates that were not measured throughout are left out: the lowest error
  may be at an epoch that was not measured.
  """
  table = table[(table.arm == arm) & (table.level <= last_level)]
  table = table.groupby('replicate').filter(_is_measured_throughout)
  table = table.dropna(subset=['validation_error'])
  table = table.sort_values(['validation_error', 'epochs_trained'])
  return table.drop_duplicates('replicate').set_index('replicate')


def _is_measured_throughout(table: pd.DataFrame) -> bool:
  """Return whether errors were measured at one interval from the start on."""
  measured = table[table.validation_error.notna()].epochs_trained.sort_values()
  if measured.empty:
    return False
  every, last = int(measured.iloc[0]), int(table.epochs_trained.max())
  return measured.tolist() == list(range(every, last + 1, every))


def draw(table: pd.DataFrame) -> Drawing:
  """Draw differences to pruning, on the test split where it was measured."""
  has_test = set(table[table.split == 'test'].benchmark)
  split = table.benchmark.map(
    lambda title: 'test' if title in has_test else 'validation'
  ).astype(str)
  shown = table[table.split == split]
  return extended.draw_differences(shown, MARKERS, f'needs {NEEDS}')


def _note_validation(
  benchmarks: list[Benchmark], table: pd.DataFrame
) -> list[str]:
  """Say where stopping is judged by the examples that choose when to."""
  if table.empty:
    return []
  by_benchmark = table.groupby('benchmark', observed=True).split.agg(set)
  return [
    f'{title}: test errors were not measured by epoch. All errors are of the '
    'validation examples, of which stopping early takes the lowest of many: it '
    'looks better here than it is.'
    for title, splits in by_benchmark.items()
    if 'test' not in splits
  ]


STOPPING = base.Figure(
  'more_early_stopping',
  'Early stopping against pruning, at its optimal sparsity',
  caption=(
    'Errors minus those of pruning, paired by replicate, and one standard '
    'deviation: of dense and extended dense training to the end, and of both '
    'stopped after the epoch of the lowest validation error, which each '
    'replicate chooses for itself. Extended dense training has as many epochs '
    'to choose from as pruning to its optimal sparsity takes. Replicates whose '
    'errors were not measured at one interval from the first epoch on are left '
    'out. Test errors are drawn where they were measured by epoch. Above 0 '
    'pruning is better; hollow points match by the rule of the paper. Look for '
    'triangles at or below 0: there, stopping in time does what pruning does.'
  ),
  needs=NEEDS,
  tabulate_one=lambda own: compare(own.results, own.summary, own.epochs),
  reads='epochs',
  draw=draw,
  notes=_note_validation,
)
