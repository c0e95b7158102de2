import json
import pathlib

import jax
import numpy as np
import pytest

from configs import default
from pruning_gen import environment
from pruning_gen.data import label_noise
from pruning_gen.data import streams
from pruning_gen.errors import UserError
from tests import program

OTHER_SETTINGS = {
  'jax_default_prng_impl': 'rbg',
  'jax_threefry_partitionable': False,
  'jax_random_seed_offset': 7,
  'jax_enable_x64': True,
  'jax_default_matmul_precision': 'bfloat16',
  'jax_disable_most_optimizations': True,
}


def draw_labels(path):
  """Draw labels under each setting: in a process that has no devices yet."""
  labels, config = [], default.get_config()
  for name, value in OTHER_SETTINGS.items():
    jax.config.update(name, value)
    environment.set_up(config, 1)
    key = streams.draw_key(streams.replicate_key(0, 0), 'noise', 0)
    true_labels = np.arange(100, dtype=np.int32) % 10
    labels.append(label_noise.corrupt_labels(key, true_labels, 10, 0.5)[0])
  assert jax.config.jax_default_matmul_precision is None
  np.save(path, labels)


def test_ambient_settings_of_jax_change_no_random_number(tmp_path):
  assert program.call(draw_labels, tmp_path / 'labels.npy') == 0
  labels = np.load(tmp_path / 'labels.npy')
  assert (labels == labels[0]).all()
  assert (labels[0] != np.arange(100) % 10).sum() == 50


def test_flags_and_cores_are_those_that_xla_uses(tmp_path, monkeypatch):
  flags = '--xla_b=2 --xla_a --xla_dump_to=/x'
  (tmp_path / 'flags').write_text(flags)
  for value in (flags, str(tmp_path / 'flags')):
    monkeypatch.setenv('XLA_FLAGS', value)
    described = environment.describe()
    assert described['flags'] == {'XLA_FLAGS': {'--xla_a': '', '--xla_b': '2'}}
    json.dumps(described)
  monkeypatch.setenv('XLA_FLAGS', '--xla_dump_to=/x')
  assert environment.describe()['flags'] == {}
  monkeypatch.setenv('NPROC', '3')
  assert environment.describe()['cores'] == 3


def ask_for(settings, path):
  for name, value in settings.items():
    jax.config.update(name, value)
  try:
    environment.check_devices()
  except UserError as error:
    path.write_text(str(error))


@pytest.mark.parametrize(
  'settings',
  [
    {'jax_platforms': 'cuda'},
    {'jax_platforms': 'cuda,cpu'},
    {'jax_platforms': 'nonsense'},
    {'jax_platform_name': 'gpu'},
  ],
)
@pytest.mark.filterwarnings('ignore')
def test_an_accelerator_that_is_absent(tmp_path, settings):
  assert program.call(ask_for, settings, tmp_path / 'said') == 0
  said = (tmp_path / 'said').read_text()
  (name, value), *_ = settings.items()
  assert said.startswith(f'{name.upper()}={value}, ')
  assert 'cpu' in said.removeprefix(f'{name.upper()}={value}')
  assert 'pip install' in said and f'unset {name.upper()}' in said


@pytest.mark.parametrize(
  'group, path',
  [
    ('0::/', '/sys/fs/cgroup/memory.max'),
    ('0::/slurm/job_1', '/sys/fs/cgroup/slurm/job_1/memory.max'),
    ('0::/slurm/job_1', '/sys/fs/cgroup/slurm/memory.max'),
    ('4:memory:/x', '/sys/fs/cgroup/memory/x/memory.limit_in_bytes'),
    ('4:cpu:/x', '/sys/fs/cgroup/memory/memory.limit_in_bytes'),
  ],
)
def test_the_memory_limit_is_the_containers(monkeypatch, group, path):
  texts = {'/proc/self/cgroup': f'1:name=systemd:/y\n{group}\n', path: '5000\n'}

  def read_text(self):
    if str(self) not in texts:
      raise FileNotFoundError
    return texts[str(self)]

  monkeypatch.setattr(pathlib.Path, 'read_text', read_text)
  assert environment.memory_limit() == 5000
  texts[path] = 'max'
  assert environment.memory_limit() > 10**6
