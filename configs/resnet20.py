"""ResNet-20 on CIFAR-10: the paper's second benchmark (section 2, Figures 1-7).

  python -m pruning_gen.main --config=configs/resnet20.py \
      --workdir=runs/resnet20

24 networks (2 arms x 4 noise levels x 3 replicates), 3,160 epochs each: a job
for an accelerator, and not run yet. Test error without noise in Renda et al.
2020 (3 seeds): 8.3 % dense, 7.7 % near 50 % of the weights. On a CPU, in half
an hour:

  python -m pruning_gen.main --config=configs/resnet20.py:small \
      --workdir=runs/resnet20_small

8 filters, 10,000 images, noise 0 and 0.3, 4 levels of 4 epochs: too short to
fit noisy labels. `configs/resnet20.py:cpu` trains long enough, for hours: 8
filters and 2,000 images, 40 epochs, 10 levels down to 1.2 % of the weights.
Each arm takes about an hour per noise level on 2 cores (docs/results.md). With
30 % noise the dense network fits all but 1.9 % of the training labels, and its
test error is 70.4 %; it is 73.2 % with 4.4 % of the weights, 68.4 % with 1.2 %,
and 70.3 % if none are removed in as many epochs. Without noise it is 53.3 %,
56.0 %, 56.6 % and 52.6 %.
"""

from pruning_gen.configs import default


def get_config(size='paper'):
  default.check_variant(size, ('paper', 'small', 'cpu'))
  config = default.get_cifar_config()
  config.data.name = 'cifar10'
  config.model.name = 'resnet20'
  if size == 'small':
    default.shrink(config)
    config.model.num_filters = 8
  elif size == 'cpu':
    shrink_for_cpu(config)
  return config


def shrink_for_cpu(config):
  """Shrink the benchmark until a CPU memorizes noisy labels within hours."""
  config.model.num_filters = 8
  config.data.num_train = 2000
  # With flips and shifts, 40 epochs are too few to memorize.
  config.data.augment = False
  config.batch_size = 64
  config.noise_fractions = (0.0, 0.30)
  # Two of the paper's steps of 20 % at a time: 1.2 % of the weights remain.
  # That is the optimal sparsity with 30 % noise, also of a chain of 12 levels.
  config.prune_fraction = 0.36
  config.levels = 10
  config.epochs = 40
  config.rewind_epoch = 4
  config.milestones = (20, 30)
  config.el2n.epoch = 4
  # Each width has 36 % fewer weights than the one before, too.
  config.width.levels = 5
