import datetime
import html.parser
import re
import subprocess
import sys
import types

import pandas as pd
import pytest

from pruning_gen import report
from pruning_gen.analysis import figures
from pruning_gen.analysis import load
from pruning_gen.analysis import page
from pruning_gen.analysis import statistics
from pruning_gen.errors import UserError
from pruning_gen.storage import provenance
from pruning_gen.storage import results
from tests import fake_runs


class Page(html.parser.HTMLParser):
  """Collects what a page links to and embeds."""

  def __init__(self, text):
    super().__init__()
    self.ids, self.links, self.images = [], [], []
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    attrs = dict(attrs)
    if tag in ('section', 'article'):
      self.ids.append(attrs['id'])
    self.links += [attrs['href']] if 'href' in attrs else []
    self.images += [attrs] if tag == 'img' and 'src' in attrs else []


@pytest.fixture(scope='module')
def full(tmp_path_factory):
  """A run of every experiment, and its report."""
  workdir = tmp_path_factory.mktemp('full')
  fake_runs.write_all(workdir)
  report.build(workdir)
  return workdir


@pytest.fixture
def few_figures(monkeypatch):
  """A short report, since drawing every figure takes long."""
  kept = ('figure_1a_test_error', 'figure_7_width', 'appendix_m_every_level')
  few = [figure for figure in figures.FIGURES if figure.name in kept]
  monkeypatch.setattr(figures, 'FIGURES', few)


def test_the_page_is_self_contained(full):
  text = (full / 'report' / 'index.html').read_text()
  parsed = Page(text)
  written = {path.stem for path in (full / 'report' / 'tables').glob('*.csv')}
  drawn = [f for f in figures.FIGURES if f.draw and f.name in written]
  assert len(parsed.images) == len(drawn) > 20
  assert all(
    image['src'].startswith('data:image/png;base64,') for image in parsed.images
  )
  # Images may hold any letters, but no colon.
  assert 'http:' not in text


def test_links_lead_somewhere(full):
  parsed = Page((full / 'report' / 'index.html').read_text())
  anchors = {link[1:] for link in parsed.links if link.startswith('#')}
  assert anchors <= set(parsed.ids)
  assert set(parsed.ids) - anchors == {'missing'}
  files = [link for link in parsed.links if link[0] != '#']
  files.remove('data:,')
  assert 'figures/figure_1a_test_error.pdf' in files
  assert 'tables/appendix_m_every_level.csv' in files
  assert all((full / 'report' / name).exists() for name in files)


def test_images_are_described(full):
  parsed = Page((full / 'report' / 'index.html').read_text())
  texts = [image['alt'] for image in parsed.images]
  assert min(map(len, texts)) > 40
  titles = {figure.title for figure in figures.FIGURES}
  assert not titles & set(texts)


def test_what_the_page_says(full):
  text = (full / 'report' / 'index.html').read_text()
  assert '3 of 3 levels finished, 2 replicates.' in text
  # The workdir and the day are in the title.
  title = re.search('<title>(.*)</title>', text)[1]
  today = f'{datetime.datetime.now(datetime.UTC):%Y-%m-%d}'
  for part in ('LeNet-300-100 on digits', str(full), today):
    assert part in title
  # The test error at level 3, .24 and .29, in percent.
  assert '<td>26.5\u00a0±\u00a03.5</td>' in text
  assert 'Appendix J.1' in text.split('id="missing"')[1]
  assert 'class="good">agrees</td>' in text


def test_files_next_to_the_page(full):
  folder = full / 'report'
  assert (folder / 'figures/figure_1a_test_error.png').read_bytes()[:4] == (
    b'\x89PNG'
  )
  assert (folder / 'figures/figure_1a_test_error.pdf').read_bytes()[:4] == (
    b'%PDF'
  )
  # Without noise: two arms, four levels. Files hold fractions.
  table = pd.read_csv(folder / 'tables/figure_1a_test_error.csv')
  assert len(table) == 8 and table.n.tolist() == [2] * 8
  assert table.test_error_mean.max() == pytest.approx(0.31)
  assert 'benchmark' not in table
  assert len(pd.read_csv(full / 'summary.csv')) == 8 + 8 + 6 + 14
  assert len(pd.read_csv(folder / 'tables/claims.csv')) > 18


@pytest.mark.parametrize(
  'mean, std, text',
  [
    (1.23456, 0.0321, '1.235 ± 0.032'),
    (123.456, 12.3, '123 ± 12'),
    (0.5, float('nan'), '0.5'),
    (0.25, 1e-17, '0.25 ± 0'),
    (float('nan'), float('nan'), '-'),
  ],
)
def test_tables_show_two_digits_of_the_spread(mean, std, text):
  table = pd.DataFrame({'arm': ['pruning'], 'x_mean': [mean], 'x_std': [std]})
  found = page.lay_out(table)
  assert found['columns'] == ['arm', 'x']
  cells = [cell.replace('\u00a0', ' ') for cell in found['rows'][0]['cells']]
  assert cells == ['pruning', text]


