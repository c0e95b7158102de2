"""The report as one self-contained HTML page."""

import base64
import json

import jinja2
import pandas as pd

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
    title=title, chapters=chapters, claims=claims
  )


def lay_out(table, is_strong=None):
  """Lay a table out for reading: METRIC_mean and METRIC_std in one cell.

  Args:
    table: DataFrame.
    is_strong: bool Series, the rows to print bold; none by default.

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
  strong = [False] * len(shown) if is_strong is None else list(is_strong)
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
  return name.removesuffix('_mean').replace('_', ' ')


def _spread(mean, std):
  return _text(mean) if pd.isna(std) else f'{_text(mean)} ± {std:.2g}'


def _text(value):
  if isinstance(value, bool):
    return 'yes' if value else ''
  if pd.isna(value):
    return '-'
  return f'{value:.4g}' if isinstance(value, float) else str(value)


def _data_uri(png):
  return 'data:image/png;base64,' + base64.b64encode(png).decode()
