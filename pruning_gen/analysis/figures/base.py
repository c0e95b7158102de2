"""What a figure is, and how one is tabulated over several benchmarks."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure as Drawing

from pruning_gen.analysis.load import Benchmark


class Figure(NamedTuple):
  """One figure or table of the report.

  Attributes:
    name: of its files; begins with 'figure', 'appendix' or 'more'.
    title: its heading.
    caption: what is drawn, and what to look for.
    needs: what to run where its table is empty.
    tabulate: returns the plotted numbers of all benchmarks. Errors are
      fractions and losses nats, averaged over replicates: METRIC_mean,
      METRIC_std (n - 1) and n.
    draw: draws that table; None for a table without a drawing.
    notes: returns sentences on these benchmarks, such as why some are not
      drawn; of an empty table, why it is empty.
  """

  name: str
  title: str
  caption: str
  needs: str
  tabulate: Callable[[list[Benchmark]], pd.DataFrame]
  draw: Callable[[pd.DataFrame], Drawing] | None = None
  notes: Callable[[list[Benchmark], pd.DataFrame], list[str]] = (
    lambda benchmarks, table: []
  )


def of_each(
  tabulate: Callable[[Benchmark], pd.DataFrame],
) -> Callable[[list[Benchmark]], pd.DataFrame]:
  """Turn a table of one benchmark into one of several.

  The column `benchmark` comes first. Its categories are the titles of all
  benchmarks, also of those without rows.
  """

  @functools.wraps(tabulate)
  def tabulate_all(benchmarks: list[Benchmark]) -> pd.DataFrame:
    tables = {own.title: tabulate(own) for own in benchmarks}
    filled = {title: table for title, table in tables.items() if len(table)}
    if not filled:
      return pd.DataFrame()
    table = pd.concat(filled, names=['benchmark']).reset_index('benchmark')
    table['benchmark'] = pd.Categorical(table.benchmark, list(tables))
    return table.reset_index(drop=True)

  return tabulate_all


CHAIN = (
  "'chain' in --config.experiments, with the arms 'pruning' and "
  "'extended_dense' in --config.arms"
)
EL2N = "'el2n' in --config.experiments"
LEAVE_OUT = "'leave_out' in --config.experiments"
WIDTH = "'width' in --config.experiments"
NOISE = 'a noise level above 0 in --config.noise_fractions'
CLEAN = 'noise level 0 in --config.noise_fractions'

STAR = (
  'A star marks the optimal sparsity. Validation examples choose it, so that '
  'its test error need not be the lowest, nor below that of the dense network.'
)
SPREAD = (
  'Points are means over replicates, bands and bars one standard deviation.'
)
