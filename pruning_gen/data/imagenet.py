"""ImageNet, streamed from disk to training and scoring. The only user of Grain.

What a batch holds depends on nothing but the seed, the replicate, the global
epoch and the example_ids: not on how many workers or hosts share the work, nor
on the step that a run starts from. So nothing about the stream needs saving.

The data is TFDS's 'imagenet2012' as array_record, read without TensorFlow.
"""

import dataclasses
import functools
import gc
import io
import math
import multiprocessing
import os
import signal
import threading
import weakref
from collections.abc import Sequence

import grain
import numpy as np
from absl import flags
from PIL import Image

from pruning_gen.data import datasets
from pruning_gen.data import streams
from pruning_gen.errors import UserError

IMAGE_SIZE = 224
# Scored images are resized to this on their shorter side, then cropped.
SHORTER_SIDE = 256
# Random crops: part of the image's area, width over height.
CROP_AREA = (0.1, 1.0)
CROP_RATIO = (0.8, 1.25)
CROP_TRIES = 10

ON_BROKEN = ('stop', 'skip')

# TFDS's 'validation' is the paper's test split.
_TFDS_SPLITS = {
  'train': 'train',
  'validation': 'validation',
  'test': 'validation',
}
# What Pillow raises on damaged images, 40,000 of them.
_BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
# The id of a place in a batch that no example is left for.
_PADDING = -1
# Workers hand over parts of a batch. Whole ones would fill the memory with as
# many batches as there are workers, and the first would take them all as long.
_MAX_PART = 16
# Threads of a process that reads: enough to decode while others wait for data.
_THREADS = 4
# What a terminal or a scheduler sends to every process of a job.
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
  """One split on disk, in random access: `source[example_id]`.

  Attributes:
    split: 'train', 'validation' or 'test'.
    num_classes: int.
    data_path: str, the folder that TFDS prepared.
    examples: the stored examples of TFDS's split.
    positions: by example_id, where in `examples` each one is.
    left_out: set of int, the broken examples that batches left out so far.
  """

  split: str
  num_classes: int
  data_path: str
  examples: Sequence[dict]
  positions: Sequence[int]
  left_out: set = dataclasses.field(default_factory=set)

  def __len__(self):
    return len(self.positions)

  def __getitem__(self, example_id):
    """Read one example: a dict of `image` (encoded), `label`, `file_name`."""
    return self.examples[int(self.positions[example_id])]

  def describe(self, example_id):
    """Name an example in a message."""
    name = self[example_id]['file_name'].decode()
    return (
      f'ImageNet {self.split} example {example_id} ({name}, record '
      f"{self.positions[example_id]} of split '{_TFDS_SPLITS[self.split]}' in "
      f'{self.data_path})'
    )


@dataclasses.dataclass(frozen=True, eq=False)
class StreamedDataset:
  """ImageNet as an experiment sees it: labels in memory, images on disk.

  Attributes:
    name: str.
    num_classes: int.
    mean: per channel, of images in [0, 1].
    std: likewise.
    image_shape: (height, width, channels) of what is streamed.
    sources: Source by split.
    train_labels: int32 [num_train], the true labels.
    validation_labels: int32, of 20 % of TFDS's 'validation'.
    test_labels: int32, of the rest of it.
  """

  name: str
  num_classes: int
  mean: tuple[float, ...]
  std: tuple[float, ...]
  image_shape: tuple[int, int, int]
  sources: dict[str, Source]
  train_labels: np.ndarray
  validation_labels: np.ndarray
  test_labels: np.ndarray

  def read_train_images(self, example_ids):
    """Return training images as a network scores them: uint8 [n, ...]."""
    source = self.sources['train']
    return np.stack([_center(source[i]['image'], i) for i in example_ids])


def load(data_dir='', cache_dir='', num_train=0):
  """Open ImageNet and read its labels; see `datasets.load`."""
  info = datasets.DATASETS['imagenet2012']
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


