"""Reading the command line, with errors that name the key and the remedy."""

import difflib
import importlib
import os
import pathlib
import re
import sys
import traceback

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
    # If no key is set, a file that cannot be loaded raises only here.
    getattr(config.value, 'keys', None)
    if not isinstance(config.value, ConfigDict):
      sys.exit(
        'error: --config: get_config() must return a ConfigDict, such as that '
        f'of configs.default, but got a {type(config.value).__name__}'
      )
    return arguments
  except flags.Error as error:
    sys.exit(f'error: {_explain(str(error))}')
  except (AttributeError, KeyError) as error:
    sys.exit(f'error: {_unknown(_wrong_key(error, argv))}')
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
    group = re.search(r'--config\.([\w.]+)', message)[1]
    keys = ', '.join(
      f'--config.{key}' for key in _known_keys() if key.startswith(f'{group}.')
    )
    return f'--config.{group} is a group of keys: set one of them: {keys}'
  if re.search("flag 'config.* is defined twice", message):
    return '--config is passed twice: name one file'
  return message


def _wrong_key(error: Exception, argv: list[str]) -> str:
  """Return the key that an error of ml_collections is about, or raise it."""
  frames = traceback.extract_tb(error.__traceback__)
  if any('config_path' in frame.filename for frame in frames):
    words = (re.match(r'--?(?:no)?config\.([\w.]+)', word) for word in argv)
    keys = [word[1] for word in words if word]
    # If all are known, the config has not all of them.
    return next((key for key in keys if key not in _known_keys()), keys[0])
  # Set by the file itself.
  found = re.search(r'Key "(\w+)" does not exist', str(error))
  if not found:
    raise error
  return found[1]


def check_keys(config: ConfigDict) -> None:
  """Check that a config has no key that nothing reads.

  Raises:
    UserError: names the key, and the one that was probably meant.
  """
  if _has_configs():
    for key in sorted(
      provenance.flatten(config.to_dict()).keys() - set(_known_keys())
    ):
      raise UserError(_unknown(key))


def _has_configs() -> bool:
  return (ROOT / 'configs' / 'default.py').exists()


def _known_keys() -> list[str]:
  """List the keys of configs.default; none if the package is alone."""
  try:
    default = importlib.import_module('configs.default')
  except ImportError:
    return []
  return list(provenance.flatten(default.get_config().to_dict()))


def _unknown(key: str) -> str:
  if key in _known_keys():
    return (
      f'this --config has no key {key}: start from '
      'configs.default.get_config(), which has every key'
    )
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
