"""Sentences below the figures of figures/landscape.py: the numbers in words."""

import functools
from collections.abc import Callable

import pandas as pd

from pruning_gen.analysis import statistics
from pruning_gen.analysis.figures import style
from pruning_gen.analysis.load import Benchmark


def _note_each(
  benchmarks: list[Benchmark],
  table: pd.DataFrame,
  describe: Callable[[pd.DataFrame, int], str],
) -> list[str]:
  """Return a sentence for each noise level at which pruning has an optimum.

  Args:
    describe: takes its rows of that noise level and the optimal level; returns
      '' where there is nothing to say.
  """
  notes = []
  for benchmark in benchmarks:
    best = statistics.optimal_levels(benchmark.summary)
    for noise_fraction, level in best.items() if len(table) else ():
      is_own = table.benchmark == benchmark.title
      rows = table[is_own & (table.noise_fraction == noise_fraction)]
      words = describe(rows, level) if len(rows) else ''
      if words:
        name = f'{benchmark.title}, {style.noise_label(noise_fraction)}'
        notes.append(f'{name}: {words}.')
  return notes


def _describe_instability(rows: pd.DataFrame, best: int) -> str:
  rows = rows[rows.arm == 'pruning']
  if len(rows) < 2:
    return ''
  parts = [
    f'{_rank_correlation(own.instability_mean, own.change_mean):+.2f} {where}'
    for own, where in (
      (rows, f'over all {len(rows)} levels'),
      (rows[rows.level <= best], f'up to the optimal sparsity (level {best})'),
    )
  ]
  return f'pruning, rank correlation of both changes {" and ".join(parts)}'


def _rank_correlation(one: pd.Series, other: pd.Series) -> float:
  """Return Spearman's rank correlation; NaN where all ranks are equal."""
  return one.rank().corr(other.rank())


def _describe_barriers(
  rows: pd.DataFrame, best: int, metric: str, scale: float, unit: str
) -> str:
  parts, twins = [], []
  for arm, own in rows.groupby('arm', sort=False):
    barriers = scale * own.set_index('level')[f'barrier_{metric}_mean'].dropna()
    if len(barriers):
      top = barriers.idxmax()
      part = f'{style.label_of(arm)} {barriers[top]:.2g} {unit} at level {top}'
      before = barriers[barriers.index <= best]
      if arm == 'pruning' and len(before):
        part += f' ({before.max():.2g} {unit} up to level {best}, the optimum)'
      parts.append(part)
    barriers = own.set_index('level')[f'twin_barrier_{metric}_mean'].dropna()
    if len(barriers):
      levels = ', '.join(
        f'{scale * value:.2g} {unit} at level {level}'
        for level, value in barriers.items()
      )
      twins.append(f'{style.label_of(arm)} {levels}')
  return '; '.join(
    f'{title}, {", ".join(found)}'
    for title, found in (
      ('highest barrier from the level before', parts),
      ('barriers to twins', twins),
    )
    if found
  )


def _describe_curvature(rows: pd.DataFrame, best: int) -> str:
  name = 'hessian_eigenvalue_mean'
  parts = []
  for arm, own in rows.groupby('arm', sort=False):
    values = own.set_index('level')[name]
    label = style.label_of(arm)
    if arm == 'pruning' and 0 in values:
      parts.append(f'dense {values[0]:.3g}')
    if best in values:
      parts.append(f'{label} {values[best]:.3g} at level {best}')
    pruned = values.drop(0, errors='ignore')
    if arm == 'pruning' and len(pruned):
      parts.append(
        f'{label} at most {pruned.max():.3g}, at level {pruned.idxmax()}'
      )
  return f'{", ".join(parts)}; the optimal sparsity is level {best}'


note_instability = functools.partial(_note_each, describe=_describe_instability)
note_error_barriers = functools.partial(
  _note_each,
  describe=functools.partial(
    _describe_barriers, metric='test_error', scale=100, unit='points'
  ),
)
note_loss_barriers = functools.partial(
  _note_each,
  describe=functools.partial(
    _describe_barriers, metric='train_cross_entropy', scale=1, unit='nats'
  ),
)
note_curvature = functools.partial(_note_each, describe=_describe_curvature)
