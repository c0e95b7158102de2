"""speed/accelerator.sh, on whatever device there is, at tiny sizes."""

import json
import os
import pathlib
import subprocess

import pandas as pd
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.long]

SCRIPT = pathlib.Path(__file__).parents[1] / 'speed' / 'accelerator.sh'
TINY = {
  'MODELS': 'lenet',
  'MEMBERS': '1 2',
  'STACKINGS': 'map',
  'DTYPES': 'float32 float99',
  'IMAGES': '256',
  'LIMIT': '600',
  'CHAIN': '300',
  'CHAIN_FLAGS': '--config.data.name=digits --config.data.num_train=256 '
  '--config.model.num_filters=2 --config.levels=0 --config.replicates=1',
}
PEER = """
print('{"peer": "none", "torch": "0", "images_per_second": 5.0}')
"""


def test_all_of_it_and_what_fails(tmp_path):
  (tmp_path / 'peer.py').write_text(PEER)
  output = tmp_path / 'measured'
  command = ['bash', SCRIPT, output, tmp_path / 'peer.py']
  subprocess.run(command, env=os.environ | TINY, check=True)
  assert json.loads((output / 'devices.json').read_text())['devices']
  lines = (output / 'throughput.jsonl').read_text().splitlines()
  measured = [json.loads(line) for line in lines]
  assert [line.get('members') for line in measured] == [None, None, 1, 2]
  assert all(line['images_per_second'] > 0 for line in measured)
  failed = (output / 'failed.txt').read_text()
  assert failed.count('failed: ') == 2 and failed.count('float99') >= 2
  assert len(pd.read_csv(output / 'chain' / 'results.csv')) == 4
  # What was measured is never written over.
  assert subprocess.run(command, env=os.environ | TINY).returncode == 1


def test_without_time_or_a_peer_it_says_what_is_skipped(tmp_path):
  output = tmp_path / 'measured'
  subprocess.run(
    ['bash', SCRIPT, output], env=os.environ | TINY | {'LIMIT': '1'}, check=True
  )
  skipped = (output / 'failed.txt').read_text().splitlines()
  assert skipped[0].startswith('skipped: PyTorch')
  assert skipped[-1] == 'skipped: the chain' and len(skipped) == 6
