"""Which groups of examples pruning harms, and from which sparsity on.

The paper asks for this in its closing discussion (section 7). A group is a
subgroup by EL2N or a class; its error is that of training or test examples.
"""

import pandas as pd

from pruning_gen.analysis import statistics

# Identifies a curve of errors by level.
GROUP = ['experiment', 'arm', 'noise_fraction', 'split', 'by', 'group']


def compare_groups(group_errors: pd.DataFrame) -> pd.DataFrame:
  """Judge the error of every group at every level against the dense network.

  Args:
    group_errors: experiment and the columns of `Examples.group_errors`.

  Returns:
    `GROUP` and level; error_mean, error_std and n over replicates;
    difference_mean, difference_std and verdict against level 0, paired by
    replicate (verdict '' at level 0, and for one replicate).
  """
  keys = [*GROUP, 'level', 'replicate']
  errors = group_errors.set_index(keys).error.unstack('replicate')
  dense = errors.xs(0, level='level')
  of_dense = dense.reindex(errors.index.droplevel('level')).to_numpy()
  differences = errors - of_dense
  table = pd.DataFrame(
    {
      'error_mean': errors.mean(axis=1),
      'error_std': errors.std(axis=1, ddof=1),
      'n': errors.notna().sum(axis=1),
      'difference_mean': differences.mean(axis=1),
      'difference_std': differences.std(axis=1, ddof=1),
    }
  )
  table['verdict'] = statistics.verdict_of(
    table.difference_mean.to_numpy(), table.difference_std.to_numpy()
  )
  table = table.reset_index()
  table.loc[table.level == 0, 'verdict'] = ''
  return table


def find_harm(compared: pd.DataFrame) -> pd.DataFrame:
  """Find the level from which on each group is harmed.

  Args:
    compared: from `compare_groups`.

  Returns:
    `GROUP` and harmed_from: the earliest level whose verdict, and that of
    every sparser level, is 'worse'; missing where the last level's is not.
  """
  table = compared.sort_values('level')
  # A level counts if no level from it on is anything but worse.
  not_worse = (table.verdict != 'worse')[::-1]
  others = not_worse.groupby([table[name] for name in GROUP]).cumsum()
  table = table.assign(is_harmed=others == 0)
  harmed = table.level.where(table.is_harmed).astype('Int64')
  table = table.assign(harmed_from=harmed)
  return table.groupby(GROUP).harmed_from.min().reset_index()
