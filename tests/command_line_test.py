import functools
import os
import pathlib
import shutil
import sys

import pytest

from pruning_gen import command_line
from pruning_gen.data import cache
from pruning_gen.errors import UserError
from pruning_gen.models import Model
from pruning_gen.models import MODELS
from tests import program

CONFIGS = pathlib.Path(__file__).parents[1] / 'configs'
QUICKSTART = f'--config={CONFIGS}/quickstart.py'


def run(folder, *arguments, **options):
  """Run the real program: (exit code, what it printed, its errors)."""
  return program.finish(program.start(folder / 'log', *arguments, **options))


@pytest.mark.parametrize('variant', ['', ':small', ':a:b'])
@pytest.mark.parametrize('name', ['lenet', 'configs/lenet.py'])
def test_a_config_of_this_package_has_a_name(
  tmp_path, monkeypatch, name, variant
):
  monkeypatch.chdir(tmp_path)
  path = f'{CONFIGS}/lenet.py{variant}'
  assert command_line.config_path(name + variant) == path
  # In the checkout it is the same file.
  monkeypatch.chdir(CONFIGS.parent)
  found = command_line.config_path(name + variant)
  assert pathlib.Path(found).resolve() == pathlib.Path(path)


@pytest.mark.parametrize(
  'value',
  ['lenett', 'lenet.py', 'configs/lenet', 'a/configs/lenet.py', '', ':'],
)
def test_other_paths_stay_as_they_are(tmp_path, monkeypatch, value):
  monkeypatch.chdir(tmp_path)
  assert command_line.config_path(value) == value


def test_a_path_goes_before_a_name(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'configs').mkdir()
  shutil.copy(CONFIGS / 'lenet.py', 'configs/lenet.py')
  assert command_line.config_path('configs/lenet.py') == 'configs/lenet.py'


@pytest.mark.parametrize('place', ['lenet.py', 'configs/lenet.py'])
def test_a_name_in_several_places_is_refused(tmp_path, monkeypatch, place):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'configs').mkdir()
  shutil.copy(CONFIGS / 'lenet.py', place)
  with pytest.raises(UserError) as error:
    command_line.config_path('lenet')
  for path in (CONFIGS / 'lenet.py', tmp_path / place):
    assert str(path) in str(error.value)
  # Only ours has this one.
  assert command_line.config_path('vgg16') == f'{CONFIGS}/vgg16.py'


def run_with_a_model(log, arguments):
  own = MODELS['lenet']._replace(hyperparameters={'depth': 3, 'rate': 0.5})
  MODELS['own'] = Model(*own)
  program.run_main(log, arguments)


@pytest.mark.parametrize(
  'flags, said',
  [
    # What is wrong is the last.
    (
      ('name=own', 'depth=4', 'rate=1', 'widths=0,'),
      'config.model.widths=(0,)',
    ),
    (('depth=4', 'name=own', 'widths=0,'), 'config.model.widths=(0,)'),
    (('name=own', 'depth=4.5'), 'config.model.depth=4.5'),
    (('name=own', 'dpeth=4'), 'model.dpeth: did you mean model.depth?'),
    (('depth=4',), 'no key model.depth'),
    (('name=own', 'depth.x=4'), 'model.depth.x'),
  ],
)
def test_hyperparameters_on_the_command_line(tmp_path, flags, said):
  code, _, err = run(
    tmp_path,
    '--config=quickstart',
    f'--workdir={tmp_path}/run',
    *(f'--config.model.{flag}' for flag in flags),
    target=run_with_a_model,
  )
  assert code == 1 and said in err and 'Traceback' not in err
  assert not (tmp_path / 'run').exists()


OWN = """
from configs import quickstart
def get_config():
  config = quickstart.get_config()
  {}
  return config
"""


