"""How far scores of difficulty agree, and what pruning does by each of them.

The scores of the experiment `difficulty`, with EL2N as the paper's figures
have it among them.
"""

import itertools

import pandas as pd
from etils import epath

from pruning_gen.analysis import examples
from pruning_gen.analysis.examples import El2n
from pruning_gen.storage import difficulty_scores

LABELS = {
  'el2n': 'EL2N, epoch {}',
  'grand': 'GraNd, epoch {}',
  'forgetting': 'forgetting events',
  'loss': 'loss, epoch {}',
}
OF_EL2N = "EL2N of 'el2n'"

# Scores of one kind by (noise_fraction, replicate), by their label.
Scores = dict[str, El2n]


def read(workdirs: list[str], el2n: El2n) -> Scores:
  """Read the scores of all parts of a benchmark; none without `difficulty`."""
  scores = {}
  for workdir in filter(difficulty_scores.SCORES.exists, workdirs):
    table, values = difficulty_scores.SCORES.read(workdir)
    for row, value in zip(table.itertuples(), values):
      label = LABELS[row.score].format(row.epoch)
      label_set = row.noise_fraction, row.replicate
      scores.setdefault(label, {})[label_set] = value
  return {OF_EL2N: el2n} | scores if scores and el2n else scores


def correlate(scores: Scores) -> pd.DataFrame:
  """Tabulate the rank correlation of each pair of scores.

  Returns:
    noise_fraction, replicate, score, other, and correlation (Spearman's, with
    average ranks for ties; NaN where a score is the same for all examples).
  """
  rows = []
  for label_set in sorted(set().union(*scores.values())):
    own = {
      label: values[label_set]
      for label, values in scores.items()
      if label_set in values
    }
    correlations = pd.DataFrame(own).corr('spearman')
    rows += [
      (*label_set, score, other, correlations.loc[score, other])
      for score, other in itertools.product(own, own)
    ]
  columns = ['noise_fraction', 'replicate', 'score', 'other', 'correlation']
  return pd.DataFrame(rows, columns=columns)


def tabulate_effects(
  table: pd.DataFrame,
  optima: dict[float, int],
  scores: Scores,
  num_subgroups: int,
) -> pd.DataFrame:
  """Tabulate pruning's effect at the optimal sparsity by subgroups of a score.

  Args:
    table: finished rows of results.csv; its index begins with the workdir.
    optima: the optimal level by noise_fraction.

  Returns:
    score, and the columns of `Examples.effects`. Noise levels whose optimal
    level is 0 have no rows.
  """
  pruning = table[(table.experiment == 'chain') & (table.arm == 'pruning')]
  best = pruning.noise_fraction.map(optima)
  is_dense = (pruning.level == 0) & (best > 0)
  pruning = pruning[is_dense | (pruning.level == best)]
  parts = [pd.DataFrame()]
  for workdir, finished in pruning.groupby('workdir', sort=False):
    if not (epath.Path(workdir) / 'chain' / 'labels.npz').exists():
      continue
    for label, values in scores.items():
      found = examples.tabulate(
        workdir, 'chain', finished, values, num_subgroups
      ).effects
      if len(found):
        found = found[found.level > 0]
        found.insert(0, 'score', label)
        parts.append(found)
  return pd.concat(parts, ignore_index=True)
