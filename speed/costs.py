"""What a run costs besides its steps: start-up, and growth with its size.

  python speed/costs.py --output=speed/results/costs.json

Measures the seconds from the prompt to the end of --help and of LeNet's first
epoch, which is one step, without and with compiled programs in the cache; and
those of an epoch of 1 to 48 networks at each of 25 levels, the best of 3. The
file has all of --turns; speed/table.py makes the tables of docs/speed.md from
their medians.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from speed import throughput  # noqa: E402

MEMBERS = (1, 3, 6, 12, 24, 48)
LEVELS = 25
NUM_TRAIN = 3000


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('--turns', type=int, default=3)
  parser.add_argument('--output', help='file for the JSON result')
  parser.add_argument('--worker', type=int, help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.worker:
    print(json.dumps(time_levels(args.worker)))
    return
  turns = []
  for _ in range(args.turns):
    turns.append(
      {
        'start_up': time_start_up(),
        'epoch_seconds': {
          members: throughput.run_json(__file__, '--worker', str(members))
          for members in MEMBERS
        },
      }
    )
    result = {
      'processor': throughput.processor(),
      'cores': len(os.sched_getaffinity(0)),
      'num_train': NUM_TRAIN,
      'turns': turns,
    }
    if args.output:
      text = json.dumps(result, indent=2)
      pathlib.Path(args.output).write_text(text + '\n')
  print(json.dumps(result, indent=2))


def time_start_up() -> dict[str, float]:
  """Return the seconds of --help, and of a first step, cold and warm."""
  with tempfile.TemporaryDirectory() as folder:
    first_step = [
      '--config=configs/lenet.py',
      '--config.data.name=digits',
      "--config.experiments=('chain',)",
      '--config.data.num_train=128',
      '--config.num_subgroups=2',
      '--config.epochs=1',
      '--config.rewind_epoch=0',
      '--config.milestones=()',
      '--config.levels=0',
      "--config.arms=('pruning',)",
      '--config.replicates=1',
      '--config.noise_fractions=(0.0,)',
    ]
    environment = os.environ | {'XDG_CACHE_HOME': f'{folder}/cache'}
    # The first start after an installation writes Python's bytecode.
    time_main(['--help'], environment)
    return {
      'help': time_main(['--help'], environment),
      **{
        name: time_main(
          [*first_step, f'--workdir={folder}/{name}'], environment, 'epoch 1/1'
        )
        for name in ('cold', 'warm')
      },
    }


def time_main(
  flags: list[str], environment: dict[str, str], until: str = ''
) -> float:
  """Return the seconds until main prints a text, or, without one, ends."""
  start, seconds, printed = time.perf_counter(), None, ''
  with subprocess.Popen(
    [sys.executable, '-m', 'pruning_gen.main', *flags],
    cwd=ROOT,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  ) as process:
    for line in process.stdout:
      printed += line
      if until and until in line and seconds is None:
        seconds = time.perf_counter() - start
  if process.returncode or (until and seconds is None):
    raise RuntimeError(
      f'main {flags} ended with {process.returncode}: {printed}'
    )
  return seconds or time.perf_counter() - start


def time_levels(num_members: int) -> list[float]:
  """Return the seconds of an epoch at each level, in the steady state."""
  import jax

  *_, programs = throughput.make_programs('lenet', num_members, NUM_TRAIN)
  state, _ = programs.train_epoch(programs.create(), 0)
  seconds = []
  for level in range(LEVELS):
    if level:
      state = jax.block_until_ready(programs.start_level(state, level))

    def train_epoch():
      nonlocal state
      # The losses are on the host when it returns.
      state, _ = programs.train_epoch(state, 0)

    seconds.append(min(throughput.timed(train_epoch) for _ in range(3)))
  return seconds


if __name__ == '__main__':
  main()
