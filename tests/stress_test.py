"""Awkward workdirs, environments and stops: the bytes of a calm run.

STRESS_DRAWS=50 in the environment draws as often, STRESS_SEED=1 others. -s
shows what was drawn.
"""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests import program
from tests import restarts

pytestmark = [pytest.mark.slow, pytest.mark.long]

DRAWS = int(os.environ.get('STRESS_DRAWS', '5'))
SEED = int(os.environ.get('STRESS_SEED', '0'))
CONFIG = (
  "--config.experiments=('chain','el2n','leave_out')",
  '--config.noise_fractions=(0,.2)',
  '--config.replicates=1',
  '--config.levels=2',
  '--config.epochs=2',
  '--config.rewind_epoch=0',
  '--config.batch_size=40',
  '--config.model.widths=20,10',
  '--config.data.num_train=200',
  '--config.num_subgroups=2',
  '--config.el2n.epoch=1',
  '--config.el2n.networks=2',
  "--config.leave_out.sets=('most_improved','subgroups')",
  '--config.checkpoint.every_epochs=1',
  '--config.tensorboard=False',
)
NAMES = (
  'lenet[seed 1]',
  '[!a]',
  '*',
  '**',
  'a?',
  '{a,b}',
  'run [*',
  'a[1]/b*/c]',
  'two words ',
  'new\nline',
  'tab\t',
  '"quoted\'',
  '$HOME',
  '`id`; #',
  '%s %(x)d {0}',
  '<b>&amp;',
  'läuf ☃',
  'e\u0301',
  '.hidden',
  '-dash=1',
  'results.csv',
  'checkpoints/1',
  '~/x',
  's3:/bucket',
  '.x.tmp',
  'x' * 200,
)
# None removes a variable. Starts of one workdir differ in these.
HARMLESS = (
  {'JAX_DEFAULT_PRNG_IMPL': 'rbg'},
  {'JAX_DEFAULT_PRNG_IMPL': 'unsafe_rbg'},
  {'JAX_THREEFRY_PARTITIONABLE': '0'},
  {'JAX_RANDOM_SEED_OFFSET': '7'},
  {'JAX_ENABLE_CUSTOM_PRNG': '1'},
  {'JAX_ENABLE_X64': '1'},
  {'JAX_DISABLE_JIT': '1'},
  {'JAX_DISABLE_MOST_OPTIMIZATIONS': '1'},
  {'JAX_DEFAULT_MATMUL_PRECISION': 'bfloat16'},
  {'JAX_NUMPY_RANK_PROMOTION': 'raise'},
  {'JAX_NUMPY_DTYPE_PROMOTION': 'strict'},
  {'JAX_ENABLE_COMPILATION_CACHE': '0'},
  {'JAX_PLATFORMS': 'cpu'},
  {'JAX_TRACEBACK_FILTERING': 'off'},
  {'XLA_FLAGS': '--xla_dump_to=/tmp/never --xla_dump_hlo_module_re=never'},
  {'PYTHONHASHSEED': '1'},
  {'PYTHONOPTIMIZE': '1'},
  {'PYTHONIOENCODING': 'ascii'},
  {'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0', 'LC_ALL': 'C'},
  {'TZ': 'Asia/Kathmandu'},
  {'HOME': None, 'XDG_CACHE_HOME': None},
  {'HOME': '/nowhere'},
  {'XDG_CACHE_HOME': ''},
  {'MPLBACKEND': 'module://matplotlib_inline.backend_inline'},
  {'MATPLOTLIBRC': 'usetex'},
  {'TFDS_DATA_DIR': 'gs://nowhere'},
  {'OMP_NUM_THREADS': '1'},
  {'GIT_DIR': '/nowhere'},
  {'COLUMNS': '10', 'TERM': 'dumb'},
)
# A change that is refused once something is saved, by this word.
REFUSED = (
  ({'XLA_FLAGS': '--xla_cpu_enable_fast_math=true'}, 'fast_math'),
  ({'PJRT_NPROC': '1'}, 'cores: '),
  ({'NVIDIA_TF32_OVERRIDE': '0'}, 'NVIDIA_TF32_OVERRIDE'),
)
# Files at whose appearance a run is stopped, and how.
MOMENTS = (
  'config.json',
  'provenance.json',
  'chain/labels.npz',
  'checkpoints/chain/1',
  'checkpoints/chain/3',
  'chain/level_000.npz',
  'chain/level_002.npz',
  'results.csv',
  'chain/most_worsened.csv',
  'el2n/labels.npz',
  'el2n/scores.csv',
  'leave_out',
  'report/figures',
)
SIGNALS = (signal.SIGTERM, signal.SIGKILL, signal.SIGINT)


