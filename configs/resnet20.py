"""ResNet-20 on CIFAR-10: the paper's second benchmark (section 2, Figures 1-7).

  python -m pruning_gen.main --config=configs/resnet20.py \
      --workdir=runs/resnet20

24 networks (2 arms x 4 noise levels x 3 replicates), 3,160 epochs each: a job
for an accelerator, and not run yet. Test error without noise in Renda et al.
2020 (3 seeds): 8.3 % dense, 7.7 % near 50 % of the weights. On a CPU, in half
an hour:

  python -m pruning_gen.main --config=configs/resnet20.py:small \
      --workdir=runs/resnet20_small

8 filters, 10,000 images, noise 0 and 0.3, 4 levels of 4 epochs.
"""

from pruning_gen.configs import default


def get_config(size='paper'):
  config = default.get_cifar_config()
  config.data.name = 'cifar10'
  config.model.name = 'resnet20'
  if default.is_small(size):
    default.shrink(config)
    config.model.num_filters = 8
  return config
