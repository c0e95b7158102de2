"""What readers call a benchmark: LeNet-300-100 on MNIST."""

import pathlib
from typing import Any

# Of `config.model.name` and `config.data.name`; others are their own titles.
MODELS = {
  'lenet': 'LeNet',
  'resnet20': 'ResNet-20',
  'resnet32': 'ResNet-32',
  'resnet50': 'ResNet-50',
  'vgg16': 'VGG-16',
}
DATASETS = {
  'mnist': 'MNIST',
  'cifar10': 'CIFAR-10',
  'cifar100': 'CIFAR-100',
  'imagenet2012': 'ImageNet',
}


def make_title(config: dict[str, Any]) -> str:
  """Return the title of a config's benchmark."""
  model, data = config['model'], config['data']['name']
  network = MODELS.get(model['name'], model['name'])
  if model['name'] == 'lenet':
    network = '-'.join(map(str, [network, *model['widths']]))
  if data.startswith('npz:'):
    data = pathlib.PurePath(data.removeprefix('npz:')).name
  return f'{network} on {DATASETS.get(data, data)}'
