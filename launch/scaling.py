"""The tables of docs/scaling.md: cost, preemption, growth.

  python -m launch.scaling --write

writes them anew between the document's marks. Nothing was measured on a TPU.
"""

import argparse
import heapq
import pathlib
import random
import re
from typing import NamedTuple

from launch import accelerators
from launch import cost
from launch import plan

DOCUMENT = pathlib.Path(__file__).parents[1] / 'docs' / 'scaling.md'
# What the paper's job list is priced on, each where it is cheapest.
SLICES = (
  ('v4-8', 'us-central2-b'),
  ('v5litepod-8', 'us-central1-a'),
  ('v5p-8', 'us-central1-a'),
  ('v6e-8', 'us-central1-b'),
)
# README, "Speed": images a second on 2 cores of an AMD EPYC.
MEASURED = {'lenet': 127_000, 'resnet20': 320}
# Google's list of 2026-09-20: check https://cloud.google.com/storage/pricing.
PRICE_OF_1000_WRITES = 0.005
PRICE_OF_A_GIB_MONTH = 0.02
# Files of one checkpoint, counted in a workdir.
OBJECTS_A_CHECKPOINT = 10


def simulate(jobs, machines, lifetime, restart, interval, save=0.0, seed=0):
  """Simulate a sweep on machines that are taken away at random.

  A machine lives for an exponential time. What was not saved is lost; making
  the next machine ready takes a while, in which it may be taken away too.

  Args:
    jobs: hours of work of each; the longest start first.
    machines: int, how many at once.
    lifetime: mean hours until a machine is taken away.
    restart: hours from there until the work goes on.
    interval: hours of work between two checkpoints.
    save: hours that saving one takes.
    seed: int.

  Returns:
    hours: float, that machines were paid for, over all jobs.
    end: float, hours until the last job is done.
  """
  rng = random.Random(seed)
  free_at = [0.0] * machines
  hours = 0.0
  for work in sorted(jobs, reverse=True):
    needed = _hours_until_done(work, lifetime, restart, interval, save, rng)
    hours += needed
    heapq.heappush(free_at, heapq.heappop(free_at) + needed)
  return hours, max(free_at)


