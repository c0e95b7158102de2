"""Training loss on clean and on noisy examples (section 4)."""

import functools

import pandas as pd

from pruning_gen.analysis import statistics
from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import curves
from pruning_gen.analysis.figures import style


def tabulate_noisy_loss(benchmark):
  """Tabulate training loss on original and noisy examples, with noise."""
  table = curves.tabulate(
    benchmark,
    ('pruning', 'extended_dense'),
    {
      'original': 'train_cross_entropy_clean',
      'noisy': 'train_cross_entropy_noisy',
    },
  )
  return table[table.noise_fraction > 0]


def tabulate_noisy_loss_at_optimum(benchmark):
  """Tabulate the loss of dense, extended dense and optimally sparse networks.

  Returns:
    The rows of `noisy_loss` at pruning's optimal sparsity (extended dense
    training of as many epochs beside it) and at level 0, arm 'dense'.
  """
  table = tabulate_noisy_loss(benchmark)
  levels = statistics.optimal_levels(benchmark.summary, 'chain', 'pruning')
  is_dense = (table.arm == 'pruning') & (table.level == 0)
  at_optimum = table.level == table.noise_fraction.map(levels)
  return pd.concat([table[is_dense].assign(arm='dense'), table[at_optimum]])


@style.context
def draw_noisy_loss_at_optimum(table):
  """Draw the training loss on original and noisy examples of three networks.

  Args:
    table: DataFrame from `tabulate_noisy_loss_at_optimum`.

  Returns:
    A matplotlib Figure, one axes per noise level.
  """
  figure, grid = style.axes_by_noise(table, 'training cross-entropy (nats)')
  arms = table.arm.unique()
  for axes, rows in grid:
    for i, arm in enumerate(arms):
      own = rows[rows.arm == arm]
      x = (own.part == 'noisy') + style.dodge(i, len(arms))
      style.draw_points(axes, x, own['mean'], own['std'], arm)
    axes.set_xticks((0, 1), ('original labels', 'noisy labels'))
    axes.set_xlim(-0.5, 1.5)
    axes.set_ylim(bottom=0)
  style.add_legend(figure, [axes for axes, _ in grid])
  return figure


AT_OPTIMUM = base.Figure(
  'figure_4a_noisy_loss',
  'Figure 4a: loss on original and noisy examples, at the optimal sparsity',
  caption=(
    'Training loss of the dense network, extended dense training of as many '
    'epochs, and the optimally sparse network. Look for noisy examples that '
    'only the sparse network does not fit.'
  ),
  needs=f'{base.CHAIN}, and {base.NOISE}',
  tabulate=tabulate_noisy_loss_at_optimum,
  draw=draw_noisy_loss_at_optimum,
)

FIGURE_4 = base.Figure(
  'figure_4b_noisy_loss_by_sparsity',
  'Figure 4b: loss on original and noisy examples, by sparsity',
  caption=(
    'As Figure 4a, for every level: original examples solid, noisy ones '
    'dotted. Where the dotted blue curve rises, pruning has stopped fitting '
    'noisy examples.'
  ),
  needs=f'{base.CHAIN}, and {base.NOISE}',
  tabulate=tabulate_noisy_loss,
  draw=functools.partial(
    curves.draw, ylabel='training cross-entropy (nats)', percent=False
  ),
)
