import os
import subprocess
import sys

import pytest

from tests import program

SAY = """
from pruning_gen import output
output.guard()
import sys
for i in range(3):
  print('läuft ' * 2000, flush=True)
  print('läuft', file=sys.stderr)
sys.stderr.write('half a line')
sys.stderr.flush()
output.say_last('läuft')
print('too late', file=sys.stderr)
sys.exit(75)
"""


@pytest.mark.parametrize(
  'redirected',
  [
    *('>&-', '2>&-', '>&- 2>&-', '| head -c 1'),
    pytest.param(
      '>/dev/full 2>&1',
      marks=pytest.mark.skipif(
        not os.path.exists('/dev/full'), reason='needs Linux'
      ),
    ),
  ],
)
@pytest.mark.parametrize('encoding', ['utf-8', 'ascii'])
def test_what_cannot_be_printed_is_dropped(tmp_path, redirected, encoding):
  (tmp_path / 'say.py').write_text(SAY)
  command = f'"$0" say.py {redirected}; exit ${{PIPESTATUS[0]}}'
  ended = subprocess.run(
    ['bash', '-c', command, sys.executable],
    cwd=tmp_path,
    env=os.environ
    | {
      'PYTHONPATH': str(program.ROOT),
      'PYTHONIOENCODING': encoding,
      'PYTHONUNBUFFERED': '',
    },
    capture_output=True,
  )
  assert ended.returncode == 75
  assert b'Traceback' not in ended.stderr and b'late' not in ended.stderr
  if '2>' not in redirected:
    last = 'läuft'.encode(encoding, errors='backslashreplace')
    assert ended.stderr.splitlines() == [*[last] * 3, b'half a line', last]
