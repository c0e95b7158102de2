import math

import pandas as pd
import pytest

from pruning_gen.analysis import statistics
from tests.fake_runs import make_results


@pytest.mark.parametrize(
  'values, baseline, mean, std, verdict',
  [
    # Differences -1, -2, -3: mean -2, std 1.
    ([4, 4, 4], [5, 6, 7], -2, 1, 'better'),
    ([5, 6, 7], [4, 4, 4], 2, 1, 'worse'),
    # Differences 1, -1, 1.5: mean .5, std 1.32.
    ([2, 0, 2.5], [1, 1, 1], 0.5, math.sqrt(1.75), 'match'),
    # |mean| equal to std differs: differences 0 and 2 - sqrt(2) apart.
    ([-1 - math.sqrt(0.5), -1 + math.sqrt(0.5)], [0, 0], -1, 1, 'better'),
    ([1, 1], [1, 1], 0, 0, 'match'),
    ([1, 2], [2, 3], -1, 0, 'better'),
  ],
)
def test_compare(values, baseline, mean, std, verdict):
  found = statistics.compare(pd.Series(values), pd.Series(baseline))
  assert found.mean == pytest.approx(mean)
  assert found.std == pytest.approx(std)
  assert found.n == len(values)
  assert found.verdict == verdict


