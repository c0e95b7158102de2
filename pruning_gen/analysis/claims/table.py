"""The table of claims.

L* is the level of the lowest validation error, L^ the sparsest level whose test
error is better than that of the dense network, k* as L* of narrower networks,
and G the loss of noisy minus that of clean examples (which the paper calls
original).
"""

import numpy as np

from pruning_gen.analysis.claims import controls
from pruning_gen.analysis.claims import groups
from pruning_gen.analysis.claims import levels
from pruning_gen.analysis.claims import paper
from pruning_gen.analysis.claims import several
from pruning_gen.analysis.claims.base import ACROSS
from pruning_gen.analysis.claims.base import ALL_CLEAN
from pruning_gen.analysis.claims.base import ALL_NOISY
from pruning_gen.analysis.claims.base import Claim
from pruning_gen.analysis.claims.base import CLEAN
from pruning_gen.analysis.claims.base import Count
from pruning_gen.analysis.claims.base import EACH
from pruning_gen.analysis.claims.base import NOISY
from pruning_gen.analysis.claims.case import Case
from pruning_gen.analysis.claims.case import GAP
from pruning_gen.analysis.claims.case import NOISY_LOSS

_ERROR, _LOSS = 'test_error', 'train_cross_entropy'
_WIDTH = ('chain', 'width')
_LONGER = ('chain', 'extended_dense')
_error_at_best = levels.change(_ERROR, Case.best)
_ratio = groups.concentration(Case.optimum)
_dense_gap = levels.size_of_gap(Case.dense)
_sparse_gap = levels.size_of_gap(Case.best)

