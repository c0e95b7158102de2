"""What the README tells users to type."""

import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from launch import accelerators
from launch import cost
from launch import plan

ROOT = pathlib.Path(__file__).parents[1]
TEXT = '\n'.join(
  path.read_text() for path in sorted(ROOT.glob('README*.md'), reverse=True)
)
BLOCKS = re.findall(r'```bash\n(.*?)```', TEXT, flags=re.DOTALL)


def marked(name):
  (block,) = re.findall(
    rf'<!-- command: {name} -->\n+```bash\n(.*?)```', TEXT, flags=re.DOTALL
  )
  return block


def program_lines():
  """Find every call of the program, in blocks and in running text."""
  inline = re.findall(r'`(python -m pruning_gen\.main [^`]*)`', TEXT)
  blocks = [block.replace('\\\n', ' ') for block in BLOCKS]
  parts = [
    part
    for text in (*inline, *blocks)
    for line in text.splitlines()
    for part in line.split('&&')
  ]
  return [part.strip() for part in parts if 'pruning_gen.main' in part]


def test_calls_of_the_program_name_what_is_there():
  lines = program_lines()
  assert len(lines) >= 7
  for line in lines:
    config, overrides = None, []
    for word in shlex.split(line)[3:]:
      flag, _, value = word.partition('=')
      if flag == '--config':
        config = value
      elif flag.startswith('--config.'):
        overrides.append(word.removeprefix('--config.'))
      else:
        assert flag == '--workdir', line
    path, _, size = config.partition(':')
    assert (ROOT / path).exists(), line
    name = pathlib.Path(path).stem
    plan.load_config(f'{name}:{size}' if size else name, overrides)


def test_files_that_the_readme_points_to():
  for target in re.findall(r'\]\((?!http)([^)#]+)\)', TEXT):
    assert (ROOT / target).exists(), target
  for config in re.findall(r'--config=(configs/\w+\.py)', TEXT):
    assert (ROOT / config).exists(), config


@pytest.fixture
def shell(tmp_path):
  """Return a function that runs a block where gcloud is a stand-in."""
  folder = tmp_path / 'bin'
  folder.mkdir()
  (folder / 'gcloud').symlink_to(ROOT / 'tests' / 'fake_gcloud.sh')
  python = f'#!/bin/bash\nexec {shlex.quote(sys.executable)} "$@"\n'
  (folder / 'python').write_text(python)
  (folder / 'python').chmod(0o755)
  world = tmp_path / 'world'
  world.mkdir()
  env = os.environ | {
    'PATH': f'{folder}:{os.environ["PATH"]}',
    'PYTHONPATH': str(ROOT),
    'FAKE': str(world),
    'SEED': '1',
    'CHANCES': '[preempted]=20 [stopped]=20',
    'POLL_SECONDS': '0',
  }

  def run(block):
    return subprocess.run(
      ['bash', '-euo', 'pipefail', '-c', block],
      cwd=tmp_path,
      env=env,
      capture_output=True,
      text=True,
      timeout=120,
    )

  return run


def test_the_five_commands(shell, tmp_path):
  first, *commands = marked('tpu').splitlines()
  assert len(commands) == 4
  # What installs is what CI does for the quickstart.
  assert first.startswith('git clone ') and first.endswith('pip install -e .')
  assert first[first.index('python3') :] in marked('quickstart')
  result = shell('\n'.join(commands))
  assert result.returncode == 0, result.stdout + result.stderr
  assert '2 of 2 jobs done' in result.stdout
  storage = (tmp_path / 'world' / 'storage').read_text()
  assert 'create gs://my-pruning-gen' in storage and 'rsync' in storage
  # The same command again makes no machine to find that out.
  last = shell(commands[2])
  assert last.returncode == 0 and last.stdout.count('done before') == 2
  slices = [path.parent for path in tmp_path.glob('world/*/state')]
  assert len(slices) == 2
  for world in slices:
    assert (world / 'state').read_text() == 'GONE\n'
    assert 'finished' in (world / 'events').read_text()


def test_what_the_five_commands_cost():
  accelerator = accelerators.find('v4-8')
  jobs = plan.make_plan(['resnet20'], 'runs')
  hours = sum(
    cost.chip_hours(plan.job_config(job), accelerator) for job in jobs
  )
  dollars = hours * accelerator.price('us-central2-b')
  expected = f'about {hours:.0f} chip-hours, ${dollars:.0f} at the spot price'
  assert expected in TEXT
  assert accelerators.PRICES_READ in TEXT


def test_the_local_sweep(shell):
  plan_it, run_it = marked('sweep').splitlines()
  result = shell(f'{plan_it}\n{run_it} --dry_run')
  assert result.returncode == 0, result.stderr
  commands = [
    line for line in result.stdout.splitlines() if 'pruning_gen.main' in line
  ]
  assert len(commands) == 2