@pytest.mark.parametrize(
  'line, key, meant',
  [
    ('config.unlock(); config.lerning_rate = 1', 'lerning_rate', 'learning_'),
    ('config.unlock(); config.model.hidden = 1', 'model.hidden', ''),
    ("config.unlock(); config.o = {'a': {'b': 1}}", 'o.a.b', ''),
    ('config.lerning_rate = 1', 'lerning_rate', 'learning_rate'),
    ("config.update({'model': {'nme': 1}})", 'model.nme', 'model.name'),
    ('config.model.nme = 1', 'model.nme', 'model.name'),
  ],
)
def test_a_key_that_nothing_reads_is_refused(tmp_path, line, key, meant):
  (tmp_path / 'own.py').write_text(OWN.format(line))
  code, _, err = run(
    tmp_path, f'--config={tmp_path}/own.py', f'--workdir={tmp_path}/run'
  )
  assert code == 1 and not (tmp_path / 'run').exists()
  assert f' {key}' in err and meant in err
  assert 'Traceback' not in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
  'argument, right',
  [
    ('--config.model=resnet20', '--config.model.name'),
    ('--config.data=mnist', '--config.data.name'),
    ('--config.checkpoint=3', '--config.checkpoint.keep'),
    ('--config.arms=pruning,extended_dense', "('pruning', 'extended_dense')"),
    ('--config.experiments=chain,el2n', "('chain', 'width')"),
    ('--config.optim.lr=1', 'optim.lr'),
    ('--config.seed.x=1', 'seed.x'),
    ('--noconfig.tensorbord', 'tensorboard'),
    (f'--config={CONFIGS}/quickstart.py:small', 'colon'),
    (f'--config={CONFIGS}/resnet20.py:tiny', "'small'"),
    (f'--config={CONFIGS}/no.py', 'configs/lenet.py'),
    ('--config.prune_fraction=1.5', '(0, 1)'),
    ('--config.prun_fraction=0.5', 'prune_fraction'),
    ('--num_processes=2', '--distributed'),
    ('--workdir=', '--workdir'),
    ('--workdir= ', '--workdir'),
    ('--workdir=~nobody.there/x', "'~nobody.there/x'"),
  ],
)
def test_what_is_wrong_has_its_remedy_in_one_line(tmp_path, argument, right):
  arguments = [QUICKSTART, f'--workdir={tmp_path}/run', argument]
  if argument.startswith('--config='):
    arguments = arguments[1:]
  code, _, err = run(tmp_path, *arguments)
  assert code == 1 and not (tmp_path / 'run').exists()
  assert right in err.removeprefix(f'error: flag {argument}')
  assert err.startswith('error: ') and 'Traceback' not in err
  assert 'malformed' not in err


@pytest.mark.parametrize('value', ['', ' ', '\n', None])
def test_an_empty_path_is_no_folder(value):
  with pytest.raises(UserError, match='--output'):
    command_line.local_path('output', value)


def test_home_is_expanded_in_every_path(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  assert command_line.local_path('workdir', '~/x') == f'{tmp_path}/x'
  assert command_line.local_path('workdir', 'a/~') == 'a/~'
  assert cache.folder('~/x') == tmp_path / 'x'
  monkeypatch.setenv('XDG_CACHE_HOME', '~/y')
  assert cache.folder() == tmp_path / 'y' / 'pruning_gen'


def run_where_configs_is_another(folder, log, arguments):
  # This module has imported ours.
  for name in [name for name in sys.modules if name.startswith('configs')]:
    del sys.modules[name]
  sys.path.insert(0, folder)
  os.chdir(folder)
  program.run_main(log, arguments)


@pytest.mark.parametrize('content', ["raise ImportError('x')", ''])
def test_another_package_called_configs(tmp_path, content):
  (tmp_path / 'configs').mkdir()
  (tmp_path / 'configs' / '__init__.py').write_text(content)
  said = 'config.batch_size=100000'
  arguments = (f'--workdir={tmp_path}/run', f'--{said}')
  names = ('--config=configs/quickstart.py', '--config=quickstart')
  target = functools.partial(run_where_configs_is_another, str(tmp_path))
  for config in (QUICKSTART, *names):
    code, _, err = run(tmp_path, config, *arguments, target=target)
    assert code == 1 and said in err and 'Traceback' not in err
