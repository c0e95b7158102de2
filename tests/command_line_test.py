import pathlib
import shutil

import pytest

from pruning_gen import command_line
from pruning_gen.errors import UserError
from pruning_gen.models import Model
from pruning_gen.models import MODELS
from tests import program

CONFIGS = pathlib.Path(__file__).parents[1] / 'configs'


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
  process = program.start(
    tmp_path / 'log',
    '--config=quickstart',
    f'--workdir={tmp_path}/run',
    *(f'--config.model.{flag}' for flag in flags),
    target=run_with_a_model,
  )
  code, _, err = program.finish(process)
  assert code == 1 and said in err and 'Traceback' not in err
  assert not (tmp_path / 'run').exists()