def open_split(data_dir, split, num_examples=0):
  """Open a split.

  A training example's example_id is its position in the prepared split, for
  ever. Validation and test share TFDS's 'validation' as `datasets.split_test`
  says; there an example_id is a position in the share.

  Args:
    data_dir: where TFDS keeps its data sets; '' for its own default.
    split: 'train', 'validation' or 'test'.
    num_examples: int, take the first so many; 0 for all.

  Returns:
    A Source.

  Raises:
    UserError: the data is not there, or less of it than asked for.
  """
  builder = datasets.prepared_builder(
    'imagenet2012',
    data_dir,
    by_hand='ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar (from '
    'https://image-net.org/download-images)',
  )
  examples = datasets.stored_examples(builder, _TFDS_SPLITS[split])
  if split == 'train':
    positions = range(len(examples))
  else:
    validation, test = datasets.split_test(len(examples))
    positions = validation if split == 'validation' else test
  if num_examples > len(positions):
    raise UserError(
      f"ImageNet's {split} split in {builder.data_path} holds "
      f'{len(positions)} examples, not {num_examples}'
    )
  return Source(
    split=split,
    num_classes=builder.info.features['label'].num_classes,
    data_path=str(builder.data_path),
    examples=examples,
    positions=positions[: num_examples or len(positions)],
  )


def read_labels(source, cache_dir=''):
  """Read the labels, once: they are stored beside the images, 140 GB in all.

  Args:
    source: Source.
    cache_dir: where they are kept; '' for `datasets.default_cache_dir()`.

  Returns:
    int32 [len(source)], in [0, num_classes), by example_id.

  Raises:
    UserError: a label is out of range.
  """
  path = datasets.cache_path(
    source.data_path, cache_dir, f'{source.split}-{len(source)}-labels'
  )
  cached = datasets.read_cache(path)
  if cached is not None:
    return cached['labels']
  labels = _read_stored_labels(source)
  wrong = np.flatnonzero((labels < 0) | (labels >= source.num_classes))
  if len(wrong):
    raise UserError(
      f'{source.describe(wrong[0])} has label {labels[wrong[0]]}, not one in '
      f'[0, {source.num_classes}); {len(wrong)} examples have such a label'
    )
  datasets.write_cache(path, {'labels': labels})
  return labels


def _read_stored_labels(source, chunk=64):
  """Read labels as they are stored: int32 [len(source)]."""
  import tqdm

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


def train_batches(
  source,
  ids_by_batch,
  seed,
  replicate,
  global_epoch,
  *,
  host=0,
  num_hosts=1,
  num_workers=0,
  on_broken='stop',
):
  """Stream an epoch's batches, or its last ones, randomly cropped and flipped.

  Args:
    source: Source of the training split.
    ids_by_batch: int32 [steps, batch], example_ids: what `epoch.batch_ids`
      draws for this replicate and global epoch, from any step on.
    seed: int, at least 0.
    replicate: int, at least 0.
    global_epoch: int, at least 0.
    host: int, which contiguous slice of every batch to yield.
    num_hosts: int, how many slices a batch is cut into.
    num_workers: int, processes that read and decode; 0 for threads of this one.
    on_broken: 'stop' raises a UserError that names an image that cannot be
      decoded; 'skip' says so once and marks it as not valid.

  Returns:
    An iterator over dicts of `image` uint8 [batch / num_hosts, 224, 224, 3],
    `example_id` int32 [batch / num_hosts] and `valid` bool [batch / num_hosts],
    False for a broken image, which is black. Reading starts at once, so the
    next epoch's stream may be made before this one's last steps. Workers end
    with the iterator: about half a second each, where it is given up early.

  Raises:
    UserError: the hosts do not share a batch evenly.
  """
  prepare = functools.partial(_augment, seed, replicate, global_epoch)
  ids_by_batch = np.asarray(ids_by_batch, np.int32)
  return _stream(
    source, ids_by_batch, prepare, host, num_hosts, num_workers, on_broken
  )


