"""The tables of docs/scaling.md, and the simulation beneath one of them."""

import math

import jax
import pytest

from launch import cost
from launch import plan
from launch import scaling
from pruning_gen.data import datasets
from pruning_gen.engine import packing
from pruning_gen.experiments import build
from pruning_gen.training import train_state


def test_the_tables_are_those_of_the_code():
  text = scaling.DOCUMENT.read_text()
  assert scaling.fill(text) == text, 'run python -m launch.scaling --write'


def test_what_the_text_says_of_the_measured_speed():
  words = ' '.join(scaling.DOCUMENT.read_text().split())
  days = {}
  for panel, speed in scaling.MEASURED.items():
    config = plan.load_config(panel)
    config.experiments = ('chain',)
    days[panel] = cost.job_work(config).trained / speed / 86400
  assert f'LeNet is {days["lenet"] * 24:.1f} hours' in words
  assert f'ResNet-20 is {round(days["resnet20"], -1):.0f} days' in words


@pytest.mark.parametrize('panel', ['lenet', 'resnet20'])
def test_a_checkpoint_is_as_large_as_what_is_saved(panel):
  config = plan.load_config(panel)
  info = datasets.DATASETS[config.data.name]
  model = build.make_model(config, info.num_classes)
  tx = build.make_optimizer(config, steps_per_epoch=1)

  def saved(key):
    return packing.pack(
      train_state.create(model, tx, info.image_shape, False, key)
    )

  leaves = jax.tree.leaves(jax.eval_shape(saved, jax.random.key(0)))
  size = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
  assert scaling.checkpoint_bytes(config) == pytest.approx(size, rel=0.01)


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


def test_a_sweep_is_done_whatever_its_order():
  jobs = [0.5, 2.0, 1.0, 0.25]
  for machines in (1, 2, 8):
    hours, end = scaling.simulate(jobs, machines, 1.0, 0.1, 0.25, seed=3)
    assert max(jobs) < end <= hours
  assert scaling.simulate(jobs, 2, 1.0, 0.1, 0.25, seed=3) == scaling.simulate(
    jobs[::-1], 2, 1.0, 0.1, 0.25, seed=3
  )
