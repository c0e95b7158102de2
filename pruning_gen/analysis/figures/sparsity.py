"""Test error and training loss by sparsity."""

import functools

from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import curves


def tabulate_test_error(benchmark, *arms):
  """Tabulate the test error of arms over all levels."""
  return curves.tabulate(benchmark, arms, {'': 'test_error'})


def tabulate_training_loss(benchmark):
  """Tabulate the mean training loss of the chain's two main arms."""
  return curves.tabulate(
    benchmark, ('pruning', 'extended_dense'), {'': 'train_cross_entropy'}
  )


FIGURE_1A = base.Figure(
  'figure_1a_test_error',
  'Figure 1a: test error',
  caption=(
    'Test error against weights remaining; mean and one standard deviation '
    'over replicates. Extended dense training removes nothing; its points '
    'stand where pruning is after as many epochs. Look for the blue curve '
    'below the dashed line, and whether the orange one gets there too. The '
    'axis may end below networks that sparsity has ruined; the numbers have '
    'them.'
  ),
  needs=base.CHAIN,
  tabulate=lambda benchmark: tabulate_test_error(
    benchmark, 'pruning', 'extended_dense'
  ),
  draw=functools.partial(curves.draw, ylabel='test error (%)'),
)

TRAINING_LOSS = base.Figure(
  'figure_1b_training_loss',
  'Figure 1b: training loss',
  caption=(
    'Mean cross-entropy on the training labels (evaluation mode, no '
    'augmentation), drawn like Figure 1a. Look for better training: curves '
    'that fall below the dashed line before sparsity makes them rise.'
  ),
  needs=base.CHAIN,
  tabulate=tabulate_training_loss,
  draw=functools.partial(
    curves.draw, ylabel='training cross-entropy (nats)', percent=False
  ),
)
