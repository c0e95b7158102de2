"""How many of their weights two pruned networks keep in common.

Of the networks that a run has kept (config.checkpoint.keep_levels).
"""

import itertools

import numpy as np
import pandas as pd
from etils import epath
from jaxtyping import Bool

from pruning_gen.analysis import paired
from pruning_gen.errors import UserError
from pruning_gen.storage import networks

# True where a weight is kept, by the layer's name.
Masks = dict[str, Bool[np.ndarray, '...']]
# Of `tabulate`.
COLUMNS = (
  'noise_fraction',
  'level',
  'arm',
  'replicate',
  'other_arm',
  'other_replicate',
  'overlap',
  'by_chance',
)


def measure(one: Masks, other: Masks) -> tuple[float, float]:
  """Return the Jaccard index of the weights that two networks keep.

  Layers of which both keep everything, such as an output layer that is not
  pruned, are left out: they would overlap whatever pruning does.

  Returns:
    The weights that both keep, over those that at least one keeps; and the same
    for the numbers to expect if each kept as many weights of each layer at
    random. NaN if nothing is pruned or kept.
  """
  both = by_chance = total = 0
  for layer, mask in one.items():
    kept, kept_of_other = int(mask.sum()), int(other[layer].sum())
    if kept == kept_of_other == mask.size:
      continue
    total += kept + kept_of_other
    both += int((mask & other[layer]).sum())
    by_chance += kept * kept_of_other / mask.size
  if not total:
    return np.nan, np.nan
  return both / (total - both), by_chance / (total - by_chance)


def tabulate(table: pd.DataFrame) -> pd.DataFrame:
  """Measure the overlap of networks that differ in replicate, or in arm.

  Args:
    table: from `load.join_tables`; its index begins with the workdir.

  Returns:
    `COLUMNS`, for each pair of kept networks of one noise fraction and level
    that have the arm or the replicate in common. Only arms that prune, and
    levels above 0.
  """
  rows = []
  for (noise_fraction, level), kept in _find_kept(table).items():
    read = {network: _read_masks(path) for network, path in kept.items()}
    found = [network for network, masks in read.items() if masks]
    for one, other in itertools.combinations(found, 2):
      if one[0] == other[0] or one[1] == other[1]:
        pair = (noise_fraction, level, *one, *other)
        rows.append((*pair, *measure(read[one], read[other])))
  return pd.DataFrame(rows, columns=list(COLUMNS))


def _find_kept(
  table: pd.DataFrame,
) -> dict[tuple[float, int], dict[tuple[str, int], epath.Path]]:
  """Find the files of kept networks.

  Returns:
    {(noise_fraction, level): {(arm, replicate): path}}, in the order of levels
    and arms.
  """
  arms = paired.pruning_arms(table)
  chain = table[(table.experiment == 'chain') & table.arm.isin(arms)]
  found = {}
  by = ['workdir', 'arm', 'noise_fraction', 'replicate']
  for (workdir, *network), rows in chain.groupby(by):
    kept = networks.list_levels(workdir, *network)
    arm, noise_fraction, replicate = network
    for level in sorted({*kept} & {*rows.level} - {0}):
      path = networks.path_of(workdir, *network, level)
      found.setdefault((noise_fraction, level), {})[arm, replicate] = path
  return {
    key: dict(sorted(own.items(), key=lambda item: arms.index(item[0][0])))
    for key, own in sorted(found.items())
    if len(own) > 1
  }


def _read_masks(path: epath.Path) -> Masks:
  """Read the masks of a network; none if it has been superseded just now."""
  try:
    return networks.read_masks(path)
  except UserError:
    if path.exists():
      raise
    return {}