# One row per claim: section, words, where it is tested, the paper's, the test.
# fmt: off
CLAIMS = (
  # Section 3: better training, without noise.
  Claim('3, Fig. 2a', 'Pruning to L* improves the test error.',
        CLEAN, 'better', _error_at_best),
  Claim('7', 'Pruning to L* lowers the training loss.',
        CLEAN, 'better', levels.change(_LOSS, Case.optimum)),
  Claim('7', 'Clean benchmarks where pruning to L* lowers the training loss.',
        ALL_CLEAN, Count(5, 5),
        several.count('better', levels.change(_LOSS, Case.best))),
  Claim('3, Fig. 2a', 'At L*, no subgroup by EL2N has a higher training '
        'loss.',
        CLEAN, 'none worse', groups.no_group_worse),
  Claim('3, Fig. 2a', 'At L*, most subgroups have a lower training loss.',
        CLEAN, 'over half better', groups.most_groups('better', Case.optimum)),
  Claim('3, Fig. 2a', 'At L*, the subgroup of the highest EL2N improves '
        'most.',
        CLEAN, 'better', groups.top_group_improves_most),
  Claim('ours', 'At L*, the top 20 % by EL2N improve more than the rest.',
        CLEAN, 'better', groups.top_minus_rest(Case.optimum)),
  Claim('3, Fig. 2a', 'At L*, change of the top 20 % by EL2N over that of '
        'the rest.',
        CLEAN, paper.CONCENTRATION, _ratio),
  Claim('3, Fig. 2a', 'At L*, change of the top 20 % by EL2N over that of '
        'the rest: smallest of the clean benchmarks.',
        ALL_CLEAN, paper.CONCENTRATION[0], several.smallest(_ratio)),
  Claim('3, Fig. 2a', 'At L*, change of the top 20 % by EL2N over that of '
        'the rest: largest of the clean benchmarks.',
        ALL_CLEAN, paper.CONCENTRATION[1], several.largest(_ratio)),
  Claim('4', 'At every level, the top 20 % by EL2N change more than the '
        'rest.',
        EACH, 'every level', groups.concentrated_at_every_level, at=''),
  Claim('3, App. D', 'Dense training without the examples that improve most '
        'at L* is worse than without as many random ones.',
        CLEAN, 'worse', controls.leave_out('most_improved', 'random_error')),
  Claim('3, App. D', 'Dense training without the examples that improve most '
        'is worse than without as many random ones, at every level.',
        CLEAN, 'every level', controls.leave_out_at_every_level, at=''),
  # Sections 1 and 4: the highest sparsity that improves, without noise.
  Claim('1, Fig. 1b', 'VGG-16: pruning to L^ raises the training loss.',
        CLEAN, {'vgg16': 'worse'}, levels.change(_LOSS, Case.highest),
        at='L^'),
  Claim('1, Fig. 1b', 'VGG-16: pruning to L^ raises the training loss of the '
        'top 20 % by EL2N most.',
        CLEAN, {'vgg16': 'worse'}, groups.top_minus_rest(Case.highest),
        at='L^'),
  Claim('4, Fig. 2b', 'Pruning to L^ lowers the training loss, but raises it '
        'on CIFAR-10.',
        CLEAN, {'cifar10': 'worse', '': 'better'},
        levels.change(_LOSS, Case.highest), at='L^'),
  Claim('4, Fig. 2b', 'On CIFAR-10, pruning to L^ raises the training loss '
        'of most subgroups.',
        CLEAN, {'cifar10': 'over half worse'},
        groups.most_groups('worse', Case.highest), at='L^'),
  Claim('4, Fig. 2b', 'On CIFAR-10, pruning to L^ raises the training loss '
        'of the top 20 % by EL2N most.',
        CLEAN, {'cifar10': 'worse'}, groups.top_minus_rest(Case.highest),
        at='L^'),
  Claim('4, Fig. 2b', 'L^, the sparsest level that improves the test error.',
        CLEAN, paper.HIGHEST_IMPROVING,
        levels.highest_improving(paper.HIGHEST_IMPROVING), at=''),
  # Section 4: additional regularization, under noise.
  Claim('4, Fig. 3', 'Pruning to L* improves the test error, or matches it.',
        NOISY, paper.ERROR_AT_BEST, _error_at_best),
  Claim('4, Fig. 3', 'Noisy benchmarks where pruning to L* improves the test '
        'error; on the others it matches.',
        ALL_NOISY, Count(11, 13),
        several.count('better', _error_at_best, never='worse')),
  Claim('4, Fig. 3', 'Pruning to L* improves the test error more than at the '
        'next lower noise level.',
        NOISY, 'better', levels.grows_with_noise),
  Claim('4, Fig. 3', 'Change of the test error by pruning to L*.',
        NOISY, paper.CHANGE, _error_at_best),
  Claim('4, Fig. 4', 'Pruning to L* raises the loss of noisy examples.',
        NOISY, 'worse', levels.change(NOISY_LOSS, Case.optimum)),
  Claim('4, Fig. 4', 'At many weights (over 10 %), the loss of noisy '
        'examples is lower.',
        NOISY, 'better', levels.noisy_loss(few=False), at=''),
  Claim('4, Fig. 4', 'At few weights (under 10 %), the loss of noisy '
        'examples is higher.',
        NOISY, 'worse', levels.noisy_loss(few=True), at=''),
  Claim('4, Fig. 4', 'Where pruning improves, G is larger than the dense '
        'one.',
        NOISY, 'over half larger', levels.gap_where_improving, at=''),
  Claim('4, Fig. 4', 'At L*, G is larger than the dense one.',
        NOISY, 'larger', levels.change(GAP, Case.optimum)),
  Claim('4, Fig. 4', 'The smallest G over noise levels, dense.',
        ACROSS, paper.smallest(paper.DENSE_GAP), several.smallest(_dense_gap),
        needs=(), at=''),
  Claim('4, Fig. 4', 'The largest G over noise levels, dense.',
        ACROSS, paper.largest(paper.DENSE_GAP), several.largest(_dense_gap),
        needs=(), at=''),
  Claim('4, Fig. 4', 'The smallest G over noise levels, at L*.',
        ACROSS, paper.smallest(paper.SPARSE_GAP),
        several.smallest(_sparse_gap)),
  Claim('4, Fig. 4', 'The largest G over noise levels, at L*.',
        ACROSS, paper.largest(paper.SPARSE_GAP), several.largest(_sparse_gap)),
  Claim('4, Fig. 4', 'At the last level, G is smaller than at its largest.',
        NOISY, 'smaller', levels.gap_shrinks, at=''),
  Claim('4, Fig. 5', 'Pruning to L* raises the training loss, except for '
        'ResNet-50.',
        NOISY, {'resnet50': 'better or match', '': 'worse'},
        levels.change(_LOSS, Case.optimum)),
  Claim('4, Fig. 5', 'Pruning to L* raises the training loss of the top 20 % '
        'by EL2N most.',
        NOISY, paper.TOP_RISES_MOST, groups.top_minus_rest(Case.optimum)),
  Claim('4, Fig. 5', 'Little room for a rise at 60 % noise: the dense '
        'network has a higher loss of noisy examples than at 30 %.',
        ACROSS, dict.fromkeys(paper.LITTLE_ROOM, 'worse'), levels.little_room,
        needs=(), at=''),
  Claim('4, App. E', 'Dense training without the examples that the network '
        'at L* misclassifies is better than with all.',
        NOISY, 'better', controls.leave_out('misclassified', 'dense_error')),
  Claim('4, App. E', 'Dense training without the examples that the network '
        'at L* misclassifies is as good as pruning to L*, or better.',
        NOISY, 'better or match',
        controls.leave_out('misclassified', 'pruning')),
  Claim('ours', 'Dense training without the examples that the network at L* '
        'misclassifies is better than without as many random ones.',
        NOISY, 'better', controls.leave_out('misclassified', 'random_error')),
  Claim('ours', 'Dense training without the examples that worsen most at L* '
        'is better than without as many random ones.',
        NOISY, 'better', controls.leave_out('most_worsened', 'random_error')),
  # Section 5.1: extended training time.
  Claim('1, Fig. 1a', 'VGG-16: levels above 1 % of the weights where pruning '
        'and extended dense training differ.',
        CLEAN, {'vgg16': 'by chance only'}, levels.matches_extended_dense,
        at=''),
  Claim('5.1, Fig. 6', 'Extended dense training is as good as pruning, or '
        'better.',
        CLEAN, 'better or match', controls.extended_dense, _LONGER),
  Claim('5.1, App. L', 'Extended dense training lowers the training loss.',
        CLEAN, 'better', levels.longer_training(_LOSS)),
  Claim('5.1, Fig. 6', 'Extended dense training is worse than pruning.',
        NOISY, paper.EXTENDED_DENSE, controls.extended_dense, _LONGER),
  Claim('5.1, Fig. 6', 'Extended dense training minus pruning: smallest over '
        'noise levels.',
        ACROSS, paper.smallest(paper.EXTENDED_DENSE_WORSE),
        several.smallest(controls.extended_dense), _LONGER),
  Claim('5.1, Fig. 6', 'Extended dense training minus pruning: largest over '
        'noise levels.',
        ACROSS, paper.largest(paper.EXTENDED_DENSE_WORSE),
        several.largest(controls.extended_dense), _LONGER),
  Claim('5.1, Fig. 6', 'Noisy benchmarks where extended dense training is '
        'worse than pruning.',
        ALL_NOISY, Count(9, 13),
        several.count('worse', controls.extended_dense), _LONGER),
  Claim('ours', 'Extended dense training does not raise the loss of noisy '
        'examples.',
        NOISY, 'better or match', levels.longer_training(NOISY_LOSS)),
  # Section 5.2: size reduction.
  Claim('5.2, Fig. 7', 'Narrower networks are worse than pruning.',
        CLEAN, 'worse', controls.width_without_noise, _WIDTH),
  Claim('5.2, Fig. 7', 'Clean benchmarks where narrower networks are worse '
        'than pruning.',
        ALL_CLEAN, Count(4, 5), several.count('worse', controls.width), _WIDTH),
  Claim('ours', 'A narrower network of about as many weights as at L* has a '
        'higher training loss.',
        CLEAN, 'worse', controls.width_of_same_size, _WIDTH),
  Claim('5.2, Fig. 7', 'Narrowing to k* improves the test error.',
        NOISY, 'better', levels.change(_ERROR, Case.best, 'width'),
        _WIDTH, at=''),
  Claim('5.2, Fig. 7', 'Narrowing to k* raises the loss of noisy examples.',
        NOISY, 'worse', levels.change(NOISY_LOSS, Case.optimum, 'width'),
        _WIDTH, at=''),
  Claim('5.2, Fig. 7', 'Narrowing to k* widens G.',
        NOISY, 'larger', levels.change(GAP, Case.optimum, 'width'),
        _WIDTH, at=''),
  Claim('5.2, Fig. 7', 'Narrower networks minus pruning: smallest over noise '
        'levels.',
        ACROSS, paper.smallest(paper.WIDTH_WORSE),
        several.smallest(controls.width), _WIDTH),
  Claim('5.2, Fig. 7', 'Narrower networks minus pruning: largest over noise '
        'levels.',
        ACROSS, paper.largest(paper.WIDTH_WORSE),
        several.largest(controls.width), _WIDTH),
  Claim('5.2', 'Narrower networks minus pruning: largest of the noisy '
        'benchmarks.',
        ALL_NOISY, (-np.inf, 2.1), several.largest(controls.width), _WIDTH),
  Claim('5.2, App. I', 'Pruning to L* and narrowing to k* change the '
        'subgroups by EL2N alike.',
        NOISY, 'positive', groups.alike, _WIDTH),
  # Section 7: fairness.
  Claim('7', 'Pruning harms the training error of a subgroup by EL2N only at '
        'sparsities beyond L*.',
        CLEAN, 'sparser than L*', groups.harmed_late('subgroup', 'train')),
  Claim('7', 'Pruning harms the test error of a class only at sparsities '
        'beyond L*.',
        CLEAN, 'sparser than L*', groups.harmed_late('class', 'test')),
  Claim('7', 'The subgroups by EL2N that pruning harms are harmed by a '
        'narrower network of its size, in training error.',
        CLEAN, 'positive', groups.harmed_by_size('subgroup', 'train'),
        _WIDTH, at=''),
  Claim('7', 'The classes that pruning harms are harmed by a narrower '
        'network of its size, in test error.',
        CLEAN, 'positive', groups.harmed_by_size('class', 'test'),
        _WIDTH, at=''),
)
# fmt: on
