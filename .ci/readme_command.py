"""Print a command block of the README, so that CI runs what users read.

  python .ci/readme_command.py test

The block is the one that follows the line `<!-- command: test -->`.
"""

import pathlib
import re
import sys

readme = (pathlib.Path(__file__).parents[1] / 'README.md').read_text()
(block,) = re.findall(
  rf'<!-- command: {re.escape(sys.argv[1])} -->\n+```bash\n(.*?)```',
  readme,
  flags=re.DOTALL,
)
print(block, end='')
