"""The paper's four experiments in a minute, on scikit-learn's digits.

  python -m pruning_gen.main --config=configs/quickstart.py \
      --workdir=runs/quickstart

Nothing to download. The chain has 12 networks (2 arms x 2 noise levels x 3
replicates) and 7 levels; then come width, EL2N and leave-out, with two of its
four sets. With 30 % label noise the test error is 22 % for dense networks, 13 %
for networks pruned to 5 % of their weights, and 23 % for dense networks trained
as long. Without noise, pruned networks match the dense ones at first and are
worse at the end.
"""

from pruning_gen.configs import default


def get_config():
  config = default.get_config()
  # The subset of digits on which a dense network fits 80 % of the noisy labels
  # in 40 epochs.
  config.data.num_train = 1000
  config.noise_fractions = (0.0, 0.30)
  config.epochs = 40
  # Each later level trains 8 epochs, so that the chain takes 10 s. The learning
  # rate is constant, so this changes only how long they train.
  config.rewind_epoch = 32
  # From 100 % to 2.8 % of the weights.
  config.levels = 7
  config.prune_fraction = 0.4
  config.batch_size = 40
  config.eval_batch_size = 500
  # Each width and each size of training set takes seconds to compile.
  config.width.levels = 2
  config.width.fraction = 0.5
  config.el2n.networks = 4
  config.leave_out.sets = ('most_improved', 'most_worsened')
  config.num_subgroups = 10
  config.checkpoint.every_epochs = 20
  # Importing TensorFlow alone would take 7 s.
  config.tensorboard = False
  return config
