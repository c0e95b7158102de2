"""Every configuration key, with its default: LeNet on scikit-learn's digits.

Other configs start from this one and override a few keys. Numbers that the
paper states are marked (paper); the others are OpenLTH's defaults, or ours
where marked.
"""

import ml_collections


def get_config():
  """Return the default configuration."""
  config = ml_collections.ConfigDict()

  # What to run, in this order: 'chain' (sections 2 to 5), 'width' (5.2), 'el2n'
  # (3), 'leave_out' (3 and 4; reads the results of chain and el2n), and, not in
  # the paper, 'difficulty', 'extended_width', and 'landscape', which reads the
  # networks of chain. May change from one start of a workdir to the next.
  config.experiments = ('chain', 'width', 'el2n', 'leave_out')

  # The chain's arms, from the table in pruning_gen/pruning/arms.py, which says
  # what each of them does: by default, pruning (section 2) and the same
  # training with nothing removed (section 5.1). The others are ablations
  # (appendix J) and, not in the paper, 'uniform', 'erk' and 'lamp', which
  # divide the remaining weights among layers in other ways.
  config.arms = ('pruning', 'extended_dense')
  # Fractions of the training labels that are changed.
  config.noise_fractions = (0.0,)
  config.noise = ml_collections.ConfigDict()
  # What they change to: 'other', one of the other classes (paper); 'uniform',
  # any class, including the true one (OpenLTH); 'permuted', the changed
  # examples' labels in another order, in which one may keep its own (Paul et
  # al. 2021); 'pair', the next class.
  config.noise.kind = 'other'
  # Independent repetitions; 3 (paper).
  config.replicates = 3
  # Their numbers begin here, so that machines can share the work.
  config.first_replicate = 0
  # All randomness derives from (seed, replicate); below 2**32.
  config.seed = 0

  # How many times the chain prunes; level 0 is the dense network.
  config.levels = 20
  # Fraction of the remaining weights that each level removes; 0.2 (paper).
  config.prune_fraction = 0.2
  # Whether the output layer's weights may be pruned.
  config.prune_output = False

  # Length of one standard training run.
  config.epochs = 40
  # The epoch to rewind the learning rate to; 0 for LeNet and 10 for the other
  # networks (paper).
  config.rewind_epoch = 0
  # Training examples of each network per step.
  config.batch_size = 128
  # 'sgd' or 'adam'. Momentum and Adam's moments start at zero at every level.
  config.optimizer = 'sgd'
  # Between warm-up and the first milestone.
  config.learning_rate = 0.1
  # Epochs, below `epochs`, at which the learning rate is divided by 10.
  config.milestones = ()
  # Epochs of linear warm-up.
  config.warmup_epochs = 0
  # Of SGD, without Nesterov's correction.
  config.momentum = 0.0
  # Added to the gradient of every parameter, biases and BatchNorm too.
  config.weight_decay = 0.0

  config.width = ml_collections.ConfigDict()
  # How many narrower networks there are; level 0 is the full width. Ours.
  config.width.levels = 10
  # Each level multiplies every layer's width by this; 0.8 (paper).
  config.width.fraction = 0.8

  # Narrow networks that train as long as the chain, with nothing removed: for
  # the experiment 'extended_width', which is ours. It costs as much as the arm
  # 'extended_dense' times the square of the width.
  config.extended_width = ml_collections.ConfigDict()
  # Multiplies every layer's width. 0 chooses the width (a multiple of 0.001)
  # whose network has about as many weights as pruning leaves at its optimal
  # sparsity.
  config.extended_width.width = 0.0

  config.el2n = ml_collections.ConfigDict()
  # The epoch after which examples are scored. Ours: 2 for LeNet, 10 for the
  # other networks.
  config.el2n.epoch = 2
  # Networks to average over; 10, as in Paul et al. 2021.
  config.el2n.networks = 10
  # How many equal groups EL2N divides the training examples into; 20 (paper).
  config.num_subgroups = 20

  # Other scores of difficulty, from dense networks that train to the end: for
  # the experiment 'difficulty', which is ours. Its epochs cost 1.5 times as
  # much as others.
  config.difficulty = ml_collections.ConfigDict()
  # The epochs after which EL2N and GraNd are measured.
  config.difficulty.epochs = (2, 10)
  # Networks to average over.
  config.difficulty.networks = 10

  # The loss around the networks that checkpoint.keep_levels keeps, for the
  # experiment 'landscape', which is ours: what pruning does before retraining,
  # barriers on the line from each level to the next, and curvature. The first
  # two also need the level before: keep_levels=('all',). For LeNet on MNIST,
  # one network at one level takes about 1 s on 2 cores; training it takes 20 s.
  config.landscape = ml_collections.ConfigDict()
  # Levels to measure; () for every level that is kept.
  config.landscape.levels = ()
  # Number of training examples used for curvature and for the loss along lines,
  # the same for all networks. Networks with BatchNorm process them in one
  # batch.
  config.landscape.num_examples = 1000
  # Points on a line, including its ends.
  config.landscape.num_points = 11
  # Lanczos iterations for the largest Hessian eigenvalue. Memory use grows by
  # one network-sized vector per iteration.
  config.landscape.num_iterations = 20
  # Levels to train once more, from the same weights, on batches in another
  # order; each costs as much as the level did. They and the levels before them
  # must be kept; arms that rewind weights are left out.
  config.landscape.twin_levels = ()

  config.leave_out = ml_collections.ConfigDict()
  # Which examples to leave out: those that pruning improves or worsens most,
  # those that the optimally sparse network misclassifies, or one subgroup by
  # EL2N at a time. Each is compared with a random set of the same size.
  config.leave_out.sets = (
    'most_improved',
    'most_worsened',
    'misclassified',
    'subgroups',
  )
  # Levels of the chain at which 'most_improved' and 'most_worsened' are chosen;
  # () means the optimal sparsity.
  config.leave_out.levels = ()
  # Fraction of the training set that these two leave out; 0.2 (paper).
  config.leave_out.fraction = 0.2

  config.data = ml_collections.ConfigDict()
  # A name in pruning_gen/data/datasets.py: 'digits' (8x8, scikit-learn's, no
  # download), or from TensorFlow Datasets (TFDS) 'mnist', 'cifar10', 'cifar100'
  # or 'imagenet2012' (streamed). Or your own data: 'npz:PATH', a file with the
  # arrays train_images and test_images (uint8 [n, height, width, channels] or
  # [n, height, width]), train_labels and test_labels (integers from 0); or
  # 'tfds:NAME', any builder of TFDS with uint8 images of one size, which is
  # prepared, and downloaded if necessary, when the config is checked (also by
  # --print_config).
  config.data.name = 'digits'
  # Where TFDS keeps its data sets; '' for its own default, $TFDS_DATA_DIR or
  # ~/tensorflow_datasets. A relative PATH of an .npz file starts here.
  config.data.dir = ''
  # Where decoded arrays and compiled programs are kept between runs; '' for
  # $XDG_CACHE_HOME/pruning_gen or ~/.cache/pruning_gen.
  config.data.cache_dir = ''
  # Number of training examples to use, the first ones; 0 for all.
  config.data.num_train = 0
  # Number of classes that the network distinguishes; 0 for as many as the data
  # has.
  config.data.num_classes = 0
  # (height, width, channels) that the images must have; () for any.
  config.data.image_shape = ()
  # Mean and standard deviation per channel, of pixels in [0, 1], that normalize
  # images. () uses the paper's values for built-in data sets, and those of all
  # training images for your own data.
  config.data.mean = ()
  config.data.std = ()

  # Flip each image at random and shift it by up to 4 pixels. ImageNet is always
  # flipped and cropped at random.
  config.data.augment = False
  # Processes that read and decode ImageNet; 0 for threads of this process.
  config.data.num_workers = 0
  # What to do with an ImageNet image that cannot be decoded: 'stop' ends the
  # run, 'skip' leaves the image out, with a warning.
  config.data.on_broken = 'stop'

  config.model = ml_collections.ConfigDict()
  # A name in pruning_gen/models/__init__.py: 'lenet', 'resnet20', 'resnet32',
  # 'resnet50' or 'vgg16'.
  config.model.name = 'lenet'
  # Units of each hidden layer of 'lenet'.
  config.model.widths = (300, 100)
  # Channels of the first stage of the convolutional networks.
  config.model.num_filters = 16
  # Initial scale of BatchNorm: 'uniform' in [0, 1] (OpenLTH) or 'ones'.
  config.model.batch_norm_scale_init = 'uniform'

  # What to do if the loss of a network is not finite: 'stop' ends the run,
  # 'continue' drops the network, marks it as diverged in results.csv, and
  # continues with the others.
  config.on_divergence = 'stop'

  # Data type of training: 'float32' or 'bfloat16'. Parameters, losses and
  # evaluation are always float32.
  config.dtype = 'float32'
  # Precision of float32 matrix products on accelerators: 'default' (the
  # fastest), 'high' or 'highest'.
  config.matmul_precision = 'default'
  # The same for evaluation. Full precision costs little there: one pass per
  # level.
  config.eval_precision = 'highest'
  # Examples per forward pass of evaluation; affects memory, and the rounding of
  # losses (by up to 3e-6 nats).
  config.eval_batch_size = 2000
  # How a device runs its networks: 'vmap' (all at once), 'map' (one after the
  # other), or 'auto' ('vmap' on accelerators for networks without convolutions,
  # otherwise 'map').
  config.stacking = 'auto'

  config.devices = ml_collections.ConfigDict()
  # Use this many devices, the first ones; 0 for all.
  config.devices.count = 0
  # How many devices split each batch; 0 for those that are left over when
  # networks have devices of their own.
  config.devices.data_parallel = 0

  config.checkpoint = ml_collections.ConfigDict()
  # Save every so many epochs, and at the end of every level.
  config.checkpoint.every_epochs = 5
  # How many checkpoints to keep.
  config.checkpoint.keep = 2
  # Levels of the chain whose networks stay in the workdir, for
  # pruning_gen.export: numbers, 'optimal' (the one that the report chooses, for
  # each arm and noise level) or 'all'; () for none.
  config.checkpoint.keep_levels = (0, 'optimal')

  # Evaluate validation and test examples every so many epochs, for epochs.csv,
  # which has the training loss of every epoch in any case; 0 for never. At 1,
  # LeNet on MNIST takes about 7 % longer.
  config.validate_every_epochs = 0
  # Whether to write TensorBoard scalars. This imports TensorFlow, which takes
  # 7 s.
  config.tensorboard = True
  # From here on, an unknown key, such as a misspelt one, is an error. A model
  # may have keys of its own (`Model.hyperparameters`).
  config.lock()
  config.model.unlock()
  return config


def get_cifar_config():
  """Return the configuration that the three CIFAR benchmarks share."""
  config = get_config()
  config.data.augment = True
  # As in the paper.
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


def check_variant(variant, variants=('paper', 'small')):
  """Check the part of --config after the colon.

  Args:
    variant: the part after the colon.
    variants: those of this config, the default first.

  Raises:
    ValueError: it is none of them.
  """
  if variant not in variants:
    # config_flags reports a ValueError as an invalid value of --config.
    first, *others, last = map(repr, variants)
    choices = ', '.join([f'{first} (the default)', *others])
    raise ValueError(
      f'variant {variant!r} must be {choices} or {last}, as in '
      f'--config=CONFIG:{variants[-1]}'
    )


def shrink(config):
  """Shorten a CIFAR benchmark so that a CPU runs it in well under an hour."""
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
