"""VGG-16 with BatchNorm on CIFAR-10: the paper's third benchmark (section 2).

  python -m pruning_gen.main --config=configs/vgg16.py --workdir=runs/vgg16

24 networks, 4,660 epochs each: a job for an accelerator. Not run yet; expect 6
to 7 % test error without noise. In the paper, the optimal sparsity lowers the
test error by 5.2, 16.1 and 34.6 points at 15, 30 and 60 % noise. On a CPU, in
half an hour:

  python -m pruning_gen.main --config=configs/vgg16.py:small \
      --workdir=runs/vgg16_small
"""

from pruning_gen.configs import default


def get_config(size='paper'):
  default.check_variant(size)
  config = default.get_cifar_config()
  config.data.name = 'cifar10'
  config.model.name = 'vgg16'
  config.model.num_filters = 64
  # OpenLTH leaves VGG's output layer out; the paper follows it.
  config.prune_output = False
  # Ours: 0.1 % of the weights remain at the last level and the last width.
  config.levels = 30
  config.width.levels = 15
  if size == 'small':
    default.shrink(config)
    config.model.num_filters = 8
  return config
