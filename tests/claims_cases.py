"""For every claim: an edit of the fake benchmarks that contradicts it, and one
that leaves it undecided, with words of the reason."""

import numpy as np
import pandas as pd

from tests import fake_benchmarks as fake


def put(table, where, **values):
  """Return an edit that sets columns of a table's rows."""

  def edit(parts):
    rows = parts[table]
    chosen = _match(rows, where)
    assert chosen.any()
    for column, value in values.items():
      rows.loc[chosen, column] = value

  return edit


def drop(table, **where):
  """Return an edit that removes a table's rows."""

  def edit(parts):
    rows = parts[table]
    chosen = _match(rows, where)
    assert chosen.any()
    parts[table] = rows[~chosen]

  return edit


def _match(rows, where):
  chosen = np.ones(len(rows), bool)
  for column, value in where.items():
    values = value if isinstance(value, (list, range)) else [value]
    chosen &= rows[column].isin(values)
  return chosen


def set_config(**values):
  return lambda parts: parts['config'].update(values)


def both(*edits):
  def edit(parts):
    for each in edits:
      each(parts)

  return edit


def pruned(level, **values):
  where = {'arm': 'pruning', 'level': level}
  return put('results', where, **values)


def longer(level, **values):
  where = {'arm': 'extended_dense', 'level': level}
  return put('results', where, **values)


def narrow(level, **values):
  where = {'experiment': 'width', 'level': level}
  return put('results', where, **values)


def without(left_out, **values):
  return put('results', {'left_out': left_out}, **values)


def concentrate(level, **values):
  return put('concentration', {'level': level}, **values)


def effect(level, value, subgroup=range(20), experiment='chain'):
  where = {'level': level, 'subgroup': subgroup, 'experiment': experiment}
  return put('effects', where, effect=value)


def empty(table):
  return lambda parts: parts.update({table: pd.DataFrame()})


def at_noise(noise, edit):
  """Apply an edit of results to one noise level only."""

  def restricted(parts):
    table = parts['results']
    own = {**parts, 'results': table[table.noise_fraction == noise].copy()}
    edit(own)
    parts['results'] = pd.concat(
      [table[table.noise_fraction != noise], own['results']], ignore_index=True
    )

  return restricted


def shuffle_width(parts):
  """Harm other groups by narrowing than pruning harms."""
  table = parts['group_errors']
  own = table.experiment == 'width'
  table.loc[own, 'error'] = 0.1
  table.loc[own & table.group.isin([5, 6]) & (table.level > 0), 'error'] = 0.3


ALL = range(1, 24)
NOISY, CLEAN = 'train_cross_entropy_noisy', 'train_cross_entropy_clean'
LOSS = 'train_cross_entropy'

one_replicate = drop('results', replicate=[1, 2])
unfinished = set_config(levels=40)
dense_is_best = put('results', {'level': 0}, validation_error=0.01)
full_width_is_best = narrow(0, validation_error=0.01)
no_improvement = pruned(ALL, test_error=0.6)
no_extended_dense = drop('results', arm='extended_dense')
no_width = drop('results', experiment='width')
less_often = set_config(epochs=8)
shallow = both(drop('results', level=range(11, 24)), set_config(levels=10))
no_harm = put('group_errors', {}, error=0.1)
early_harm = put('group_errors', {'level': ALL, 'group': 3}, error=0.9)

# Reasons.
ONE = 'one replicate'
DENSE = 'level 0, the dense network'
NONE_IMPROVES = 'no level improves'
NO_EL2N = 'no EL2N scores'
UNFINISHED = 'of 40'
MISSING = 'missing or infinite'
NO_LONGER = 'no extended dense training'
NO_60 = 'no noise level 60%'
OURS = 'noise is our choice for'
LEFT_OUT = 'leaves out no'

