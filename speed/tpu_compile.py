"""Compile the benchmarks' training for a TPU, on a machine that has none.

  pip install 'jax[tpu]'
  python speed/tpu_compile.py --benchmarks=lenet,resnet20 --topology=v5e:2x4

Prints for each benchmark and way of stacking how long XLA takes, how much
memory a core needs, which collectives it uses, and XLA's own estimate of a
training step: millions of cycles per member and, at the chip's clock, images
per second. These are the compiler's estimates, not measurements: it has none
for gathers, which count nothing here. Needs Linux; `--output` names a JSON
file, in which a row replaces the earlier one of the same case.
"""

import argparse
import collections
import itertools
import json
import os
import pathlib
import re
import sys
import time

# Only the compiler is needed: JAX must not look for a TPU.
os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
os.environ.setdefault('TPU_ACCELERATOR_TYPE', 'v5litepod-8')
os.environ.setdefault('TPU_WORKER_HOSTNAMES', 'localhost')
# No device is used, so several of these may run at once.
os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', 'true')

# ruff: noqa: E402
import jax
import numpy as np
from jax.experimental import topologies

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from pruning_gen.data import datasets
from pruning_gen.data import imagenet
from pruning_gen.engine import memory
from pruning_gen.engine import mesh
from pruning_gen.engine import programs
from pruning_gen.engine import streamed
from pruning_gen.engine.inputs import Spec
from pruning_gen.engine.part import Run
from pruning_gen.experiments import build
from pruning_gen.experiments import label_sets
from pruning_gen.launch import plan
from pruning_gen.training.schedule import Schedule

# Of a device, in Hz: the chip's peak divided by two operations of each of its
# multipliers, which are 8 (v4) or 4 (v5e) squares of 128 x 128, or 4 (v6e) of
# 256 x 256.
CLOCKS = {'v4': 1.05e9, 'v5e': 1.5e9, 'v6e': 1.75e9}
# JAX sees the two cores of a v4 chip as one device.
CHIP_CONFIGS = {'v4': 'megacore'}
CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
COLLECTIVES = re.compile(
  r' (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)'
  r'(?:-start)?\('
)
# What a row of the output is of.
CASE = ('benchmark', 'stacking', 'dtype', 'topology')


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--benchmarks', default='lenet,resnet20')
  parser.add_argument('--topology', default='v5e:2x4', help='as JAX names it')
  parser.add_argument('--stacking', default='vmap,map')
  parser.add_argument('--dtypes', default='float32')
  parser.add_argument('--output', help='JSON file to add to')
  parser.add_argument('--text', help='folder for the compiled programs')
  args = parser.parse_args()
  chip = args.topology.partition(':')[0]
  topology = topologies.get_topology_desc(
    platform='tpu',
    topology_name=args.topology,
    chip_config_name=CHIP_CONFIGS.get(chip, 'default'),
  )
  for case in itertools.product(
    args.benchmarks.split(','), args.stacking.split(','), args.dtypes.split(',')
  ):
    spec = make_spec(*case, list(topology.devices))
    row = dict(zip(CASE, (*case, args.topology)))
    found, text = compile_training(spec, CLOCKS.get(chip))
    row |= found
    if args.text:
      name = '_'.join((*case, args.topology.replace(':', '_'))) + '.txt'
      pathlib.Path(args.text, name).write_text(text)
    print(json.dumps(row), flush=True)
    if args.output:
      add(pathlib.Path(args.output), row)


def add(path, row):
  rows = json.loads(path.read_text()) if path.exists() else []
  kept = [old for old in rows if any(old[key] != row[key] for key in CASE)]
  path.write_text(json.dumps([*kept, row], indent=2) + '\n')


def make_spec(benchmark, stacking, dtype, devices):
  """Return what a benchmark's chain is compiled from, on other devices."""
  config = plan.load_config(benchmark)
  config.stacking = stacking
  config.dtype = dtype
  dataset = blank_dataset(config.data.name)
  members = label_sets.list_members(config)
  stack = label_sets.make_stack(
    Run(config, None, dataset, lambda: False), members
  )
  is_streamed = datasets.DATASETS[config.data.name].is_streamed
  return Spec(
    config,
    dataset,
    stack,
    # 'auto' would choose by the devices that are here.
    build.make_model(config, dataset.num_classes, convolution='plain'),
    build.make_optimizer(config, stack),
    Schedule(config.epochs, config.rewind_epoch, config.levels),
    mesh.make_layout(
      config, len(members), take_turns=is_streamed, devices=devices
    ),
  )


def compile_training(spec, clock):
  """Compile a benchmark's training.

  Args:
    spec: from `make_spec`.
    clock: of a core, in Hz; None for no estimate of the speed.

  Returns:
    What is known of the compiled program, a dict, and its text.
  """
  layout = spec.layout
  is_streamed = datasets.DATASETS[spec.config.data.name].is_streamed
  lower = streamed.lower if is_streamed else programs.lower
  begin = time.monotonic()
  compiled = lower(spec).compile()
  seconds = time.monotonic() - begin
  row = {
    'mesh': dict(layout.mesh.shape),
    'members': layout.num_members,
    'jax': jax.__version__,
    'compile_seconds': round(seconds, 1),
    'gigabytes_per_core': round(memory.count_bytes(compiled) / 1e9, 3),
  }
  text = compiled.as_text()
  row['collectives'] = collections.Counter(COLLECTIVES.findall(text))
  cycles = step_cycles(text)
  if layout.vectorize:
    cycles //= len(layout.rows) // layout.mesh.shape['member']
  row['estimated_megacycles_per_step_and_member'] = round(cycles / 1e6, 4)
  if clock:
    speed = spec.config.batch_size * clock / cycles / layout.mesh.shape['data']
    row['estimated_images_per_second_and_core'] = round(speed)
  return row, text


def blank_dataset(name):
  """Return a data set of the right size whose images take no memory."""
  info = datasets.DATASETS[name]
  labels = np.arange(info.num_train, dtype=np.int32) % info.num_classes
  facts = (name, info.num_classes, info.mean, info.std)
  if info.is_streamed:
    return imagenet.StreamedDataset(
      *facts, info.image_shape, {}, labels, labels[:10], labels[:10]
    )
  images = np.broadcast_to(np.uint8(0), (info.num_train, *info.image_shape))
  few = (images[:10], labels[:10])
  return datasets.Dataset(*facts, images, labels, *few, *few)


def step_cycles(text):
  """Estimate a training step: the loop that takes most of an epoch's cycles.

  Args:
    text: of a compiled program.

  Returns:
    The cycles of all members of one turn, with the loops inside it.
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
