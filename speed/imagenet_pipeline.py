"""Throughput of the ImageNet stream: read, decode, crop, flip and batch.

  python speed/imagenet_pipeline.py

Streams generated JPEGs of ImageNet's usual 500 x 375 pixels and 110 kB with 0,
1 and 2 workers. Prints a table and JSON. Images per CPU second count the time
of all processes and threads, so a busy machine does not change them; images
per second are counted from the first batch on. For --turns above 1 the best of
the turns counts.
"""

import argparse
import json
import os
import pathlib
import resource
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('--workers', type=int, nargs='+', default=[0, 1, 2])
  parser.add_argument('--batch-size', type=int, default=256)
  parser.add_argument('--steps', type=int, default=24)
  parser.add_argument('--turns', type=int, default=2)
  parser.add_argument('--output', help='file for the JSON result')
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as data_dir:
    kilobytes = generate(data_dir)
    result = {
      'cores': len(os.sched_getaffinity(0)),
      'kilobytes': kilobytes,
      'batch_size': args.batch_size,
      'steps': args.steps,
      'turns': args.turns,
      'streams': run_in_turn(args, data_dir),
    }
  print_table(result)
  print(json.dumps(result))
  if args.output:
    pathlib.Path(args.output).write_text(json.dumps(result, indent=2) + '\n')


def generate(data_dir, num_images=512):
  """Write a training split; return the mean size of an image in kB."""
  from tests import small_imagenet

  images = [
    small_imagenet.encode(seed, 500, 375, noise=25, quality=90)
    for seed in range(num_images)
  ]
  small_imagenet.write(data_dir, train=(images, np.arange(num_images)))
  return sum(map(len, images)) / num_images / 1000


def run_in_turn(args, data_dir):
  """Measure every number of workers in turn; keep the best turn of each."""
  best = {}
  for _ in range(args.turns):
    for num_workers in args.workers:
      turn = measure(data_dir, args.batch_size, args.steps, num_workers)
      old = best.get(num_workers, turn)
      best[num_workers] = max(
        old, turn, key=lambda one: one['images_per_cpu_second']
      )
  return list(best.values())


def measure(data_dir, batch_size, steps, num_workers):
  """Stream an epoch; return a dict of numbers."""
  from pruning_gen.data import imagenet
  from pruning_gen.data import stream

  source = imagenet.open_split(data_dir, 'train')
  ids = np.random.default_rng(0).integers(0, len(source), (steps, batch_size))

  reading = stream.Reading(num_workers=num_workers)

  def measure_from(first_step):
    """Return seconds to the first batch, seconds in all, CPU seconds."""
    cpu, start = cpu_seconds(), time.perf_counter()
    batches = stream.train_batches(source, ids[first_step:], 0, 0, 0, reading)
    next(batches)
    first = time.perf_counter() - start
    for _ in batches:
      pass
    return first, time.perf_counter() - start, cpu_seconds() - cpu

  # What it costs to start and end workers comes once an epoch, whatever its
  # length: it is in both, and leaves with the difference.
  short = steps // 4
  *_, cpu_short = measure_from(steps - short)
  first, wall, cpu = measure_from(0)
  return {
    'num_workers': num_workers,
    'images_per_cpu_second': (steps - short) * batch_size / (cpu - cpu_short),
    'images_per_second': (steps - 1) * batch_size / (wall - first),
    'seconds_to_first_batch': first,
  }


def cpu_seconds():
  """Return the CPU time of this process and of the workers that ended."""
  used = [
    resource.getrusage(who)
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
  ]
  return sum(usage.ru_utime + usage.ru_stime for usage in used)


def print_table(result):
  print(
    f'{result["cores"]} cores, JPEGs of {result["kilobytes"]:.0f} kB, batches '
    f'of {result["batch_size"]}'
  )
  print('workers  images/CPU-second  images/second  seconds to first batch')
  for one in result['streams']:
    print(
      f'{one["num_workers"]:7d}  {one["images_per_cpu_second"]:17.0f}  '
      f'{one["images_per_second"]:13.0f}  '
      f'{one["seconds_to_first_batch"]:22.1f}'
    )


if __name__ == '__main__':
  main()
