"""Early stopping as a rival explanation of what pruning does."""

import pandas as pd
from matplotlib.figure import Figure as Drawing

from pruning_gen.analysis import early_stopping
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


@base.of_each
def tabulate(benchmark: Benchmark) -> pd.DataFrame:
  """Tabulate `early_stopping.compare`."""
  return early_stopping.compare(
    benchmark.results, benchmark.summary, benchmark.epochs
  )


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
    f'{title}: epochs.csv is of an older version, without test errors. All '
    'errors are of the validation examples, of which stopping early takes the '
    'lowest of many: it looks better here than it is.'
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
    'to choose from as pruning to its optimal sparsity takes. Test errors are '
    'drawn where they were measured by epoch. Above 0 pruning is better; '
    'hollow points match by the rule of the paper. Look for triangles at or '
    'below 0: there, stopping in time does what pruning does.'
  ),
  needs=NEEDS,
  tabulate=tabulate,
  draw=draw,
  notes=_note_validation,
)
