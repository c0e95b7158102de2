import pandas as pd
import pytest
from matplotlib.figure import Figure

from pruning_gen.analysis import load
from pruning_gen.analysis import statistics
from pruning_gen.analysis.figures import curves
from pruning_gen.analysis.figures import extended
from pruning_gen.analysis.figures import FIGURES
from pruning_gen.analysis.figures import heat_maps
from pruning_gen.analysis.figures import leave_out
from pruning_gen.analysis.figures import noise
from pruning_gen.analysis.figures import sparsity
from pruning_gen.analysis.figures import style
from pruning_gen.analysis.figures import subgroups
from pruning_gen.analysis.figures import tables
from pruning_gen.analysis.figures import worsened
from tests import fake_runs
from tests.fake_runs import make_results


@pytest.fixture(scope='module')
def benchmark(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('run')
  fake_runs.write_all(workdir)
  return load.read(workdir)


def test_curves_draw_the_table(benchmark):
  table = sparsity.tabulate_test_error(benchmark, 'pruning', 'extended_dense')
  figure = curves.draw(table, ylabel='test error (%)')
  clean, noisy = figure.axes
  assert clean.get_title() == '0% label noise'
  assert noisy.get_title() == '20% label noise'
  assert clean.get_xscale() == 'log'
  assert clean.get_ylabel() == 'test error (%)'
  assert not clean.xaxis_inverted() or clean.get_xlim()[0] > 1
  line = clean.get_lines()[0]
  rows = table[(table.arm == 'pruning') & (table.noise_fraction == 0)]
  assert line.get_color() == style.color_of('pruning')
  assert line.get_xdata().tolist() == pytest.approx([1, 0.8, 0.64, 0.512])
  assert line.get_ydata().tolist() == rows['mean'].tolist()
  # Fractions, printed as percent.
  assert clean.yaxis.get_major_formatter()(0.305, None) == '30.5'
  assert [text.get_text() for text in figure.legends[0].get_texts()] == [
    'pruning',
    'extended dense',
    'dense',
    'optimal',
  ]


def test_collapsed_networks_do_not_stretch_an_axis(benchmark):
  errors = [0.30, 0.29, 0.28, 0.29, 0.30, 0.31, 0.32, 0.9]
  results = make_results({k: [error] for k, error in enumerate(errors)})
  benchmark = benchmark._replace(summary=statistics.summarize(results, 0.2))
  table = sparsity.tabulate_test_error(benchmark, 'pruning')
  (axes,) = curves.draw(table, ylabel='').axes
  # Three quarters are at most .3125, and the lowest is .28.
  top = 0.3125 + 3 * 0.0325
  assert axes.get_ylim() == pytest.approx((0.28 - 0.05 * (top - 0.28), top))
  assert axes.get_lines()[0].get_ydata().tolist() == errors


def test_noisy_loss_is_dotted(benchmark):
  table = noise.tabulate_noisy_loss(benchmark)
  figure = curves.draw(table, ylabel='nats', percent=False)
  (axes,) = figure.axes
  assert axes.get_yscale() == 'log'
  lines = {line.get_label(): line.get_linestyle() for line in axes.get_lines()}
  assert lines['pruning, original'] == '-'
  assert lines['pruning, noisy'] == ':'


@pytest.mark.parametrize(
  'low, high, expected',
  [
    (900, 60_000, [1e3, 2e3, 5e3, 1e4, 2e4, 5e4]),
    # Too many for their labels to stand side by side.
    (900, 600_000, [1e3, 1e4, 1e5]),
    # None of 1, 2 and 5: even steps.
    (0.59, 0.91, [0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9]),
  ],
)
def test_ticks_of_logarithmic_axes(low, high, expected):
  axes = Figure().add_subplot()
  axes.set_xscale('log')
  axes.set_xlim(high, low)
  style.set_log_ticks(axes.xaxis, crowded=100)
  ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
  assert ticks == pytest.approx(expected)
  assert axes.xaxis.get_major_formatter()(0.05, None) == '0.05'


def test_points_are_the_tables(benchmark):
  table = extended.tabulate_extended_dense(benchmark)
  errors, differences = extended.draw_extended_dense(table).axes
  drawn = {
    container.get_label(): container.lines[0].get_ydata().tolist()
    for container in errors.containers
  }
  expected = table.groupby('network')['mean'].apply(list)
  assert drawn['pruning'] == expected['pruning']
  assert drawn['extended dense'] == expected['extended_dense']
  verdicts = [text.get_text().strip() for text in differences.texts]
  others = table[table.network != 'pruning']
  assert sorted(verdicts) == sorted(others.against_pruning_verdict)


def test_points_stand_at_their_noise(benchmark):
  # A run may list its noise levels in any order.
  table = extended.tabulate_extended_dense(benchmark)[::-1]
  assert table.noise_fraction.iloc[0] == 0.2
  errors, _ = extended.draw_extended_dense(table).axes
  assert [label.get_text() for label in errors.get_xticklabels()] == [
    '0%',
    '20%',
  ]
  (drawn,) = (c for c in errors.containers if c.get_label() == 'pruning')
  assert drawn.lines[0].get_xdata().round().tolist() == [1, 0]
  # Level 3: .30 and .29 minus .06 and .03, and .2 more of the first.
  assert drawn.lines[0].get_ydata().tolist() == pytest.approx([0.365, 0.265])


def test_equal_errors_are_not_magnified(benchmark):
  table = extended.tabulate_extended_dense(benchmark)
  table['against_pruning_mean'] = [0.0, 1e-17] * (len(table) // 2)
  table['against_pruning_std'] = 0.0
  differences = extended.draw_extended_dense(table).axes[1]
  assert differences.get_ylim() == (-0.01, 0.01)


def test_nothing_is_drawn_of_a_dense_optimum(benchmark):
  # Errors rise with the level, so that level 0 is the best.
  results = make_results({0: [0.1, 0.1], 1: [0.2, 0.3], 3: [0.3, 0.3]})
  benchmark = benchmark._replace(summary=statistics.summarize(results, 0.2))
  assert subgroups.tabulate_subgroups_at_optimum(
    benchmark, with_noise=False
  ).empty
  assert tables.tabulate_concentration(benchmark).empty
  assert tables.tabulate_optima(benchmark).optimal_level.tolist() == [0]


def test_optima(benchmark):
  table = make_results({0: [0.3, 0.3], 1: [0.2, 0.1], 2: [0.1, 0.5]})
  # Without validation errors a curve has no optimum, and is left out.
  lost = make_results({0: [0.3, 0.3]}, 'random')
  lost['validation_error'] = float('nan')
  summary = statistics.summarize(pd.concat([table, lost]), 0.2)
  found = tables.tabulate_optima(benchmark._replace(summary=summary))
  assert found.arm.tolist() == ['pruning']
  # Level 2 has the mean .3, which is level 0's: no better.
  assert found.optimal_level.tolist() == [1]
  assert found.highest_improving_level.tolist() == [1]
  assert found['mean'].tolist() == pytest.approx([0.15])
  assert found.against_dense_mean.tolist() == pytest.approx([-0.15])
  summary = statistics.summarize(lost, 0.2)
  assert tables.tabulate_optima(benchmark._replace(summary=summary)).empty


def test_subgroups_are_the_tables(benchmark):
  table = subgroups.tabulate_subgroups_at_optimum(benchmark, with_noise=True)
  (axes,) = subgroups.draw_subgroup_effects(table).axes
  line = axes.get_lines()[0]
  # Level 3: -0.3 x the mean ranks 2, 7, 12, 17.
  assert line.get_xdata().tolist() == [0, 1, 2, 3]
  assert line.get_ydata().tolist() == pytest.approx([-0.6, -2.1, -3.6, -5.1])
  assert axes.get_title().startswith('20% label noise\npruning: level 3')


def test_heat_maps_are_centred_at_zero(benchmark):
  table = heat_maps.tabulate_heat_maps(benchmark)
  figure = heat_maps.draw_heat_maps(table)
  mesh = figure.axes[0].collections[0]
  assert mesh.norm.vmin == -mesh.norm.vmax == pytest.approx(-5.1)
  rows = table[(table.arm == 'pruning') & (table.noise_fraction == 0)]
  assert mesh.get_array().ravel().tolist() == rows['mean'].tolist()


def test_leave_out_draws_sets_beside_random(benchmark):
  table = leave_out.tabulate_leave_out(
    benchmark, 'most_improved', with_noise=False
  )
  (axes,) = leave_out.draw_leave_out(table, 'level').axes
  chosen, random = (
    container.lines[0].get_ydata().tolist() for container in axes.containers
  )
  assert chosen == table['mean'].tolist() == pytest.approx([0.405])
  assert random == table.random_mean.tolist() == pytest.approx([0.305])


def test_images_and_their_labels(benchmark):
  table = worsened.tabulate_most_worsened(benchmark)
  clean, noisy = worsened.draw_most_worsened(table, columns=1).axes
  assert [text.get_text() for text in noisy.texts] == ['1 > 2 (2)'] * 2
  canvas = clean.images[0].get_array()
  # Two images of 8x8 below each other, in white.
  assert canvas.shape == (22, 9)
  assert (canvas == 128).sum() == 2 * 64 and canvas.max() == 255


def test_images_of_the_first_replicate_of_each_noise_level(benchmark):
  table, images = benchmark.most_worsened
  # With noise replicate 0 diverged, and without it replicate 1 is there too.
  table = table.assign(replicate=[0, 1, 1, 1])
  found = worsened.tabulate_most_worsened(
    benchmark._replace(most_worsened=(table, images))
  )
  assert found.noise_fraction.tolist() == [0, 0.2, 0.2]
  assert found.replicate.tolist() == [0, 1, 1]


def test_every_section_is_empty_or_drawn(benchmark):
  names = [section.name for section in FIGURES]
  assert len(set(names)) == len(names)
  empty = [s.name for s in FIGURES if s.tabulate(benchmark).empty]
  assert empty == ['appendix_j_ablations']
