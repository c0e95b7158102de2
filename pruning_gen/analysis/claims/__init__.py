"""The paper's claims, and whether runs agree: each a row of `table.CLAIMS`.

Verdicts are by the paper's rule on replicate-paired differences; see
`analysis.verdicts` for its weakness. A claim is undecided where its data is not
there, and, against a number of the paper, where a run has other settings than
the paper's (`paper.SETTINGS`).
"""

import numpy as np
import pandas as pd

from pruning_gen.analysis.claims import base
from pruning_gen.analysis.claims import paper
from pruning_gen.analysis.claims import several
from pruning_gen.analysis.claims.base import Claim
from pruning_gen.analysis.claims.base import Finding
from pruning_gen.analysis.claims.base import Undecided
from pruning_gen.analysis.claims.case import Case
from pruning_gen.analysis.claims.table import CLAIMS
from pruning_gen.analysis.load import Benchmark

COLUMNS = ['section', 'claim', 'benchmark', 'noise_fraction', 'paper']
COLUMNS += ['mean', 'std', 'unit', 'paired', 'unpaired', 'n', 'verdict']
COLUMNS += ['detail']

# The benchmark of a claim over all of them.
ALL = 'all'

# Levels on which a claim may depend, and how a summary marks them.
ENDS = {'L*': 'is_optimal', 'L^': 'is_highest_improving'}


def tabulate(
  benchmarks: list[Benchmark], claims: tuple[Claim, ...] = CLAIMS
) -> pd.DataFrame:
  """Test every claim on every benchmark that it is about.

  Returns:
    `COLUMNS`, without benchmark where there is one; noise_fraction is missing
    where a row is about several noise levels. Without a finished level of
    pruning, no rows.
  """
  all_cases = [
    cases for benchmark in benchmarks if (cases := list_cases(benchmark))
  ]
  rows = []
  for claim in claims if all_cases else ():
    if claim.scope in (base.ALL_CLEAN, base.ALL_NOISY):
      found = _test_over(claim, all_cases)
      rows.append(_row(claim, ALL, np.nan, claim.paper, found))
      continue
    for cases in all_cases:
      title = cases[0].benchmark.title or cases[0].benchmark.name
      new = [
        _row(claim, title, *found) for found in _test_benchmark(claim, cases)
      ]
      rows += _join_untested(new)
  table = pd.DataFrame(rows, columns=COLUMNS)
  return table if len(benchmarks) > 1 else table.drop(columns='benchmark')


def list_cases(benchmark: Benchmark) -> list[Case]:
  """Return the Cases of all noise levels at which pruning has finished some."""
  table = benchmark.results
  is_pruned = (table.experiment == 'chain') & (table.arm == 'pruning')
  cases, lower = [], None
  for noise_fraction in sorted(table[is_pruned].noise_fraction.unique()):
    cases.append(Case(benchmark, noise_fraction, lower))
    lower = cases[-1] if noise_fraction > 0 else None
  return cases


def _row(claim, title, noise_fraction, number, found):
  return {
    'section': claim.section,
    'claim': claim.text,
    'benchmark': title,
    'noise_fraction': noise_fraction,
    'paper': base.show(number),
  } | found._asdict()


def _join_untested(rows):
  """Make one row of those that have no number, for one reason."""
  reasons = {(row['paper'], row['detail']) for row in rows}
  if len(rows) < 2 or len(reasons) > 1 or any(row['n'] for row in rows):
    return rows
  return [rows[0] | {'noise_fraction': np.nan}]


def _test_benchmark(claim, cases):
  """Return (noise_fraction, paper, Finding) of one benchmark."""
  is_noisy = {base.CLEAN: False, base.EACH: None}.get(claim.scope, True)
  chosen = [
    case for case in cases if is_noisy in (None, case.noise_fraction > 0)
  ]
  if not chosen:
    number = _look_up(claim.paper, cases[0])
    why = (
      'this run has no label noise'
      if is_noisy
      else 'this run has no noise level 0%'
    )
    return [] if number is None else [(np.nan, number, _undecided(why))]
  if claim.scope == base.ACROSS:
    number = _look_up(claim.paper, chosen[0])
    if number is None:
      return []
    return [(np.nan, number, _test_across(claim, chosen, number))]
  found = []
  for case in chosen:
    number = _look_up(claim.paper, case)
    finding = None if number is None else _test(claim, case, number)
    if finding is not None:
      finding = _withhold(finding, _gate(case, number, claim.needs))
      found.append((case.noise_fraction, number, finding))
  return found


