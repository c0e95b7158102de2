"""docs/results.md, and the runs in results/ that it shows."""

import json
import os
import re
import shutil

import pandas as pd
import pytest
from PIL import Image

from docs import committed
from docs import readme
from docs import results as results_page
from pruning_gen.analysis import load
from pruning_gen.errors import UserError
from pruning_gen.storage import results
from tests import claims_cases
from tests import fake_benchmarks
from tests import fake_runs

START = {
  'time': '2026-11-01T10:00:00+00:00',
  'command': '/home/me/main.py --config=/home/me/configs/lenet.py --workdir=w',
  'git_revision': 'abc',
  'host': 'mine',
  'python': '3.11',
  'versions': {'jax': '0.10'},
  'devices': ['cpu: cpu'],
  'environment': {'cores': 2, 'cpu': 'AMD', 'jax_environment': {'A': '/home'}},
  'dataset': {'name': 'digits'},
}


@pytest.fixture(scope='module')
def runs():
  return committed.list_runs()


def test_the_page_is_that_of_the_runs(runs):
  text = results_page.PAGE.read_text()
  shown = {name: results_page.figures_of(own) for name, own in runs.items()}
  blocks = results_page.blocks_of(runs, shown)
  assert results_page.fill(text, blocks) == text, 'run python -m docs.results'


def test_the_readme_is_that_of_the_runs(runs):
  text = readme.PAGE.read_text()
  blocks = readme.blocks_of(runs)
  assert results_page.fill(text, blocks) == text, 'run python -m docs.results'


def test_the_readme_has_finished_runs(workdir):
  benchmark = load.read(str(workdir))
  assert readme.is_finished(benchmark)
  unfinished = benchmark._replace(config=benchmark.config | {'levels': 9})
  runs = {readme.FIRST: benchmark, 'other': unfinished}
  blocks = readme.blocks_of(runs)
  assert blocks['table: results'].splitlines()[2:] == [
    f'| LeNet-300-100 on digits, {noise} % noise | {dense} ± {std} % '
    f'({verdict}) | {pruned} at 51.2 % of the weights | {pruned} (match) |'
    for noise, dense, std, verdict, pruned in (
      (0, '31.0', 1.4, 'worse', '26.5 ± 3.5 %'),
      (20, '41.0', 12.7, 'worse; match', '36.5 ± 10.6 %'),
    )
  ]
  words = ' '.join(blocks['figure: first'].split())
  assert '20 % of the training labels' in words
  assert '36.5 ± 10.6 % at 51.2 % of the weights' in words
  for command in (
    '/w/main.py --config=/c/lenet.py:adam',
    'm --config=lenet:adam',
  ):
    starts = {'starts': [START | {'command': command}]}
    with_adam = benchmark._replace(provenance=starts)
    assert '| LeNet-300-100 on digits (`:adam`), 0 % noise |' in (
      readme.summarize({'other': with_adam})
    )
  runs = {readme.FIRST: unfinished, 'other': benchmark}
  assert readme.blocks_of(runs) == {}


def test_claims_of_runs_with_unequal_levels_are_compared():
  runs = [
    fake_benchmarks.make('vgg16', [0.0], edit)
    for edit in (None, claims_cases.drop('results', level=[23]))
  ]
  tested = [results_page.tabulate_claims(run)[0] for run in runs]
  table = results_page.compare_claims(dict(zip(('SGD', 'Adam'), tested)))
  own = table[table.claim.str.startswith('At every level')]
  assert own['SGD: unit'].tolist() == ['of 23']
  assert own['Adam: verdict'].tolist() == ['undecided']
  rows = [
    ('1', 'agrees', 'agrees'),
    *[('2', 'agrees', 'contradicts')] * 2,
    *[('3', 'contradicts', 'agrees')] * 3,
    *[('4', 'contradicts', 'contradicts')] * 4,
    ('5', 'undecided', 'agrees'),
    ('ours', 'agrees', 'agrees'),
  ]
  columns = ['section', 'SGD: verdict', 'Adam: verdict']
  said = results_page.count_verdicts(pd.DataFrame(rows, columns=columns))
  # Decided by both; agree with both, with one, with the other, with neither.
  counts = ['10', '1', 'SGD', '2', 'Adam', '3', '4']
  assert re.findall(r'SGD|Adam|\d+', said) == counts


