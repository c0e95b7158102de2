"""Reading the command line, with errors that name the key and the remedy."""

import difflib
import importlib
import os
import pathlib
import re
import sys

from absl import flags
from ml_collections import ConfigDict

from pruning_gen.errors import UserError
from pruning_gen.storage import provenance

# The folder that holds configs/, in a checkout.
ROOT = pathlib.Path(__file__).parents[1]


def parse(argv: list[str], config: flags.FlagHolder[ConfigDict]) -> list[str]:
  """Parse the command line; exit with a message where that fails.

  Args:
    argv: the command line.
    config: the flag of the configuration file.

  Returns:
    The arguments that are not flags.
  """
  if _has_configs():
    # Ahead of any other package called `configs`.
    sys.path.insert(0, str(ROOT))
  try:
    arguments = flags.FLAGS(argv)
    # If no key is set, a file that cannot be loaded shows only here.
    config.value.keys()
    return arguments
  except flags.Error as error:
    sys.exit(f'error: {_explain(str(error))}')
  except AttributeError as error:
    # What ml_collections raises for an unknown key; others are the file's own.
    if not error.args or not isinstance(error.args[0], KeyError):
      raise
    key = re.search(r'[\'"]([\w.]+)', error.args[0].args[0])[1]
    sys.exit(f'error: {_unknown(key)}')
  except (OSError, ImportError) as error:
    sys.exit(
      f'error: --config: {error}\nname a file, such as configs/lenet.py, and '
      'start in the folder that holds configs/'
    )


def _explain(message: str) -> str:
  """Add a remedy to a message of absl or ml_collections."""
  last = message.strip().splitlines()[-1]
  if 'get_config() takes 0 positional arguments' in last:
    return (
      '--config: this config has no variants: drop the colon and its suffix'
    )
  if re.match(r"ValueError: \w+ '.*' must be ", last):
    return f'--config: {last.removeprefix("ValueError: ")}'
  if 'as a ConfigDict' in message:
    return (
      f'{message}\nset a key of this group, as in --config.model.name=vgg16'
    )
  return message


def check_keys(config: ConfigDict) -> None:
  """Check that a config has no key that nothing reads.

  Raises:
    UserError: names the key, and the one that was probably meant.
  """
  if _has_configs():
    for key in sorted(
      provenance.flatten(config.to_dict()).keys() - _known_keys()
    ):
      raise UserError(_unknown(key))


def _has_configs() -> bool:
  return (ROOT / 'configs' / 'default.py').exists()


def _known_keys() -> set[str]:
  default = importlib.import_module('configs.default')
  return set(provenance.flatten(default.get_config().to_dict()))


def _unknown(key: str) -> str:
  known = {name.split('.')[-1]: name for name in _known_keys()}
  near = difflib.get_close_matches(key.split('.')[-1], known, 1)
  meant = f': did you mean {known[near[0]]}?' if near else ''
  return f'--config has no key {key}{meant} (configs/default.py has them all)'


def local_path(name: str, value: str) -> str:
  """Return the path that a flag names, with `~` expanded.

  Raises:
    UserError: it is empty, or in a home directory that does not exist.
  """
  if not value or not value.strip():
    raise UserError(f'--{name} is empty: name a folder')
  path = os.path.expanduser(value)
  if path.startswith('~'):
    raise UserError(
      f'--{name}={value!r} needs a home directory, but there is none of that '
      f'name: write the whole path, or ./{value}'
    )
  return path
