"""The tables of docs/scaling.md, and the simulation behind one of them."""

import json
import math

import pytest

from docs import cost
from docs import scaling
from pruning_gen.errors import UserError
from pruning_gen.experiments import el2n
from pruning_gen.experiments import label_sets
from pruning_gen.launch import plan


def test_the_tables_are_those_of_the_code():
  text = scaling.DOCUMENT.read_text()
  assert scaling.fill(text) == text, 'run python -m docs.scaling'


def test_a_chain_on_a_cpu_takes_what_its_images_take():
  _, _, lenet, *_ = scaling.cpu_table().splitlines()
  cells = [cell.strip() for cell in lenet.split('|')[1:-1]]
  # 24 members, 25 levels of 40 epochs, 468 batches of 128.
  speed = float(cells[2].replace(',', ''))
  hours = 24 * 25 * 40 * 468 * 128 / speed / 3600
  assert cells[3] == f'{hours:.1f} hours'


@pytest.mark.parametrize('benchmark', ['lenet', 'lenet:adam', 'resnet20'])
def test_a_checkpoint_is_as_large_as_what_is_saved(benchmark):
  config = plan.load_config(benchmark, ['levels=1', 'rewind_epoch=0'])
  config.checkpoint.every_epochs = config.epochs
  config.experiments = ('chain',)
  members = len(label_sets.list_members(config))
  # Parameters, moments and masks, at two levels' ends and once in between.
  words = {'lenet': 1, 'lenet:adam': 3, 'resnet20': 2}[benchmark] + 1 / 32
  size = cost.network(config).parameters * 4 * words
  assert scaling.saved_bytes(config) == pytest.approx(3 * members * size)


def test_work_is_counted_as_the_program_does_it():
  config = plan.load_config('lenet')
  config.experiments = ('chain',)
  # 24 members, 25 levels of 40 epochs, 468 batches of 128.
  assert cost.job_work(config) == (24 * 25 * 40 * 468 * 128, 0)
  config.experiments = ('el2n',)
  networks = len(el2n.list_members(config))
  assert cost.job_work(config).trained == networks * 2 * 468 * 128
  config.leave_out.sets = ('most_improved', 'subgroups')
  config.experiments = ('leave_out',)
  # Two networks without 12,000 examples, 21 without 3,000.
  images = 2 * (48_000 // 128 * 128) + 21 * (57_000 // 128 * 128)
  assert cost.job_work(config).trained == 12 * 40 * images


def test_the_host_bounds_what_it_must_decode():
  jobs = plan.make_plan(['resnet50'], 'runs', overrides=['replicates=1'])
  chain, _, left_out = (plan.read_config(job.flags) for job in jobs)
  # The four networks of the chain share what is decoded; those of leave-out do
  # not, as each trains on images of its own.
  work = cost.job_work(chain)
  assert work.trained > 3.5 * work.decoded
  work = cost.job_work(left_out)
  assert work.decoded == work.trained
  few = cost.find_slice('v6e-8')._replace(cpus=10)
  seconds = work.decoded / cost.DECODED_PER_CPU_SECOND / 10
  expected = seconds / 3600 + cost.SETUP_HOURS
  assert cost.hours(left_out, few) == pytest.approx(expected)


def test_speed_follows_the_traced_program():
  v4, v5e, v6e = map(cost.find_slice, ('v4-8', 'v5litepod-8', 'v6e-8'))
  path = scaling.DOCUMENT.parents[1] / 'speed' / 'results' / 'tpu_compile.json'
  rows = json.loads(path.read_text())
  for name in ('lenet', 'resnet20'):
    config = plan.load_config(name)
    # XLA's own cost model, of the better stacking.
    best = max(
      row['estimated_images_per_second_and_core']
      for row in rows
      if (row['benchmark'], row['topology'], row['dtype'])
      == (name, 'v5e:2x4', config.dtype)
    )
    bound = cost.images_per_second(config, v5e) / cost.REACHED
    assert bound == pytest.approx(best, rel=0.15)
  # By memory, not by the peak, which is 3.3 times as high.
  speeds = [cost.images_per_second(config, slice_) for slice_ in (v4, v6e)]
  assert 1.2 < speeds[1] / speeds[0] < 1.5
  half = plan.load_config('resnet20', ['model.num_filters=8'])
  assert cost.network(config).flops > 3 * cost.network(half).flops


def test_slices():
  cpus = {'v4-8': 240, 'v4-32': 960, 'v5litepod-8': 224, 'v5litepod-16': 448}
  assert {name: cost.find_slice(name).cpus for name in cpus} == cpus
  assert [cost.find_slice(name).chips for name in cpus] == [4, 16, 8, 16]
  for name in ('h100', 'v4', 'v4-x'):
    with pytest.raises(UserError, match=f'^{name} .*v4-SIZE'):
      cost.find_slice(name)


def test_a_plan_is_priced(tmp_path):
  jobs = plan.make_plan(['resnet20'], 'runs', overrides=['replicates=1'])
  plan.write(tmp_path / 'plan.jsonl', jobs)
  table = scaling.plan_table(tmp_path / 'plan.jsonl', 'v4-8').splitlines()
  assert [jobs[i].id in table[2 + i] for i in range(3)] == [True] * 3
  hours = [float(line.split(' | ')[1]) for line in table[2:]]
  # All at once: the chain, then what needs it.
  assert hours[3] == pytest.approx(hours[0] + hours[2], abs=0.1)


def test_without_preemption_only_restart_and_saves_are_added():
  hours, end = scaling.simulate([3.0, 1.0], 1, 1e9, 0.5, 1.0, save=0.1)
  assert hours == pytest.approx(4 + 2 * 0.5 + 4 * 0.1)
  assert end == pytest.approx(hours)
  hours, end = scaling.simulate([3.0, 1.0], 2, 1e9, 0.5, 1.0, save=0.1)
  assert end == pytest.approx(3 + 0.5 + 3 * 0.1)


@pytest.mark.parametrize('lifetime', [0.5, 2.0])
def test_simulation_agrees_with_the_formula(lifetime):
  restart, interval, save, segments = 0.2, 0.25, 0.05, 8
  rate, length = 1 / lifetime, interval + save
  # A segment that follows a restart, and one that follows another.
  after_restart = math.expm1(rate * (restart + length)) / rate
  dead = -math.expm1(-rate * length)
  after_segment = dead / rate + dead * after_restart
  expected = after_restart + (segments - 1) * after_segment
  times = [
    scaling.simulate(
      [segments * interval], 1, lifetime, restart, interval, save, seed
    )[0]
    for seed in range(4000)
  ]
  assert sum(times) / len(times) == pytest.approx(expected, rel=0.03)
