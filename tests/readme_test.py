"""What README and docs/ tell users to type, to open and to believe."""

import json
import pathlib
import re
import shlex
import sys

import pytest
from absl import flags
from ml_collections import config_flags

from pruning_gen import config
from pruning_gen.analysis import figures
from pruning_gen.experiments import EXPERIMENTS
from pruning_gen.pruning.arms import ARMS
from pruning_gen.storage import provenance
from speed import table

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()
PAGES = (
  *ROOT.glob('*.md'),
  *(ROOT / 'docs').glob('*.md'),
)


def program_lines(text):
  """Find every call of the program, in blocks and in running text."""
  inline = re.findall(r'`(python -m pruning_gen\.main [^`]*)`', text)
  blocks = re.findall(r'```bash\n(.*?)```', text, flags=re.DOTALL)
  blocks = [block.replace('\\\n', ' ') for block in blocks]
  parts = [
    part
    for found in (*inline, *blocks)
    for line in found.splitlines()
    for part in line.split('&&')
  ]
  return [part.strip() for part in parts if 'pruning_gen.main' in part]


def check_flags(*words):
  """Check flags as the program does: files, keys, types and rules."""
  values = flags.FlagValues()
  config_flags.DEFINE_config_file('config', flag_values=values)
  flags.DEFINE_string('workdir', None, 'A folder.', flag_values=values)
  # ml_collections looks for --config.KEY there.
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sys, 'argv', ['program', *words])
    patch.chdir(ROOT)
    assert values(sys.argv) == ['program']
  config.check(values.config)


def check_call(line):
  python, dash_m, module, *words = shlex.split(line)
  assert (python, dash_m, module) == ('python', '-m', 'pruning_gen.main')
  check_flags(*words)


def test_calls_of_the_program():
  lines = program_lines(README)
  assert len(lines) == 7
  for line in lines:
    check_call(line)
  # Those in the configs' own descriptions, and their sizes.
  for path in sorted((ROOT / 'configs').glob('*.py')):
    text = path.read_text().replace('\\\n', ' ')
    for line in re.findall(r'^ +(python -m pruning_gen.main .*)', text, re.M):
      check_call(line)


def test_flags_in_running_text():
  # Quoted as they are for a shell; a long one may continue on the next line.
  found = re.findall(r'`(--config\.[^`]+)`', README)
  assert len(found) >= 2
  for flag in found:
    check_flags('--config=configs/lenet.py', *shlex.split(flag))
  for path in re.findall(r'configs/\w+\.py(?::\w+)?', README):
    check_flags(f'--config={path}')


@pytest.mark.parametrize('page', PAGES, ids=lambda path: path.name)
def test_files_that_a_page_points_to(page):
  for target in re.findall(r'\]\((?!http)([^)#]+)\)', page.read_text()):
    assert (page.parent / target).exists(), target


def test_the_readme_is_short():
  assert len(README.splitlines()) <= 200


def test_figures_in_the_table_are_those_of_the_report():
  (table,) = re.findall(
    r'^\| in the paper .*?\n\n', README, flags=re.DOTALL | re.MULTILINE
  )
  named = set(re.findall(r'`((?:figure|appendix)_\w+)`', table))
  assert named == {
    figure.name
    for figure in figures.FIGURES
    if not figure.name.startswith('more_')
  }
  experiments = {
    name
    for row in table.strip().splitlines()[2:]
    for name in re.findall(r'`(\w+)`', row.split('|')[2])
  }
  assert experiments - {'arms'} <= set(EXPERIMENTS)


def test_every_arm_is_named():
  (arms,) = re.findall(r'--config\.arms="\((.*?)\)"', README, re.DOTALL)
  assert re.findall(r"'(\w+)'", arms) == list(ARMS)


def test_keys_that_may_change_are_listed():
  text = (ROOT / 'docs' / 'reliability.md').read_text()
  for key in provenance.MAY_CHANGE:
    group, _, name = key.rpartition('.')
    assert f'`{key}`' in text or f'`{group}.*`' in text or f'`{name}`' in text


@pytest.mark.parametrize('page', ['README.md', 'docs/speed.md'])
def test_the_table_of_speed_is_what_was_measured(page):
  marker = '<!-- table: speed -->\n\n'
  assert f'{marker}{table.make_table()}\n\n' in (ROOT / page).read_text()


def test_the_costs_are_what_was_measured():
  text = (ROOT / 'docs' / 'speed.md').read_text()
  assert f'<!-- table: costs -->\n\n{table.make_costs_table()}\n\n' in text
  assert table.describe_start_up() in ' '.join(text.split())


def test_the_table_of_tpus_is_what_was_compiled():
  text = (ROOT / 'docs' / 'speed.md').read_text()
  assert f'<!-- table: tpu -->\n\n{table.make_tpu_table()}\n\n' in text


def test_members_with_devices_of_their_own_do_not_communicate():
  rows = json.loads((table.FOLDER / 'tpu_compile.json').read_text())
  alone = [row for row in rows if row['mesh']['data'] == 1]
  assert {row['benchmark'] for row in alone} >= {'lenet', 'resnet20'}
  # Rows of before collectives were counted have none.
  assert not any(row.get('collectives') for row in alone)
