"""The rules that a config must obey, as one table.

configs/default.py explains every key.
"""

from typing import Any

from ml_collections import ConfigDict

from pruning_gen import experiment_rules
from pruning_gen import models
from pruning_gen import rules
from pruning_gen.configs import default
from pruning_gen.data import datasets
from pruning_gen.data import label_noise
from pruning_gen.data import streams
from pruning_gen.errors import UserError
from pruning_gen.experiments import build
from pruning_gen.experiments import EXPERIMENTS
from pruning_gen.experiments import leave_out
from pruning_gen.models import initializers
from pruning_gen.pruning import arms
from pruning_gen.rules import Rule
from pruning_gen.storage import files
from pruning_gen.storage import provenance


def check(config: ConfigDict) -> None:
  """Check every rule, before anything is loaded or run.

  For that, a data set tfds:NAME is prepared, and downloaded if it has to be.
  The model's own hyperparameters are added to `config.model`.

  Raises:
    UserError: names the key, its value and what would be right.
  """
  arms.check()
  for key in provenance.flatten(default.get_config().to_dict()):
    rules.get(config, key)
  models.add_hyperparameters(config)
  for rule in RULES:
    value = rules.get(config, rule.key)
    if not rule.holds(value, config):
      text = rule.text(config) if callable(rule.text) else rule.text
      raise UserError(f'config.{rule.key}={value!r} {text}')


def defaults(config: ConfigDict) -> dict[str, Any]:
  """Return the default of every key, those of the config's model among them."""
  known = default.get_config()
  known.model.name = config.model.name
  models.add_hyperparameters(known)
  return known.to_dict()