@pytest.mark.usefixtures('few_figures')
def test_nothing_is_left_of_the_page_before(tmp_path):
  for name in ('one', 'two'):
    fake_runs.write_chain(tmp_path / name)
  output = tmp_path / 'report'
  report.build_together([tmp_path / 'one'], output)
  mine = [output / 'figures' / 'plot.py', output / 'tables' / '3_of_mine.csv']
  for path in mine:
    path.touch()
  before = {path.name for path in output.glob('*/*')}
  assert {'claims.csv', 'figure_1a_test_error.png'} <= before
  fake_runs.write_width(tmp_path / 'two')
  report.build_together([tmp_path / 'one', tmp_path / 'two'], output)
  after = {path.name for path in output.glob('*/*')}
  assert after - before == {
    f'figure_7_width.{kind}' for kind in ('csv', 'pdf', 'png')
  }
  # One workdir named twice is one.
  both = [f'{tmp_path}/one', f'{tmp_path}/one/']
  report.build_together(both, output)
  assert {path.name for path in output.glob('*/*')} == before


@pytest.mark.usefixtures('few_figures')
def test_is_built_notices_what_is_new(tmp_path):
  provenance.write_config(tmp_path, fake_runs.CONFIG)
  table = fake_runs.make_results({0: [0.1, 0.2]})
  results.write_rows(tmp_path, table.to_dict('records'))
  assert not report.is_built(tmp_path)
  report.build(tmp_path)
  assert report.is_built(tmp_path)
  for name in (
    'chain/epochs.csv',
    'chain/layers.csv',
    'chain/most_worsened.csv',
    'difficulty/scores.csv',
    'el2n/scores.csv',
    'landscape/landscape.csv',
    'landscape/twins.csv',
  ):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text('a table')
    assert not report.is_built(tmp_path), name
    path.unlink()
    assert report.is_built(tmp_path)


@pytest.mark.usefixtures('few_figures')
def test_what_is_written_while_a_report_is_built_is_news(tmp_path, monkeypatch):
  def read(workdir):
    benchmark = read_(workdir)
    write_level(1)
    return benchmark

  def write_level(level):
    table = fake_runs.make_results({level: [0.1, 0.2]})
    results.write_rows(tmp_path, table.to_dict('records'))

  read_ = report.load.read
  provenance.write_config(tmp_path, fake_runs.CONFIG)
  write_level(0)
  monkeypatch.setattr(report.load, 'read', read)
  report.build(tmp_path)
  assert not report.is_built(tmp_path)
  report.build(tmp_path)
  assert report.is_built(tmp_path)


def test_dense_networks_alone_are_no_unfinished_chain():
  dense = types.SimpleNamespace(
    results=fake_runs.make_results({0: [0.1, 0.2]}),
    config=fake_runs.CONFIG | {'levels': 0},
  )
  text = report.describe_progress(dense)
  assert 'config.levels=0' in text and '2 replicates' in text
  assert 'Pruning' not in text and 'finished' not in text


@pytest.mark.usefixtures('few_figures')
def test_an_unfinished_run_shows_what_is_there(tmp_path):
  provenance.write_config(tmp_path, fake_runs.CONFIG)
  table = fake_runs.make_results({0: [0.1, 0.2], 1: [0.1]})
  results.write_rows(tmp_path, table.to_dict('records'))
  text = report.build(tmp_path).read_text()
  assert '0 of 3 levels' in text and '1 of 2 replicates' in text
  assert '&#39;width&#39; in --config.experiments' in text
  assert len(pd.read_csv(tmp_path / 'summary.csv')) == 1


@pytest.mark.usefixtures('few_figures')
def test_experiments_without_a_chain(tmp_path):
  provenance.write_config(tmp_path, fake_runs.CONFIG)
  fake_runs.write_width(tmp_path)
  fake_runs.write_el2n(tmp_path)
  text = report.build(tmp_path).read_text()
  assert 'The chain has no finished level.' in text
  assert 'None can be tested' in text


