"""The report as one self-contained HTML page."""

import base64
import json
import math

import jinja2
import pandas as pd

# Words that a table shows in colour, and their CSS classes.
MARKS = {'agrees': 'good', 'does not agree': 'bad', 'cannot tell': 'unsure'}

# More rows than a page should hold; the CSV has them.
MAX_ROWS = 400


def render(title, chapters, claims):
  """Render the page.

  Args:
    title: str.
    chapters: list of dicts, one a panel: id; title; lead, list of str; missing,
      list of str; config and provenance, dicts; and sections, a list of dicts
      with id, title, caption, table (from `lay_out`), file (the name of figure
      and table), and image (PNG bytes, or None).
    claims: dict from `lay_out`.

  Returns:
    HTML, with every image inside it.
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
  return environment.get_template('page.html').render(
    title=title, chapters=chapters, claims=claims, marks=MARKS
  )


def lay_out(table):
  """Lay a table out for reading: METRIC_mean and METRIC_std in one cell.

  Args:
    table: DataFrame; where it has is_optimal, such rows are printed bold.

  Returns:
    Dict with columns (names), rows (dicts of cells and strong; the first
    `MAX_ROWS`) and num_rows, of the whole table.
  """
  columns = [name for name in table.columns if not _is_std(name, table)]
  shown = table.head(MAX_ROWS)
  cells = [
    [
      _spread(mean, std)
      for mean, std in zip(shown[name], shown[_std_name(name)])
    ]
    if _std_name(name) in table.columns
    else [_text(value) for value in shown[name]]
    for name in columns
  ]
  strong = shown.get('is_optimal', [False] * len(shown))
  return {
    'columns': [_title(name) for name in columns],
    'rows': [
      {'cells': row, 'strong': bold} for row, bold in zip(zip(*cells), strong)
    ],
    'num_rows': len(table),
  }


def _is_std(name, table):
  return name == 'std' or (
    name.endswith('_std') and f'{name[:-4]}_mean' in table.columns
  )


def _std_name(name):
  if name == 'mean':
    return 'std'
  return f'{name[:-5]}_std' if name.endswith('_mean') else ''


def _title(name):
  if name == 'mean':
    return 'mean ± std'
  return name.removesuffix('_mean').removesuffix('_fraction').replace('_', ' ')


def _spread(mean, std):
  if pd.isna(mean) or pd.isna(std):
    return _text(mean)
  # What rounding leaves of equal numbers is no spread.
  if std <= 1e-6 * abs(mean):
    return f'{_text(mean)}\u00a0±\u00a00'
  # As many digits as show two of the standard deviation.
  digits = min(max(1 - math.floor(math.log10(std)), 0), 9)
  # Spaces that do not break.
  return f'{mean:.{digits}f}\u00a0±\u00a0{std:.{digits}f}'


def _text(value):
  if isinstance(value, bool):
    return 'yes' if value else ''
  if pd.isna(value):
    return '-'
  return f'{value:.4g}' if isinstance(value, float) else str(value)


def _data_uri(png):
  return 'data:image/png;base64,' + base64.b64encode(png).decode()
