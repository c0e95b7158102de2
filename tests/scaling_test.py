"""The tables of docs/scaling.md, and the simulation behind one of them."""

import math

import jax
import pytest
from pruning_gen.launch import cost
from pruning_gen.launch import plan

from docs import scaling
from pruning_gen.data import datasets
from pruning_gen.experiments import build


def test_the_tables_are_those_of_the_code():
  text = scaling.DOCUMENT.read_text()
  assert scaling.fill(text) == text, 'run python -m docs.scaling'


def test_the_measured_speeds_of_the_text():
  words = ' '.join(scaling.DOCUMENT.read_text().split())
  days = {}
  for benchmark, speed in (('lenet', 127_000), ('resnet20', 320)):
    assert f'{speed:,} images per second' in words or f'on {speed}' in words
    config = plan.load_config(benchmark)
    config.experiments = ('chain',)
    days[benchmark] = cost.job_work(config).trained / speed / 86400
  assert f'LeNet is {days["lenet"] * 24:.1f} hours' in words
  assert f'ResNet-20 is {round(days["resnet20"], -1):.0f} days' in words


@pytest.mark.parametrize('benchmark', ['lenet', 'lenet:adam', 'resnet20'])
def test_a_checkpoint_is_as_large_as_what_is_saved(benchmark):
  config = plan.load_config(benchmark)
  info = datasets.DATASETS[config.data.name]
  model = build.make_model(config, info.num_classes)
  images = jax.ShapeDtypeStruct((1, *info.image_shape), 'float32')
  params = jax.eval_shape(
    lambda key, x: model.init(key, x, False)['params'],
    jax.random.key(0),
    images,
  )
  size = sum(leaf.size for leaf in jax.tree.leaves(params))
  # Parameters, moments and masks.
  words = {'lenet': 1, 'lenet:adam': 3, 'resnet20': 2}[benchmark] + 1 / 32
  expected = size * 4 * words
  assert cost.checkpoint_bytes(config) == pytest.approx(expected, rel=0.01)


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
