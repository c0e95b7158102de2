"""Rules of single experiments, for the table of config.py.

Each applies only if its experiment runs.
"""

from ml_collections import ConfigDict

from pruning_gen import rules
from pruning_gen.data import datasets
from pruning_gen.experiments import chain
from pruning_gen.experiments import extended_width
from pruning_gen.pruning import arms
from pruning_gen.pruning.scores import SCORES


def _is_kept(level: int, c: ConfigDict) -> bool:
  kept = c.checkpoint.keep_levels
  return 0 <= level <= c.levels and ('all' in kept or level in kept)


def _kept(c: ConfigDict) -> str:
  kept = tuple(c.checkpoint.keep_levels)
  return (
    f'must hold levels, 0 to {c.levels}, that config.checkpoint.keep_levels='
    f'{kept!r} names'
  )


def _image_arms(c: ConfigDict) -> list[str]:
  """Return the arms whose score needs all training images on the devices."""
  return [arm for arm in c.arms if SCORES[arms.ARMS[arm].score].needs_images]


def _has_something_to_prune(widths: tuple[int, ...], c: ConfigDict) -> bool:
  prunes = any(arms.ARMS[arm].prunes for arm in c.arms)
  is_single_layer = c.model.name == 'lenet' and not widths
  return c.prune_output or not (prunes and is_single_layer)


RULES = (
  rules.if_run(
    'chain',
    'model.widths',
    _has_something_to_prune,
    'leaves nothing to prune but the output layer: add a hidden layer, or pass '
    '--config.prune_output=True',
  ),
  rules.if_run(
    'chain',
    'arms',
    lambda names, c: (
      not (datasets.info_in(c.data).is_streamed and _image_arms(c))
    ),
    lambda c: (
      f'must leave out {", ".join(_image_arms(c))}, which need all training '
      f'images on the devices, but those of {c.data.name} are streamed'
    ),
  ),
  rules.if_run(
    'el2n',
    'el2n.epoch',
    lambda epoch, c: epoch <= c.epochs,
    lambda c: f'must be at most epochs ({c.epochs})',
  ),
  rules.if_run(
    'difficulty',
    'difficulty.epochs',
    lambda epochs, c: epochs and set(epochs) <= set(range(1, c.epochs + 1)),
    lambda c: f'must name epochs, of 1 to {c.epochs}',
  ),
  *(
    rules.if_run(
      name,
      'data.name',
      lambda name, c: not datasets.info_in(c.data).is_streamed,
      f'is streamed, and {name} needs all training images on the devices: '
      'leave it out of config.experiments',
    )
    for name in ('difficulty', 'landscape')
  ),
  rules.if_run('landscape', *rules.at_most_num_train('landscape.num_examples')),
  rules.if_run(
    'landscape',
    'checkpoint.keep_levels',
    lambda levels, c: levels,
    "keeps no network, and landscape reads them: pass ('all',)",
  ),
  rules.if_run(
    'landscape',
    'landscape.levels',
    lambda levels, c: all(_is_kept(level, c) for level in levels),
    _kept,
  ),
  rules.if_run(
    'landscape',
    'landscape.twin_levels',
    lambda levels, c: all(
      _is_kept(level, c) and _is_kept(max(level - 1, 0), c) for level in levels
    ),
    lambda c: f'{_kept(c)}, each with the level before it',
  ),
  rules.if_run(
    'extended_width',
    'extended_width.width',
    lambda width, c: 0 <= width < 1,
    'must be in (0, 1), or 0 for that of the optimal sparsity',
  ),
  rules.if_run(
    'extended_width',
    'extended_width.width',
    lambda width, c: width or chain.prunes(c),
    lambda c: (
      f'needs a chain that prunes, but config.arms={c.arms!r} and '
      f"config.levels={c.levels}: use the arm 'pruning' and at least 1 level, "
      'or pass a width in (0, 1)'
    ),
  ),
  rules.if_run(
    'extended_width',
    'extended_width.width',
    lambda width, c: extended_width.is_narrower(c),
    lambda c: (
      'gives the full network, since layers have whole numbers of units: pass '
      f'a smaller width, or give config.model ({c.model.name}) more of them'
    ),
  ),
  rules.if_run(
    'leave_out',
    'experiments',
    lambda names, c: chain.prunes(c),
    lambda c: (
      f'needs a chain that prunes for leave_out, but config.arms={c.arms!r} '
      f"and config.levels={c.levels}: use the arm 'pruning' and at least 1 "
      'level, or drop leave_out'
    ),
  ),
  rules.if_run(
    'leave_out',
    'leave_out.levels',
    lambda levels, c: all(1 <= level <= c.levels for level in levels),
    lambda c: f'must be levels of the chain, 1 to {c.levels}',
  ),
)
