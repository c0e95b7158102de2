"""What a figure is."""

from collections.abc import Callable
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure as MatplotlibFigure

from pruning_gen.analysis.load import Benchmark


class Figure(NamedTuple):
  """One figure or table of the report.

  Attributes:
    name: of its files.
    title: its heading.
    caption: what is drawn, and what to look for.
    needs: what to run where its table is empty.
    tabulate: returns the plotted numbers. Errors are fractions and losses
      nats, averaged over replicates: mean, std (n - 1) and n.
    draw: draws that table; None for a table without a drawing.
  """

  name: str
  title: str
  caption: str
  needs: str
  tabulate: Callable[[Benchmark], pd.DataFrame]
  draw: Callable[[pd.DataFrame], MatplotlibFigure] | None = None


CHAIN = "'chain' in --config.experiments, with the arms 'pruning' and "
CHAIN += "'extended_dense' in --config.arms"
EL2N = "'el2n' in --config.experiments"
LEAVE_OUT = "'leave_out' in --config.experiments"
WIDTH = "'width' in --config.experiments"
NOISE = 'a noise level above 0 in --config.noise_fractions'
ABLATIONS = (
  "more arms in --config.arms: 'weight_rewinding' and "
  "'weight_rewinding_dense', 'random', 'gradient', 'synflow'"
)
LEVEL = 'level whose losses choose the examples'
