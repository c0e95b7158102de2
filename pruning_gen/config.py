"""The rules that a config must obey, as one table.

configs/default.py explains every key.
"""

from collections.abc import Callable
from collections.abc import Collection
from typing import Any
from typing import NamedTuple

from ml_collections import ConfigDict

from pruning_gen.data import streams
from pruning_gen.data.datasets import DATASETS
from pruning_gen.errors import UserError
from pruning_gen.experiments import EXPERIMENTS
from pruning_gen.experiments import leave_out
from pruning_gen.models import MODELS
from pruning_gen.pruning import arms
from pruning_gen.pruning.scores import SCORES
from pruning_gen.storage import files


class Rule(NamedTuple):
  """One rule.

  Attributes:
    key: whose value it is about, as 'model.name'.
    holds: (value, config) -> whether the value obeys it.
    text: (config) -> what is right; it completes "config.KEY=VALUE ...".
  """

  key: str
  holds: Callable[[Any, ConfigDict], bool]
  text: Callable[[ConfigDict], str]


def check(config: ConfigDict) -> None:
  """Check every rule, before anything is loaded or run.

  Raises:
    UserError: names the key, its value and what would be right.
  """
  arms.check()
  for rule in RULES:
    value = _get(config, rule.key)
    if not rule.holds(value, config):
      raise UserError(f'config.{rule.key}={value!r} {rule.text(config)}')


def _get(config: ConfigDict, key: str) -> Any:
  value = config
  for name in key.split('.'):
    if name not in value:
      raise UserError(
        f'config.{key} is missing: start from configs.default.get_config(), '
        'which has every key'
      )
    value = value[name]
  return value


def _one_of(key: str, names: Collection[str]) -> Rule:
  return Rule(
    key,
    # A tuple, which also finds what cannot be hashed.
    lambda value, config: value in tuple(names),
    lambda config: f'must be one of: {", ".join(names)}',
  )


def _some_of(key: str, names: Collection[str]) -> Rule:
  return Rule(
    key,
    lambda values, config: (
      all(value in tuple(names) for value in values)
      and len(set(values)) == len(values) > 0
    ),
    lambda config: (
      f'must name at least one of: {", ".join(names)}; each at most once, and '
      f'several as "{tuple(names)[:2]}"'
    ),
  )


def _at_least(key: str, least: float) -> Rule:
  return Rule(
    key,
    lambda value, config: value >= least,
    lambda config: f'must be at least {least}',
  )


def _holds(key: str, holds: Callable, text: str) -> Rule:
  """Return a rule about a value alone."""
  return Rule(key, lambda value, config: holds(value), lambda config: text)


def _elements(key: str, types: tuple[type, ...], kind: str) -> Rule:
  # Not `isinstance`, to which a bool is an int.
  return _holds(
    key,
    lambda values: all(type(value) in types for value in values),
    f'must hold {kind} only',
  )


def _num_train(config: ConfigDict) -> int:
  return config.data.num_train or DATASETS[config.data.name].num_train


def _at_most_num_train(key: str) -> Rule:
  return Rule(
    key,
    lambda value, config: value <= _num_train(config),
    lambda config: (
      f'must be at most {_num_train(config)}, the size of the training set'
    ),
  )