@pytest.mark.parametrize('num_test', [288, 8000, 40000])
def test_ties_differ_whatever_is_left_by_rounding(num_test):
  for offset in range(0, num_test - 3, num_test // 100):
    errors = [
      pd.Series([offset, offset + more, offset + most]) / num_test
      for more, most in ((0, 0), (1, 2), (3, 3))
    ]
    # 0, 1 and 2, whose mean and std are 1.
    assert statistics.compare(errors[1], errors[0]).verdict == 'worse'
    assert statistics.compare(errors[0], errors[1]).verdict == 'better'
    # -2, 1 and 1, whose mean is 0.
    others = pd.Series([offset + 2] * 3) / num_test
    assert statistics.compare(errors[2], others).verdict == 'match'


def test_replicates_are_paired_by_id():
  found = statistics.compare(
    pd.Series({2: 4.0, 0: 1.0, 1: 9.0}), pd.Series({0: 2.0, 2: 7.0, 3: 0.0})
  )
  # Replicates 0 and 2: -1 and -3. The others stand alone.
  assert found == (-2, pytest.approx(math.sqrt(2)), 2, 'better')


@pytest.mark.parametrize(
  'values, baseline, n',
  [
    ({0: 1.0}, {0: 2.0}, 1),
    ({0: 1.0}, {1: 2.0}, 0),
    ({0: 1.0, 1: float('nan')}, {0: 2.0, 1: 2.0}, 2),
    ({0: 1.0, 1: float('inf')}, {0: 2.0, 1: 2.0}, 2),
    ({0: float('inf'), 1: float('inf')}, {0: 2.0, 1: 2.0}, 2),
  ],
)
def test_no_verdict(values, baseline, n):
  found = statistics.compare(pd.Series(values), pd.Series(baseline))
  assert found.verdict == '' and found.n == n and math.isnan(found.std)


def test_summary():
  table = make_results(
    {
      0: [0.10, 0.12, 0.14],
      1: [0.09, 0.10, 0.11],
      2: [0.08, 0.14, 0.12],
      3: [0.20, 0.22, 0.24],
    },
    validation={0: 0.3, 1: 0.2, 2: 0.1, 3: 0.1},
  )
  # Replicates may come in any order: they are paired by name.
  summary = statistics.summarize(table.sample(frac=1, random_state=0), 0.2)
  assert summary.level.tolist() == [0, 1, 2, 3]
  assert summary.n.tolist() == [3, 3, 3, 3]
  assert summary.num_weights_remaining.tolist() == [1000, 800, 640, 512]
  assert summary.test_error_mean.tolist() == pytest.approx(
    [0.12, 0.10, 0.34 / 3, 0.22]
  )
  assert summary.test_error_std[0] == pytest.approx(0.02)
  # Differences at level 1: -.01 -.02 -.03.
  assert summary.test_error_difference_mean[1] == pytest.approx(-0.02)
  assert summary.test_error_difference_std[1] == pytest.approx(0.01)
  assert summary.test_error_verdict.tolist() == ['', 'better', 'match', 'worse']
  # By validation error, the least sparse of equals.
  assert summary.is_optimal.tolist() == [False, False, True, False]
  assert summary.is_highest_improving.tolist() == [False, True, False, False]
  assert statistics.optimal_levels(summary) == {0.0: 2}


def test_a_curve_without_its_dense_network():
  summary = statistics.summarize(
    make_results({1: [0.1, 0.2], 2: [0.3, 0.3]}), 0.2
  )
  assert summary.test_error_verdict.tolist() == ['', '']
  assert summary.test_error_difference_mean.isna().all()
  assert summary.is_optimal.tolist() == [True, False]


def test_unfinished_levels_are_left_out_and_said():
  table = make_results({0: [0.1, 0.2], 1: [0.1]})
  finished, notes = statistics.drop_unfinished(table)
  assert finished.level.tolist() == [0, 0]
  (note,) = notes
  for part in ('level 1', 'chain', 'pruning', ' 0% noise', '1 of 2 replicates'):
    assert part in note


def test_missing_values_are_named_and_not_averaged_over():
  table = make_results({0: [0.1, 0.2], 1: [0.1, 0.3]})
  table['train_cross_entropy_noisy'] = float('nan')
  assert statistics.find_missing(table) == []
  table.loc[3, 'test_error'] = float('nan')
  (sentence,) = statistics.find_missing(table)
  assert sentence.startswith('results.csv has no test_error in 1 rows, the ')
  assert 'pruning, 0% noise, replicate 1, level 1' in sentence
  summary = statistics.summarize(table, 0.2)
  assert math.isnan(summary.test_error_mean[1])
  assert summary.test_error_verdict[1] == ''


def test_a_set_without_noisy_examples_misses_nothing():
  """Leaving all noisy examples out leaves no loss of noisy examples."""
  table = make_results(
    {0: [0.1, 0.2]},
    'dense',
    experiment='leave_out',
    left_out='subgroup',
    noise_fraction=0.2,
  )
  table['train_cross_entropy_noisy'] = float('nan')
  assert statistics.find_missing(table) == []
  (note,) = statistics.find_missing(table.assign(experiment='chain'))
  assert 'train_cross_entropy_noisy' in note


def test_the_highest_improving_level_of_pruning():
  errors = {0: [0.3, 0.3], 1: [0.2, 0.2], 2: [0.1, 0.1], 3: [0.4, 0.4]}
  table = pd.concat(
    [make_results(errors), make_results({0: [0.3, 0.3]}, noise_fraction=0.6)]
  )
  summary = statistics.summarize(table, 0.2)
  assert statistics.highest_improving_levels(summary) == {0.0: 2}


def test_optimal_level_needs_every_validation_error():
  table = make_results({0: [0.3, 0.3], 1: [0.2, 0.2], 2: [0.1, 0.1]})
  assert statistics.optimal_level(table) == 2
  # Of level 2 one value is missing: its mean would be of the other alone.
  table.loc[4, 'validation_error'] = float('nan')
  assert statistics.optimal_level(table) == 1
  table['validation_error'] = float('nan')
  assert statistics.optimal_level(table) is None
  assert not statistics.summarize(table, 0.2).is_optimal.any()


def test_the_least_sparse_of_equals_is_optimal_whatever_rounding_leaves():
  # 147 of 6,000 each: sums of floats say the second is less.
  errors = {0: [0.05, 0.05, 0.05]}
  errors |= {1: [0.025, 0.024, 0.0245], 2: [0.02, 0.0215, 0.032]}
  table = make_results(errors)
  means = table.groupby('level').validation_error.mean()
  assert means[2] < means[1] < means[2] + 1e-15
  assert statistics.optimal_level(table) == 1


def test_sets_left_out_have_no_optimal_sparsity():
  table = make_results(
    {0: [0.1, 0.2]}, 'dense', experiment='leave_out', left_out='subgroup'
  )
  assert not statistics.summarize(table, 0.2).is_optimal.any()


def test_extended_dense_is_drawn_where_pruning_is():
  errors = {0: [0.1, 0.1], 1: [0.1, 0.1], 2: [0.1, 0.1]}
  table = pd.concat(
    [make_results(errors), make_results(errors, 'extended_dense')]
  )
  summary = statistics.summarize(table, 0.2)
  dense = summary[summary.arm == 'extended_dense']
  assert dense.weights_remaining.tolist() == [1, 1, 1]
  assert dense.matched_weights_remaining.tolist() == pytest.approx(
    [1, 0.8, 0.64]
  )


def test_extended_dense_alone_is_drawn_where_pruning_would_be():
  errors = {0: [0.1, 0.1], 1: [0.1, 0.1], 2: [0.1, 0.1]}
  table = make_results(errors, 'extended_dense')
  summary = statistics.summarize(table, 0.5)
  assert summary.weights_remaining.tolist() == [1, 1, 1]
  assert summary.matched_weights_remaining.tolist() == [1, 0.5, 0.25]


def test_average():
  table = pd.DataFrame({'arm': ['a', 'b', 'a'], 'ratio': [1.0, 5.0, 3.0]})
  average = statistics.average(table, ['arm'], 'ratio')
  assert average.arm.tolist() == ['a', 'b']
  assert average.ratio_mean.tolist() == [2, 5]
  assert average.ratio_std[0] == pytest.approx(math.sqrt(2))
  assert math.isnan(average.ratio_std[1])
  assert average.n.tolist() == [2, 1]
