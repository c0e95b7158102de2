"""Takes one network of the chain out of a run, and reads it anywhere.

  python -m pruning_gen.export --workdir=runs/lenet --output=net.safetensors \
      --arm=pruning --noise_fraction=0.15 --replicate=0 --level=optimal

The suffix chooses the format, .safetensors or .npz; storage/networks.py says
what is in it. `load_network` returns the Flax module and its variables.
"""

import sys
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
from absl import app
from absl import flags
from etils import epath
from jaxtyping import Array
from jaxtyping import ArrayLike
from jaxtyping import Float
from jaxtyping import Int
from jaxtyping import UInt8
from ml_collections import ConfigDict

from pruning_gen import command_line
from pruning_gen import output as output_stream
from pruning_gen.analysis import statistics
from pruning_gen.errors import UserError
from pruning_gen.experiments import build
from pruning_gen.storage import files
from pruning_gen.storage import networks
from pruning_gen.storage import provenance
from pruning_gen.storage import results
from pruning_gen.training import epoch
from pruning_gen.training import evaluate
from pruning_gen.training import train_state


class Network(NamedTuple):
  """A network that can be applied.

  Attributes:
    module: a Flax module, in float32: call
      module.apply(variables, network.normalize(images), train=False).
    variables: nested dict of NumPy arrays, `params` and `batch_stats`.
    masks: nested dict of bool, like the params: True where a weight is kept.
    metadata: as in `StoredNetwork`.
  """

  module: Any
  variables: dict[str, Any]
  masks: dict[str, Any]
  metadata: dict[str, Any]

  def normalize(self, images: UInt8[ArrayLike, '...']) -> Float[Array, '...']:
    """Return images as the module takes them."""
    mean, std = self.metadata['mean'], self.metadata['std']
    return epoch.normalize(jnp.asarray(images), mean, std)

  def evaluate(
    self,
    images: UInt8[ArrayLike, 'example height width channels'],
    labels: Int[ArrayLike, ' example'],
    batch_size: int = 500,
  ) -> evaluate.PerExample:
    """Evaluate each example, as the run did, and return NumPy arrays."""
    state = train_state.TrainState(**self.variables, masks=(), opt_state=())
    run = evaluate.make_evaluate(
      self.module,
      min(batch_size, len(images)),
      self.normalize,
      self.metadata['eval_precision'],
    )
    labels, images = jnp.asarray(labels, jnp.int32), jnp.asarray(images)
    return jax.device_get(jax.jit(run)(state, labels, images))


def export(
  workdir: epath.PathLike,
  output: epath.PathLike,
  arm: str = 'pruning',
  noise_fraction: float = 0.0,
  replicate: int = 0,
  level: int | str = 'optimal',
) -> epath.Path:
  """Write one network of a run's chain to a new file, and return its path.

  Args:
    workdir: of the run, finished or not.
    output: a file that does not exist, .safetensors or .npz.
    level: a level, or 'optimal' for the one that the report chooses.

  Raises:
    UserError: the file exists or cannot be written, or the run has not kept
      this network.
  """
  output = files.path_of(output)
  if output.suffix not in networks.FORMATS:
    raise UserError(
      f'--output={output} must end in {" or ".join(networks.FORMATS)}'
    )
  if output.exists():
    raise UserError(f'--output={output} exists: remove it, or name another')
  path = find(workdir, arm, noise_fraction, replicate, level)
  networks.write(output, networks.read(path))
  return output


def find(
  workdir: epath.PathLike,
  arm: str,
  noise_fraction: float,
  replicate: int,
  level: int | str = 'optimal',
) -> epath.Path:
  """Return the file of a network that a run has kept; see `export`.

  Raises:
    UserError: it has not, or not at that level; lists what there is.
  """
  # A folder that holds no run is an error of its own.
  provenance.read_config(workdir)
  found = networks.list_levels(workdir, arm, noise_fraction, replicate)
  name = (
    f'--arm={arm} --noise_fraction={noise_fraction:g} --replicate={replicate}'
  )
  if not found:
    others = networks.folder_of(workdir).glob('*_level_*.npz')
    known = sorted({path.stem.rpartition('_level_')[0] for path in others})
    raise UserError(
      f'{workdir} has kept no network of {name}: '
      + (
        f'it has {", ".join(known)}'
        if known
        else 'train with --config.checkpoint.keep_levels, which names levels'
      )
    )
  wanted = level
  if level == 'optimal':
    table = results.read_results(workdir)
    optima = statistics.find_optima(table[table.experiment == 'chain'])
    wanted = optima.get((arm, float(noise_fraction)))
  if wanted is None:
    raise UserError(
      f'--level={level}: {name} has no optimal level, as every replicate has '
      f'diverged at some level: name one of {", ".join(map(str, found))}'
    )
  if wanted not in found:
    which = f'{wanted}, the optimal one,' if level == 'optimal' else wanted
    raise UserError(
      f'--level={level}: {workdir} has not kept level {which} of {name}, but '
      f'{", ".join(map(str, found))}: name one of these, or train in another '
      f"--workdir with --config.checkpoint.keep_levels='all'"
    )
  return networks.path_of(workdir, arm, noise_fraction, replicate, wanted)


def load_network(path: epath.PathLike) -> Network:
  """Load a network that `export` wrote, or one of a run's folder `networks`.

  Raises:
    UserError: the file is missing or damaged, holds no such network, or one
      whose model this version does not have.
  """
  stored = networks.read(path)
  about = stored.metadata
  config = ConfigDict({'model': about['model'], 'dtype': 'float32'})
  return Network(
    build.make_model(config, about['num_classes']),
    {'params': stored.params, 'batch_stats': stored.batch_stats},
    stored.masks,
    about,
  )


def main(argv: list[str]) -> None:
  """Export the network that the flags name."""
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments: {argv[1:]}')
  flag = flags.FLAGS
  try:
    paths = (
      command_line.local_path(name, flag[name].value)
      for name in ('workdir', 'output')
    )
    level = int(flag.level) if flag.level.isdigit() else flag.level
    path = export(*paths, flag.arm, flag.noise_fraction, flag.replicate, level)
    print(f'network: {path}')
  except UserError as error:
    sys.exit(f'error: {error}')


if __name__ == '__main__':
  flags.DEFINE_string('workdir', None, 'Folder of a run.', required=True)
  flags.DEFINE_string(
    'output', None, 'A new file, .safetensors or .npz.', required=True
  )
  flags.DEFINE_string('arm', 'pruning', "The network's arm.")
  flags.DEFINE_float('noise_fraction', 0.0, 'Its noise level.')
  flags.DEFINE_integer('replicate', 0, 'Its replicate.')
  flags.DEFINE_string(
    'level', 'optimal', "A level, or 'optimal': the report's choice."
  )
  output_stream.guard()
  app.run(main)