def test_numbers_in_the_text_are_in_the_tables(runs):
  """Of each run's section: what is not between marks is written by hand."""
  sections = re.split(r'^## ', results_page.PAGE.read_text(), flags=re.M)[1:]
  sections = [own for own in sections if '<!-- run: ' in own]
  assert len(sections) == len(runs)
  for section in sections:
    text, _, shown = section.partition('<!-- run: ')
    numbers = re.findall(r'(\d[\d.]*)(?: ± [\d.]+)? (?:%|points|nats)', text)
    assert len(numbers) >= 3
    for number in numbers:
      assert re.search(rf'(?<![\d.]){re.escape(number)}(?![\d.])', shown), (
        number
      )


def test_images_are_there_and_small(runs):
  shown = set(re.findall(r'\]\((figures/.*?)\)', results_page.PAGE.read_text()))
  folder = results_page.IMAGES
  there = {f'figures/{path.relative_to(folder)}' for path in folder.glob('*/*')}
  assert there == shown
  for path in folder.rglob('*.png'):
    assert path.stat().st_size < 150_000, path


def test_the_first_figure_can_be_drawn(runs, tmp_path):
  path = tmp_path / 'first.png'
  readme.draw_first(runs[readme.FIRST], path)
  with Image.open(path) as drawn, Image.open(readme.FIGURE) as shown:
    assert drawn.size == shown.size
    # More than white paper.
    assert len(drawn.getcolors()) > 10
  assert readme.FIGURE.stat().st_size < 150_000


def test_committed_runs_are_small_and_name_no_machine():
  for folder in committed.RESULTS.iterdir():
    paths = [path for path in folder.rglob('*') if path.is_file()]
    assert sum(path.stat().st_size for path in paths) < 600_000
    for path in paths:
      if path.suffix == '.json':
        assert not re.search(r'["=]/|host|process_id', path.read_text()), path


def test_lenet_with_noise_is_as_it_was_before(runs):
  """A run outside of these is a fault to find."""
  summary = runs['lenet'].summary
  chain = summary[
    (summary.experiment == 'chain') & (summary.noise_fraction == 0.15)
  ]
  error = chain.set_index(['arm', 'level']).test_error_mean
  expected = {
    ('pruning', 0): (0.11, 0.125),
    ('pruning', 10): (0.185, 0.215),
    ('pruning', 18): (0.055, 0.063),
    ('pruning', 19): (0.055, 0.063),
    ('extended_dense', 18): (0.13, 0.14),
    ('extended_dense', 19): (0.13, 0.14),
  }
  # Those that are finished.
  found = {key: error[key] for key in expected if key in error.index}
  assert ('pruning', 0) in found
  for key, value in found.items():
    low, high = expected[key]
    # To a tenth of a percent: three replicates are 0.3 % apart.
    assert low <= round(value, 3) <= high, key


@pytest.fixture
def workdir(tmp_path):
  path = tmp_path / 'run'
  fake_runs.write_all(path)
  write_starts(path, START)
  return path


def write_starts(path, *starts):
  history = {'layout_version': 4, 'starts': starts}
  (path / 'provenance.json').write_text(json.dumps(history))


def test_a_folder_shows_what_its_workdir_does(workdir, tmp_path):
  committed.add(str(workdir), 'own', tmp_path)
  ours, theirs = committed.read(tmp_path / 'own'), load.read(str(workdir))
  found = results_page.figures_of(theirs)
  assert len(found) >= 10
  for figure, table in found:
    pd.testing.assert_frame_equal(
      figure.tabulate([ours]), table, check_dtype=False, rtol=1e-4
    )
  shown = {'own': results_page.figures_of(ours)}
  blocks = results_page.blocks_of({'own': ours}, shown)
  text = results_page.fill('# Results\n', blocks)
  assert '## own\n\n<!-- run: own -->' in text
  assert results_page.fill(text, blocks) == text
  assert '/home' not in (tmp_path / 'own' / 'provenance.json').read_text()


