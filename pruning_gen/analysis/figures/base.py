"""What a figure is, and how one is tabulated over several benchmarks."""

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
    tabulate_one: returns the plotted numbers of one benchmark. Errors are
      fractions and losses nats, averaged over replicates: METRIC_mean,
      METRIC_std (n - 1) and n.
    reads: the table of a benchmark that these come from; where it is empty
      there are none.
    draw: draws that table; None for a table without a drawing.
    notes: returns sentences on these benchmarks, such as why some are not
      drawn; of an empty table, why it is empty.
    pick: returns those of the benchmarks that are shown.
  """

  name: str
  title: str
  caption: str
  needs: str
  tabulate_one: Callable[[Benchmark], pd.DataFrame]
  reads: str = 'summary'
  draw: Callable[[pd.DataFrame], Drawing] | None = None
  notes: Callable[[list[Benchmark], pd.DataFrame], list[str]] = (
    lambda benchmarks, table: []
  )
  pick: Callable[[list[Benchmark]], list[Benchmark]] = lambda all_: all_

  def tabulate(self, benchmarks: list[Benchmark]) -> pd.DataFrame:
    """Tabulate several benchmarks.

    The column `benchmark` comes first. Its categories are the titles of all
    benchmarks, also of those without rows.
    """
    tables = {
      own.title: self.tabulate_one(own)
      for own in self.pick(benchmarks)
      if len(getattr(own, self.reads))
    }
    filled = {title: table for title, table in tables.items() if len(table)}
    if not filled:
      return pd.DataFrame()
    table = pd.concat(filled, names=['benchmark']).reset_index('benchmark')
    titles = [own.title for own in benchmarks]
    table['benchmark'] = pd.Categorical(table.benchmark, titles)
    return table.reset_index(drop=True)


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
