"""Compile the panels' epochs for a TPU, on a machine that has none.

  pip install 'jax[tpu]'
  python speed/tpu_compile.py --panels=lenet,resnet20 --topology=v5e:2x4

Prints for each panel and way of stacking how long XLA takes, what a core needs
of its memory, and what XLA's own cost model says of a training step: millions
of cycles a member and, at the chip's clock, images a second. These are the
compiler's estimates and no measurement: it has none for gathers, which count
nothing here. Needs Linux; `--output` appends to a JSON file.
"""

import argparse
import json
import os
import pathlib
import re
import sys
import time
from unittest import mock

# The compiler alone is needed: no TPU is looked for.
os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
os.environ.setdefault('TPU_ACCELERATOR_TYPE', 'v5litepod-8')
os.environ.setdefault('TPU_WORKER_HOSTNAMES', 'localhost')

# ruff: noqa: E402
import jax
import numpy as np
from jax.experimental import topologies

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from launch import plan
from pruning_gen import config as protocol
from pruning_gen.data import datasets
from pruning_gen.engine import memory
from pruning_gen.engine import over_members as members_lib
from pruning_gen.engine import programs as engine
from pruning_gen.experiments import build

# Of a core: the chip's peak over its 4 or 8 arrays of 128 x 128 multipliers.
CLOCKS = {'v4': 1.05e9, 'v5e': 1.5e9}
CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')


class CompiledEngine(engine.Engine):
  """Compiles training for devices that are not there, and places nothing."""

  devices = ()

  def _make_mesh(self):
    return members_lib.make_mesh(
      len(self.members), list(self.devices), self._config.devices.data_parallel
    )

  def _reserve(self):
    begin = time.monotonic()
    self.compiled = self._compile()
    self.seconds = time.monotonic() - begin

  def _place_data(self):
    return None

  def _place_images(self):
    pass


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--panels', default='lenet,resnet20')
  parser.add_argument('--topology', default='v5e:2x4', help='as JAX names it')
  parser.add_argument('--stacking', default='vmap,map')
  parser.add_argument('--output', help='JSON, which is added to')
  args = parser.parse_args()
  topology = topologies.get_topology_desc(
    platform='tpu', topology_name=args.topology
  )
  for panel in args.panels.split(','):
    for stacking in args.stacking.split(','):
      row = compile_panel(panel, stacking, args.topology, topology.devices)
      print(json.dumps(row), flush=True)
      if args.output:
        append(pathlib.Path(args.output), row)


def append(path, row):
  rows = json.loads(path.read_text()) if path.exists() else []
  path.write_text(json.dumps([*rows, row], indent=2) + '\n')


def compile_panel(panel, stacking, topology, devices):
  """Compile one panel's epoch; return what is known of it, a dict."""
  config = plan.load_config(panel)
  config.stacking = stacking
  members = protocol.list_members(config)
  with (
    # Convolutions and stacking are chosen by it.
    mock.patch.object(jax, 'default_backend', lambda: 'tpu'),
    mock.patch.object(build, 'Engine', CompiledEngine),
    mock.patch.object(CompiledEngine, 'devices', devices),
  ):
    built = build.make_engine(config, blank_dataset(config), members)
  rows = len(built._rows) // built.mesh.shape['member']
  cycles = step_cycles(built.compiled.as_text())
  cycles //= rows if stacking == 'vmap' else 1
  row = {
    'panel': panel,
    'stacking': stacking,
    'topology': topology,
    'mesh': dict(built.mesh.shape),
    'members': len(members),
    'jax': jax.__version__,
    'compile_seconds': round(built.seconds, 1),
    'gigabytes_a_core': round(memory.count_bytes(built.compiled) / 1e9, 3),
    'estimated_megacycles_a_step_and_member': round(cycles / 1e6, 4),
  }
  clock = CLOCKS.get(topology.partition(':')[0])
  if clock:
    speed = config.batch_size * clock / cycles / built.mesh.shape['data']
    row['estimated_images_per_second_and_core'] = round(speed)
  return row


def blank_dataset(config):
  """Return a data set of the right size without images."""
  info = datasets.DATASETS[config.data.name]
  images = np.zeros((info.num_train, *info.image_shape), np.uint8)
  labels = np.arange(info.num_train, dtype=np.int32) % info.num_classes
  few = (images[:10], labels[:10])
  return datasets.Dataset(
    config.data.name,
    info.num_classes,
    info.mean,
    info.std,
    images,
    labels,
    *few,
    *few,
  )


def step_cycles(text):
  """Estimate a training step: the loop that takes most of an epoch's cycles.

  Args:
    text: str, a compiled program.

  Returns:
    int, cycles of all members of one turn, with the loops inside it.
  """
  parts = dict(
    re.findall(r'^%([\w.\-]+) \([^\n]*\{\n(.*?)^\}', text, re.M | re.S)
  )
  loop = re.compile(r' while\(.*?condition=%([\w.\-]+), body=%([\w.\-]+)')

  def cycles(condition, body):
    (turns,) = re.findall(r'constant\((\d+)\)', parts[condition])
    return int(turns) * sum(map(int, CYCLES.findall(parts[body])))

  _, step = max(loop.findall(text), key=lambda found: cycles(*found))
  inside = sum(cycles(*found) for found in loop.findall(parts[step]))
  return inside + sum(map(int, CYCLES.findall(parts[step])))


if __name__ == '__main__':
  main()
