"""Writes the tables of scaling.md between its marks: python -m docs.scaling."""

import heapq
import pathlib
import random

from pruning_gen.launch import accelerators
from pruning_gen.launch import cost
from pruning_gen.launch import plan

DOCUMENT = pathlib.Path(__file__).with_suffix('.md')
SLICES = ('v4-8', 'v5litepod-8', 'v5p-8', 'v6e-8')
# Dollars per GiB and month, of Google's list of 2026-09-20:
# https://cloud.google.com/storage/pricing.
PRICE_OF_A_GIB_MONTH = 0.02
# How long a bucket keeps what is deleted, unless it is told not to.
SOFT_DELETE_DAYS = 7


def simulate(jobs, machines, lifetime, restart, interval, save=0.0, seed=0):
  """Simulate a sweep on machines that are taken away at random.

  A machine lives for an exponential time. Work that was not saved is lost;
  making the next machine ready takes a while, during which it may be taken away
  too.

  Args:
    jobs: hours of work of each; the longest start first.
    machines: how many at once.
    lifetime: mean hours until a machine is taken away.
    restart: hours from there until the work continues.
    interval: hours of work between two checkpoints.
    save: hours that saving one takes.
    seed: of the random lifetimes.

  Returns:
    The hours that machines were paid for, over all jobs, and the hours until
    the last job is done.
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
  """Estimate the whole paper: what it takes, how long, and what it costs."""
  slices = [accelerators.find(name) for name in SLICES]
  header = ['', 'TB saved', *SLICES]
  rows, total, longest = [], [0.0] * len(slices), [0.0] * len(slices)
  written = 0.0
  for benchmark in plan.BENCHMARKS:
    jobs = plan.make_plan([benchmark], 'runs')
    configs = {job.id: plan.job_config(job) for job in jobs}
    saved = sum(map(cost.written_bytes, configs.values())) / 1e12
    written += saved
    row = [f'{benchmark}, chip-hours', f'{saved:.2f}']
    for i, slice_ in enumerate(slices):
      hours = {key: cost.hours(c, slice_) for key, c in configs.items()}
      taken = sum(hours.values()) * slice_.chips
      total[i] += taken
      paths = [hours[job.id] + hours.get(job.needs, 0) for job in jobs]
      longest[i] = max(longest[i], *paths)
      row.append(f'{taken:,.0f}')
    rows.append(row)
  rows.append(
    ['all, chip-hours', f'{written:.2f}', *map('{:,.0f}'.format, total)]
  )
  for kind in ('spot', 'on_demand'):
    prices = [getattr(slice_, kind) * t for slice_, t in zip(slices, total)]
    label = f'all, {kind.replace("_", " ")}'
    rows.append([label, '', *map('${:,.0f}'.format, prices)])
  days = [f'{hours / 24:.1f}' for hours in longest]
  rows.append(['everything at once, days', '', *days])
  month = SOFT_DELETE_DAYS / 30
  kept = written * 1e12 / 2**30 * PRICE_OF_A_GIB_MONTH * month
  rows.append(['soft delete, if left on', f'${kept:,.0f}', '', '', '', ''])
  return markdown(header, rows)


def preemption_table():
  """Simulate the paper without ResNet-50 under preemption: the overhead."""
  slice_ = accelerators.find('v4-8')
  jobs = [
    cost.hours(plan.job_config(job), slice_) - cost.SETUP_HOURS
    for job in plan.make_plan(plan.BENCHMARKS[:-1], 'runs')
  ]
  lifetimes = (1, 4, 24)
  rows = []
  for minutes in (1, 5, 15, 30, 60):
    row = [str(minutes)]
    for lifetime in lifetimes:
      hours = [
        simulate(
          *(jobs, 4, lifetime, cost.SETUP_HOURS, minutes / 60, 5 / 3600, seed)
        )[0]
        for seed in range(50)
      ]
      row.append(f'{sum(hours) / len(hours) / sum(jobs) - 1:.0%}')
    rows.append(row)
  header = ['minutes between checkpoints']
  header += [f'taken away every {lifetime} h' for lifetime in lifetimes]
  return markdown(header, rows)


def markdown(header, rows):
  """Format a Markdown table, with all columns but the first to the right."""
  width = len(header)
  lines = [header, ['---'] + ['---:'] * (width - 1), *rows]
  return '\n'.join('| ' + ' | '.join(line[:width]) + ' |' for line in lines)


TABLES = {'cost': cost_table, 'preemption': preemption_table}


def fill(text):
  """Return a document with every table rewritten, between its marks."""
  for name, table in TABLES.items():
    start, _, rest = text.partition(f'<!-- table: {name} -->\n')
    _, _, end = rest.partition('<!-- end -->')
    text = f'{start}<!-- table: {name} -->\n{table()}\n<!-- end -->{end}'
  return text


if __name__ == '__main__':
  DOCUMENT.write_text(fill(DOCUMENT.read_text()))
