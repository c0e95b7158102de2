r"""Training throughput of stacked members, compared with a PyTorch loop.

  python speed/throughput.py --peer=speed/pytorch_loop.py \
      --output=speed/results/throughput_lenet.json

Runs the real programs on random images of the data set's shape: 1, 3 and 12
members (or --members), each in a process of its own, in turn with the peer (any
script that takes a model's name and --seconds, and prints a JSON line with
images_per_second and torch, its version). Prints medians over --turns, and
after every turn writes --output, with the machine's matrix-multiply peak. The
ratio to the peer is taken within each turn. speed/table.py makes README's table
from speed/results/throughput_MODEL.json.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

# For each model: its config, images to train on (so that an epoch takes
# seconds on a CPU), and the multiply-adds of one image's training step in
# products and convolutions: forward, weight gradient, and input gradient of
# every layer but the first.
MODELS = {
  'lenet': ('lenet', 60_000, 3 * 266_200 - 784 * 300),
  'resnet20': ('resnet20', 1_500, 3 * 40_813_184 - 9 * 3 * 16 * 1024),
  'vgg16': ('vgg16', 500, 3 * 313_201_664 - 9 * 3 * 64 * 1024),
}

EPOCHS_PER_LEVEL = 40
# Of everything that is timed, after one call that compiles.
REPEATS = 4


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('--model', choices=list(MODELS), default='lenet')
  parser.add_argument('--members', type=int, nargs='+', default=[1, 3, 12])
  parser.add_argument('--peer', help='script of the PyTorch peer')
  parser.add_argument(
    '--stacking', default='auto', help='how ours stacks members: vmap or map'
  )
  parser.add_argument(
    '--images', type=int, help='to train on, instead of what suits a CPU'
  )
  parser.add_argument(
    '--dtype', default='float32', help='what ours computes in'
  )
  parser.add_argument('--peer_flags', nargs='*', default=[], help='--amp ...')
  parser.add_argument('--turns', type=int, default=3)
  parser.add_argument('--output', help='file for the JSON result')
  parser.add_argument('--worker', type=int, help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.worker:
    print(
      json.dumps(
        measure(args.model, args.worker, args.dtype, args.stacking, args.images)
      )
    )
    return
  turns = []
  for _ in range(args.turns):
    turns.append(run_turn(args))
    result = {
      'model': args.model,
      'processor': processor(),
      'cores': len(os.sched_getaffinity(0)),
      'turns': turns,
    }
    if args.output:
      pathlib.Path(args.output).write_text(json.dumps(result, indent=2) + '\n')
  print_table(result)


def run_turn(args):
  """Run the peer, and ours with each number of members."""
  peak, peer = matmul_peak(), None
  if args.peer:
    try:
      peer = run_json(
        args.peer, args.model, '--seconds', '12', *args.peer_flags
      )
    except subprocess.CalledProcessError as error:
      print(f'skipped: {args.peer} ended with {error.returncode}')
  else:
    print('skipped: the comparison with PyTorch, since no --peer is given')
  ours = [
    run_json(
      __file__,
      *('--model', args.model),
      *('--worker', str(members)),
      *('--dtype', args.dtype),
      *('--stacking', args.stacking),
      *(('--images', str(args.images)) if args.images else ()),
    )
    for members in args.members
  ]
  return {'matmul_peak_gflops': peak, 'peer': peer, 'ours': ours}


def run_json(*command):
  """Run a Python script; return the JSON in the last line it prints."""
  output = subprocess.run(
    [sys.executable, *command], check=True, stdout=subprocess.PIPE, text=True
  ).stdout
  return json.loads(output.splitlines()[-1])


def matmul_peak():
  """Return GFLOP/s of NumPy's float32 product of 4096 x 4096 matrices."""
  a = np.ones((4096, 4096), np.float32)
  seconds = min(timed(lambda: a @ a) for _ in range(4))
  return 2 * 4096**3 / seconds / 1e9


def timed(function):
  start = time.perf_counter()
  function()
  return time.perf_counter() - start


def make_programs(
  model, num_members, num_train=None, dtype='float32', stacking='auto'
):
  """Compile a stack on random images; return its run, stack and programs."""
  import importlib

  from pruning_gen import environment
  from pruning_gen.engine.part import Run
  from pruning_gen.engine.stack import Member
  from pruning_gen.experiments import build
  from pruning_gen.experiments import label_sets
  from pruning_gen.training.schedule import Schedule

  config_name, suitable, _ = MODELS[model]
  config = importlib.import_module(
    f'pruning_gen.configs.{config_name}'
  ).get_config()
  config.dtype = dtype
  config.stacking = stacking
  environment.set_up(config, num_members)
  # One full batch: the last batch is padded, which the splits of real data,
  # with many, do not notice.
  num_held_out = config.eval_batch_size
  dataset = random_dataset(
    config.data.name, num_train or suitable, num_held_out
  )
  run = Run(config, None, dataset, lambda: False)
  members = [Member('pruning', 0.0, i) for i in range(num_members)]
  stack = label_sets.make_stack(run, members)
  schedule = Schedule(config.epochs, config.rewind_epoch, config.levels)
  return run, stack, build.make_programs(run, stack, schedule)


