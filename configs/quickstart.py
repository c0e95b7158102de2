"""Every experiment in 90 to 110 seconds, on scikit-learn's digits.

  python -m pruning_gen.main --config=configs/quickstart.py \
      --workdir=runs/quickstart

No download. The chain has 42 networks (7 arms x 2 noise levels x 3 replicates)
and 5 levels; then come width, EL2N and leave-out. With 1,400 training images
the numbers mean little, but the program is the one that runs the paper's
benchmarks.
"""

from configs import default


def get_config():
  config = default.get_config()
  config.arms = (
    'pruning',
    'extended_dense',
    'weight_rewinding',
    'weight_rewinding_dense',
    'random',
    'gradient',
    'synflow',
  )
  config.noise_fractions = (0.0, 0.15)
  # From 100 % to 7.8 % of the weights in 5 levels.
  config.levels = 5
  config.prune_fraction = 0.4
  config.epochs = 8
  config.batch_size = 40
  config.eval_batch_size = 500
  # Every width, and every size of training set, takes seconds to compile.
  config.width.levels = 2
  config.leave_out.sets = ('most_improved', 'most_worsened', 'subgroups')
  # A subgroup is then a fifth of the training set, like the other sets that are
  # left out, so that all of these networks train together.
  config.num_subgroups = 5
  config.data.num_train = 1400
  # Importing TensorFlow alone would take 7 s.
  config.tensorboard = False
  return config
