"""Estimates what the paper costs.

python -m docs.scaling                                writes scaling.md's tables
python -m docs.scaling runs/paper/plan.jsonl v4-8     prints a plan's
"""

import heapq
import pathlib
import random
import sys

from docs import cost
from pruning_gen.errors import UserError
from pruning_gen.estimate import format_time
from pruning_gen.experiments import chain
from pruning_gen.launch import plan
from speed import table

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


def estimate(jobs, slice_):
  """Estimate the hours of each job, and of the longest with what it needs."""
  taken = {j.id: cost.hours(plan.read_config(j.flags), slice_) for j in jobs}
  return taken, max(taken[job.id] + taken.get(job.needs, 0) for job in jobs)


def saved_bytes(config):
  """Return what the checkpoints of a chain add up to, before compression."""
  if 'chain' not in config.experiments:
    return 0
  # A parameter, its moments, and one bit of mask. BatchNorm's averages and
  # padding, less than a hundredth, are left out.
  moments = 2 if config.optimizer == 'adam' else int(config.momentum > 0)
  size = cost.network(config).parameters * (32 * (1 + moments) + 1) // 8
  (workload,) = chain.workloads(config)
  saves = workload.epochs // config.checkpoint.every_epochs
  return (saves + config.levels) * workload.networks * size


def cost_table():
  """Estimate the whole paper: what it takes, how long, and what it costs."""
  slices = [cost.find_slice(name) for name in SLICES]
  rows, longest, saved = [], [], 0.0
  chip_hours = {}
  for benchmark in plan.BENCHMARKS:
    jobs = plan.make_plan([benchmark], 'runs')
    terabytes = sum(saved_bytes(plan.read_config(j.flags)) for j in jobs) / 1e12
    estimates = [estimate(jobs, slice_) for slice_ in slices]
    chip_hours[benchmark] = [
      sum(taken.values()) * slice_.chips
      for (taken, _), slice_ in zip(estimates, slices)
    ]
    longest.append([hours for _, hours in estimates])
    saved += terabytes
    amounts = map('{:,.0f}'.format, chip_hours[benchmark])
    rows.append([f'{benchmark}, chip-hours', f'{terabytes:.2f}', *amounts])
  total = [sum(column) for column in zip(*chip_hours.values())]
  rows.append(
    ['all, chip-hours', f'{saved:.2f}', *map('{:,.0f}'.format, total)]
  )
  for kind in ('spot', 'on_demand'):
    prices = [getattr(slice_, kind) * t for slice_, t in zip(slices, total)]
    label = f'all, {kind.replace("_", " ")}'
    rows.append([label, '', *map('${:,.0f}'.format, prices)])
  days = [f'{max(column) / 24:.1f}' for column in zip(*longest)]
  rows.append(['everything at once, days', '', *days])
  kept = saved * 1e12 / 2**30 * PRICE_OF_A_GIB_MONTH * SOFT_DELETE_DAYS / 30
  rows.append(['soft delete, if left on', f'${kept:,.0f}', '', '', '', ''])
  return markdown(['', 'TB saved', *SLICES], rows)


def plan_table(path, accelerator):
  """Estimate the jobs of a plan."""
  slice_, jobs = cost.find_slice(accelerator), plan.read(path)
  taken, longest = estimate(jobs, slice_)
  lines = [(job.id, taken[job.id], taken[job.id]) for job in jobs]
  lines.append((f'{len(jobs)} jobs, all at once', longest, sum(taken.values())))
  rows = []
  for name, hours, all_hours in lines:
    amounts = [hours, all_hours * slice_.chips]
    amounts.append(amounts[-1] * slice_.spot)
    rows.append([name, *map('{:,.1f}'.format, amounts)])
  return markdown([accelerator, 'hours', 'chip-hours', 'spot $'], rows)


def preemption_table():
  """Simulate the paper without ResNet-50 under preemption: the overhead."""
  jobs = plan.make_plan(plan.BENCHMARKS[:-1], 'runs')
  taken, _ = estimate(jobs, cost.find_slice('v4-8'))
  jobs = [hours - cost.SETUP_HOURS for hours in taken.values()]
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


def cpu_table():
  """Estimate a chain at the speeds that were measured on CPUs."""
  rows = []
  for benchmark in ('lenet', 'resnet20', 'vgg16'):
    config = plan.load_config(benchmark)
    config.experiments = ('chain',)
    members, speed = table.fastest(benchmark)
    seconds = cost.job_work(config).trained / speed
    cells = [str(members), f'{speed:,.0f}', format_time(seconds)]
    rows.append([table.NAMES[benchmark], *cells])
  header = ['network', 'members', 'images per second', 'a chain']
  return markdown(header, rows)


def markdown(header, rows):
  """Format a Markdown table, with all columns but the first to the right."""
  width = len(header)
  lines = [header, ['---'] + ['---:'] * (width - 1), *rows]
  return '\n'.join('| ' + ' | '.join(line[:width]) + ' |' for line in lines)


TABLES = {'cost': cost_table, 'cpu': cpu_table, 'preemption': preemption_table}


def fill(text):
  """Return a document with every table rewritten, between its marks."""
  for name, make in TABLES.items():
    start, _, rest = text.partition(f'<!-- table: {name} -->\n')
    _, _, end = rest.partition('<!-- end -->')
    text = f'{start}<!-- table: {name} -->\n{make()}\n<!-- end -->{end}'
  return text


if __name__ == '__main__':
  if sys.argv[1:]:
    try:
      print(plan_table(*sys.argv[1:]))
    except UserError as error:
      sys.exit(f'error: {error}')
  else:
    DOCUMENT.write_text(fill(DOCUMENT.read_text()))
