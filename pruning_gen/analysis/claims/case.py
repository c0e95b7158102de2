"""One benchmark at one noise level: the results that claims are tested on.

Curves go by the arm's name, and narrower networks by 'width'.
"""

import functools
from collections.abc import Callable

import pandas as pd

from pruning_gen.analysis import paired
from pruning_gen.analysis import statistics
from pruning_gen.analysis.claims import paper
from pruning_gen.analysis.claims.base import Finding
from pruning_gen.analysis.claims.base import Undecided
from pruning_gen.analysis.load import Benchmark

# Loss of noisy examples minus that of clean ones: G.
GAP = 'gap'
NOISY_LOSS = 'train_cross_entropy_noisy'

# Where a test looks, in a Case, perhaps on a curve other than that of pruning;
# and the test: of a Case, or of a list of them.
At = Callable[..., int]
Test = Callable[..., Finding | None]

_EXPERIMENT = {'width': ('width', 'dense')}
_MISSING = {
  'extended_dense': 'this run has no extended dense training',
  'width': 'this run has no narrower networks',
}


class Case:
  """A benchmark at one noise level.

  Attributes:
    benchmark: Benchmark.
    noise_fraction: float.
    name: (model, data set).
    lower: the Case of the next lower noise level above 0, or None.
  """

  def __init__(
    self,
    benchmark: Benchmark,
    noise_fraction: float,
    lower: 'Case | None' = None,
  ):
    self.benchmark = benchmark
    self.noise_fraction = noise_fraction
    self.lower = lower
    self.name = paper.name_of(benchmark.config)
    table = benchmark.results
    table = table[table.noise_fraction == noise_fraction]
    table = table[table.experiment.isin(['chain', 'width'])]
    self._results = table
    keys = ['experiment', 'arm', 'level']
    self._rows = table.groupby(keys).indices
    own = benchmark.summary
    own = own[own.noise_fraction == noise_fraction]
    self._summary = {
      curve: group.set_index('level').sort_index()
      for curve, group in own.groupby(['experiment', 'arm'])
    }

  def summary(self, curve: str = 'pruning') -> pd.DataFrame:
    """Return the means of a curve, by level.

    Raises:
      Undecided: the run does not have it.
    """
    key = _key(curve)
    if key not in self._summary:
      raise Undecided(_MISSING.get(curve, f'this run has no arm {curve}'))
    return self._summary[key]

  def has(self, curve: str) -> bool:
    """Return whether the run has any level of a curve."""
    return _key(curve) in self._summary

  def values(
    self, metric: str, level: int, curve: str = 'pruning'
  ) -> pd.Series:
    """Return a column of results.csv, or `GAP`, by replicate."""
    self.summary(curve)
    if metric == GAP:
      noisy = self.values(NOISY_LOSS, level, curve)
      return noisy - self.values('train_cross_entropy_clean', level, curve)
    rows = self._rows.get((*_key(curve), level), [])
    return pd.Series(
      self._results[metric].to_numpy()[rows],
      index=self._results.replicate.to_numpy()[rows],
    )

  @property
  def num_replicates(self) -> int:
    """Number of replicates of the arm pruning."""
    return len(self.values('test_error', 0))

  def levels(self) -> list[int]:
    """Return the finished levels of pruning above 0."""
    return [level for level in self.summary().index if level]

  def last(self, curve: str = 'pruning') -> int:
    """Return the last finished level."""
    return int(self.summary(curve).index[-1])

  def ends_at(self, flag: str) -> bool:
    """Return whether a summary marks the last level, as 'is_optimal'."""
    return self.has('pruning') and bool(self.summary()[flag].iloc[-1])

  def best(self, curve: str = 'pruning') -> int:
    """Return the level of the lowest mean validation error, maybe 0."""
    summary = self.summary(curve)
    best = summary.index[summary.is_optimal]
    if best.empty:
      raise Undecided('a validation error is missing')
    return int(best[0])

  def lowest(self, curve: str = 'pruning') -> int:
    """Return the level of the lowest mean test error, maybe 0."""
    errors = self.summary(curve).test_error_mean.dropna()
    if errors.empty:
      raise Undecided('a test error is missing')
    equals = errors.index[errors <= errors.min() + statistics.TOLERANCE]
    return int(equals[0])

  def optimum(self, curve: str = 'pruning') -> int:
    """Return L*, where it is a pruned network."""
    level = self.best(curve)
    if level == 0:
      what = 'width' if curve == 'width' else 'sparsity'
      raise Undecided(f'the optimal {what} is level 0, the dense network')
    return level

  def dense(self) -> int:
    """Return level 0."""
    return 0

  def improving(self) -> list[int]:
    """Return the levels whose test error is better than that of dense."""
    if self.num_replicates < 2:
      raise Undecided('one replicate')
    summary = self.summary()
    levels = summary.index[summary.test_error_verdict == 'better'].tolist()
    if not levels:
      is_missing = summary.test_error_mean.isna().any()
      raise Undecided(
        'a test error is missing'
        if is_missing
        else 'no level improves the test error'
      )
    return levels

  def highest(self) -> int:
    """Return L^, the sparsest level whose test error is better."""
    return max(self.improving())

  def unbroken(self) -> int | None:
    """Return the end of the improving levels around L*, or None."""
    improving, level = self.improving(), self.best()
    if level not in improving:
      return None
    while level + 1 in improving:
      level += 1
    return level

  def same_size(self, level: int) -> int | None:
    """Return the width of about as many weights as a pruned network."""
    return paired.find_same_size(
      self.benchmark.summary, self.noise_fraction, level
    )

  def describe(self, level: int, at: At | None = None) -> str:
    """Name a level of pruning; a chain that ends there may go further.

    Args:
      level: of pruning.
      at: what chose it. For L^, the unbroken run of improving levels is named.
    """
    words = f'level {level}'
    if level == 0:
      words += ', the dense network'
    elif level == self.last():
      words += ', the last'
    if at is Case.highest:
      end = self.unbroken()
      words += (
        '; L* does not improve'
        if end is None
        else f'; unbroken from L* to level {end}'
      )
    return words

  @functools.cached_property
  def _effects(self) -> pd.DataFrame:
    keys = ['experiment', 'arm', 'level', 'subgroup', 'replicate']
    return self._own(self.benchmark.effects, keys).effect.unstack('replicate')

  def _own(self, table, keys):
    if not table.empty:
      table = table[table.noise_fraction == self.noise_fraction]
    if table.empty:
      raise Undecided('this run has no EL2N scores')
    return table.set_index(keys).sort_index()

  def effects(self, level: int, curve: str = 'pruning') -> pd.DataFrame:
    """Return the mean change in training loss, [subgroup, replicate]."""
    return _at(self._effects, (*_key(curve), level)).dropna(axis=1, how='all')

  @functools.cached_property
  def _concentration(self) -> pd.DataFrame:
    keys = ['experiment', 'arm', 'level', 'replicate']
    table = self._own(self.benchmark.concentration, keys)
    return table.loc[_key('pruning')]

  def concentration(
    self, column: str, level: int | None = None
  ) -> pd.DataFrame | pd.Series:
    """Return a column of `Examples.concentration`, of pruning.

    Args:
      level: return it by replicate; of all levels [level, replicate] if None.
    """
    table = self._concentration[column]
    return table.unstack() if level is None else _at(table, level)

  @functools.cached_property
  def _left_out(self) -> pd.DataFrame:
    pairs = paired.pair_leave_out(self.benchmark.results)
    return pairs[pairs.noise_fraction == self.noise_fraction]

  def left_out(self, name: str) -> dict[int, pd.DataFrame]:
    """Return `paired.pair_leave_out` by level that chose the set.

    Raises:
      Undecided: there is no such set.
    """
    rows = self._left_out
    rows = rows[rows.left_out == name]
    if rows.empty:
      raise Undecided(f'this run leaves out no {name} examples')
    return {
      int(level): group.set_index('replicate')
      for level, group in rows.groupby('number')
    }

  def group_errors(self, by: str, split: str) -> pd.DataFrame:
    """Return the rows of `Benchmark.group_errors` of pruning and width.

    Raises:
      Undecided: there are none.
    """
    table = self.benchmark.group_errors
    if not table.empty:
      is_shown = (table.experiment == 'width') | (table.arm == 'pruning')
      table = table[
        (table.noise_fraction == self.noise_fraction)
        & (table.by == by)
        & (table.split == split)
        & is_shown
      ]
    if table.empty:
      raise Undecided(f'this run has no {split} errors by {by}')
    return table


def _key(curve):
  return _EXPERIMENT.get(curve, ('chain', curve))


def _at(table, key):
  try:
    return table.loc[key]
  except KeyError:
    level = key[-1] if isinstance(key, tuple) else key
    raise Undecided(f'there are no EL2N scores at level {level}') from None
