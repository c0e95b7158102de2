"""The command `pruning-gen`, also python -m pruning_gen.

  pruning-gen --config=quickstart --workdir=runs/quickstart
  pruning-gen report --workdir=runs/quickstart
  pruning-gen export --workdir=runs/quickstart --output=net.safetensors
  pruning-gen sweep plan --sweep=paper

The same as python -m pruning_gen.main, pruning_gen.report, pruning_gen.export
and pruning_gen.launch.sweep.
"""

import runpy
import sys

MODULES = {
  'report': 'pruning_gen.report',
  'export': 'pruning_gen.export',
  'sweep': 'pruning_gen.launch.sweep',
}


def main() -> None:
  """Run the module that the first argument names, by default a run."""
  module = MODULES.get(''.join(sys.argv[1:2]))
  if module:
    del sys.argv[1]
  # As python -m does, so that signals are handled from the first import on.
  runpy.run_module(
    module or 'pruning_gen.main', run_name='__main__', alter_sys=True
  )


if __name__ == '__main__':
  main()