def score_batches(
  source, batch_size, *, host=0, num_hosts=1, num_workers=0, on_broken='stop'
):
  """Stream every example once, in order, resized and centrally cropped.

  Args:
    source: Source.
    batch_size: int, of all hosts together.
    host: see `train_batches`, as for all that follow.
    num_hosts: int.
    num_workers: int.
    on_broken: 'stop' or 'skip'.

  Returns:
    An iterator over dicts as of `train_batches`. The last batch is as large as
    the others: places that no example is left for have example_id -1 and are
    not valid.

  Raises:
    UserError: the hosts do not share a batch evenly.
  """
  steps = -(-len(source) // batch_size)
  ids = np.full(steps * batch_size, _PADDING, np.int32)
  ids[: len(source)] = np.arange(len(source))
  ids_by_batch = ids.reshape(steps, batch_size)
  return _stream(
    source, ids_by_batch, _center, host, num_hosts, num_workers, on_broken
  )


def _stream(
  source, ids_by_batch, prepare, host, num_hosts, num_workers, on_broken
):
  """Start one host's stream; see `train_batches`.

  An image is what `prepare(encoded, example_id)` returns.
  """
  if on_broken not in ON_BROKEN:
    raise ValueError(f'on_broken={on_broken!r} is none of {ON_BROKEN}')
  batch_size = ids_by_batch.shape[1]
  if batch_size % num_hosts:
    raise UserError(
      f'a batch of {batch_size} cannot be shared by {num_hosts} hosts: choose '
      'a multiple'
    )
  ids = np.split(ids_by_batch, num_hosts, axis=1)[host]
  read = functools.partial(_read_example, source, prepare, on_broken)
  batches = iter(_pipeline(ids, read, num_workers))
  prefetched = grain.experimental.ThreadPrefetchDatasetIterator(batches, 1)
  # Here all workers start together; by themselves, each as its turn comes.
  # They inherit what is blocked, until `_init_worker` ignores it.
  blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
  try:
    batches.start_prefetch()
    prefetched.start_prefetch()
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
  stream = _iterate(source, prefetched)
  # One that is still there as Python exits, before that unloads Grain.
  weakref.finalize(stream, _close, weakref.ref(stream))
  return stream


def _pipeline(ids, read, num_workers):
  """Build the Grain pipeline of batches.

  Args:
    ids: int32 [steps, batch].
    read: function of an id that returns a row of a batch.
    num_workers: int, processes; 0 for threads alone.

  Returns:
    A grain.IterDataset.
  """
  if num_workers and not flags.FLAGS.is_parsed():
    # Grain's workers are set up by flags; a notebook has parsed none.
    flags.FLAGS.mark_as_parsed()
  batch_size = ids.shape[1]
  part = math.gcd(batch_size, _MAX_PART)
  return (
    grain.MapDataset.source(ids.reshape(-1))
    .map(read)
    .batch(part)
    .to_iter_dataset(
      grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=2 * _THREADS)
    )
    .mp_prefetch(
      grain.MultiprocessingOptions(num_workers, per_worker_buffer_size=2),
      worker_init_fn=_init_worker,
    )
    .batch(batch_size // part, batch_fn=_concatenate)
  )


def _iterate(source, batches):
  """Yield batches and say what is left out of them; end the workers."""
  try:
    for batch in batches:
      broken = batch['example_id'][~batch['valid']].tolist()
      for example_id in sorted({*broken} - {_PADDING} - source.left_out):
        source.left_out.add(example_id)
        name = source.describe(example_id)
        print(f'{name} cannot be decoded and is left out', flush=True)
      yield batch
  finally:
    batches.close()
    del batches
    # The threads that read from workers end in an exception each, whose cycle
    # of references keeps the last part they read in shared memory.
    gc.collect()


def _close(stream):
  """Close a stream, a weak reference, if it is there."""
  if stream() is not None:
    stream().close()


def _read_example(source, prepare, on_broken, example_id):
  """Read one example and prepare its image: one row of a batch."""
  image = np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
  if example_id == _PADDING:
    return {'image': image, 'example_id': example_id, 'valid': False}
  encoded = source[example_id]['image']
  try:
    image = prepare(encoded, example_id)
  except _BROKEN as error:
    if on_broken == 'stop':
      raise UserError(
        f'{source.describe(example_id)} cannot be decoded: '
        f"{type(error).__name__}: {error}\non_broken='skip' leaves it out"
      ) from error
    return {'image': image, 'example_id': example_id, 'valid': False}
  return {'image': image, 'example_id': example_id, 'valid': True}


def _concatenate(parts):
  return {key: np.concatenate([p[key] for p in parts]) for key in parts[0]}


def _init_worker(worker, num_workers):
  """Leave signals to the main process, and end where it ends."""
  # The main process then finishes its epoch and saves; it must not find its
  # workers gone.
  del worker, num_workers
  for number in _SIGNALS:
    signal.signal(number, signal.SIG_IGN)
  signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

  def end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)

  threading.Thread(target=end_with_parent, daemon=True).start()