# Of one benchmark: the words that a claim begins with; model and noise levels;
# the edits (None where nothing can contradict); and the reason. An edit may be
# (model, noise levels, edit) where it needs others.
C20, V16 = ('resnet20', [0.0]), ('vgg16', [0.0])
N20, NV16 = ('resnet20', [0.3]), ('vgg16', [0.15, 0.3, 0.6])
LENET = ('lenet', [0.05, 0.1, 0.15])
CASES = [
  ('Pruning to L* improves the test error.', C20,
   pruned(3, test_error=0.6), one_replicate, ONE),
  ('Pruning to L* lowers the training loss.', C20,
   pruned(3, train_cross_entropy=0.2), dense_is_best, DENSE),
  ('At L*, no subgroup', C20,
   effect(3, 0.1, range(6)), effect(3, np.nan, 0), MISSING),
  ('At L*, most subgroups', C20,
   effect(3, 0.1, range(10)), empty('effects'), NO_EL2N),
  ('At L*, the subgroup of the highest', C20,
   effect(3, -9, 5), unfinished, UNFINISHED),
  ('At L*, the top 20 % by EL2N improve', C20,
   concentrate(3, top_effect=0.0), empty('concentration'), NO_EL2N),
  ('At L*, change of the top 20 % by EL2N over that of the rest.', C20,
   concentrate(3, share=0.3), less_often, 'epochs=8'),
  ('At every level, the top 20 %', C20,
   concentrate(ALL, share=0.1), concentrate(1, share=0.1), 'changes more: 1'),
  ('Dense training without the examples that improve most at L*', C20,
   without('most_improved', test_error=0.3),
   drop('results', experiment='leave_out', replicate=2), '2 of 3 replicates'),
  ('Dense training without the examples that improve most is', C20,
   without('most_improved', test_error=0.3),
   drop('results', experiment='leave_out', chosen_at=8), 'one level'),
  ('VGG-16: pruning to L^ raises the training loss.', V16,
   pruned(21, train_cross_entropy=0.05), no_improvement, NONE_IMPROVES),
  ('VGG-16: pruning to L^ raises the training loss of the top', V16,
   concentrate(21, top_effect=0.0), no_improvement, NONE_IMPROVES),
  ('Pruning to L^ lowers the training loss, but', ('resnet32', [0.0]),
   pruned(8, train_cross_entropy=0.3), one_replicate, ONE),
  ('Pruning to L^ lowers the training loss, but', C20,
   pruned(8, train_cross_entropy=0.05), one_replicate, ONE),
  ('On CIFAR-10, pruning to L^ raises the training loss of most', C20,
   effect(8, -0.1), effect(8, np.nan, 0), MISSING),
  ('On CIFAR-10, pruning to L^ raises the training loss of the top', C20,
   concentrate(8, top_effect=0.0), empty('concentration'), NO_EL2N),
  ('L^, the sparsest level', C20,
   pruned(range(6, 14), test_error=0.6),
   pruned(12, test_error=0.4), 'unbroken from L* to level 8'),
  ('Pruning to L* improves the test error, or', N20,
   pruned(11, test_error=0.6), one_replicate, ONE),
  ('Pruning to L* improves the test error more', ('resnet20', [0.15, 0.3]),
   at_noise(0.3, pruned(11, test_error=0.49)), one_replicate, ONE),
  ('Change of the test error', ('vgg16', [0.3]),
   pruned(11, test_error=0.4), set_config(learning_rate=0.01),
   'learning_rate=0.01'),
  ('Pruning to L* raises the loss of noisy', N20,
   pruned(11, **{NOISY: 0.5}), dense_is_best, DENSE),
  ('At many weights', N20,
   pruned(range(1, 11), **{NOISY: 2.0}), pruned(5, **{NOISY: np.nan}), MISSING),
  ('At few weights', N20,
   pruned(range(11, 14), **{NOISY: 0.1}), shallow, 'less than 10%'),
  ('Where pruning improves, G', N20,
   pruned(fake.IMPROVING, **{NOISY: 1.0, CLEAN: 1.0}),
   no_improvement, NONE_IMPROVES),
  ('At L*, G', N20,
   pruned(11, **{NOISY: 1.0, CLEAN: 1.0}), dense_is_best, DENSE),
  ('The smallest G over noise levels, dense', NV16,
   at_noise(0.15, pruned(0, **{CLEAN: 0.5})),
   ('vgg16', [0.15, 0.3], None), NO_60),
  ('The largest G over noise levels, dense', NV16,
   at_noise(0.6, pruned(0, **{CLEAN: 0.5})),
   ('vgg16', [0.15, 0.3], None), NO_60),
  ('The smallest G over noise levels, at L*', NV16,
   at_noise(0.15, pruned(11, **{CLEAN: 0.5})),
   ('vgg16', [0.15, 0.3], None), NO_60),
  ('The largest G over noise levels, at L*', NV16,
   at_noise(0.6, pruned(11, **{CLEAN: 0.5})),
   ('vgg16', [0.15, 0.3], None), NO_60),
  # Of the largest, 1.5, less than a standard deviation below.
  ('At the last level, G', N20,
   pruned(13, **{NOISY: 1.7 - fake.SPREAD / 2, CLEAN: 0.2}),
   pruned(13, **{NOISY: 5.0}), 'largest at level 13'),
  ('Pruning to L* raises the training loss, except', N20,
   pruned(11, train_cross_entropy=0.1), dense_is_best, DENSE),
  ('Pruning to L* raises the training loss, except', ('resnet50', [0.15]),
   pruned(11, train_cross_entropy=0.9), dense_is_best, DENSE),
  ('Pruning to L* raises the training loss of the top', N20,
   concentrate(11, top_effect=0.0), empty('concentration'), NO_EL2N),
  ('Little room', ('resnet20', [0.3, 0.6]),
   at_noise(0.6, pruned(0, **{NOISY: 0.5})), ('resnet20', [0.3], None), NO_60),
  ('Dense training without the examples that the network at L* '
   'misclassifies is better than with all.', N20,
   without('misclassified', test_error=0.7),
   drop('results', left_out='misclassified'), LEFT_OUT),
  ('Dense training without the examples that the network at L* '
   'misclassifies is as good', N20,
   without('misclassified', test_error=0.7), dense_is_best, DENSE),
  ('Dense training without the examples that the network at L* '
   'misclassifies is better than without', N20,
   without('misclassified', test_error=0.7),
   drop('results', left_out='misclassified'), LEFT_OUT),
  ('Dense training without the examples that worsen most', N20,
   without('most_worsened', test_error=0.7),
   drop('results', left_out='most_worsened'), LEFT_OUT),
  ('VGG-16: levels above 1 %', V16,
   longer(range(1, 10), test_error=0.6), shallow, '10 of 20 levels'),
  ('Extended dense training is as good', C20,
   longer(3, test_error=0.6), no_extended_dense, NO_LONGER),
  ('Extended dense training lowers', C20,
   longer(3, train_cross_entropy=0.3), dense_is_best, DENSE),
  ('Extended dense training is worse', N20,
   longer(ALL, test_error=0.1), no_extended_dense, NO_LONGER),
  ('Extended dense training is worse', ('resnet50', [0.15]),
   longer(ALL, test_error=0.9), no_extended_dense, NO_LONGER),
  ('Extended dense training minus pruning: smallest', NV16,
   at_noise(0.15, longer(ALL, test_error=0.9)), (*LENET, None), OURS),
  ('Extended dense training minus pruning: largest', NV16,
   at_noise(0.6, longer(ALL, test_error=0.9)), (*LENET, None), OURS),
  ('Extended dense training does not raise', N20,
   longer(11, **{NOISY: 5.0}), no_extended_dense, NO_LONGER),
  # One benchmark of five, which the text does not name, is not worse.
  ('Narrower networks are worse', C20,
   None, narrow(2, test_error=0.1), 'does not name'),
  ('A narrower network of about', C20,
   narrow(range(1, 5), train_cross_entropy=0.01), no_width, 'no narrower'),
  ('Narrowing to k* improves', N20,
   narrow(2, test_error=0.9), set_config(width={'levels': 40}), UNFINISHED),
  ('Narrowing to k* raises', N20,
   narrow(2, **{NOISY: 0.1}), full_width_is_best, 'width is level 0'),
  ('Narrowing to k* widens', N20,
   narrow(2, **{CLEAN: 2.0}), full_width_is_best, 'width is level 0'),
  ('Narrower networks minus pruning: smallest', NV16,
   at_noise(0.15, narrow(2, test_error=0.9)), (*LENET, None), OURS),
  ('Narrower networks minus pruning: largest over', NV16,
   at_noise(0.6, narrow(2, test_error=0.9)), (*LENET, None), OURS),
  ('Pruning to L* and narrowing', N20,
   effect(2, np.repeat(-np.arange(20.0), 3), experiment='width'),
   empty('effects'), NO_EL2N),
  ('Pruning harms the training error of a subgroup', C20,
   early_harm, no_harm, 'no subgroup is harmed'),
  ('Pruning harms the test error of a class', C20,
   early_harm, no_harm, 'no class is harmed'),
  ('The subgroups by EL2N that pruning harms', C20,
   shuffle_width, no_harm, 'no subgroup is harmed'),
  ('The classes that pruning harms', C20,
   shuffle_width, drop('group_errors', experiment='width'), 'no test errors'),
]  # fmt: skip

# Of several benchmarks: the words; and edits by model that contradict. Without
# ResNet-20 each is undecided.
OVER = [
  ('Clean benchmarks where pruning to L* lowers',
   {'lenet': pruned(3, train_cross_entropy=0.2)}),
  ('At L*, change of the top 20 % by EL2N over that of the rest: smallest',
   {'lenet': concentrate(3, share=0.3)}),
  ('At L*, change of the top 20 % by EL2N over that of the rest: largest',
   {'resnet50': concentrate(3, share=0.5)}),
  ('Noisy benchmarks where pruning to L* improves',
   {'resnet50': at_noise(0.15, pruned(11, test_error=0.6))}),
  ('Noisy benchmarks where extended dense',
   {'resnet20': longer(range(1, 14), test_error=0.1)}),
  ('Clean benchmarks where narrower',
   {model: narrow(1, test_error=0.1) for model in ('lenet', 'resnet50')}),
  ('Narrower networks minus pruning: largest of',
   {'resnet50': at_noise(0.15, narrow(2, test_error=0.9))}),
]  # fmt: skip