class Runner:
  """Starts the real program in a folder of its own."""

  def __init__(self, folder):
    self._folder = folder
    (folder / 'usetex').write_text('text.usetex: True\n')

  def start(self, workdir, environment):
    changed = {'XDG_CACHE_HOME': str(self._folder / 'cache')} | environment
    # Where configs are found by no accident.
    changed['PYTHONPATH'] = str(program.ROOT)
    kept = os.environ.items()
    environment = dict(item for item in kept if item[0] not in changed)
    environment |= {k: v for k, v in changed.items() if v is not None}
    with (self._folder / 'log').open('wb') as log:
      return subprocess.Popen(
        [
          sys.executable,
          '-m',
          'pruning_gen.main',
          f'--config={program.ROOT}/configs/quickstart.py',
          f'--workdir={workdir}',
          *CONFIG,
        ],
        cwd=self._folder,
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
      )

  def finish(self, process):
    process.wait(600)
    return process.returncode, (self._folder / 'log').read_text(
      errors='replace'
    )

  def run(self, workdir, environment):
    return self.finish(self.start(workdir, environment))


@pytest.fixture(scope='module')
def runner(tmp_path_factory):
  return Runner(tmp_path_factory.mktemp('stress'))


@pytest.fixture(scope='module')
def calm(runner, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('calm') / 'run'
  code, said = runner.run(workdir, {})
  assert code == 0, said
  return read(workdir)


def read(workdir):
  """Read every table and array, those of the report among them."""
  return {
    name: content
    for name, content in restarts.read_files(workdir).items()
    if name.endswith(('.csv', '.npz'))
  }


def is_begun(workdir):
  saved = (workdir / 'checkpoints').exists() and any(
    path.name.isdigit() for path in (workdir / 'checkpoints').rglob('*')
  )
  return saved or (workdir / 'results.csv').exists()


def stop(process, path, delay, sent):
  """Send a signal when a file is there, if the program still runs."""
  while process.poll() is None and not path.exists():
    time.sleep(0.002)
  time.sleep(delay)
  if process.poll() is None:
    process.send_signal(sent)


def draw_harmless(draw, name):
  # In the C locale other names are no text, and refused.
  possible = [e for e in HARMLESS if name.isascii() or 'LC_ALL' not in e]
  return draw.choice(possible)


@pytest.mark.parametrize('number', range(DRAWS))
def test_the_bytes_of_a_calm_run(runner, calm, tmp_path, number):
  draw = random.Random(f'{SEED} {number}')
  name = draw.choice(NAMES)
  workdir = tmp_path / 'in' / name
  print(f'\n{number}: {name!r}', end='')
  for _ in range(draw.choice((1, 1, 2, 3))):
    environment = draw_harmless(draw, name) | draw_harmless(draw, name)
    moment, sent = draw.choice(MOMENTS), draw.choice(SIGNALS)
    delay = draw.choice((0, 0.05, 0.5, 4, 8))
    print(f'; {environment} {moment} {sent.name} +{delay}', end='')
    process = runner.start(workdir, environment)
    stop(process, workdir / moment, delay, sent)
    code, said = runner.finish(process)
    # A signal that comes before the program handles any ends it, and so does a
    # Ctrl-C during Python's exit.
    begun = 'devices: ' in said and sent != signal.SIGINT
    unhandled = (-signal.SIGKILL,) if begun else (-sent,)
    assert code in (0, 75, 1, *unhandled), said
    assert 'error: ' not in said, said
    # Python ignores a Ctrl-C that comes inside a callback of its collector.
    assert 'Traceback' not in said or 'Exception ignored in' in said, said
    if draw.random() < 0.5 and is_begun(workdir) and code != 0:
      environment, word = draw.choice(REFUSED)
      before = read(workdir)
      code, said = runner.run(workdir, environment)
      # Only the report was left to build.
      print(f'; {word} {code}', end='')
      if code:
        assert code == 1 and word in said and 'Traceback' not in said, said
        assert read(workdir) == before
  environment = draw_harmless(draw, name)
  print(f'; {environment}', flush=True)
  code, said = runner.run(workdir, environment)
  assert code == 0, said
  assert read(workdir) == calm
