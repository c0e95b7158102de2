"""LeNet-300-100 on MNIST: the paper's first benchmark (section 2, Figures 2-7).

  python -m pruning_gen.main --config=configs/lenet.py --workdir=runs/lenet
  python -m pruning_gen.main --config=configs/lenet.py:adam --workdir=runs/adam

The chain has 24 networks (2 arms x 4 noise levels x 3 replicates), each trained
for 1,000 epochs, at about 0.25 s per epoch and network on 2 CPU cores: 1.7
hours. Width, EL2N and leave-out take 1.1 hours more (with 10 % noise alone the
chain took 26 minutes, the rest 17). Measured test error without noise: 1.7 %
dense, 1.9 % at 21 % of the weights, 2.1 % at 4 %; with 5 % noise: 4.7 % dense,
9.7 % at 4 %, 4.7 % at 1.2 %; with 10 %: 8.9 % dense, 15 % at 7 %, 5.0 % at
1.8 %; with 15 %: 11.8 % dense, 20 % near 10 % of the weights, 5.5 % at 1.8 %
(docs/results.md).
"""

from pruning_gen.configs import default


def get_config(optimizer='sgd'):
  default.check_variant(optimizer, ('sgd', 'adam'))
  config = default.get_config()
  config.data.name = 'mnist'
  # The paper states 5 %; 10 and 15 % are ours.
  config.noise_fractions = (0.0, 0.05, 0.10, 0.15)
  # Ours: 0.5 % of the weights remain at the last level, and 0.9 % at the last
  # width. With 15 % noise the optimal sparsity is at 1.8 %. One more level
  # would leave 4 weights in the hidden layers, because the 1,000 weights of the
  # output layer are never pruned.
  config.levels = 24
  config.width.levels = 20
  if optimizer == 'adam':
    # Frankle & Carbin (2019). The main text cites them and OpenLTH, which
    # uses SGD; the choice may be in Appendix B, which we have not read.
    config.optimizer = 'adam'
    config.learning_rate = 1.2e-3
    config.batch_size = 60
    config.levels = 18
  return config
