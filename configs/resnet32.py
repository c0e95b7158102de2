"""ResNet-32 on CIFAR-100: the paper's fourth benchmark (section 2).

  python -m pruning_gen.main --config=configs/resnet32.py \
      --workdir=runs/resnet32

24 networks, 3,160 epochs each: a job for an accelerator. Not run yet; expect 25
to 27 % test error without noise. On a CPU, in under an hour:

  python -m pruning_gen.main --config=configs/resnet32.py:small \
      --workdir=runs/resnet32_small
"""

from pruning_gen.configs import default


def get_config(size='paper'):
  default.check_variant(size)
  config = default.get_cifar_config()
  config.data.name = 'cifar100'
  config.model.name = 'resnet32'
  # Ours, as in GraSP, the paper's source for this benchmark.
  config.model.num_filters = 32
  if size == 'small':
    default.shrink(config)
    config.model.num_filters = 8
  return config
