"""Tables worked out by hand, and drawings that show them."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from pruning_gen.analysis import load
from pruning_gen.analysis import statistics
from pruning_gen.analysis.figures import ablations
from pruning_gen.analysis.figures import base
from pruning_gen.analysis.figures import controls
from pruning_gen.analysis.figures import describe
from pruning_gen.analysis.figures import drawing
from pruning_gen.analysis.figures import extended
from pruning_gen.analysis.figures import FIGURES
from pruning_gen.analysis.figures import harm
from pruning_gen.analysis.figures import heat_maps
from pruning_gen.analysis.figures import layers
from pruning_gen.analysis.figures import learning
from pruning_gen.analysis.figures import leave_out
from pruning_gen.analysis.figures import noise
from pruning_gen.analysis.figures import sparsity
from pruning_gen.analysis.figures import stopping
from pruning_gen.analysis.figures import style
from pruning_gen.analysis.figures import subgroups
from pruning_gen.analysis.figures import tables
from pruning_gen.analysis.figures import width
from pruning_gen.analysis.figures import worsened
from pruning_gen.pruning import arms
from tests import fake_runs
from tests.fake_runs import make_results


@pytest.fixture(scope='module')
def benchmark(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('run')
  fake_runs.write_all(workdir)
  return load.read(workdir)


@pytest.fixture
def clean(benchmark):
  """A benchmark whose extended dense training matches at levels 0, 1 and 3."""
  pruning = make_results(
    {0: [0.3, 0.3], 1: [0.2, 0.2], 2: [0.1, 0.1], 3: [0.4, 0.2]}
  )
  dense = make_results(
    {0: [0.3, 0.3], 1: [0.1, 0.3], 2: [0.2, 0.2], 3: [0.2, 0.4]},
    'extended_dense',
  )
  return with_results(benchmark, pd.concat([pruning, dense]))


def with_results(benchmark, results, **others):
  summary = statistics.summarize(results, 0.2)
  return benchmark._replace(
    results=results, summary=summary, title='LeNet-300-100 on digits', **others
  )


def curves_of(axes):
  return {
    line.get_label(): line
    for line in axes.lines
    if line.get_gid() == style.CURVE
  }


def stars_of(axes):
  return [line for line in axes.lines if line.get_marker() == '*']


def test_tables_name_their_benchmark(benchmark):
  other = benchmark._replace(title='vgg16 on cifar10')
  nothing = benchmark._replace(title='none', summary=benchmark.summary.head(0))
  table = sparsity.FIGURE_3.tabulate([benchmark, other, nothing])
  assert table.columns[0] == 'benchmark'
  assert table.benchmark.value_counts().to_dict() == {
    'LeNet-300-100 on digits': 8,
    'vgg16 on cifar10': 8,
    'none': 0,
  }
  figure = sparsity.draw(table, 'test_error')
  assert [axes.get_title() for axes in figure.axes] == [
    'LeNet-300-100 on digits',
    'vgg16 on cifar10',
    'none',
  ]
  # The last one says why it is empty.
  assert not curves_of(figure.axes[2]) and figure.axes[2].texts
  assert sparsity.FIGURE_3.tabulate([nothing]).empty


def test_figure_3_has_a_curve_a_line_and_a_star_per_noise_level(benchmark):
  table = sparsity.FIGURE_3.tabulate([benchmark])
  figure = sparsity.draw(table, 'test_error')
  (axes,) = figure.axes
  curves = curves_of(axes)
  assert list(curves) == ['0 % noise', '20 % noise']
  clean = curves['0 % noise']
  assert clean.get_color() == style.noise_color(0)
  assert list(clean.get_xdata()) == pytest.approx([1, 0.8, 0.64, 0.512])
  # Level 3: .30 - .06 and .32 - .03.
  assert clean.get_ydata()[3] == pytest.approx(0.265)
  dashed = [line for line in axes.lines if line.get_ls() == '--']
  assert [line.get_color() for line in dashed] == [
    style.noise_color(0),
    style.noise_color(0.2),
  ]
  assert [star.get_xdata()[0] for star in stars_of(axes)] == pytest.approx(
    [0.512] * 2
  )
  # Fractions, printed as percent; dense on the left.
  assert axes.yaxis.get_major_formatter()(0.305, None) == '30.5'
  assert axes.xaxis_inverted() and axes.get_xscale() == 'log'


@pytest.mark.parametrize(
  'errors, is_cut',
  [
    # Three quarters are at most .3125, the lowest is .28: the axis ends at .41.
    ([0.30, 0.29, 0.28, 0.29, 0.30, 0.31, 0.32, 0.9], True),
    # Twice that room would hold all.
    ([0.30, 0.29, 0.28, 0.29, 0.30, 0.31, 0.32, 0.5], False),
    ([0.3, 0.3, 0.3], False),
  ],
)
def test_points_above_an_axis_are_marked(errors, is_cut):
  axes = Figure().add_subplot()
  rows = pd.DataFrame({'test_error_mean': errors, 'test_error_std': np.nan})
  x = pd.Series(range(len(errors)))
  drawing.draw_curve(axes, x, rows, 'test_error', color='k', label='a')
  drawing.set_error_axis(axes)
  top = axes.get_ylim()[1]
  assert (top == pytest.approx(0.3125 + 3 * 0.0325)) == is_cut
  assert [text.get_text() for text in axes.texts] == ['90 % →'] * is_cut


def test_values_above_an_axis_do_not_overlap():
  axes = Figure().add_subplot()
  for color, error in (('r', 0.8), ('b', 0.9)):
    rows = pd.DataFrame({'test_error_mean': [0.1] * 6 + [error] * 2})
    rows['test_error_std'] = np.nan
    x = pd.Series(range(8))
    drawing.draw_curve(axes, x, rows, 'test_error', color=color, label=color)
  axes.set_ylim(0, 0.5)
  drawing.mark_cut_off(axes)
  # Two at each of two places that are far apart.
  rows = [text.xyann[1] for text in axes.texts]
  assert rows == [0, 0, -29, -29]


def test_error_axes_begin_at_zero_or_above():
  axes = Figure().add_subplot()
  rows = pd.DataFrame(
    {'test_error_mean': [0.01, 0.02], 'test_error_std': [0.05, 0.05]}
  )
  drawing.draw_curve(
    axes, pd.Series([0, 1]), rows, 'test_error', color='k', label='a'
  )
  drawing.set_error_axis(axes)
  assert axes.get_ylim()[0] == 0


def test_stars_do_not_hide_each_other():
  axes = Figure().add_subplot()
  axes.set(xlim=(0, 1), ylim=(0, 1))
  drawing.draw_stars(axes, [(0.5, 0.5, 'r'), (0.5, 0.51, 'b'), (0.9, 0.1, 'g')])
  sizes = [star.get_markersize() for star in stars_of(axes)]
  assert sizes == [12, 8, 12]
  assert stars_of(axes)[1].get_zorder() > stars_of(axes)[0].get_zorder()


def test_figure_1a_judges_and_shades_by_level(clean):
  table = controls.FIGURE_1A.tabulate([clean])
  dense = table[table.arm == 'extended_dense']
  # -.1 +.1, then +.1 +.1, then -.2 +.2.
  assert dense.verdict.tolist() == ['match', 'match', 'worse', 'match']
  assert dense.difference_mean.tolist() == pytest.approx([0, 0, 0.1, 0])
  assert table[table.arm == 'pruning'].verdict.tolist() == [''] * 4
  assert table.is_optimal.sum() == 1
  figure = controls.draw(table)
  axes = figure.axes[0]
  (note,) = controls.note_matches([clean], table)
  # Level 0, where both are one network, does not count.
  assert '2 of 3 levels' in note
  assert '100 to 80\u00a0%' in note and '51.2\u00a0%' in note
  # From 1 to half way between .8 and .64, and from there on to the last.
  shaded = sorted(
    (patch.get_x() + patch.get_width(), patch.get_x()) for patch in axes.patches
  )
  middle = [(0.8 * 0.64) ** 0.5, (0.64 * 0.512) ** 0.5]
  assert shaded == [
    pytest.approx((middle[1], 0.512)),
    pytest.approx((1, middle[0])),
  ]
  # The upper axis has the epochs of level L, here 10 x (L + 1).
  (top,) = axes.child_axes
  assert [label.get_text() for label in top.get_xticklabels()] == [
    '10',
    '20',
    '30',
    '40',
  ]


def test_an_arm_without_a_dense_control_is_drawn(clean, monkeypatch):
  lone = {'lone': arms.Arm(score='random')}
  monkeypatch.setattr(arms, 'ARMS', arms.ARMS | lone)
  monkeypatch.setattr('pruning_gen.analysis.paired.ARMS', arms.ARMS)
  results = pd.concat(
    [clean.results, make_results({0: [0.3], 1: [0.2]}, 'lone')]
  )
  own = with_results(clean, results)
  table = controls.APPENDIX_C.tabulate([own])
  assert table.pair.unique().tolist() == ['pruning', 'lone']
  assert len(controls.draw(table).axes) == 2
  assert ablations.APPENDIX_J2.tabulate([own]).arm.unique().tolist() == [
    'pruning',
    'lone',
  ]
  assert 'no dense control' in controls.note_matches([own], table)[1]
  # It has a color all the same.
  assert style.contrast(style.color_of('lone')) >= 3


def test_one_replicate_shades_nothing(benchmark):
  results = [
    make_results({0: [0.3], 1: [0.2]}, arm)
    for arm in ('pruning', 'extended_dense')
  ]
  own = with_results(benchmark, pd.concat(results))
  table = controls.FIGURE_1A.tabulate([own])
  assert not controls.draw(table).axes[0].patches
  assert 'one replicate' in controls.note_matches([own], table)[0]


def test_effects_at_both_sparsities(benchmark):
  # Level 2 has the lowest validation error; level 3 improves, too.
  results = make_results(
    {0: [0.3, 0.3], 1: [0.2, 0.2], 2: [0.1, 0.1], 3: [0.2, 0.2]}
  )
  own = with_results(benchmark, results)
  table = subgroups.FIGURE_1B.tabulate([own])
  levels = table.drop_duplicates('sparsity').set_index('sparsity').level
  assert levels.to_dict() == {'optimal': 2, 'highest improving': 3}
  rows = table[table.sparsity == 'highest improving']
  # Level 3: -0.3 x the mean ranks 2, 7, 12, 17 of four subgroups.
  assert rows.effect_mean.tolist() == pytest.approx([-0.6, -2.1, -3.6, -5.1])
  assert rows.percentile.tolist() == [12.5, 37.5, 62.5, 87.5]
  left, right = subgroups.draw_first_page(table).axes
  assert 'level 2: 36.0 % sparse' in left.get_title()
  # The last level run: a sparser one might improve as well.
  assert 'level ≥ 3: 48.8 % sparse' in right.get_title()
  assert 'level 3' in subgroups.FIGURE_1B.notes([own], table)[0]
  drawn = curves_of(right)['sparse minus dense']
  assert list(drawn.get_ydata()) == rows.effect_mean.tolist()


def test_figure_1b_shows_vgg_where_its_effects_are_there(benchmark):
  config = benchmark.config | {'model': {'name': 'vgg16'}}
  vgg = benchmark._replace(title='VGG-16', config=config)
  table = subgroups.FIGURE_1B.tabulate([benchmark, vgg])
  assert set(table.benchmark) == {'VGG-16'}
  assert list(table.benchmark.cat.categories) == [benchmark.title, 'VGG-16']
  without = vgg._replace(effects=pd.DataFrame())
  table = subgroups.FIGURE_1B.tabulate([benchmark, without])
  assert set(table.benchmark) == {benchmark.title}


def test_without_an_improving_level_the_axes_say_so(benchmark):
  # Errors rise with the level, so that level 0 is the best.
  results = make_results({0: [0.1, 0.1], 1: [0.2, 0.3], 3: [0.3, 0.3]})
  own = with_results(benchmark, results)
  for figure in (subgroups.FIGURE_2A, subgroups.FIGURE_2B):
    table = figure.tabulate([own])
    assert table.level.tolist() == [0] and table.effect_mean.isna().all()
    (axes,) = figure.draw(table).axes
    assert not curves_of(axes)
  assert 'no level improves' in axes.texts[0].get_text()
  # What is at the optimum has nothing to show, for this reason.
  table = tables.INFLUENTIAL.tabulate([own])
  assert table.empty
  assert 'level 0' in tables.INFLUENTIAL.notes([own], table)[0]


def test_figure_5_names_what_it_leaves_out(benchmark):
  levels = {0: [0.3, 0.3], 1: [0.4, 0.4]}
  results = [
    make_results({0: [0.3, 0.3], 1: [0.1, 0.1]}, noise_fraction=0.2),
    make_results(levels, noise_fraction=0.6),
  ]
  effects = benchmark.effects[benchmark.effects.noise_fraction == 0.2]
  effects = pd.concat([effects, effects.assign(noise_fraction=0.6)])
  own = with_results(benchmark, pd.concat(results), effects=effects)
  table = subgroups.FIGURE_5.tabulate([own])
  (axes,) = subgroups.draw_noise(table).axes
  assert list(curves_of(axes)) == ['20 % noise']
  (note,) = subgroups.FIGURE_5.notes([own], table)
  assert '60 % noise' in note and 'level 0' in note


def test_noisy_loss_is_solid_and_clean_loss_dashed(benchmark):
  rows = benchmark.results
  own = with_results(
    benchmark,
    rows.assign(
      train_cross_entropy_clean=0.25,
      train_cross_entropy_noisy=2.0 + rows.level + rows.replicate,
    ),
  )
  table = noise.FIGURE_4.tabulate([own])
  assert set(table.noise_fraction) == {0.2}
  (axes,) = noise.draw_losses(table).axes
  assert axes.get_yscale() == 'log'
  lines = {
    label: (line.get_ls(), line.get_ydata().tolist())
    for label, line in curves_of(axes).items()
  }
  assert lines == {
    '20 % noise, noisy examples': ('-', [2.5, 3.5, 4.5, 5.5]),
    '20 % noise, clean examples': ('--', [0.25] * 4),
  }
  table = noise.TABLE_11.tabulate([own])
  assert table.train_cross_entropy_noisy_mean.tolist() == [2.5, 3.5, 4.5, 5.5]
  assert table.train_cross_entropy_clean_mean.tolist() == [0.25] * 4


def test_memorization_by_level(benchmark):
  table = noise.MEMORIZATION.tabulate([benchmark])
  assert table.level.tolist() == [0, 1, 2, 3]
  assert table.as_noisy_mean.tolist() == [1, 0.75, 0.25, 0]
  assert table.as_true_mean.tolist() == [0, 0.25, 0.5, 0.75]
  assert table.as_other_mean.tolist() == [0, 0, 0.25, 0.25]
  assert table.n.tolist() == [2] * 4
  (axes,) = noise.draw_memorization(table).axes
  assert len(curves_of(axes)) == 3


def test_figure_6_is_by_epochs(benchmark):
  table = extended.FIGURE_6.tabulate([benchmark])
  (axes,) = extended.draw_by_epochs(table).axes
  curves = curves_of(axes)
  assert curves['0 % noise, pruning'].get_marker() == 's'
  circles = curves['0 % noise, extended dense']
  assert circles.get_marker() == 'o'
  assert list(circles.get_xdata()) == [10, 20, 30, 40]
  assert not stars_of(axes)


def test_points_stand_at_their_noise(benchmark):
  # A run may list its noise levels in any order.
  table = extended.DIFFERENCES.tabulate([benchmark])[::-1]
  assert table.noise_fraction.iloc[0] == 0.2
  (axes,) = extended.DIFFERENCES.draw(table).axes
  labels = [label.get_text() for label in axes.get_xticklabels()]
  assert labels == ['0', '20']
  points = axes.containers[0].lines[0]
  assert np.round(points.get_xdata()).tolist() == [1, 0]
  # Level 3 is .06 and .03 better than dense, at both noise levels.
  assert points.get_ydata().tolist() == pytest.approx([0.045, 0.045])


def test_early_stopping_is_drawn_on_the_test_split_where_it_has_one(benchmark):
  older = benchmark.epochs.assign(test_error=np.nan)
  older = benchmark._replace(title='older', epochs=older)
  table = stopping.STOPPING.tabulate([benchmark, older])
  (note,) = stopping.STOPPING.notes([benchmark, older], table)
  assert note.startswith('older: ')
  all_axes = stopping.draw(table).axes
  assert [axes.get_ylabel().split()[0] for axes in all_axes] == [
    'test',
    'validation',
  ]
  drawn = [
    points.lines[0].get_ydata()
    for axes in all_axes
    for points in axes.containers
    if points.get_label() == style.label_of('dense_stopped')
  ]
  # After epoch 2: .25 and .5, over 9 and 10. Level 3 has .24 and .29, and with
  # noise .44 and .29.
  test, validation = (
    [(0.75 / k - 0.53) / 2, (0.75 / k - 0.73) / 2] for k in (9, 10)
  )
  assert drawn[0] == pytest.approx(test)
  assert drawn[1] == pytest.approx(validation)


def test_benchmarks_with_unequal_arms_are_drawn_side_by_side(benchmark):
  summary = benchmark.summary[benchmark.summary.arm != 'extended_dense']
  results = benchmark.results[benchmark.results.arm != 'extended_dense']
  epochs = benchmark.epochs[benchmark.epochs.arm != 'extended_dense']
  alone = benchmark._replace(
    title='alone', summary=summary, results=results, epochs=epochs
  )
  table = stopping.STOPPING.tabulate([benchmark, alone])
  drawn = [
    [points.get_label() for points in axes.containers]
    for axes in stopping.draw(table).axes
  ]
  assert drawn[0] == [style.label_of(name) for name in stopping.MARKERS]
  assert drawn[1] == drawn[0][:2]


def test_equal_errors_are_not_magnified(benchmark):
  table = extended.DIFFERENCES.tabulate([benchmark])
  table['against_pruning_mean'] = [0.0, 1e-17] * (len(table) // 2)
  table['against_pruning_std'] = 0.0
  (axes,) = extended.DIFFERENCES.draw(table).axes
  assert axes.get_ylim() == (-0.01, 0.01)


def test_minima_are_ringed(benchmark):
  table = width.APPENDIX_F.tabulate([benchmark])
  assert table.arm.unique().tolist() == ['pruning', 'width']
  first, _ = width.draw_zooms(table).axes
  assert first.get_title() == 'LeNet-300-100 on digits\n0 % noise'
  rings = {
    (line.get_xdata()[0], line.get_ydata()[0])
    for line in first.lines
    if line.get_markersize() == 9
  }
  # Pruning at level 3, width at level 0: .3 and .301.
  assert {(round(x, 3), round(y, 4)) for x, y in rings} == {
    (0.512, 0.265),
    (1.0, 0.3005),
  }


def test_width_is_compared_at_its_own_optimum(benchmark):
  # The lowest validation error of width is given to level 2.
  summary = benchmark.summary
  is_width = (summary.experiment == 'width') & (summary.noise_fraction == 0.2)
  best = summary.is_optimal.where(~is_width, summary.level == 2)
  own = benchmark._replace(summary=summary.assign(is_optimal=best))
  table = width.APPENDIX_I.tabulate([own])
  assert set(table.noise_fraction) == {0.2}
  levels = table.drop_duplicates('arm').set_index('arm').level
  assert levels.to_dict() == {'pruning': 3, 'width': 2}
  # As it is, the optimum of width is level 0, which a note names.
  empty = width.APPENDIX_I.tabulate([benchmark])
  (note,) = width.APPENDIX_I.notes([benchmark], empty)
  assert empty.empty and 'width is level 0' in note


def test_leave_out_next_to_random(benchmark):
  table = leave_out.APPENDIX_D.tabulate([benchmark])
  assert table.level.tolist() == [3]
  assert table.weights_remaining.tolist() == pytest.approx([0.512])
  (axes,) = leave_out.draw_clean_by_weights(table).axes
  drawn = {k: line.get_ydata()[0] for k, line in curves_of(axes).items()}
  # .4 and .41; .3 and .31.
  assert drawn == {
    'without the most improved': pytest.approx(0.405),
    'without as many at random': pytest.approx(0.305),
  }
  # One of three levels was left out.
  (note,) = leave_out.APPENDIX_D.notes([benchmark], table)
  assert '1 of 3' in note


def test_misclassified_next_to_pruning(benchmark):
  table = leave_out.APPENDIX_E.tabulate([benchmark])
  assert table.noise_fraction.tolist() == [0.2]
  row = table.iloc[0]
  # .1 and .11; .25 and .26; pruning at level 3: .44 and .29.
  assert row.without_mean == pytest.approx(0.105)
  assert row.random_mean == pytest.approx(0.255)
  assert row.pruning_mean == pytest.approx(0.365)
  (axes,) = leave_out.draw_misclassified(table).axes
  assert len(axes.containers) == 4


def test_tables_in_the_shape_of_the_paper(benchmark):
  table = tables.TABLE_5.tabulate([benchmark]).drop(columns='benchmark')
  row = table[(table.noise_fraction == 0) & (table.level == 3)].iloc[0]
  assert list(table.columns[:4]) == [
    'noise_fraction',
    'level',
    'weights_remaining',
    'epochs_trained',
  ]
  assert row.weights_remaining == pytest.approx(0.512)
  assert row.epochs_trained == 40
  assert row.pruning_mean == row.extended_dense_mean == pytest.approx(0.265)
  table = noise.TABLE_11.tabulate([benchmark])
  assert table.noise_fraction.unique().tolist() == [0.2]
  assert len(table) == 4


def test_optima(benchmark):
  results = make_results(
    {0: [0.3, 0.3], 1: [0.2, 0.1], 2: [0.1, 0.5], 3: [0.16, 0.13]},
    validation={0: 0.3, 1: 0.1, 2: 0.2, 3: 0.2},
  )
  # Without validation errors a curve has no optimum, and is left out.
  lost = make_results({0: [0.3, 0.3]}, 'random')
  lost['validation_error'] = float('nan')
  own = with_results(benchmark, pd.concat([results, lost]))
  found = tables.OPTIMA.tabulate([own])
  assert found.arm.tolist() == ['pruning']
  # Level 2 has the mean .3, which is level 0's: no better.
  assert found.optimal_level.tolist() == [1]
  assert found.highest_improving_level.tolist() == [3]
  assert found.lowest_test_error_level.tolist() == [3]
  assert found.test_error_mean.tolist() == pytest.approx([0.15])
  assert found.difference_mean.tolist() == pytest.approx([-0.15])
  assert tables.OPTIMA.tabulate([with_results(benchmark, lost)]).empty


def test_heat_maps_are_centered_at_zero(benchmark):
  table = heat_maps.APPENDIX_L.tabulate([benchmark])
  figure = heat_maps.draw(table)
  (mesh,) = figure.axes[0].images
  assert mesh.norm.vmin == -mesh.norm.vmax == pytest.approx(-5.1)
  rows = table[(table.arm == 'pruning') & (table.noise_fraction == 0)]
  assert mesh.get_array().ravel().tolist() == rows.effect_mean.tolist()
  ticks = [label.get_text() for label in figure.axes[0].get_yticklabels()]
  assert ticks == ['1 (80 %)', '2 (64 %)', '3 (51 %)']


def test_who_is_harmed(benchmark):
  table = harm.HARM.tabulate([benchmark])
  table = table[(table.arm == 'pruning') & (table.noise_fraction == 0)]
  table = table.set_index(['split', 'by', 'group'])
  # Test example 0, of class 0, is wrong from level 1 on, and training example
  # 0 from level 2 on.
  harmed = table.harmed_from.dropna().to_dict()
  assert harmed == {
    ('test', 'class', 0): 1,
    ('train', 'class', 0): 2,
    ('train', 'subgroup', 0): 2,
  }
  at = table.weights_remaining.dropna().to_dict()
  assert at['test', 'class', 0] == pytest.approx(0.8)
  assert at['train', 'class', 0] == pytest.approx(0.64)
  assert set(table.optimal_weights_remaining.round(3)) == {0.512}


def test_images_and_their_labels(benchmark):
  table = worsened.APPENDIX_K1.tabulate([benchmark])
  (axes,) = worsened.draw(table).axes
  # Those without noise: of a wrong training label the true one is told.
  assert [text.get_text() for text in axes.texts] == ['1 → 2 (2)'] * 2
  canvas = axes.images[0].get_array()
  assert (canvas == 128).sum() == 2 * 64 and canvas.max() == 255


def test_images_of_the_first_replicate_of_each_noise_level(benchmark):
  table, images = benchmark.most_worsened
  # With noise replicate 0 diverged, and without it replicate 1 is there too.
  table = table.assign(replicate=[0, 1, 1, 1])
  found = worsened.APPENDIX_K1.tabulate(
    [benchmark._replace(most_worsened=(table, images))]
  )
  assert found.noise_fraction.tolist() == [0, 0.2, 0.2]
  assert found.replicate.tolist() == [0, 1, 1]


def test_colors_have_contrast():
  names = [*arms.ARMS, *style.OTHERS]
  colors = {style.color_of(name) for name in names}
  colors |= {style.noise_color(level / 100) for level in range(0, 101, 5)}
  assert min(map(style.contrast, colors)) >= 3
  assert style.contrast('#FFFFFF') == pytest.approx(1)
  assert style.contrast('#000000') == pytest.approx(21)
  # A color that has it already stays as it is.
  assert style.darken('#D55E00') == '#D55E00'


def test_axes_of_weights_end_where_weights_do():
  weights = pd.Series([1.0, 0.1, 0.01, 0.0, 0.0])
  rows = pd.DataFrame({'test_error_mean': [0.1] * 5, 'test_error_std': 0.01})
  axes = Figure().subplots()
  drawing.draw_curve(axes, weights, rows, 'test_error', color='k')
  drawing.set_weights_axis(axes, weights)
  drawing.draw_stars(axes, [(0.0, 0.1, 'k'), (0.1, 0.1, 'k')])
  high, low = axes.get_xlim()
  assert 1 < high < 2 and 0.005 < low < 0.01
  assert ' 0 ' in axes.get_xlabel()
  stars = [line for line in axes.lines if line.get_marker() == '*']
  assert [line.get_xdata()[0] for line in stars] == [0.1]
  axes.figure.canvas.draw()
  drawing.set_weights_axis(axes, weights[:3])
  assert ' 0 ' not in axes.get_xlabel()


def test_figures_have_our_settings():
  with mpl.rc_context({'text.usetex': True, 'font.size': 40}):
    with style.context():
      assert not mpl.rcParams['text.usetex']
      assert mpl.rcParams['font.size'] == style.STYLE['font.size']
    assert mpl.rcParams['font.size'] == 40


def test_noise_levels_do_not_look_alike():
  fractions = (0.0, 0.0001, 0.004, 0.15, 0.1501, 1.0)
  labels = [style.noise_label(fraction) for fraction in fractions]
  assert len(set(labels)) == len(fractions)
  assert labels[0].startswith('0 ') and labels[3].startswith('15 ')


def test_noise_levels_of_the_paper_have_colors_and_markers_of_their_own():
  levels = style.NOISE_LEVELS
  assert len({style.noise_color(level) for level in levels}) == len(levels)
  assert len({style.noise_marker(level) for level in levels}) == len(levels)


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
  drawing.set_log_ticks(axes.xaxis, crowded=100)
  ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
  assert ticks == pytest.approx(expected)
  assert axes.xaxis.get_major_formatter()(0.05, None) == '0.05'


def test_a_description_has_the_numbers(benchmark):
  table = sparsity.FIGURE_3.tabulate([benchmark])
  text = describe.describe(sparsity.draw(table, 'test_error'))
  assert 'LeNet-300-100 on digits' in text and 'weights remaining (%)' in text
  # .31 is 31 % at 100 % of the weights, .265 is 26.5 % at 51.2 %.
  assert '0 % noise: from 31 at 100 to 26.5 at 51.2' in text


def test_a_member_without_a_number_leaves_a_gap(benchmark):
  results = make_results({0: [0.3, 0.3], 1: [0.2, np.nan], 2: [0.1, 0.1]})
  table = sparsity.FIGURE_3.tabulate([with_results(benchmark, results)])
  assert table.level.tolist() == [0, 2]
  assert sparsity.draw(table, 'test_error').axes


def test_where_the_weights_go(benchmark):
  """The first layer loses half at each level, the output layer nothing."""
  table = layers.LAYERS.tabulate([benchmark])
  assert len(table) == 2 * 4 * 2 and set(table.n) == {2}
  rows = table[(table.noise_fraction == 0.2) & (table.level == 3)]
  assert rows.layer.tolist() == ['dense_0', 'output']
  assert rows.remaining_mean.tolist() == [0.125, 1]
  assert rows.remaining_std.tolist() == [0, 0]
  assert set(rows.l2_norm_mean) == {3}
  assert set(rows.weights_remaining) == {0.8**3} and rows.is_optimal.all()
  figure = layers.draw(table)
  first, _ = figure.axes
  assert first.get_title().endswith('0 % noise')
  curves = curves_of(first)
  assert list(curves) == ['dense_0', 'output']
  assert list(curves['dense_0'].get_ydata()) == [1, 0.5, 0.25, 0.125]


def test_many_layers_are_not_all_named(benchmark):
  own = benchmark.layers
  deep = pd.concat(own.assign(layer=f'conv_{i}') for i in range(20))
  deep = benchmark._replace(layers=deep.drop_duplicates())
  one, _ = layers.draw(layers.LAYERS.tabulate([deep])).axes
  labels = one.get_legend_handles_labels()[1]
  assert len(labels) == 7 and {labels[0], labels[-1]} == {'conv_0', 'conv_19'}


def test_learning_curves(benchmark):
  table = learning.LOSSES.tabulate([benchmark])
  own = table[(table.arm == 'pruning') & (table.noise_fraction == 0)]
  assert own.epochs_trained.tolist() == [1, 2, 3, 4, 5, 6]
  assert own.level.tolist() == [0, 0, 1, 1, 2, 2]
  # Of replicates with 1 and 2 times as much.
  assert own.train_loss_mean.tolist() == [1.5 * 0.5**k for k in range(1, 7)]
  assert set(table.n) == {2}
  figure = learning.draw(table, 'train_loss')
  assert len(figure.axes) == 2 and figure.axes[0].get_yscale() == 'log'
  errors = learning.ERRORS.tabulate([benchmark])
  assert sorted(set(errors.epochs_trained)) == [2, 4, 6]
  assert learning.draw(errors, 'validation_error').axes


def test_which_figures_a_full_run_leaves_empty(benchmark):
  names = [figure.name for figure in FIGURES]
  assert len(set(names)) == len(names)
  assert all(isinstance(figure, base.Figure) for figure in FIGURES)
  drawn = {f: f.tabulate([benchmark]) for f in FIGURES}
  assert all(isinstance(f.notes([benchmark], drawn[f]), list) for f in FIGURES)
  empty = [f.name for f in FIGURES if drawn[f].empty]
  # No other arms or scores, no networks; the optimum of width is level 0.
  assert empty == [
    'appendix_i_width_subgroups',
    'appendix_j1_rewinding',
    'appendix_j2_scores',
    'more_mask_overlap',
    'more_size_and_time',
    'more_difficulty_effects',
    'more_difficulty_rankings',
    'more_instability',
    'more_barriers_test_error',
    'more_barriers_training_loss',
    'more_curvature',
  ]
