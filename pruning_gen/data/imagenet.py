"""ImageNet on disk: TFDS's 'imagenet2012' as array_record, with its labels.

`stream` reads its images as they are used.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import grain
import numpy as np
from jaxtyping import Int
from jaxtyping import UInt8

from pruning_gen.data import cache
from pruning_gen.data import crops
from pruning_gen.data import splits
from pruning_gen.data import tfds_files
from pruning_gen.errors import UserError

# TFDS's 'validation' is the paper's test split.
_TFDS_SPLITS = {
  'train': 'train',
  'validation': 'validation',
  'test': 'validation',
}


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
  """One split on disk, in random access: `source[example_id]`.

  Attributes:
    split: 'train', 'validation' or 'test'.
    num_classes: labels are in [0, num_classes).
    data_path: the folder that TFDS prepared.
    examples: the stored examples of TFDS's split.
    positions: by example_id, where in `examples` each one is.
    left_out: the broken examples that batches have left out so far.
  """

  split: str
  num_classes: int
  data_path: str
  examples: tfds_files.StoredExamples
  positions: Sequence[int]
  left_out: set[int] = dataclasses.field(default_factory=set)

  def __len__(self) -> int:
    return len(self.positions)

  def __getitem__(self, example_id: int) -> dict[str, Any]:
    """Read one example: a dict of `image` (encoded), `label`, `file_name`."""
    return self.examples[int(self.positions[example_id])]

  def describe(self, example_id: int) -> str:
    """Name an example in a message."""
    name = self[example_id]['file_name'].decode()
    return (
      f'ImageNet {self.split} example {example_id} ({name}, record '
      f"{self.positions[example_id]} of split '{_TFDS_SPLITS[self.split]}' in "
      f'{self.data_path})'
    )


@dataclasses.dataclass(frozen=True, eq=False)
class StreamedDataset:
  """A data set whose labels are in memory, and whose images are on disk.

  Attributes:
    name: its name in `datasets.DATASETS`.
    num_classes: labels are in [0, num_classes).
    mean: per channel, of images in [0, 1].
    std: likewise.
    image_shape: (height, width, channels) of what is streamed.
    sources: by split.
    train_labels: the true labels.
    validation_labels: of 20 % of TFDS's 'validation'.
    test_labels: of the rest of it.
  """

  name: str
  num_classes: int
  mean: tuple[float, ...]
  std: tuple[float, ...]
  image_shape: tuple[int, int, int]
  sources: dict[str, Source]
  train_labels: Int[np.ndarray, ' num_train']
  validation_labels: Int[np.ndarray, ' num_validation']
  test_labels: Int[np.ndarray, ' num_test']

  def read_train_images(
    self, example_ids: Int[np.ndarray, ' n']
  ) -> UInt8[np.ndarray, 'n height width channels']:
    """Return training images as a network is evaluated on them."""
    source = self.sources['train']
    return np.stack([crops.central(source[i]['image']) for i in example_ids])


def load(
  info: Any, data_dir: str = '', cache_dir: str = '', num_train: int = 0
) -> StreamedDataset:
  """Open ImageNet, an entry of `datasets.DATASETS`, and read its labels."""
  sources = {
    'train': open_split(data_dir, 'train', num_train),
    'validation': open_split(data_dir, 'validation'),
    'test': open_split(data_dir, 'test'),
  }
  labels = {
    f'{split}_labels': read_labels(source, cache_dir)
    for split, source in sources.items()
  }
  return StreamedDataset(
    name='imagenet2012',
    num_classes=info.num_classes,
    mean=info.mean,
    std=info.std,
    image_shape=info.image_shape,
    sources=sources,
    **labels,
  )


def open_split(data_dir: str, split: str, num_examples: int = 0) -> Source:
  """Open a split.

  A training example's example_id is always its position in the prepared
  split. Validation and test share TFDS's 'validation' as `splits.split_test`
  divides it; there an example_id is a position in the share.

  Args:
    data_dir: where TFDS keeps its data sets; '' for its own default.
    split: 'train', 'validation' or 'test'.
    num_examples: take the first so many examples; 0 for all.

  Raises:
    UserError: the data is damaged or missing, or has too few examples.
  """
  builder = tfds_files.prepared_builder(
    'imagenet2012',
    data_dir,
    by_hand='ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar (from '
    'https://image-net.org/download-images)',
  )
  examples = tfds_files.StoredExamples(
    builder, _TFDS_SPLITS[split], decode_images=False
  )
  if split == 'train':
    positions = range(len(examples))
  else:
    validation, test = splits.split_test(len(examples))
    positions = validation if split == 'validation' else test
  if num_examples > len(positions):
    raise UserError(
      f'config.data.num_train={num_examples} must be at most '
      f"{len(positions)}, the size of ImageNet's {split} split in "
      f'{builder.data_path}'
    )
  return Source(
    split=split,
    num_classes=builder.info.features['label'].num_classes,
    data_path=str(builder.data_path),
    examples=examples,
    positions=positions[: num_examples or len(positions)],
  )


def read_labels(
  source: Source, cache_dir: str = ''
) -> Int[np.ndarray, ' example']:
  """Read the labels by example_id.

  They are cached, since they are stored between the images, 140 GB in all.

  Args:
    source: of any split.
    cache_dir: where they are kept; see `cache.folder`.

  Raises:
    UserError: a label is out of range, or the data is damaged.
  """
  path = cache.path_of(
    source.data_path, cache_dir, f'{source.split}-{len(source)}-labels'
  )
  cached = cache.read(path)
  if cached is not None and 'labels' in cached:
    return cached['labels']
  labels = _read_stored_labels(source)
  wrong = np.flatnonzero((labels < 0) | (labels >= source.num_classes))
  if len(wrong):
    raise UserError(
      f'{source.describe(wrong[0])} has label {labels[wrong[0]]}, which must '
      f'be in [0, {source.num_classes}); {len(wrong)} examples have such a '
      'label: prepare the data again'
    )
  cache.write(path, {'labels': labels})
  return labels


def _read_stored_labels(source: Source) -> Int[np.ndarray, ' example']:
  """Read labels from between the images."""
  import tqdm

  chunk = 64

  def read_chunk(start):
    ids = range(start, min(start + chunk, len(source)))
    return [source[i]['label'] for i in ids]

  chunks = (
    grain.MapDataset.range(0, len(source), chunk)
    .map(read_chunk)
    .to_iter_dataset(grain.ReadOptions(num_threads=16, prefetch_buffer_size=64))
  )
  labels = np.empty(len(source), np.int32)
  with tqdm.tqdm(
    total=len(source), desc=f'reading {source.split} labels', unit='label'
  ) as bar:
    for read in chunks:
      labels[bar.n : bar.n + len(read)] = read
      bar.update(len(read))
  return labels
