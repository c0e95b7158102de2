"""The pruning chain in a minute: LeNet on scikit-learn's digits, no download.

  python -m pruning_gen.main --config=configs/quickstart.py \
      --workdir=runs/quickstart

12 members (2 arms x 2 noise levels x 3 replicates), 10 levels; 40 seconds on 2
CPU cores. The numbers mean little on 1,437 training images; the program is the
one that runs the paper's panels.
"""

from configs import default


def get_config():
  config = default.get_config()
  config.noise_fractions = (0.0, 0.15)
  # From 100 % to 5.6 % of the weights in 10 levels.
  config.levels = 10
  config.prune_fraction = 0.25
  config.epochs = 20
  config.batch_size = 32
  config.eval_batch_size = 500
  # TensorFlow alone would take 7 of the seconds.
  config.tensorboard = False
  return config
