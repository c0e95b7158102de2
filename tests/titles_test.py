import pathlib

import pytest

from pruning_gen.analysis import titles
from pruning_gen.data import datasets
from pruning_gen.launch import plan
from pruning_gen.models import MODELS

README = (pathlib.Path(__file__).parents[1] / 'README.md').read_text()


def test_only_what_there_is_has_a_title():
  assert titles.MODELS.keys() <= MODELS.keys()
  assert titles.DATASETS.keys() <= datasets.DATASETS.keys()


@pytest.mark.parametrize('benchmark', plan.BENCHMARKS)
def test_the_readme_has_the_same_names(benchmark):
  title = titles.make_title(plan.load_config(benchmark).to_dict())
  network, dataset = title.split(' on ')
  assert f'| {network}, {dataset} | `' in README


@pytest.mark.parametrize(
  'model, data, title',
  [
    ({'name': 'lenet', 'widths': [20]}, 'mnist', 'LeNet-20 on MNIST'),
    ({'name': 'lenet', 'widths': []}, 'digits', 'LeNet on digits'),
    ({'name': 'perceptron'}, 'npz:a/b.npz', 'perceptron on b.npz'),
    ({'name': 'vgg16'}, 'tfds:svhn', 'VGG-16 on tfds:svhn'),
  ],
)
def test_titles(model, data, title):
  config = {'model': model, 'data': {'name': data}}
  assert titles.make_title(config) == title
