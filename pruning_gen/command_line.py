"""Reading the command line, with errors that name the key and the remedy."""

import difflib
import inspect
import os
import pathlib
import re
import sys
import traceback
from collections.abc import Collection
from collections.abc import Sequence

from absl import app
from absl import flags
from ml_collections import ConfigDict

from pruning_gen.configs import default
from pruning_gen.errors import UserError
from pruning_gen.models import MODELS
from pruning_gen.storage import provenance

CONFIGS = pathlib.Path(default.__file__).parent


def parse(argv: list[str], config: flags.FlagHolder[ConfigDict]) -> list[str]:
  """Parse the command line; exit with a message where that fails.

  Returns:
    The arguments that are not flags.
  """
  if CONFIGS.parent == pathlib.Path(__file__).parents[1]:
    # A checkout: `configs`, ahead of any other package of that name.
    sys.path.insert(0, str(CONFIGS.parent))
  if {'--help', '-help', '-h', '-?'}.intersection(argv):
    app.usage(shorthelp=True, writeto_stdout=True)
    print(describe_keys())
    sys.exit()
  try:
    arguments = flags.FLAGS(locate_config(argv))
    # If no key is set, a file that cannot be loaded raises only here.
    getattr(config.value, 'keys', None)
    if not isinstance(config.value, ConfigDict):
      sys.exit(
        'error: --config: get_config() must return a ConfigDict, such as that '
        f'of configs.default, but got a {type(config.value).__name__}'
      )
    config.value.lock()
    return arguments
  except flags.Error as error:
    sys.exit(f'error: {_explain(str(error))}')
  except (AttributeError, KeyError) as error:
    sys.exit(f'error: {unknown_key(wrong_key(error, argv))}')
  except UserError as error:
    sys.exit(f'error: {error}')
  except (OSError, ImportError) as error:
    sys.exit(
      f'error: --config: {error}\nname a file, such as configs/lenet.py, or one'
      f' of: {", ".join(config_names())}'
    )


def config_names() -> list[str]:
  """List the configs that come with the program."""
  return sorted(path.stem for path in CONFIGS.glob('[!_]*.py'))


def locate_config(argv: Sequence[str]) -> list[str]:
  """Put the path of a config in the place of its name."""
  words = list(argv)
  for i, word in enumerate(words):
    flag, equals, value = word.partition('=')
    if flag in ('-config', '--config'):
      if equals:
        words[i] = f'{flag}={config_path(value)}'
      elif i + 1 < len(words):
        words[i + 1] = config_path(words[i + 1])
  return words


def config_path(value: str) -> str:
  """Return the path of a config: of a file, or else of one of configs/.

  Args:
    value: of --config: a path, configs/NAME.py or NAME; what follows a colon
      stays.

  Raises:
    UserError: NAME is in more than one place.
  """
  path, colon, variant = value.partition(':')
  name = re.fullmatch(r'(configs/)?(\w+?)(\.py)?', path)
  if os.path.isfile(path) or not name or bool(name[1]) != bool(name[3]):
    return value
  places = [CONFIGS / f'{name[2]}.py']
  if not name[1]:
    here = (
      pathlib.Path(f'{name[2]}.py'),
      pathlib.Path(f'configs/{name[2]}.py'),
    )
    places = [*here, *places]
  found = sorted({place.resolve() for place in places if place.is_file()})
  if len(found) > 1:
    raise UserError(
      f'--config={value} is in several places: {", ".join(map(str, found))}: '
      'pass the path of one'
    )
  return f'{found[0]}{colon}{variant}' if found else value


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


def wrong_key(error: Exception, argv: list[str]) -> str:
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


def format_config(config: ConfigDict) -> str:
  """Return every key of a config and its value, a line each."""
  return '\n'.join(
    f'{key}={value!r}'
    for key, value in provenance.flatten(config.to_dict()).items()
  )


def describe_keys() -> str:
  """Return every key with its default, and the comments in configs.default."""
  values = provenance.flatten(default.get_config().to_dict())
  lines, comment = [], []
  for line in inspect.getsource(default.get_config).splitlines():
    line = line.strip()
    if line.startswith('#'):
      comment.append(f'      {line[2:]}')
    elif match := re.match(r'config\.([\w.]+) = ', line):
      if match[1] in values:
        lines += [f'  --config.{match[1]}={values[match[1]]!r}', *comment]
      elif comment:
        lines += [f'  config.{match[1]}, a group of keys:', *comment]
      comment = []
  return 'Keys of the config, with their defaults:\n' + '\n'.join(lines)


def check_keys(config: ConfigDict) -> None:
  """Check that a config has no key that nothing reads.

  Raises:
    UserError: names the key, and the one that was probably meant.
  """
  known = {*_known_keys(), *_own_keys(config)}
  for key in sorted(provenance.flatten(config.to_dict()).keys() - known):
    raise UserError(unknown_key(key, known))


def _known_keys() -> list[str]:
  """List the keys of configs.default."""
  return list(provenance.flatten(default.get_config().to_dict()))


def _own_keys(config: ConfigDict) -> list[str]:
  """List the keys that only the model of a config has."""
  model = MODELS.get(config.get('model', {}).get('name'))
  return [f'model.{key}' for key in model.hyperparameters] if model else []


def unknown_key(key: str, known: Collection[str] = ()) -> str:
  """Return the message about a key that does not exist.

  Args:
    known: all keys; by default those of configs.default.
  """
  if key in _known_keys():
    return (
      f'this --config has no key {key}: start from '
      'configs.default.get_config(), which has every key'
    )
  known = known or _known_keys()
  names = {name.split('.')[-1]: name for name in known}
  names |= {name: name for name in known}
  near = difflib.get_close_matches(key, known, 1)
  near += difflib.get_close_matches(key.split('.')[-1], names, 1)
  meant = f': did you mean {names[near[0]]}?' if near else ''
  return f'--config has no key {key}{meant} (configs/default.py has them all)'


def local_path(name: str, value: str | None) -> str:
  """Return the path that a flag names, with `~` expanded.

  Raises:
    UserError: it is missing, empty, or in a home directory that does not exist.
  """
  if not value or not value.strip():
    state = 'missing' if value is None else 'empty'
    raise UserError(
      f'--{name} is {state}: pass a path, such as --{name}=runs/lenet'
    )
  path = os.path.expanduser(value)
  if path.startswith('~'):
    raise UserError(
      f'--{name}={value!r} needs a home directory, but there is none of that '
      f'name: write the whole path, or ./{value}'
    )
  return path
