"""The table of training speed in README.md, from speed/results.

  python -m speed.table

prints it; tests/readme_test.py compares.
"""

import json
import pathlib
import statistics

from speed import throughput

FOLDER = pathlib.Path(__file__).parent / 'results'

NAMES = {
  'lenet': 'LeNet-300-100',
  'resnet20': 'ResNet-20',
  'vgg16': 'VGG-16',
}


def make_table() -> str:
  """Return the table in Markdown, of each throughput_MODEL.json."""
  lines = [
    '| network | members | images per second | PyTorch | ratio | evaluating '
    '| turns |',
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
        statistics.median(turn['ours'][i][key] for turn in turns)
        for key in ('images_per_second', 'evaluated_per_second')
      )
      ratio = throughput.describe_ratio(turns, i)
      cells = f'{trained:,.0f} | {peer:,.0f} | {ratio} | {evaluated:,.0f}'
      lines.append(f'| {name} | {ours["members"]} | {cells} | {len(turns)} |')
  return '\n'.join(lines)


if __name__ == '__main__':
  print(make_table())
