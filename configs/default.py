"""Every configuration key, with its default: LeNet on scikit-learn's digits.

Other configs start from this one and only override. Numbers the paper states
are marked (paper); the others are OpenLTH's defaults or ours, and say so.
"""

import ml_collections


def get_config():
  """Return the default configuration."""
  config = ml_collections.ConfigDict()

  # What to run, in this order: 'chain' (sections 2 to 5), 'width' (5.2), 'el2n'
  # (3), 'leave_out' (3 and 4; reads what chain and el2n leave). May be changed
  # from start to start of one workdir.
  config.experiments = ('chain', 'width', 'el2n', 'leave_out')

  # The chain's arms. 'pruning': iterative magnitude pruning with learning-rate
  # rewinding. 'extended_dense': the same steps with nothing removed (section
  # 5.1). Ablations (appendix J): 'weight_rewinding', which also sets weights
  # back, and 'weight_rewinding_dense', the same with nothing removed; pruning
  # by 'random', 'gradient' or 'synflow' scores.
  config.arms = ('pruning', 'extended_dense')
  # Parts of the training labels that are changed to another class.
  config.noise_fractions = (0.0,)
  # Independent repetitions; 3 (paper). Ids first_replicate, first_replicate + 1
  # and so on, so that machines can share the work.
  config.replicates = 3
  config.first_replicate = 0
  # All randomness derives from (seed, replicate); below 2**32.
  config.seed = 0

  # How many times the chain prunes; level 0 is the dense network.
  config.levels = 20
  # Part of the remaining weights that goes at each level; 0.2 (paper).
  config.prune_fraction = 0.2
  # Whether the output layer's weights may be pruned.
  config.prune_output = False

  # One standard training run.
  config.epochs = 40
  # The epoch to rewind the learning rate to; 0 for LeNet, else 10 (paper).
  config.rewind_epoch = 0
  config.batch_size = 128
  # 'sgd' or 'adam'. Momentum, or Adam's moments, start at zero at each level.
  config.optimizer = 'sgd'
  config.learning_rate = 0.1
  # Epochs, below `epochs`, at which the learning rate is divided by 10.
  config.milestones = ()
  # Epochs of linear warm-up.
  config.warmup_epochs = 0
  config.momentum = 0.0
  # Added to the gradient of every parameter, biases and BatchNorm too.
  config.weight_decay = 0.0

  config.width = ml_collections.ConfigDict()
  # How many times networks get narrower; width 0 is the full network. Ours.
  config.width.levels = 10
  # What every layer's width is multiplied by at each; 0.8 (paper).
  config.width.fraction = 0.8

  config.el2n = ml_collections.ConfigDict()
  # Score after so many epochs; ours: 2 for LeNet, 10 for the others.
  config.el2n.epoch = 2
  # Networks to average over; 10, as Paul et al. 2021.
  config.el2n.networks = 10
  # Equal groups of training examples by EL2N; 20 (paper).
  config.num_subgroups = 20

  config.leave_out = ml_collections.ConfigDict()
  # Of 'most_improved' and 'most_worsened' (by pruning), 'misclassified' (by the
  # optimally sparse network) and 'subgroups' (by EL2N). A random set of the
  # same size is always beside them.
  config.leave_out.sets = (
    'most_improved',
    'most_worsened',
    'misclassified',
    'subgroups',
  )
  # Chain levels whose effect chooses the first two; () for the optimal one.
  config.leave_out.levels = ()
  # Part of the training set that these leave out; 0.2 (paper).
  config.leave_out.fraction = 0.2

  config.data = ml_collections.ConfigDict()
  # 'digits' (8x8, inside scikit-learn, no download), or of TFDS 'mnist',
  # 'cifar10', 'cifar100', 'imagenet2012' (streamed).
  config.data.name = 'digits'
  # Where TFDS keeps its data sets; '' for TFDS's own default, $TFDS_DATA_DIR or
  # ~/tensorflow_datasets.
  config.data.dir = ''
  # Where decoded arrays and compiled programs are kept between runs; '' for
  # $XDG_CACHE_HOME/pruning_gen or ~/.cache/pruning_gen.
  config.data.cache_dir = ''
  # Train on the first so many examples only; 0 for all.
  config.data.num_train = 0

  # Flip each image at random and shift it by up to 4 pixels; ImageNet is
  # always flipped and cropped at random.
  config.data.augment = False
  # Processes that read and decode ImageNet; 0 for threads of this one.
  config.data.num_workers = 0
  # What a broken image of ImageNet does: 'stop' ends the run, 'skip' says so
  # and leaves the image out.
  config.data.on_broken = 'stop'

  config.model = ml_collections.ConfigDict()
  # 'lenet', 'resnet20', 'resnet32', 'resnet50' or 'vgg16'.
  config.model.name = 'lenet'
  # Units of each hidden layer of 'lenet'.
  config.model.widths = (300, 100)
  # Channels of the first stage of the convolutional networks.
  config.model.num_filters = 16
  # Initial scale of BatchNorm: 'uniform' in [0, 1] (OpenLTH) or 'ones'.
  config.model.batch_norm_scale_init = 'uniform'

  # When a member's loss is not finite: 'stop' ends the run, 'continue' goes on
  # with the others and marks it in results.csv as diverged.
  config.on_divergence = 'stop'

  # What a network trains in: 'float32' or 'bfloat16'. Parameters, losses and
  # evaluation are always float32.
  config.dtype = 'float32'
  # Precision of float32 matrix products on accelerators: 'default' (the
  # fastest), 'high' or 'highest'.
  config.matmul_precision = 'default'
  # The same in evaluation, which is always in float32: one pass per level is
  # cheap.
  config.eval_precision = 'highest'
  # Examples per forward pass of evaluation; it changes memory, not results.
  config.eval_batch_size = 2000
  # How a core runs its members: 'vmap' (all at once), 'map' (one after the
  # other), or 'auto' ('vmap' for LeNet on accelerators, else 'map').
  config.stacking = 'auto'

  config.devices = ml_collections.ConfigDict()
  # Use the first so many devices; 0 for all.
  config.devices.count = 0
  # Over how many devices each batch is split; 0 for what members leave over.
  config.devices.data_parallel = 0

  config.checkpoint = ml_collections.ConfigDict()
  # Save after so many epochs, and at the end of every level.
  config.checkpoint.every_epochs = 5
  # How many checkpoints to keep.
  config.checkpoint.keep = 2

  # Write TensorBoard scalars. Needs TensorFlow, which takes 7 s to import.
  config.tensorboard = True
  # A key that nothing reads, such as a misspelt one, is an error from here on.
  return config.lock()


