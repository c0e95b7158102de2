import re
import types

import jax
import pytest

from pruning_gen import command_line
from pruning_gen import estimate
from pruning_gen.experiments import EXPERIMENTS
from pruning_gen.experiments import leave_out
from tests import small_chain


@pytest.fixture
def run(config, digits):
  config.el2n.epoch = 1
  config.el2n.networks = 3
  config.width.levels = 1
  config.width.fraction = 0.5
  return small_chain.make_run(config, None, digits)


def test_images_that_each_experiment_trains_on(run):
  counts = estimate._count_images(run)
  dataset = run.dataset
  held_out = len(dataset.validation_labels) + len(dataset.test_labels)
  evaluated = (200 + held_out) / 3
  # 6 steps of 32; E = 3, t = 1 and 2 levels, so 7 epochs of 4 networks.
  assert counts['chain'] == pytest.approx(4 * (7 * 192 + 3 * evaluated))
  # 2 label sets; half the width has a quarter of the operations.
  assert counts['width'] == pytest.approx(2 * (3 * 192 + evaluated) * 1.25)
  assert counts['el2n'] == pytest.approx(6 * (192 + evaluated))


def test_leave_out_without_sets_of_one_kind(config):
  config.leave_out.sets = ('most_improved',)
  config.leave_out.levels = (1, 2)
  (workload,) = leave_out.workloads(config)
  # 2 levels and a random set, of 2 label sets.
  assert workload.networks == 6 and workload.fraction == 0.8
  config.leave_out.sets = ('subgroups', 'misclassified')
  assert {each.networks for each in leave_out.workloads(config)} == {4, 42}
  # Sets of both kinds, of the same size.
  config.leave_out.sets = ('most_worsened', 'subgroups')
  config.num_subgroups = round(1 / config.leave_out.fraction)
  assert {each.networks for each in leave_out.workloads(config)} == {6, 12}


def test_every_experiment_has_an_estimate(config):
  assert all(own.workloads(config) for own in EXPERIMENTS.values())


def test_weeks_are_announced(run, monkeypatch, capsys):
  estimate.warn_if_long(run)
  assert not capsys.readouterr().out
  monkeypatch.setattr(estimate, 'PEAK', 1.0)
  estimate.warn_if_long(run)
  said = capsys.readouterr().out
  assert re.search(r'at least \d.* (weeks|years) .*--dry_run', said)


def test_accelerators_that_count_no_operations_start(run, monkeypatch):
  # As GPUs and TPUs answer.
  monkeypatch.setattr(jax.stages.Lowered, 'cost_analysis', lambda self: None)
  gpu = types.SimpleNamespace(platform='gpu')
  monkeypatch.setattr(jax, 'devices', lambda: [gpu])
  estimate.warn_if_long(run)


@pytest.mark.parametrize(
  'seconds, text',
  [
    (3, '3 s'),
    (150, '2.5 minutes'),
    (3 * 3600, '3.0 hours'),
    (1.5 * estimate.DAY, '36 hours'),
    (30 * estimate.DAY, '4.3 weeks'),
    (2e4 * 365 * estimate.DAY, '20,000 years'),
  ],
)
def test_times(seconds, text):
  assert estimate.format_time(seconds) == text


@pytest.mark.slow
def test_what_a_dry_run_says(run):
  said = estimate.describe(run)
  assert re.search(r'dense_0/kernel\b.*\(64, 20\)', said)
  assert '4 networks: 2 arms x 2 noise fractions x 1 replicates' in said
  for name in run.config.experiments:
    assert re.search(rf'^{name}: \d+ networks, \d+ epochs each: ', said, re.M)
  # 1,620 parameters and their momenta, and 1,620 bits, of 4 networks.
  assert 'a checkpoint of the chain: 0.1 MB' in said


@pytest.mark.slow
def test_what_a_dry_run_says_without_a_chain(run):
  run.config.experiments = ('el2n',)
  said = estimate.describe(run)
  assert 'el2n: 6 networks, 1 epochs each: ' in said
  assert 'chain' not in said and 'arms' not in said


def test_every_key_is_explained():
  text = command_line.describe_keys()
  assert "--config.optimizer='sgd'" in text
  assert text.count('--config.') == len(command_line._known_keys())
  assert 'config.checkpoint.keep=2\n      How many' in text
  assert 'config.landscape, a group of keys:\n      The loss around' in text