def _milestones_before_the_end(config: ConfigDict) -> str:
  epochs = config.epochs
  # As for the CIFAR benchmarks: halfway and after three quarters.
  example = str(tuple(sorted({epochs // 2, epochs * 3 // 4} - {0})))
  return (
    f'must be below epochs ({epochs}), or the learning rate does not drop '
    f"there: pass, say, --config.milestones='{example.replace(' ', '')}'"
  )


def _smallest_image(config: ConfigDict) -> str:
  smallest = MODELS[config.model.name].smallest_image
  height, width, _ = DATASETS[config.data.name].image_shape
  return (
    f'needs images of at least {smallest}x{smallest}, but those of '
    f'{config.data.name} are {height}x{width}: choose another '
    'config.data.name or config.model.name'
  )


def _if_run(experiment: str, rule: Rule) -> Rule:
  """Return a rule that counts only if an experiment is to run."""
  return rule._replace(
    holds=lambda value, config: (
      experiment not in config.experiments or rule.holds(value, config)
    )
  )


def _arms_that_need_images(config: ConfigDict) -> list[str]:
  return [
    arm for arm in config.arms if SCORES[arms.ARMS[arm].score].needs_images
  ]


NAMES = (
  _some_of('experiments', EXPERIMENTS),
  _some_of('arms', arms.ARMS),
  _some_of('leave_out.sets', leave_out.SETS),
  _one_of('data.name', DATASETS),
  _one_of('model.name', MODELS),
  _one_of('stacking', ('auto', 'vmap', 'map')),
  _one_of('data.on_broken', ('stop', 'skip')),
  _one_of('on_divergence', ('stop', 'continue')),
  _one_of('dtype', ('float32', 'bfloat16')),
  _one_of('matmul_precision', ('default', 'high', 'highest')),
  _one_of('eval_precision', ('default', 'high', 'highest')),
  _one_of('model.batch_norm_scale_init', ('uniform', 'ones')),
)

# The types of tuples' elements, which ml_collections does not check.
ELEMENTS = (
  _elements('noise_fractions', (int, float), 'numbers'),
  _elements('milestones', (int,), 'whole numbers'),
  _elements('model.widths', (int,), 'whole numbers'),
  _elements('leave_out.levels', (int,), 'whole numbers'),
)

RANGES = (
  _at_least('replicates', 1),
  _at_least('first_replicate', 0),
  _at_least('seed', 0),
  _at_least('levels', 0),
  _at_least('epochs', 1),
  _at_least('rewind_epoch', 0),
  _at_least('batch_size', 1),
  _at_least('eval_batch_size', 1),
  _at_least('warmup_epochs', 0),
  _at_least('weight_decay', 0),
  _at_least('num_subgroups', 1),
  _at_least('checkpoint.every_epochs', 1),
  _at_least('checkpoint.keep', 1),
  _at_least('data.num_workers', 0),
  _at_least('devices.count', 0),
  _at_least('devices.data_parallel', 0),
  _at_least('model.num_filters', 1),
  _at_least('width.levels', 0),
  _at_least('el2n.epoch', 1),
  _at_least('el2n.networks', 1),
  _holds(
    'seed',
    lambda seed: seed < 2**32,
    f'must be below {2**32}: JAX keeps 32 bits, so a larger one is a repeat',
  ),
  Rule(
    'first_replicate',
    lambda first, c: first + c.replicates <= streams.MAX_REPLICATES,
    lambda c: f'must leave all replicates below {streams.MAX_REPLICATES}',
  ),
  _holds(
    'prune_fraction',
    lambda fraction: 0 <= fraction < 1,
    'must be in [0, 1): the fraction of the remaining weights that a level '
    'removes',
  ),
  _holds('momentum', lambda value: 0 <= value < 1, 'must be in [0, 1)'),
  _holds('learning_rate', lambda rate: rate > 0, 'must be above 0'),
  _holds('width.fraction', lambda f: 0 < f < 1, 'must be between 0 and 1'),
  _holds('leave_out.fraction', lambda f: 0 < f < 1, 'must be between 0 and 1'),
  _holds(
    'noise_fractions',
    lambda fractions: all(0 <= fraction <= 1 for fraction in fractions),
    'must be in [0, 1]',
  ),
  _holds(
    'noise_fractions',
    lambda fractions: len(set(fractions)) == len(fractions) > 0,
    'must name at least one fraction, each at most once',
  ),
  Rule(
    'noise_fractions',
    lambda fractions, c: all(
      round(fraction * _num_train(c)) > 0 for fraction in fractions if fraction
    ),
    lambda c: f'must be 0 or change at least one of {_num_train(c)} labels',
  ),
  _holds(
    'milestones',
    lambda epochs: list(epochs) == sorted({e for e in epochs if e > 0}),
    'must be epochs above 0, in rising order',
  ),
  _holds(
    'model.widths',
    lambda widths: all(width >= 1 for width in widths),
    'must have at least 1 unit in every layer',
  ),
)

SCHEDULE = (
  Rule(
    'rewind_epoch',
    lambda epoch, c: epoch < c.epochs,
    lambda c: f'must be below epochs ({c.epochs}), or no level trains',
  ),
  Rule(
    'warmup_epochs',
    lambda epochs, c: epochs < c.epochs,
    lambda c: (
      f'must be below epochs ({c.epochs}), or learning_rate is never reached: '
      f'pass, say, --config.warmup_epochs={c.epochs // 10}'
    ),
  ),
  Rule(
    'milestones',
    lambda milestones, c: all(epoch < c.epochs for epoch in milestones),
    _milestones_before_the_end,
  ),
)

DATA = (
  Rule(
    'model.name',
    lambda name, c: (
      min(DATASETS[c.data.name].image_shape[:2]) >= MODELS[name].smallest_image
    ),
    _smallest_image,
  ),
  *(
    _holds(
      key,
      lambda path: not files.is_in_bucket(path),
      'must be a folder of this machine: copy the bucket, or mount it',
    )
    for key in ('data.dir', 'data.cache_dir')
  ),
  Rule(
    'data.num_train',
    lambda number, c: 0 <= number <= DATASETS[c.data.name].num_train,
    lambda c: (
      f'must be 0 (all) or at most {DATASETS[c.data.name].num_train}, the '
      f'size of {c.data.name}'
    ),
  ),
  _at_most_num_train('batch_size'),
  _at_most_num_train('num_subgroups'),
)

EXPERIMENT_RULES = (
  _if_run(
    'chain',
    Rule(
      'model.widths',
      lambda widths, c: (
        c.model.name != 'lenet'
        or len(widths) > 0
        or c.prune_output
        or not any(arms.ARMS[arm].prunes for arm in c.arms)
      ),
      lambda c: (
        'leaves nothing to prune but the output layer: add a hidden layer, or '
        'pass --config.prune_output=True'
      ),
    ),
  ),
  _if_run(
    'chain',
    Rule(
      'arms',
      lambda names, c: (
        not DATASETS[c.data.name].is_streamed or not _arms_that_need_images(c)
      ),
      lambda c: (
        f'must leave out {", ".join(_arms_that_need_images(c))}, which need '
        'all training images on the devices, but those of '
        f'{c.data.name} are streamed'
      ),
    ),
  ),
  _if_run(
    'el2n',
    Rule(
      'el2n.epoch',
      lambda epoch, c: epoch <= c.epochs,
      lambda c: f'must be at most epochs ({c.epochs})',
    ),
  ),
  _if_run(
    'leave_out',
    Rule(
      'experiments',
      lambda names, c: 'pruning' in c.arms and c.levels > 0,
      lambda c: (
        'needs a chain that prunes for leave_out, but '
        f'config.arms={c.arms!r} and config.levels={c.levels}: use the arm '
        "'pruning' and at least 1 level, or drop leave_out"
      ),
    ),
  ),
  _if_run(
    'leave_out',
    Rule(
      'leave_out.levels',
      lambda levels, c: all(1 <= level <= c.levels for level in levels),
      lambda c: f'must be levels of the chain, 1 to {c.levels}',
    ),
  ),
)

RULES = (*NAMES, *ELEMENTS, *RANGES, *SCHEDULE, *DATA, *EXPERIMENT_RULES)