@pytest.mark.usefixtures('few_figures')
def test_different_runs_are_never_averaged(full, tmp_path):
  # Another config, other noise levels and replicates.
  config = fake_runs.CONFIG | {'learning_rate': 0.2}
  provenance.write_config(tmp_path / 'a b', config)
  table = fake_runs.make_results(
    {0: [0.1, 0.2, 0.3], 1: [0.1, 0.1, 0.1]}, noise_fraction=0.6
  )
  results.write_rows(tmp_path / 'a b', table.to_dict('records'))
  path = report.build_together([full, tmp_path / 'a b'], tmp_path / 'report')
  parsed = Page(path.read_text())
  assert '#figure_1a_test_error' in parsed.links
  table = pd.read_csv(path.parent / 'tables/appendix_m_every_level.csv')
  # Two runs of one network on one data set are told apart by their names.
  titles = [
    f'LeNet-300-100 on digits ({run})' for run in (f'1: {full.name}', '2: a b')
  ]
  assert table.benchmark.unique().tolist() == titles
  first, second = (table[table.benchmark == title] for title in titles)
  assert set(first.n) == {2} and second.n.tolist() == [3] * 2
  assert sorted(first.noise_fraction.unique()) == [0, 0.2]
  assert second.test_error_mean.tolist() == pytest.approx([0.2, 0.1])
  names = pd.read_csv(path.parent / 'tables/claims.csv').benchmark
  assert set(titles) <= set(names)
  # Figure 1a is without noise: it says that the second has none of it.
  assert f'{titles[1]}: not drawn' in path.read_text()
  # Nothing is written to the runs.
  assert not (tmp_path / 'a b' / 'summary.csv').exists()


@pytest.mark.usefixtures('few_figures')
def test_the_jobs_of_a_sweep_are_one_benchmark(tmp_path, capsys):
  jobs = [tmp_path / 'lenet-chain-r0', tmp_path / 'lenet-chain-r1']
  for replicate, job in enumerate(jobs):
    fake_runs.write_chain(job, replicates=[replicate])
  (tmp_path / 'done').mkdir()
  page_path = report.build_together([*jobs, tmp_path / 'done'], tmp_path / 'r')
  text = page_path.read_text()
  assert '<h1>LeNet-300-100 on digits</h1>' in text
  assert '3 of 3 levels finished, 2 replicates.' in text
  assert '2 workdirs are parts of this benchmark' in text
  assert 'class="good">agrees</td>' in text
  table = pd.read_csv(tmp_path / 'r' / 'tables' / 'figure_1a_test_error.csv')
  assert set(table.n) == {2}
  (line,) = capsys.readouterr().out.splitlines()
  assert f'{tmp_path}/done ' in line and 'config.json' in line


def test_nothing_to_show(tmp_path):
  with pytest.raises(UserError, match='holds no run'):
    report.build(tmp_path)
  provenance.write_config(tmp_path, fake_runs.CONFIG)
  with pytest.raises(UserError, match='no finished level yet'):
    report.build(tmp_path)


@pytest.mark.parametrize(
  'name, content, message',
  [
    ('config.json', '{"levels": ', 'config.json is damaged'),
    ('config.json', '{"levels": 3, "data": {"name": 1}}', 'lacks model.name, '),
    ('config.json', '[]', 'config.json is damaged'),
    ('provenance.json', '', 'provenance.json is damaged'),
    ('provenance.json', '{}', 'layout version None'),
    ('provenance.json', '{"layout_version": 1}', 'layout version 1'),
    ('results.csv', '', 'results.csv cannot be read'),
    ('results.csv', 'arm,experiment\na,b\n', 'lacks the columns noise_frac'),
    ('el2n/scores.csv', 'noise', 'el2n/scores.csv cannot be read'),
  ],
)
def test_broken_files_are_named(tmp_path, name, content, message):
  fake_runs.write_chain(tmp_path)
  fake_runs.write_el2n(tmp_path)
  (tmp_path / name).write_text(content)
  with pytest.raises(UserError, match=message):
    report.build(tmp_path)


def test_half_a_table_is_named(tmp_path):
  fake_runs.write_chain(tmp_path)
  path = tmp_path / 'results.csv'
  lines = path.read_text().splitlines()
  path.write_text('\n'.join(lines[:4]) + '\n' + lines[4][:30])
  with pytest.raises(UserError, match=r'results.csv is damaged \(line 5 has'):
    report.build(tmp_path)
  path.write_text('\n'.join([*lines[:4], lines[4].replace('0.5', 'half')]))
  with pytest.raises(UserError, match=r'\(its test_cross_entropy, .* no numb'):
    report.build(tmp_path)


def test_more_subgroups_than_examples(tmp_path):
  fake_runs.write_chain(tmp_path, config={'num_subgroups': 21})
  fake_runs.write_el2n(tmp_path)
  with pytest.raises(UserError, match=r'config.num_subgroups=21 must .*\(20\)'):
    report.build(tmp_path)


