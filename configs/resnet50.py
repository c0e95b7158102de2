"""ResNet-50 v1.5 on ImageNet: the paper's fifth benchmark (section 2).

  python -m pruning_gen.main --config=configs/resnet50.py \
      --workdir=runs/resnet50

Streamed from TFDS's 'imagenet2012', prepared as array_record in data.dir. One
replicate at a time fits a small TPU slice: give each job its own replicate with
--config.replicates=1 --config.first_replicate=0, 1 or 2. In each job, leave-out
then uses the replicate's own optimal sparsity instead of that of the mean over
replicates. 1,050 epochs per network. Not run yet; expect 24 % test error
without noise (dense). A few steps of everything, on a CPU:

  python -m pruning_gen.main --config=configs/resnet50.py:small \
      --workdir=runs/resnet50_small
"""

from pruning_gen.configs import default


def get_config(size='paper'):
  default.check_variant(size)
  config = default.get_config()
  config.data.name = 'imagenet2012'
  config.data.augment = True
  config.model.name = 'resnet50'
  config.model.num_filters = 64
  # Ours, like the number of levels.
  config.noise_fractions = (0.0, 0.15)
  config.levels = 12
  # As many weights remain at the last width as at the last level: about 0.8**12
  # of them.
  config.width.levels = 6
  config.el2n.epoch = 10
  config.prune_output = True
  config.epochs = 90
  config.rewind_epoch = 10
  config.batch_size = 1024
  config.learning_rate = 0.4
  config.milestones = (30, 60, 80)
  config.warmup_epochs = 5
  config.momentum = 0.9
  config.weight_decay = 1e-4
  config.eval_batch_size = 1000
  config.checkpoint.every_epochs = 1
  if size == 'small':
    config.model.num_filters = 8
    config.data.num_train = 256
    config.noise_fractions = (0.0,)
    config.replicates = 1
    config.levels = 1
    config.el2n.epoch = 1
    config.el2n.networks = 2
    config.width.levels = 1
    config.num_subgroups = 4
    config.epochs = 2
    config.rewind_epoch = 1
    config.batch_size = 32
    config.learning_rate = 0.05
    config.milestones = ()
    config.warmup_epochs = 1
    config.eval_batch_size = 50
    config.tensorboard = False
  return config