def _augment(seed, replicate, global_epoch, encoded, example_id):
  """Crop an encoded image randomly, and flip it with probability 1/2."""
  flip, *crop_draws = augment_draws(seed, replicate, global_epoch, example_id)
  image = Image.open(io.BytesIO(encoded))
  left, top, width, height = random_crop(*image.size, crop_draws)
  # JPEG decodes at a half, quarter or eighth for less, as long as the crop
  # keeps at least the pixels that come out.
  reduction = _reduce(image, min(width, height) // IMAGE_SIZE)
  box = (left, top, left + width, top + height)
  pixels = _resize(image, [edge / reduction for edge in box])
  return pixels[:, ::-1] if flip < 0.5 else pixels


def augment_draws(seed, replicate, global_epoch, example_id):
  """Draw what one augmented image is made of.

  Philox turns a key and a counter into random bits; both are the names of the
  draw here, so that any image of any epoch costs the same. Raw bits, since
  NumPy keeps them the same for ever, and its distributions not.

  Args:
    seed: int, at least 0.
    replicate: int, at least 0.
    global_epoch: int, at least 0.
    example_id: int, at least 0.

  Returns:
    List of 1 + 4 * CROP_TRIES floats, uniform in [0, 1).
  """
  stream = streams.STREAMS.index('augment')
  bits = np.random.Philox(
    key=np.array([seed, replicate], np.uint64),
    # The lowest word, first here, counts the draws.
    counter=np.array([0, stream, global_epoch, example_id], np.uint64),
  )
  raw = bits.random_raw(1 + 4 * CROP_TRIES)
  return ((raw >> 11) * 2.0**-53).tolist()


def random_crop(width, height, draws):
  """Choose a crop, uniform in area and in the logarithm of its ratio.

  The first of `CROP_TRIES` that fits, at a uniform place. Where none does, the
  largest central crop with a ratio in range, as torchvision's.

  Args:
    width: int, of the image.
    height: int.
    draws: sequence of 4 * CROP_TRIES floats in [0, 1).

  Returns:
    (left, top, width, height) of the crop, int.
  """
  low, high = CROP_AREA
  narrow, wide = CROP_RATIO
  for i in range(0, 4 * CROP_TRIES, 4):
    area_draw, ratio_draw, left_draw, top_draw = draws[i : i + 4]
    area = width * height * (low + (high - low) * area_draw)
    ratio = narrow * (wide / narrow) ** ratio_draw
    crop_width = round(math.sqrt(area * ratio))
    crop_height = round(math.sqrt(area / ratio))
    if 0 < crop_width <= width and 0 < crop_height <= height:
      left = int(left_draw * (width - crop_width + 1))
      top = int(top_draw * (height - crop_height + 1))
      return left, top, crop_width, crop_height
  crop_width = min(width, round(height * wide))
  crop_height = min(height, round(width / narrow))
  left, top = (width - crop_width) // 2, (height - crop_height) // 2
  return left, top, crop_width, crop_height


def _center(encoded, example_id):
  """Resize an encoded image to 256 on its shorter side, crop 224 centrally."""
  del example_id
  image = Image.open(io.BytesIO(encoded))
  return _resize(image, center_box(*image.size))


def center_box(width, height):
  """Return the part of an image that a central crop shows.

  Resizing that part alone gives the pixels of a crop from the resized whole.

  Args:
    width: int, of the image.
    height: int.

  Returns:
    (left, top, right, bottom) in pixels of the image, float.
  """
  shorter = min(width, height)
  # Rounded as torchvision rounds.
  sides = [SHORTER_SIDE * side // shorter for side in (width, height)]
  edges = [round((side - IMAGE_SIZE) / 2) for side in sides]
  scales = [width / sides[0], height / sides[1]]
  left, top = (edge * scale for edge, scale in zip(edges, scales))
  right, bottom = (
    (edge + IMAGE_SIZE) * scale for edge, scale in zip(edges, scales)
  )
  return left, top, right, bottom


def _reduce(image, factor):
  """Have a JPEG decoded smaller, by at most `factor`; return by how much."""
  if factor < 2:
    return 1
  width, height = image.size
  drafted = image.draft(None, (width // factor, height // factor))
  if drafted is None:  # no JPEG
    return 1
  _, (_, _, reduced_width, _) = drafted
  return width / reduced_width


def _resize(image, box):
  """Decode, and scale a part of the image to uint8 [224, 224, 3]."""
  # One image of the original data is a PNG, 22 are CMYK and some are gray;
  # TFDS mends the first two kinds as it prepares them.
  if image.mode != 'RGB':
    image = image.convert('RGB')
  size = (IMAGE_SIZE, IMAGE_SIZE)
  return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box))
