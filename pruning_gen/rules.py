"""Kinds of rules, of which the table of config.py is made."""

from collections.abc import Callable
from collections.abc import Collection
from typing import Any
from typing import NamedTuple

from ml_collections import ConfigDict

from pruning_gen.data import datasets
from pruning_gen.errors import UserError


class Rule(NamedTuple):
  """One rule.

  Attributes:
    key: whose value it is about, as 'model.name'.
    holds: (value, config) -> whether the value obeys it.
    text: completes "config.KEY=VALUE ..."; a string, or (config) -> string.
  """

  key: str
  holds: Callable[[Any, ConfigDict], bool]
  text: str | Callable[[ConfigDict], str]


def get(config: ConfigDict, key: str) -> Any:
  """Return the value of a key, as 'model.name'.

  Raises:
    UserError: the config has no such key.
  """
  value = config
  for name in key.split('.'):
    if name not in value:
      raise UserError(
        f'config.{key} is missing: start from configs.default.get_config(), '
        'which has every key'
      )
    value = value[name]
  return value


def one_of(key: str, names: Collection[str]) -> Rule:
  """Return the rule that a value is one of some names."""
  return Rule(
    key,
    # A list, which also finds what cannot be hashed.
    lambda value, c: value in list(names),
    lambda c: f'must be one of: {", ".join(names)}',
  )


def some_of(key: str, names: Collection[str]) -> Rule:
  """Return the rule that a tuple holds some names, each at most once."""
  return Rule(
    key,
    lambda values, c: (
      all(value in list(names) for value in values)
      and len(set(values)) == len(values) > 0
    ),
    lambda c: (
      f'must name at least one of: {", ".join(names)}; each at most once, and '
      f'several as "{tuple(names)[:2]}"'
    ),
  )


def at_least(key: str, least: int) -> Rule:
  """Return the rule that a number is not too small."""
  return Rule(key, lambda value, c: value >= least, f'must be at least {least}')


def at_most_num_train(key: str) -> Rule:
  """Return the rule that a number is at most the size of the training set."""
  return Rule(
    key,
    lambda value, c: value <= num_train(c),
    lambda c: f'must be at most {num_train(c)}, the size of the training set',
  )


def num_train(config: ConfigDict) -> int:
  """Return the size of the training set."""
  return datasets.info_in(config.data).num_train


def elements(key: str, types: tuple[type, ...], kind: str) -> Rule:
  """Return the rule that a tuple's elements are of some types."""
  # Not `isinstance`: a bool is an int.
  return Rule(
    key,
    lambda values, c: all(type(value) in types for value in values),
    f'must hold {kind} only',
  )


def if_run(experiment: str, *rule: Any) -> Rule:
  """Return a rule that applies only if an experiment runs."""
  rule = Rule(*rule)
  return rule._replace(
    holds=lambda value, c: (
      experiment not in c.experiments or rule.holds(value, c)
    )
  )
