"""The report as one self-contained HTML page."""

import base64
import json
import math
from typing import Any

import jinja2
import pandas as pd

# Words that a table shows in color, and their CSS classes.
MARKS = {
  'agrees': 'good',
  'contradicts': 'bad',
  'undecided': 'unsure',
  'cannot tell': 'unsure',
}

# More rows than a page should hold; the CSV has them.
MAX_ROWS = 120

# How columns are called, and in what unit they are shown: files hold
# fractions, pages percent, and points for differences of errors.
COLUMNS = {
  'noise_fraction': ('label noise', '%'),
  'weights_remaining': ('weights remaining', '%'),
  'matched_weights_remaining': ('weights remaining for pruning', '%'),
  'optimal_weights_remaining': ('weights at optimum', '%'),
  'num_weights_remaining': ('weights', ''),
  'num_left_out': ('examples left out', ''),
  'epochs_trained': ('epochs', ''),
  'train_cross_entropy': ('training loss', 'nats'),
  'train_cross_entropy_clean': ('training loss, clean', 'nats'),
  'train_cross_entropy_noisy': ('training loss, noisy', 'nats'),
  'test_cross_entropy': ('test loss', 'nats'),
  'train_error': ('training error', '%'),
  'validation_error': ('validation error', '%'),
  'test_error': ('test error', '%'),
  'test_error_difference': ('against dense', 'points'),
  'test_error_verdict': ('verdict', ''),
  'difference': ('difference', 'points'),
  'error': ('error', '%'),
  'pruning': ('pruning', '%'),
  'extended_dense': ('extended dense', '%'),
  'against_pruning': ('minus pruning', 'points'),
  'against_pruning_verdict': ('verdict', ''),
  'against_pruning_unpaired': ('unpaired', ''),
  'without': ('without the set', '%'),
  'random': ('without random ones', '%'),
  'dense': ('all examples', '%'),
  'effect': ('change of training loss', 'nats'),
  'percentile': ('EL2N percentile', ''),
  'share': ('share', '%'),
  'noisy_share': ('noisy share', '%'),
  'as_noisy': ('as the noisy label', '%'),
  'as_true': ('as the true label', '%'),
  'as_other': ('as another class', '%'),
  'harmed_from': ('harmed from level', ''),
  'remaining': ('of the layer remaining', '%'),
  'l2_norm': ('L2 norm', ''),
}
HIDDEN = ('is_optimal', 'is_highest_improving', 'is_last')
HIDDEN += ('lowest_weights_remaining',)


def render(**content: Any) -> str:
  """Render the page, with every image inside it.

  Args:
    **content: title and date; runs, dicts with title, lead (list of str),
      config and provenance; missing, list of str; claims, from `lay_out`; and
      groups, dicts with title, text and sections: dicts with id, title,
      caption, notes, table (from `lay_out`), and image (PNG bytes, or None),
      alt and width (inches).
  """
  environment = jinja2.Environment(
    loader=jinja2.PackageLoader('pruning_gen.analysis', '.'),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  environment.filters['data_uri'] = _data_uri
  environment.filters['pretty'] = lambda value: json.dumps(value, indent=2)
  template = environment.get_template('page.html')
  return template.render(marks=MARKS, **content)


def lay_out(table: pd.DataFrame, max_rows: int = MAX_ROWS) -> dict[str, Any]:
  """Lay a table out for reading: METRIC_mean and METRIC_std in one cell.

  Rows that are is_optimal are printed bold.

  Returns:
    columns (titles); rows, dicts of cells and strong, the first max_rows; and
    num_rows, of the whole table.
  """
  columns = [
    name
    for name in table.columns
    if name not in HIDDEN and not _is_std(name, table)
  ]
  shown = table.head(max_rows)
  cells = [_lay_out_column(name, shown) for name in columns]
  strong = shown.get('is_optimal', [False] * len(shown))
  return {
    'columns': [_title(name) for name in columns],
    'rows': [
      {'cells': row, 'strong': bold} for row, bold in zip(zip(*cells), strong)
    ],
    'num_rows': len(table),
  }


def _lay_out_column(name: str, table: pd.DataFrame) -> list[str]:
  factor = 100 if _unit(name) in ('%', 'points') else 1
  values = table[name]
  if factor != 1 and pd.api.types.is_numeric_dtype(values):
    values = factor * values
  if name == 'noise_fraction':
    # All digits: two noise levels must not look alike.
    return ['-' if pd.isna(value) else f'{value:g}' for value in values]
  if _std_name(name) not in table.columns:
    return [_text(value) for value in values]
  stds = factor * table[_std_name(name)]
  return [_spread(mean, std) for mean, std in zip(values, stds)]


def _is_std(name: str, table: pd.DataFrame) -> bool:
  return name == 'std' or (
    name.endswith('_std') and f'{name[:-4]}_mean' in table.columns
  )


def _std_name(name: str) -> str:
  if name == 'mean':
    return 'std'
  return f'{name[:-5]}_std' if name.endswith('_mean') else ''


def _unit(name: str) -> str:
  return COLUMNS.get(name.removesuffix('_mean'), ('', ''))[1]


def _title(name: str) -> str:
  base = name.removesuffix('_mean')
  title, unit = COLUMNS.get(base, (base.replace('_', ' '), ''))
  return f'{title} ({unit})' if unit else title


def _spread(mean: float, std: float) -> str:
  if pd.isna(mean) or pd.isna(std):
    return _text(mean)
  # What rounding leaves of equal numbers is no spread.
  if std <= 1e-6 * abs(mean):
    return f'{_text(mean)}\u00a0±\u00a00'
  # As many digits as show two of the standard deviation.
  digits = min(max(1 - math.floor(math.log10(std)), 0), 9)
  # Spaces that do not break.
  return f'{mean:.{digits}f}\u00a0±\u00a0{std:.{digits}f}'


def _text(value: Any) -> str:
  if isinstance(value, bool):
    return 'yes' if value else ''
  if pd.isna(value):
    return '-'
  return f'{value:.4g}' if isinstance(value, float) else str(value)


def _data_uri(png: bytes) -> str:
  return 'data:image/png;base64,' + base64.b64encode(png).decode()
