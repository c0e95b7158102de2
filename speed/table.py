"""The tables of README.md and docs/speed.md, from speed/results.

  python -m speed.table

prints them; tests/readme_test.py compares.
"""

import itertools
import json
import operator
import pathlib
import statistics

from speed import throughput

FOLDER = pathlib.Path(__file__).parent / 'results'

NAMES = {
  'lenet': 'LeNet-300-100',
  'resnet20': 'ResNet-20',
  'vgg16': 'VGG-16',
  'resnet32': 'ResNet-32',
  'resnet50': 'ResNet-50',
}
DTYPES = ('float32', 'bfloat16')


def make_table() -> str:
  """Return the table in Markdown, of each throughput_MODEL.json."""
  lines = [
    '| network | members | images per second | PyTorch | ratio | evaluated per '
    'second | turns |',
    '|---|---|---|---|---|---|---|',
  ]
  for model, name in NAMES.items():
    path = FOLDER / f'throughput_{model}.json'
    if not path.exists():
      continue
    turns = json.loads(path.read_text())['turns']
    peer = statistics.median(
      turn['peer']['images_per_second'] for turn in turns
    )
    for i, ours in enumerate(turns[0]['ours']):
      trained, evaluated = (
        _median(turns, i, key)
        for key in ('images_per_second', 'evaluated_per_second')
      )
      ratio = throughput.describe_ratio(turns, i)
      cells = f'{trained:,.0f} | {peer:,.0f} | {ratio} | {evaluated:,.0f}'
      lines.append(f'| {name} | {ours["members"]} | {cells} | {len(turns)} |')
  return '\n'.join(lines)


def fastest(model: str) -> tuple[int, float]:
  """Return the members of the fastest stack, and their images per second."""
  path = FOLDER / f'throughput_{model}.json'
  turns = json.loads(path.read_text())['turns']
  speeds = {
    ours['members']: _median(turns, i, 'images_per_second')
    for i, ours in enumerate(turns[0]['ours'])
  }
  return max(speeds.items(), key=operator.itemgetter(1))


def _median(turns, i, key):
  return statistics.median(turn['ours'][i][key] for turn in turns)


def make_costs_table() -> str:
  """Return the table in Markdown of what speed/costs.py measured."""
  result = json.loads((FOLDER / 'costs.json').read_text())
  turns = result['turns']
  lines = [
    '| networks | images per second | slowest level | fastest level |',
    '|---|---|---|---|',
  ]
  for members in turns[0]['epoch_seconds']:
    by_level = [
      statistics.median(seconds)
      for seconds in zip(*(turn['epoch_seconds'][members] for turn in turns))
    ]
    images = int(members) * result['num_train']
    speeds = statistics.median(by_level), max(by_level), min(by_level)
    cells = ' | '.join(f'{images / seconds:,.0f}' for seconds in speeds)
    lines.append(f'| {members} | {cells} |')
  return '\n'.join(lines)


def describe_start_up() -> str:
  """Return the seconds of start-up that speed/costs.py measured."""
  turns = json.loads((FOLDER / 'costs.json').read_text())['turns']
  seconds = {
    name: statistics.median(turn['start_up'][name] for turn in turns)
    for name in ('help', 'cold', 'warm')
  }
  return (
    f'`--help` takes {seconds["help"]:.1f} s, and the first step of LeNet '
    f'{seconds["cold"]:.1f} s from the prompt, {seconds["warm"]:.1f} s with '
    'compiled programs in the cache.'
  )


def make_tpu_table() -> str:
  """Return the table in Markdown of what speed/tpu_compile.py estimated.

  Of each case it has the faster stacking; a cell without a row is '-'.
  """
  rows = json.loads((FOLDER / 'tpu_compile.json').read_text())
  rows.sort(key=lambda row: row['estimated_images_per_second_and_core'])
  best = {(r['benchmark'], r['topology'], r['dtype']): r for r in rows}
  lines = [
    '| network | slice | members | mesh | GB, float32 | GB, bfloat16 '
    '| images/s, float32 | images/s, bfloat16 | collectives |',
    '|---|---|---|---|---|---|---|---|---|',
  ]
  slices = dict.fromkeys(topology for _, topology, _ in sorted(best))
  for name, slice_ in itertools.product(NAMES, slices):
    both = [best.get((name, slice_, dtype)) for dtype in DTYPES]
    if not any(both):
      continue
    some = both[0] or both[1]
    mesh = f'{some["mesh"]["member"]} x {some["mesh"]["data"]}'
    cells = [NAMES[name], slice_.replace(':', ' '), str(some['members']), mesh]
    for key, form in (
      ('gigabytes_per_core', '.2f'),
      ('estimated_images_per_second_and_core', ',.0f'),
    ):
      cells += [format(row[key], form) if row else '-' for row in both]
    sums = dict.fromkeys(_describe_collectives(row) for row in both if row)
    lines.append('| ' + ' | '.join([*cells, '; '.join(sums)]) + ' |')
  return '\n'.join(lines)


def _describe_collectives(row):
  kinds = sorted(row['collectives'].items())
  return ', '.join(f'{count} {kind}' for kind, count in kinds) or 'none'


if __name__ == '__main__':
  print(
    make_table(),
    make_costs_table(),
    describe_start_up(),
    make_tpu_table(),
    sep='\n\n',
  )
