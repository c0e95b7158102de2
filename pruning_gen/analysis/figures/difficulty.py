"""Scores of difficulty: what pruning does by each, and how far they agree."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from pruning_gen.analysis import statistics
from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import grids
from pruning_gen.analysis.figures import subgroups

NEEDS = "'difficulty' in --config.experiments"


def draw_effects(table: pd.DataFrame) -> Drawing:
  """Draw a curve for each score, in a cell for each noise level."""
  labels = list(dict.fromkeys(table.score))
  colors = mpl.colormaps['viridis'](np.linspace(0, 0.85, len(labels)))
  figure, grid, cells = grids.grid_by_noise(table)
  for axes, rows in cells:
    for label, color in zip(labels, colors):
      own = rows[rows.score == label]
      subgroups.draw_effect(axes, own, color=color, label=label)
    axes.set_xlabel('percentile of the score')
  grids.label_left(grid)
  cells[0][0].legend(fontsize=7)
  return figure


def draw_rankings(table: pd.DataFrame) -> Drawing:
  """Draw a matrix of correlations for each noise level."""
  figure, _, cells = grids.grid_by_noise(table, height=3.6)
  for axes, rows in cells:
    labels = list(dict.fromkeys(rows.score))
    matrix = rows.pivot(
      index='score', columns='other', values='correlation_mean'
    ).loc[labels, labels]
    axes.grid(False)
    axes.imshow(matrix, cmap='RdBu_r', vmin=-1, vmax=1)
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=7)
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    for (i, j), value in np.ndenumerate(matrix.to_numpy()):
      color = 'white' if abs(value) > 0.7 else 'black'
      text = f'{value:.2f}'
      axes.text(j, i, text, ha='center', va='center', color=color, fontsize=6)
  return figure


EFFECTS = base.Figure(
  'more_difficulty_effects',
  'Effect of pruning by other scores of difficulty',
  caption=(
    'Training loss at the optimal sparsity minus that of the dense network, by '
    'subgroups of each score: EL2N and GraNd at several epochs, forgetting '
    'events, and the loss at the end of training, averaged over the networks '
    f'of difficulty. {base.SPREAD} Look for whether the same examples are hard '
    'by another score.'
  ),
  needs=NEEDS,
  tabulate_one=lambda own: subgroups.average_effects(
    own.score_effects, ['noise_fraction', 'score', 'level']
  ),
  reads='score_effects',
  draw=draw_effects,
)

RANKINGS = base.Figure(
  'more_difficulty_rankings',
  'How far scores of difficulty agree',
  caption=(
    "Spearman's rank correlation of each pair of scores over all training "
    'examples: 1 is the same ranking, 0 none in common. Means over replicates.'
  ),
  needs=NEEDS,
  tabulate_one=lambda own: statistics.average(
    own.rankings, ['noise_fraction', 'score', 'other'], 'correlation'
  ),
  reads='rankings',
  draw=draw_rankings,
)