def _look_up(number, case):
  """Return the paper's number for a benchmark, or None."""
  name = case.name if case.name in paper.SETTINGS else ()
  for keys in ((*name, ''), (case.noise_fraction, '')):
    if isinstance(number, dict):
      number = next((number[key] for key in keys if key in number), None)
  return number


def _test(claim, cases, number):
  """Test a Case, or a list; None where there is nothing to test."""
  try:
    found = claim.test(cases)
  except Undecided as reason:
    return _undecided(str(reason))
  if found is None:
    return None
  cases = cases if isinstance(cases, list) else [cases]
  return _keep_open(base.decide(found, number), cases, claim.at)


def _undecided(why):
  return Finding(verdict=base.UNDECIDED, detail=why)


def _gate(case, number, needs):
  """Return why a verdict on a Case would be premature or unfair, or ''."""
  why = ''
  if not isinstance(number, str):
    why = paper.find_difference(case.benchmark.config)
  return _find_unfinished(case, needs) or why


def _find_unfinished(case, needs):
  config = case.benchmark.config
  levels = {
    'chain': ('pruning', config['levels']),
    'extended_dense': ('extended_dense', config['levels']),
    'width': ('width', config['width']['levels']),
  }
  for name in needs:
    curve, last = levels[name]
    # The optimum may be at a level that is still to come.
    if case.has(curve) and case.last(curve) < last:
      words = 'the chain' if name == 'chain' else curve.replace('_', ' ')
      noise = f' at {100 * case.noise_fraction:g}% noise'
      return f'{words} has finished level {case.last(curve)} of {last}{noise}'
  return ''


def _withhold(finding, why):
  """Leave a finding undecided if there is a reason."""
  return base.withhold(finding, why, finding.detail) if why else finding


def _keep_open(finding, cases, at):
  """Leave open what contradicts where a longer chain may have another L* or L^.

  Of several benchmarks, one that ends there is enough.
  """
  if finding.verdict != base.CONTRADICTS or not at:
    return finding
  ends = [case for case in cases if case.ends_at(ENDS[at])]
  names = [several.describe(case, len(cases) > 1) for case in ends]
  why = f'the chain ends at its {at}: {", ".join(names)}' if ends else ''
  return _withhold(finding, why)


def _test_across(claim, cases, number):
  """Test a claim over the paper's noise levels of one benchmark."""
  name = cases[0].name
  wanted = paper.NOISE_FRACTIONS.get(name, ())
  if wanted:
    cases = [case for case in cases if case.noise_fraction in wanted] or cases
  finding = _test(claim, cases, number)
  reasons = (_gate(case, number, claim.needs) for case in cases)
  why = next(filter(None, reasons), '')
  if not why and not isinstance(number, str):
    there = {case.noise_fraction for case in cases}
    missing = [f'{100 * noise:g}%' for noise in wanted if noise not in there]
    if name in paper.OURS:
      why = _name_ours(name)
    elif missing:
      why = f'this run has no noise level {" or ".join(missing)}'
  return _withhold(finding, why)


def _name_ours(name):
  ours = ' and '.join(f'{100 * noise:g}%' for noise in paper.OURS[name])
  return (
    f"{ours} noise is our choice for {name[0]}, not known to be the paper's"
  )


def _test_over(claim, all_cases):
  """Test a claim over the paper's clean or noisy benchmarks."""
  is_noisy = claim.scope == base.ALL_NOISY
  wanted = [
    (name, noise)
    for name, noises in paper.NOISE_FRACTIONS.items()
    for noise in (noises if is_noisy else (0.0,))
  ]
  found, reasons = {}, {}
  for case in (case for cases in all_cases for case in cases):
    key = case.name, case.noise_fraction
    if key in wanted and key not in found:
      why = paper.find_difference(case.benchmark.config)
      why = why or _find_unfinished(case, claim.needs)
      if why:
        reasons[key] = f'{several.describe(case, True)}: {why}'
      else:
        # Of a benchmark that is there twice, the first.
        found[key] = case
  finding = Finding()
  if found:
    cases = [found[key] for key in wanted if key in found]
    finding = _test(claim, cases, claim.paper)
  if len(found) < len(wanted):
    kind = 'noisy' if is_noisy else 'clean'
    why = [f'{len(found)} of {len(wanted)} {kind} benchmarks']
    why += [reasons[key] for key in reasons if key not in found]
    return base.withhold(finding, *why, finding.detail)
  if is_noisy:
    ours = [_name_ours(name) for name in paper.OURS]
    detail = '; '.join(filter(None, [finding.detail, *ours]))
    finding = finding._replace(detail=detail)
  return finding
