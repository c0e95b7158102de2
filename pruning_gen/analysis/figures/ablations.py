"""Other ways to rewind and to score (appendix J)."""

import functools

from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import curves
from pruning_gen.analysis.figures import sparsity
from pruning_gen.pruning import arms


def tabulate_ablations(benchmark):
  """Tabulate the test error of all arms that prune, if there are several."""
  names = [name for name, arm in arms.ARMS.items() if arm.prunes]
  table = sparsity.tabulate_test_error(benchmark, *names)
  return table if table.arm.nunique() > 1 else table.head(0)


APPENDIX_J = base.Figure(
  'appendix_j_ablations',
  'Appendix J: other ways to rewind and to score',
  caption=(
    'All arms that prune. Where all of them improve alike, it is not the '
    'choice of weights that does it.'
  ),
  needs=base.ABLATIONS,
  tabulate=tabulate_ablations,
  draw=functools.partial(curves.draw, ylabel='test error (%)'),
)
