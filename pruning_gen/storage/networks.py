"""Networks that are taken out of a run, each in a file of its own.

  WORKDIR/networks/pruning_noise_0.15_replicate_0_level_012.npz

NumPy's own format, which `np.load` reads: arrays are named as their place in
the Flax tree, params/dense_0/kernel, batch_stats/... and masks/... (bool, True
where a weight is kept), and `metadata` is JSON. In .safetensors the arrays are
the same, and the metadata is the value of `pruning_gen`.
"""

import json
import pathlib
from typing import Any
from typing import NamedTuple

import jax
import numpy as np
from etils import epath

from pruning_gen.errors import UserError
from pruning_gen.storage import files

FORMATS = ('.safetensors', '.npz')
# Arrays with fewer of their weights are compressed.
_SPARSE = 0.5
_KEY = 'pruning_gen'


class StoredNetwork(NamedTuple):
  """One network.

  Attributes:
    params: nested dict of float32 arrays; 0.0 wherever the mask is False.
    batch_stats: likewise, BatchNorm's running averages; may be empty.
    masks: nested dict of bool, like `params`.
    metadata: what the module is built with (model, num_classes), what its
      images are (data, image_shape, mean, std), which network it is, and its
      results.
  """

  params: dict[str, Any]
  batch_stats: dict[str, Any]
  masks: dict[str, Any]
  metadata: dict[str, Any]


def path_of(
  workdir: epath.PathLike,
  arm: str,
  noise_fraction: float,
  replicate: int,
  level: int,
) -> epath.Path:
  """Name the file of a network of the chain."""
  stem = _stem(arm, noise_fraction, replicate)
  return folder_of(workdir) / f'{stem}{level:03d}.npz'


def _stem(arm: str, noise_fraction: float, replicate: int) -> str:
  return f'{arm}_noise_{float(noise_fraction)!r}_replicate_{replicate}_level_'


def folder_of(workdir: epath.PathLike) -> epath.Path:
  """Return where the networks of a run are."""
  return files.path_of(workdir) / 'networks'


def list_levels(
  workdir: epath.PathLike, arm: str, noise_fraction: float, replicate: int
) -> list[int]:
  """List the levels at which a network of the chain was kept."""
  stem = _stem(arm, noise_fraction, replicate)
  paths = folder_of(workdir).glob(f'{stem}*.npz')
  return sorted(int(path.stem.removeprefix(stem)) for path in paths)


def write(path: epath.PathLike, network: StoredNetwork) -> None:
  """Write a network in the format that the file's suffix names.

  Raises:
    UserError: the file cannot be written.
  """
  trees = network._asdict()
  metadata = json.dumps(trees.pop('metadata'))
  arrays = flatten(trees)
  if pathlib.PurePath(path).suffix == '.safetensors':
    # Few runs need it, and it is an import.
    from safetensors import numpy as safetensors

    arrays = {name: np.ascontiguousarray(own) for name, own in arrays.items()}
    files.write_bytes(path, safetensors.save(arrays, {_KEY: metadata}))
    return
  masks = flatten({'masks': network.masks})
  sparse = {
    name.replace('masks', 'params', 1)
    for name, mask in masks.items()
    if mask.mean() < _SPARSE
  }
  files.write_arrays(
    path,
    arrays | {'metadata': np.array(metadata)},
    compressed=[*sorted(sparse), *masks, 'metadata'],
  )


def read(path: epath.PathLike) -> StoredNetwork:
  """Read what `write` wrote.

  Raises:
    UserError: the file is missing or damaged, or holds no such network.
  """
  path = files.path_of(path)
  try:
    if path.suffix == '.safetensors':
      arrays, metadata = _read_safetensors(path)
    else:
      arrays = files.read_arrays(path, 'metadata')
      metadata = str(arrays.pop('metadata'))
    return _unflatten(arrays, json.loads(metadata))
  except UserError:
    raise
  # A flipped bit may be in a name or in the JSON, and raises anything.
  except Exception as error:
    raise UserError(
      f'{path} is missing, damaged, or holds no network of pruning_gen '
      f'({error!r}): restore it from a copy, or write it again with '
      'pruning_gen.export'
    ) from error


def _unflatten(
  arrays: dict[str, np.ndarray], metadata: dict[str, Any]
) -> StoredNetwork:
  """Return the network whose arrays have the names that `flatten` gives."""
  trees = {'params': {}, 'batch_stats': {}, 'masks': {}}
  for name, array in arrays.items():
    *outer, last = name.split('/')
    tree = trees
    for key in outer:
      tree = tree.setdefault(key, {})
    tree[last] = array
  return StoredNetwork(**trees, metadata=metadata)


def read_masks(path: epath.PathLike) -> dict[str, np.ndarray]:
  """Read which weights an .npz file's network keeps, by its layers' names.

  Raises:
    UserError: as `read`.
  """
  arrays = files.read_arrays(files.path_of(path), prefix='masks/')
  return {
    name.removeprefix('masks/').removesuffix('/kernel'): array
    for name, array in arrays.items()
    if name.endswith('/kernel')
  }


def _read_safetensors(path: epath.Path) -> tuple[dict[str, np.ndarray], str]:
  from safetensors import numpy

  content = path.read_bytes()
  arrays = numpy.load(content)
  # 8 bytes state the length of the header, which is JSON.
  header = content[8 : 8 + int.from_bytes(content[:8], 'little')]
  return arrays, json.loads(header)['__metadata__'][_KEY]


def flatten(tree: dict[str, Any]) -> dict[str, Any]:
  """Flatten a nested dict to {'outer/inner': value}."""
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf
    for path, leaf in jax.tree.leaves_with_path(tree)
  }
