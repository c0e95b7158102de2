import re

import pandas as pd
import pytest

from pruning_gen import report
from pruning_gen.analysis import figures
from pruning_gen.analysis import statistics
from pruning_gen.errors import UserError
from pruning_gen.storage import results
from tests import statistics_test

CONFIG = {
  'model': {'name': 'lenet'},
  'data': {'name': 'digits'},
  'levels': 3,
  'prune_fraction': 0.2,
}


@pytest.fixture
def table():
  errors = {0: [0.1, 0.11], 1: [0.09, 0.1], 2: [0.2, 0.3]}
  arms = [
    statistics_test.make_results(errors, arm)
    for arm in ('pruning', 'extended_dense')
  ]
  clean = pd.concat(arms)
  clean['train_cross_entropy_noisy'] = float('nan')
  return pd.concat([clean, pd.concat(arms).assign(noise_fraction=0.15)])


def test_page_and_files(tmp_path, table):
  results.open_workdir(tmp_path, CONFIG)
  results.write_rows(tmp_path, table.to_dict('records'))
  path = report.build(tmp_path)
  html = path.read_text()
  assert '<title>lenet on digits</title>' in html
  # Self-contained: every image is inside, and nothing is fetched.
  assert len(re.findall('<img src="data:image/png;base64,', html)) == 2
  assert not re.findall('(src|href)="(http|figures)', html)
  assert '9.50 ± 0.71' in html
  assert (tmp_path / 'report/figures/test_error.png').read_bytes()[:4] == (
    b'\x89PNG'
  )
  summary = pd.read_csv(tmp_path / 'summary.csv')
  assert len(summary) == 12
  assert report.is_built(tmp_path)


def test_an_unfinished_run_shows_what_is_there(tmp_path, table):
  results.open_workdir(tmp_path, CONFIG)
  rows = table[(table.level == 0) & (table.arm == 'pruning')]
  rows = rows[rows.replicate == 0]
  results.write_rows(tmp_path, rows.to_dict('records'))
  html = report.build(tmp_path).read_text()
  assert '0 of 3 levels finished, 1 replicate(s)' in html


def test_nothing_to_show(tmp_path):
  with pytest.raises(UserError, match='holds no run'):
    report.build(tmp_path)
  results.open_workdir(tmp_path, CONFIG)
  with pytest.raises(UserError, match='no finished level yet'):
    report.build(tmp_path)


def test_figures_draw_what_the_summary_says(table):
  summary = statistics.summarize(table)
  figure = figures.test_error(summary)
  clean, noisy = figure.axes
  assert clean.get_title() == '0% label noise'
  assert noisy.get_title() == '15% label noise'
  assert clean.get_xscale() == 'log'
  assert clean.get_ylabel() == 'test error (%)'
  line = clean.get_lines()[0]
  assert line.get_xdata().tolist() == pytest.approx([100, 80, 64])
  assert line.get_ydata().tolist() == pytest.approx([10.5, 9.5, 25])
  losses = figures.training_loss(summary)
  labels = [text.get_text() for text in losses.legends[0].get_texts()]
  assert labels == [
    'pruning, original',
    'pruning, noisy',
    'extended_dense, original',
    'extended_dense, noisy',
    'dense',
    'optimal sparsity',
  ]
