"""The report as one self-contained HTML page."""

import base64
import json

import jinja2


def render(title, lead, sections, config, provenance):
  """Render the page.

  Args:
    title: str.
    lead: str, one sentence on what the run is.
    sections: list of dicts with id, title, caption, and where there are such
      image (PNG bytes) and table (from `summary_table`).
    config: dict, the run's config.
    provenance: dict, the run's starts.

  Returns:
    HTML, with every image inside it.
  """
  environment = jinja2.Environment(
    loader=jinja2.PackageLoader('pruning_gen.analysis', '.'),
    autoescape=True,
    undefined=jinja2.ChainableUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  sections = [
    section | {'image': _data_uri(section['image'])}
    if 'image' in section
    else section
    for section in sections
  ]
  return environment.get_template('page.html').render(
    title=title,
    lead=lead,
    sections=sections,
    config=json.dumps(config, indent=2),
    provenance=json.dumps(provenance, indent=2),
  )


def summary_table(summary):
  """Lay out a summary for reading: percent, mean +- standard deviation, n.

  Args:
    summary: DataFrame from `statistics.summarize`.

  Returns:
    Dict with columns (names) and rows (dicts of cells and strong).
  """
  columns = (
    'arm',
    'noise',
    'level',
    'weights (%)',
    'epochs',
    'test error (%)',
    'against dense (points)',
    'verdict',
    'loss, original',
    'loss, noisy',
    'n',
  )
  rows = [
    {
      'strong': row.is_optimal,
      'cells': (
        row.arm,
        f'{row.noise_fraction:g}',
        row.level,
        f'{100 * row.weights_remaining:.2f}',
        row.epochs_trained,
        _spread(row.test_error_mean, row.test_error_std, 2, 100),
        _spread(
          row.test_error_difference_mean, row.test_error_difference_std, 2, 100
        ),
        row.test_error_verdict,
        _spread(
          row.train_cross_entropy_original_mean,
          row.train_cross_entropy_original_std,
          4,
        ),
        _spread(
          row.train_cross_entropy_noisy_mean,
          row.train_cross_entropy_noisy_std,
          4,
        ),
        row.n,
      ),
    }
    for row in summary.itertuples()
  ]
  return {'columns': columns, 'rows': rows}


def _spread(mean, std, digits, scale=1):
  if mean != mean:  # NaN: there is no such example.
    return '-'
  text = f'{scale * mean:.{digits}f}'
  return text if std != std else f'{text} ± {scale * std:.{digits}f}'


def _data_uri(png):
  return 'data:image/png;base64,' + base64.b64encode(png).decode()