def measure(model, num_members, dtype, stacking='auto', num_train=None):
  """Measure one stack in its steady state; return a dict of numbers."""
  import jax

  from pruning_gen.engine import measure as measuring

  run, stack, programs = make_programs(
    model, num_members, num_train, dtype, stacking
  )
  config, dataset = run.config, run.dataset
  seconds = time_programs(programs)
  num_evaluated = num_members * sum(
    len(labels)
    for labels in (
      dataset.train_labels,
      dataset.validation_labels,
      dataset.test_labels,
    )
  )
  saving = EPOCHS_PER_LEVEL // config.checkpoint.every_epochs * seconds['save']
  level = EPOCHS_PER_LEVEL * seconds['epoch']
  overhead = seconds['evaluate'] + seconds['start_level'] + saving
  images = stack.images_per_epoch(config.batch_size)
  return {
    'model': model,
    'members': num_members,
    'devices': [device.device_kind for device in jax.devices()],
    'jax': jax.__version__,
    'dtype': dtype,
    'stacking': stacking,
    'images_per_second': images / seconds['epoch'],
    'evaluated_per_second': num_evaluated / seconds['evaluate'],
    'seconds': seconds,
    'checkpoint_megabytes': measuring.count_bytes(programs.packed) / 1e6,
    'saving_fraction': saving / level,
    'overhead_fraction': overhead / level,
    'resident_gigabytes': resident_gigabytes(),
  }


def time_programs(programs):
  """Time each program; return the seconds of a call in the steady state.

  The first call of each compiles, and Orbax's first save takes several times
  as long as later ones. A save counts until all of it is on disk, although in a
  run most of it is done while training continues.
  """
  import jax

  from pruning_gen.storage import checkpoint

  state = programs.create()

  def train_epoch(i):
    nonlocal state
    state, _ = programs.train_epoch(state, i)

  def start_level(i):
    nonlocal state
    del i
    state = jax.block_until_ready(programs.start_level(state, level=1))

  def best(function):
    return min(timed(lambda i=i: function(i)) for i in range(1, REPEATS + 1))

  seconds = {}
  for name, function in (
    ('epoch', train_epoch),
    ('evaluate', lambda i: programs.evaluate(state)),
    ('start_level', start_level),
  ):
    function(0)
    seconds[name] = best(function)
  with tempfile.TemporaryDirectory() as folder:
    checkpoints = checkpoint.Checkpoints(folder, keep=2)

    def save(i):
      checkpoints.save(i, programs.pack(state))
      checkpoints.wait()

    save(0)
    seconds['save'] = best(save)
    checkpoints.close()
  return seconds


def random_dataset(name, num_train, num_held_out):
  """Make random images of a data set's shape; one of 5 held out validates."""
  from pruning_gen.data import datasets

  rng = np.random.default_rng(0)
  info = datasets.DATASETS[name]

  def draw(n):
    images = rng.integers(0, 256, (n, *info.image_shape), np.uint8)
    return images, rng.integers(0, info.num_classes, n, np.int32)

  return datasets.Dataset(
    'random',
    info.num_classes,
    info.mean,
    info.std,
    *draw(num_train),
    *draw(num_held_out // 5),
    *draw(num_held_out - num_held_out // 5),
  )


def resident_gigabytes():
  """Return the largest resident memory that this process ever had."""
  import resource

  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def processor():
  """Return the processor's name, if the system has it."""
  path = pathlib.Path('/proc/cpuinfo')
  if path.exists():
    for line in path.read_text().splitlines():
      if line.startswith('model name'):
        return line.split(':', 1)[1].strip()
  return platform.processor()


def print_table(result):
  """Print medians over turns."""
  turns = result['turns']
  flops = 2 * MODELS[result['model']][2]
  peak = statistics.median(turn['matmul_peak_gflops'] for turn in turns)
  print(f'{result["processor"]}, {result["cores"]} cores, {len(turns)} turns')
  print(f'matrix-multiply peak: {peak:.0f} GFLOP/s')
  for i, ours in enumerate(turns[0]['ours']):

    def median(key, i=i):
      return statistics.median(turn['ours'][i][key] for turn in turns)

    rate = median('images_per_second')
    print(
      f'{ours["members"]:3d} members: {rate:,.0f} images/s, all together; '
      f'{describe_ratio(turns, i)} x PyTorch; '
      f'{rate * flops / 1e9 / peak:.0%} of the peak; '
      f'evaluating {median("evaluated_per_second"):,.0f} images/s; '
      f'everything but training {median("overhead_fraction"):.1%} of a '
      f'{EPOCHS_PER_LEVEL}-epoch level, saving alone '
      f'{median("saving_fraction"):.1%}; {median("resident_gigabytes"):.1f} GB'
    )


def describe_ratio(turns, i):
  """Return the median ratio to the peer of the i-th stack, and its range."""
  ratios = [
    turn['ours'][i]['images_per_second'] / turn['peer']['images_per_second']
    for turn in turns
    if turn['peer']
  ]
  if not ratios:
    return '-'
  low, high = min(ratios), max(ratios)
  spread = f' ({low:.2f} to {high:.2f})' if len(ratios) > 1 else ''
  return f'{statistics.median(ratios):.2f}{spread}'


if __name__ == '__main__':
  main()
