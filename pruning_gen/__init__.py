"""Pruning's effect on generalization, reproduced and extended in JAX.

From Python: `load`, `load_network` and `train`, of pruning_gen/library.py.
"""

import pathlib
from typing import Any

__version__ = '0.1.0'

_HERE = pathlib.Path(__file__).parent
# In a checkout, configs/ and launch/ lie next to this package; in a wheel they
# lie in it. Both are pruning_gen.configs and pruning_gen.launch everywhere.
if not (_HERE / 'configs').exists():
  __path__.append(str(_HERE.parent))


def __getattr__(name: str) -> Any:
  # JAX and pandas take seconds to import, and many programs need neither.
  if name in ('load', 'load_network', 'train'):
    from pruning_gen import library

    return getattr(library, name)
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