def _hours_until_done(work, lifetime, restart, interval, save, rng):
  elapsed = saved = 0.0
  while True:
    alive = rng.expovariate(1 / lifetime)
    left = work - saved
    whole = -(-left // interval)  # Checkpoints still to come.
    needed = restart + left + whole * save
    if alive >= needed:
      return elapsed + needed
    elapsed += alive
    steps = max(0.0, alive - restart) // (interval + save)
    saved += steps * interval


def cost_table():
  """Estimate the whole paper in chip-hours and dollars."""
  slices = [accelerators.find(name) for name, _ in SLICES]
  hours, trained = {}, {}
  for panel in plan.PANELS:
    jobs = plan.make_plan([panel], 'runs')
    configs = [plan.job_config(job) for job in jobs]
    trained[panel] = sum(c.trained for c in map(cost.job_work, configs))
    hours[panel] = [
      sum(cost.chip_hours(config, slice_) for config in configs)
      for slice_ in slices
    ]
  rows = [
    [panel, f'{trained[panel]:.2e}', *map('{:,.1f}'.format, hours[panel])]
    for panel in plan.PANELS
  ]
  total = [sum(column) for column in zip(*hours.values())]
  rows.append(['all', '', *map('{:,.1f}'.format, total)])
  without = [a - b for a, b in zip(total, hours['resnet50'])]
  for label, chip_hours in (('all', total), ('all but ResNet-50', without)):
    for kind, spot in (('spot', True), ('on demand', False)):
      dollars = [
        f'${h * slice_.price(zone, spot):,.0f}'
        for h, slice_, (_, zone) in zip(chip_hours, slices, SLICES)
      ]
      rows.append([f'{label}, {kind}', '', *dollars])
  header = ['panel', 'networks x images, trained']
  header += [f'{name}, chip-hours' for name, _ in SLICES]
  return markdown(header, rows)


def assumption_table():
  """Show what the estimates of speed are made of."""
  rows = []
  for panel in plan.PANELS:
    config = plan.load_config(panel)
    speed = cost.images_per_second(config, accelerators.find('v4-8'))
    rows.append(
      [
        panel,
        f'{cost.forward_macs(config) / 1e6:,.1f}',
        f'{cost.UTILIZATION[panel]:.0%}',
        f'{speed:,.0f}',
        f'{MEASURED[panel]:,}' if panel in MEASURED else '-',
      ]
    )
  header = [
    'panel',
    'million multiply-adds, forward',
    'of the peak (assumed)',
    'images/s a v4 chip (follows)',
    'images/s on 2 CPU cores (measured)',
  ]
  return markdown(header, rows)


def checkpoint_minutes(panel, accelerator):
  """Return the estimated minutes between two checkpoints of a chain."""
  config = plan.load_config(panel)
  members = len(config.arms) * len(config.noise_fractions) * config.replicates
  config.experiments = ('chain',)
  work = cost.job_work(config)
  images = work.trained / cost.chain_epochs(config) / members
  speed = cost.images_per_second(config, accelerator) * accelerator.chips
  return config.checkpoint.every_epochs * members * images / speed / 60


def interval_table():
  """Estimate how far apart checkpoints are in time, as the panels have them."""
  rows = []
  for panel in plan.PANELS:
    config = plan.load_config(panel)
    minutes = [
      f'{checkpoint_minutes(panel, accelerators.find(name)):,.1f}'
      for name, _ in SLICES
    ]
    rows.append([panel, str(config.checkpoint.every_epochs), *minutes])
  header = ['panel', 'epochs'] + [f'{name}, minutes' for name, _ in SLICES]
  return markdown(header, rows)


def preemption_table():
  """Simulate the paper without ResNet-50 under preemption: the overhead."""
  chips = accelerators.find('v4-8').chips
  jobs = [
    job.chip_hours / chips - cost.SETUP_HOURS
    for job in plan.make_plan(plan.PANELS[:-1], 'runs', replicates_per_job=1)
  ]
  lifetimes = (1, 4, 24)
  rows = []
  for minutes in (1, 5, 15, 30, 60):
    row = [str(minutes)]
    for lifetime in lifetimes:
      hours = [
        simulate(
          jobs, 4, lifetime, cost.SETUP_HOURS, minutes / 60, 5 / 3600, seed
        )[0]
        for seed in range(50)
      ]
      row.append(f'{sum(hours) / len(hours) / sum(jobs) - 1:.0%}')
    rows.append(row)
  header = ['minutes between checkpoints'] + [
    f'taken away every {lifetime} h' for lifetime in lifetimes
  ]
  return markdown(header, rows)


def growth_table():
  """Estimate what the bucket holds and is sent, also at 100 times as much."""
  rows = []
  for times in (1, 100):
    panels = [growth(plan.load_config(panel), times) for panel in plan.PANELS]
    total = Growth(*map(sum, zip(*panels)))
    rows.append(
      [
        f'{times} x',
        f'{total.jobs:,}',
        f'{total.rows:,}',
        f'{total.arrays / 1e9:,.0f}',
        f'{total.kept / 1e9:,.0f}',
        f'{total.written / 1e12:,.1f}',
        f'{total.writes / 1e3:,.0f}',
        f'${total.writes / 1000 * PRICE_OF_1000_WRITES:,.0f}',
        f'${(total.arrays + total.kept) / 2**30 * PRICE_OF_A_GIB_MONTH:,.0f}',
      ]
    )
  header = [
    'replicates',
    'chain jobs',
    'rows of results.csv',
    'arrays, GB',
    'checkpoints kept, GB',
    'checkpoints written, TB',
    'thousand writes',
    'writes',
    'storage a month',
  ]
  return markdown(header, rows)


class Growth(NamedTuple):
  """What a panel's chain leaves in a bucket: bytes, but where it says."""

  jobs: int
  rows: int  # Of results.csv.
  arrays: int
  kept: int  # Checkpoints at the end.
  written: int  # Checkpoints in all.
  writes: int  # Files.


def growth(config, times):
  """Count what a panel's chain leaves, with so many times the replicates."""
  members = len(config.arms) * len(config.noise_fractions)
  members *= config.replicates * times
  rows = members * (config.levels + 1)
  # One job for each replicate at 100 times; as planned at 1.
  jobs = config.replicates * times if times > 1 else 1
  checkpoint = members * checkpoint_bytes(config)
  epochs = cost.chain_epochs(config)
  saves = epochs // config.checkpoint.every_epochs + config.levels
  return Growth(
    jobs,
    rows,
    # Loss, prediction, correct: 7 bytes an example, member and level.
    rows * 7 * cost.num_train(config),
    config.checkpoint.keep * checkpoint,
    saves * checkpoint,
    jobs * saves * OBJECTS_A_CHECKPOINT,
  )


def checkpoint_bytes(config):
  """Return what one member takes in a checkpoint, before compression."""
  # A parameter, momentum where there is any, and a mask of one bit. BatchNorm's
  # averages and padding, less than a hundredth, are left out.
  bits = 32 + (32 if config.momentum else 0) + 1
  return cost.NUM_PARAMETERS[config.model.name] * bits // 8


def markdown(header, rows):
  """Format a Markdown table; all columns but the first to the right."""
  lines = [header, ['---'] + ['---:'] * (len(header) - 1), *rows]
  return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


TABLES = {
  'cost': cost_table,
  'assumptions': assumption_table,
  'intervals': interval_table,
  'preemption': preemption_table,
  'growth': growth_table,
}


def fill(text):
  """Return a document with every table made anew, between its marks."""
  for name, table in TABLES.items():
    mark = f'<!-- table: {name} -->'
    pattern = rf'{re.escape(mark)}\n.*?<!-- end -->'
    made = f'{mark}\n{table()}\n<!-- end -->'
    text, count = re.subn(pattern, lambda _: made, text, flags=re.DOTALL)  # noqa: B023
    assert count == 1, f'{count} marks {mark}'
  return text


def main():
  """Print the document's tables, or write them into it."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--write', action='store_true')
  if parser.parse_args().write:
    DOCUMENT.write_text(fill(DOCUMENT.read_text()))
    return
  for table in TABLES.values():
    print(table() + '\n')


if __name__ == '__main__':
  main()