def test_networks_that_diverged_are_left_out(tmp_path):
  provenance.write_config(tmp_path, fake_runs.CONFIG)
  table = fake_runs.make_results({0: [0.3, 0.3, 0.4], 1: [0.2, 0.2, 0.2]})
  lost = (table.replicate == 1) & (table.level == 1)
  table.loc[lost, list(statistics.METRICS)] = float('nan')
  table.loc[lost, 'diverged'] = 1
  results.write_rows(tmp_path, table.to_dict('records'))
  benchmark = load.read(tmp_path)
  assert benchmark.results.replicate.tolist() == [0, 2, 0, 2]
  assert benchmark.summary.test_error_mean.tolist() == pytest.approx(
    [0.35, 0.2]
  )
  assert 'replicate 1' in benchmark.notes[0]
  assert 'level 1' in benchmark.notes[0]


@pytest.mark.usefixtures('few_figures')
def test_one_replicate_gets_no_verdict(tmp_path):
  provenance.write_config(tmp_path, fake_runs.CONFIG)
  table = fake_runs.make_results({0: [0.3], 1: [0.2], 2: [0.2], 3: [0.2]})
  results.write_rows(tmp_path, table.to_dict('records'))
  text = report.build(tmp_path).read_text()
  assert 'one replicate, so there are no verdicts and no spread' in text
  assert 'class="unsure">undecided</td>' in text
  table = text.split('<section id="appendix_m_every_level">')[1]
  verdicts = re.findall('<td>([a-z]*)</td>', table)
  assert not {'better', 'worse', 'match'} & set(verdicts)


def test_a_run_without_arrays(tmp_path, monkeypatch):
  names = ('more_who_is_harmed', 'figure_3_test_error')
  few = [figure for figure in figures.FIGURES if figure.name in names]
  monkeypatch.setattr(figures, 'FIGURES', few)
  fake_runs.write_chain(tmp_path)
  (tmp_path / 'chain' / 'labels.npz').unlink()
  text = report.build(tmp_path).read_text()
  assert 'has no arrays of single examples' in text
  written = {path.name for path in (tmp_path / 'report/tables').glob('*')}
  assert written == {'claims.csv', 'figure_3_test_error.csv'}


def test_a_benchmark_without_noise(tmp_path, monkeypatch):
  names = ('figure_3_test_error', 'figure_4_noisy_loss')
  few = [figure for figure in figures.FIGURES if figure.name in names]
  monkeypatch.setattr(figures, 'FIGURES', few)
  provenance.write_config(tmp_path, fake_runs.CONFIG)
  table = fake_runs.make_results({0: [0.1, 0.2], 1: [0.1, 0.1]})
  table['train_cross_entropy_noisy'] = float('nan')
  results.write_rows(tmp_path, table.to_dict('records'))
  missing = report.build(tmp_path).read_text().split('id="missing"')[1]
  assert 'Figure 4' in missing and 'config.noise_fractions' in missing


def test_units_of_tables():
  table = pd.DataFrame(
    {
      'noise_fraction': [0.15],
      'test_error_mean': [0.0231],
      'test_error_std': [0.001],
      'difference_mean': [-0.01],
      'difference_std': [float('nan')],
      'effect_mean': [0.5],
      'effect_std': [0.25],
      'is_optimal': [True],
    }
  )
  found = page.lay_out(table)
  assert found['columns'] == [
    'label noise (%)',
    'test error (%)',
    'difference (points)',
    'change of training loss (nats)',
  ]
  (row,) = found['rows']
  cells = [cell.replace('\u00a0', ' ') for cell in row['cells']]
  assert cells == ['15', '2.31 ± 0.10', '-1', '0.50 ± 0.25']
  assert row['strong']


def test_long_tables_are_cut_on_the_page():
  table = pd.DataFrame({'level': range(page.MAX_ROWS + 1)})
  found = page.lay_out(table)
  assert len(found['rows']) == page.MAX_ROWS
  assert found['num_rows'] == page.MAX_ROWS + 1
  assert len(page.lay_out(table, max_rows=500)['rows']) == page.MAX_ROWS + 1


def test_the_report_command():
  command = [sys.executable, '-m', 'pruning_gen.report', '--workdir=nowhere']
  # More folders stand between or behind the flags.
  command += ['nor_here', '--output=report']
  ended = subprocess.run(command, capture_output=True, text=True)
  assert ended.returncode == 1
  assert ended.stderr.startswith('error: --workdir=nowhere holds no run')


def test_several_runs_need_an_output():
  with pytest.raises(UserError, match=r'--output is missing: 2 workdirs'):
    report._build_one(['a', 'b'])
