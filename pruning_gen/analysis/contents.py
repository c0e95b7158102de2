"""What the report holds: every figure and table, in order, with its caption.

Figures are numbered by our reading of the paper, whose appendix we did not
have.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

from pruning_gen.analysis import figures
from pruning_gen.analysis import tables


class Section(NamedTuple):
  """One section of the report.

  Attributes:
    name: str, of its files.
    title: str.
    needs: str, what to run where the table is empty.
    tabulate: function of a Panel to the table of plotted numbers.
    draw: function of that table to a Figure; None for a table alone.
    caption: str, what is drawn and what to look for.
  """

  name: str
  title: str
  needs: str
  tabulate: Callable
  draw: Callable | None
  caption: str


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

SECTIONS = (
  Section(
    'figure_1a_test_error',
    'Figure 1a: test error',
    CHAIN,
    lambda panel: tables.test_error(panel, 'pruning', 'extended_dense'),
    functools.partial(figures.curves, ylabel='test error (%)'),
    'Test error against weights remaining; mean and one standard deviation '
    'over replicates. Extended dense training removes nothing; its points '
    'stand where pruning is after as many epochs. Look for the blue curve '
    'below the dashed line, and whether the orange one gets there too. The '
    'axis may end below networks that sparsity has ruined; the numbers have '
    'them.',
  ),
  Section(
    'figure_1b_training_loss',
    'Figure 1b: training loss',
    CHAIN,
    tables.training_loss,
    functools.partial(
      figures.curves, ylabel='training cross-entropy (nats)', percent=False
    ),
    'Mean cross-entropy on the training labels (evaluation mode, no '
    'augmentation), drawn like Figure 1a. Look for better training: curves '
    'that fall below the dashed line before sparsity makes them rise.',
  ),
  Section(
    'figure_2a_subgroups_clean',
    'Figure 2a: effect on subgroups of examples, without noise',
    EL2N,
    functools.partial(tables.subgroups_at_optimum, with_noise=False),
    figures.subgroup_effects,
    'Training loss at the optimal sparsity minus that of the dense network, '
    'by subgroup of EL2N; below 0 is better. Extended dense training has '
    'lasted as many epochs. Look for a change that falls on the highest '
    'scores, the influential examples.',
  ),
  Section(
    'figure_2b_subgroups_noise',
    'Figure 2b: effect on subgroups of examples, with noise',
    f'{EL2N}, and {NOISE}',
    functools.partial(tables.subgroups_at_optimum, with_noise=True),
    figures.subgroup_effects,
    'As Figure 2a, with noise. Look for the highest scores, which are the '
    'noisy examples: pruning raises their loss, extended dense training does '
    'not.',
  ),
  Section(
    'influential_examples',
    'How much of the effect falls on influential examples',
    EL2N,
    tables.concentration,
    None,
    'At the optimal sparsity, and for extended dense training of as many '
    'epochs: ratio, |mean change| of the top 20 % by EL2N over that of the '
    'rest (3.5 to 71 in the paper); share, the part of all change, example by '
    'example, that falls on them; noisy share, how many of the highest scores '
    'are noisy examples, counting as many scores as there are noisy examples.',
  ),
  Section(
    'figure_3_leave_out_clean',
    'Figure 3: training without the most improved examples',
    LEAVE_OUT,
    lambda panel: tables.leave_out(panel, 'most_improved', with_noise=False),
    functools.partial(figures.leave_out, xlabel=LEVEL),
    'Test error of dense networks trained without the 20 % of the examples '
    'that pruning improves most (solid), and without as many random ones '
    '(dashed). Look for solid above dashed: these examples matter.',
  ),
  Section(
    'figure_4a_noisy_loss',
    'Figure 4a: loss on original and noisy examples, at the optimal sparsity',
    f'{CHAIN}, and {NOISE}',
    tables.noisy_loss_at_optimum,
    figures.noisy_loss_at_optimum,
    'Training loss of the dense network, extended dense training of as many '
    'epochs, and the optimally sparse network. Look for noisy examples that '
    'only the sparse network does not fit.',
  ),
  Section(
    'figure_4b_noisy_loss_by_sparsity',
    'Figure 4b: loss on original and noisy examples, by sparsity',
    f'{CHAIN}, and {NOISE}',
    tables.noisy_loss,
    functools.partial(
      figures.curves, ylabel='training cross-entropy (nats)', percent=False
    ),
    'As Figure 4a, for every level: original examples solid, noisy ones '
    'dotted. Where the dotted blue curve rises, pruning has stopped fitting '
    'noisy examples.',
  ),
  Section(
    'figure_5_leave_out_noise',
    'Figure 5: training without the examples that pruning gives up',
    f'{LEAVE_OUT}, and {NOISE}',
    lambda panel: tables.leave_out(
      panel, 'most_worsened', 'misclassified', with_noise=True
    ),
    functools.partial(figures.leave_out, xlabel=LEVEL),
    'As Figure 3, without the examples whose loss pruning raises most, and '
    'without those that the optimally sparse network misclassifies. Look for '
    'solid below dashed: these examples mislead a dense network.',
  ),
  Section(
    'figure_6_extended_dense',
    'Figure 6: extended dense training against pruning',
    CHAIN,
    tables.extended_dense,
    figures.extended_dense,
    'Left, test error: dense, extended dense training (of as many epochs as '
    'pruning takes, and of as many as suit it best by validation error), and '
    'pruning to the optimal sparsity. Right, the paired differences and their '
    'verdicts. Look for a match without noise and worse with it.',
  ),
  Section(
    'figure_7_width',
    'Figure 7: narrower networks against pruning',
    WIDTH,
    tables.width,
    functools.partial(
      figures.curves, ylabel='test error (%)', x='num_weights_remaining'
    ),
    'Test error against the number of weights. If size were the reason, the '
    'two curves would fall alike.',
  ),
  Section(
    'optimal_sparsity',
    'Optimal and highest improving sparsity',
    CHAIN,
    tables.optima,
    None,
    'The optimal level has the lowest mean validation error; its test error, '
    'and the paired difference against dense with its verdict (none for one '
    'replicate). The highest improving level is the sparsest whose verdict is '
    'better.',
  ),
  Section(
    'appendix_c_twins',
    'Appendix C, Figure 8: every pruning arm against its twin',
    CHAIN,
    tables.twins,
    figures.twins,
    'Each arm that prunes (solid) and the arm that trains alike and removes '
    'nothing (dashed), by sparsity and by epochs trained. Look for solid below '
    'dashed: what removing weights adds to training as long.',
  ),
  Section(
    'appendix_d_leave_out',
    'Appendices D, K: leave-out by set and level',
    LEAVE_OUT,
    lambda panel: tables.leave_out(
      panel, 'most_improved', 'most_worsened', 'misclassified'
    ),
    functools.partial(figures.leave_out, xlabel=LEVEL),
    'As Figures 3 and 5, all sets at all noise levels. Look for solid above '
    'dashed, examples that a dense network needs, and below, examples that '
    'mislead it.',
  ),
  Section(
    'appendix_e_leave_out_subgroups',
    'Appendix E: leave-out by subgroup',
    f'{LEAVE_OUT} and {EL2N}',
    lambda panel: tables.leave_out(panel, 'subgroup'),
    functools.partial(
      figures.leave_out, xlabel='subgroup left out, by EL2N, low to high'
    ),
    'Test error without one subgroup by EL2N. Without noise the influential '
    'examples are those of high scores, whose loss hurts most; with noise the '
    'highest are the noisy ones.',
  ),
  Section(
    'appendix_f_width_subgroups',
    'Appendices F, I: two ways to be small, by subgroup',
    f'{WIDTH} and {EL2N}',
    tables.subgroups_by_size,
    figures.subgroup_effects,
    'As Figure 2: pruning at its optimal sparsity, and the narrower network '
    'with as many weights, each against its own dense network. Look at the '
    'highest scores: where the curves part, it is not size that does it.',
  ),
  Section(
    'appendix_j_ablations',
    'Appendix J: other ways to rewind and to score',
    ABLATIONS,
    tables.ablations,
    functools.partial(figures.curves, ylabel='test error (%)'),
    'All arms that prune. Where all of them improve alike, it is not the '
    'choice of weights that does it.',
  ),
  Section(
    'appendix_k_most_worsened',
    'Appendix K: the examples that pruning worsens most',
    CHAIN,
    tables.most_worsened,
    figures.most_worsened,
    'Training label > prediction of the optimally sparse network; red, with '
    'the true label in brackets, where the training label is noisy. The first '
    'replicate there is. Without noise, look for ambiguous or wrongly labelled '
    'images.',
  ),
  Section(
    'appendix_l_heat_maps',
    'Appendix L: effect on subgroups at every level',
    EL2N,
    tables.heat_maps,
    figures.heat_maps,
    'Training loss minus that of the dense network: blue is better, red is '
    'worse, linear near 0 and logarithmic beyond. Look for where red begins: '
    'at what sparsity, with which examples.',
  ),
  Section(
    'every_level',
    'Appendix M: every level of every arm',
    CHAIN,
    lambda panel: panel.summary,
    None,
    'Mean ± standard deviation (n - 1) over n replicates; errors are '
    'fractions, losses nats. Difference and verdict: against dense, paired by '
    'replicate; better or worse where |mean| ≥ standard deviation, else '
    'match; one replicate gets no verdict. Bold: the optimal sparsity.',
  ),
)