def get_cifar_config():
  """Return what the three CIFAR panels share."""
  config = get_config()
  config.data.augment = True
  # The paper's.
  config.noise_fractions = (0.0, 0.15, 0.30, 0.60)
  config.levels = 20
  config.el2n.epoch = 10
  config.prune_output = True
  config.epochs = 160
  config.rewind_epoch = 10
  config.learning_rate = 0.1
  config.milestones = (80, 120)
  config.momentum = 0.9
  config.weight_decay = 1e-4
  config.eval_batch_size = 500
  config.checkpoint.every_epochs = 10
  return config


def is_small(size):
  """Tell whether a panel is to be small.

  Args:
    size: 'paper' or 'small', what stands behind the config's name.

  Raises:
    ValueError: another size, which would train the paper's for weeks.
  """
  if size not in ('paper', 'small'):
    # config_flags shows a ValueError as a fault of --config.
    raise ValueError(
      f"size {size!r} must be 'small', as --config=configs/resnet20.py:small, "
      "or 'paper', which is the same as none"
    )
  return size == 'small'


def shrink(config):
  """Shorten a CIFAR panel until a CPU runs it in well under an hour."""
  config.noise_fractions = (0.0, 0.30)
  config.data.num_train = 10_000
  config.levels = 4
  config.epochs = 4
  config.rewind_epoch = 1
  config.milestones = (2, 3)
  config.el2n.epoch = 1
  config.width.levels = 4
  config.checkpoint.every_epochs = 1
  config.tensorboard = False