def _milestones(c: ConfigDict) -> str:
  # As for the CIFAR benchmarks: halfway and after three quarters.
  epochs = sorted({c.epochs // 2, c.epochs * 3 // 4} - {0})
  example = str(tuple(epochs)).replace(' ', '')
  return (
    f'must be below epochs ({c.epochs}), or the learning rate does not drop '
    f"there: pass, say, --config.milestones='{example}'"
  )


def _image_size(c: ConfigDict) -> str:
  smallest = models.MODELS[c.model.name].smallest_image
  height, width, _ = datasets.info_in(c.data).image_shape
  return (
    f'needs images of at least {smallest}x{smallest}, but those of '
    f'{c.data.name} are {height}x{width}: choose another data set or model'
  )


NAMES = (
  rules.some_of('experiments', EXPERIMENTS),
  rules.some_of('arms', arms.ARMS),
  rules.some_of('leave_out.sets', leave_out.SETS),
  rules.one_of('noise.kind', label_noise.KINDS),
  rules.one_of('optimizer', build.OPTIMIZERS),
  rules.one_of('stacking', ('auto', 'vmap', 'map')),
  rules.one_of('data.on_broken', ('stop', 'skip')),
  rules.one_of('on_divergence', ('stop', 'continue')),
  rules.one_of('dtype', ('float32', 'bfloat16')),
  rules.one_of('matmul_precision', ('default', 'high', 'highest')),
  rules.one_of('eval_precision', ('default', 'high', 'highest')),
  rules.one_of('model.batch_norm_scale_init', initializers.BATCH_NORM_SCALES),
)

# The types of tuples' elements, which ml_collections does not check.
ELEMENTS = (
  rules.elements('noise_fractions', (int, float), 'numbers'),
  rules.elements('milestones', (int,), 'whole numbers'),
  rules.elements('model.widths', (int,), 'whole numbers'),
  rules.elements('leave_out.levels', (int,), 'whole numbers'),
  rules.elements('difficulty.epochs', (int,), 'whole numbers'),
  rules.elements('landscape.levels', (int,), 'whole numbers'),
  rules.elements('landscape.twin_levels', (int,), 'whole numbers'),
  rules.elements('data.image_shape', (int,), 'whole numbers'),
  rules.elements('data.mean', (int, float), 'numbers'),
  rules.elements('data.std', (int, float), 'numbers'),
)

AT_LEAST = {
  'replicates': 1,
  'first_replicate': 0,
  'seed': 0,
  'levels': 0,
  'epochs': 1,
  'rewind_epoch': 0,
  'batch_size': 1,
  'eval_batch_size': 1,
  'warmup_epochs': 0,
  'weight_decay': 0,
  'num_subgroups': 1,
  'checkpoint.every_epochs': 1,
  'checkpoint.keep': 1,
  'validate_every_epochs': 0,
  'data.num_workers': 0,
  'devices.count': 0,
  'devices.data_parallel': 0,
  'model.num_filters': 1,
  'width.levels': 0,
  'el2n.epoch': 1,
  'el2n.networks': 1,
  'difficulty.networks': 1,
  'landscape.num_examples': 1,
  'landscape.num_points': 3,
  'landscape.num_iterations': 1,
}

RANGES = (
  *(rules.at_least(key, least) for key, least in AT_LEAST.items()),
  Rule(
    'seed',
    lambda seed, c: seed < 2**32,
    f'must be below {2**32}: larger seeds repeat smaller ones',
  ),
  Rule(
    'first_replicate',
    lambda first, c: first + c.replicates <= streams.MAX_REPLICATES,
    f'must leave all replicates below {streams.MAX_REPLICATES}',
  ),
  Rule('momentum', lambda value, c: 0 <= value < 1, 'must be in [0, 1)'),
  Rule('learning_rate', lambda rate, c: rate > 0, 'must be above 0'),
  *(
    Rule(key, lambda value, c: 0 < value < 1, 'must be in (0, 1)')
    for key in ('prune_fraction', 'width.fraction', 'leave_out.fraction')
  ),
  Rule(
    'noise_fractions',
    lambda fractions, c: all(0 <= fraction <= 1 for fraction in fractions),
    'must be in [0, 1]',
  ),
  Rule(
    'noise_fractions',
    lambda fractions, c: len(set(fractions)) == len(fractions) > 0,
    'must name at least one fraction, each at most once',
  ),
  Rule(
    'milestones',
    lambda epochs, c: list(epochs) == sorted({e for e in epochs if e > 0}),
    'must be epochs above 0, in rising order',
  ),
  Rule(
    'model.widths',
    lambda widths, c: all(width >= 1 for width in widths),
    'must have at least 1 unit in every layer',
  ),
  Rule(
    'checkpoint.keep_levels',
    lambda levels, c: all(
      level in ['optimal', 'all', *range(c.levels + 1)] for level in levels
    ),
    lambda c: f"must hold levels, 0 to {c.levels}, 'optimal' or 'all'",
  ),
)

SCHEDULE = (
  Rule(
    'momentum',
    lambda momentum, c: c.optimizer == 'sgd' or momentum == 0,
    "must be 0 with config.optimizer='adam', which has moments of its own",
  ),
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
    _milestones,
  ),
)

DATA = (
  *(
    Rule(
      key,
      lambda path, c: not files.is_in_bucket(path),
      'must be a folder of this machine: copy the bucket, or mount it',
    )
    for key in ('data.dir', 'data.cache_dir')
  ),
  # It raises errors of its own.
  Rule('data.name', lambda name, c: bool(datasets.info_in(c.data)), ''),
  Rule(
    'model.name',
    lambda name, c: (
      min(datasets.info_in(c.data).image_shape[:2])
      >= models.MODELS[name].smallest_image
    ),
    _image_size,
  ),
  rules.at_most_num_train('batch_size'),
  rules.at_most_num_train('num_subgroups'),
  Rule(
    'noise_fractions',
    lambda fractions, c: all(
      round(fraction * rules.num_train(c)) > 0
      for fraction in fractions
      if fraction
    ),
    lambda c: (
      f'must be 0 or change at least one of {rules.num_train(c)} labels'
    ),
  ),
)

RULES = (*NAMES, *ELEMENTS, *RANGES, *SCHEDULE, *DATA, *experiment_rules.RULES)