def test_folders_of_other_noise_levels_are_one_run(workdir, tmp_path):
  committed.add(str(workdir), 'whole', tmp_path / 'whole')
  parts = {'a': 0.2, 'b': 0.0}
  for name, noise_fraction in parts.items():
    folder = tmp_path / 'parts' / name
    shutil.copytree(tmp_path / 'whole' / 'whole', folder)
    keep_noise_level(folder, noise_fraction)
  (whole,) = committed.list_runs(tmp_path / 'whole').values()
  runs = committed.list_runs(tmp_path / 'parts')
  assert list(runs) == ['a']
  noise = runs['a'].summary.noise_fraction[:16].tolist()
  assert noise == [0.0] * 8 + [0.2] * 8
  assert results_page.tabulate_starts(runs['a'].provenance).shape == (1, 6)
  pairs = [(runs['a'].summary, whole.summary)]
  for figure, table in results_page.figures_of(whole):
    pairs.append((figure.tabulate([runs['a']]), table))
  for ours, theirs in pairs:
    columns = [*theirs.select_dtypes(exclude='float'), *theirs]
    pd.testing.assert_frame_equal(
      ours.sort_values(columns, ignore_index=True),
      theirs.sort_values(columns, ignore_index=True),
      check_dtype=False,
    )

  # Of another revision, they are not.
  write_starts(tmp_path / 'parts' / 'b', START | {'git_revision': 'abd'})
  with pytest.raises(UserError, match=r'a: abc\n.*b: abd\n'):
    committed.list_runs(tmp_path / 'parts')


def keep_noise_level(folder, noise_fraction):
  """Leave one noise level of a committed run."""
  config = json.loads((folder / 'config.json').read_text())
  config['noise_fractions'] = [noise_fraction]
  (folder / 'config.json').write_text(json.dumps(config))
  table = pd.read_csv(folder / 'results.csv', dtype=str)
  is_kept = table.noise_fraction.astype(float) == noise_fraction
  table[is_kept].to_csv(folder / 'results.csv', index=False)
  for path in (folder / 'tables').glob('*.csv.xz'):
    table = pd.read_csv(path)
    table[table.noise_fraction == noise_fraction].to_csv(path, index=False)


def test_a_run_that_has_grown_replaces_itself(workdir, tmp_path):
  committed.add(str(workdir), 'own', tmp_path)
  results.write_rows(workdir, [fake_runs.make_row(level=4, replicate=5)])
  write_starts(workdir, START, START | {'time': '2026-11-02T10:00:00+00:00'})
  committed.add(str(workdir), 'own', tmp_path)
  table = results.read_results(tmp_path / 'own')
  assert (table.replicate == 5).sum() == 1


@pytest.mark.parametrize(
  'what, message',
  [
    ('config', r'epochs: 10 there, 12 now'),
    ('revision', r'git_revision: abc there, abc, abd now'),
    ('rows', r'1 rows of results\.csv, as: chain,pruning,0\.0,0,'),
  ],
)
def test_another_run_is_refused_with_the_difference(
  workdir, tmp_path, what, message
):
  committed.add(str(workdir), 'own', tmp_path)
  before = {p: p.read_bytes() for p in tmp_path.rglob('own/**/*.*')}
  if what == 'config':
    path = workdir / 'config.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | {'epochs': 12}))
  elif what == 'revision':
    write_starts(workdir, START, START | {'git_revision': 'abd'})
  else:
    results.write_rows(workdir, [fake_runs.make_row(test_error=0.9)])
  with pytest.raises(UserError, match=message):
    committed.add(str(workdir), 'own', tmp_path)
  assert {p: p.read_bytes() for p in tmp_path.rglob('own/**/*.*')} == before


def test_a_command_as_one_types_it():
  command = (
    '/w/main.py --config=/w/configs/lenet.py:adam --workdir /w/run '
    "--config.data.dir=/data '--config.arms=('\"'\"'pruning'\"'\"',)' --dry_run"
  )
  assert committed.shorten(command, 'adam') == (
    'python -m pruning_gen.main --config=configs/lenet.py:adam '
    '--workdir=runs/adam "--config.arms=(\'pruning\',)" --dry_run'
  )


def test_starts_last_until_their_last_file(workdir):
  second = START | {'time': '2026-11-01T12:00:00+00:00'}
  write_starts(workdir, START, second)
  begin = 1793527200  # 10:00.
  for path in workdir.rglob('*'):
    os.utime(path, (begin, begin))
  for name, hours in (('epochs.csv', 1.5), ('level_000.npz', 1)):
    os.utime(workdir / 'chain' / name, (begin + 3600 * hours,) * 2)
  os.utime(workdir / 'chain' / 'level_001.npz', (begin + 3 * 3600,) * 2)
  (workdir / 'report').mkdir()
  (workdir / 'report' / 'index.html').write_text('later')
  assert committed.measure_starts(str(workdir)) == [1.5 * 3600, 3600]
