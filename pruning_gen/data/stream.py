"""Batches of images that are read from disk as they are used, through Grain.

What a batch holds depends on nothing but the seed, the replicate, the global
epoch and the example_ids: not on how many workers or hosts share the work, nor
on the step that a run starts from. So nothing about the stream needs saving.
"""

import functools
import gc
import math
import multiprocessing
import os
import signal
import threading
import weakref
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any
from typing import NamedTuple

import grain
import numpy as np
from absl import flags
from jaxtyping import Int
from PIL import Image

from pruning_gen.data import crops
from pruning_gen.data.imagenet import Source
from pruning_gen.errors import UserError

# Everything that Pillow raised for 40,000 damaged images.
_BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
# The example_id of a place in a batch that no example is left for.
_PADDING = -1
# Workers hand over parts of a batch. Whole batches would fill the memory with
# as many of them as there are workers, and delay the first by as much.
_MAX_PART = 16
# Threads per process that reads: enough to decode while others wait for data.
_THREADS = 4
# What a terminal or a scheduler sends to every process of a job.
_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class Reading(NamedTuple):
  """Who reads a stream, and how.

  Attributes:
    host: which contiguous slice of every batch this host reads.
    num_hosts: how many slices a batch is cut into.
    num_workers: processes that read and decode; 0 for threads of this one.
    on_broken: 'stop' raises a UserError that names an image that cannot be
      decoded; 'skip' marks it as not valid, with a warning.
  """

  host: int = 0
  num_hosts: int = 1
  num_workers: int = 0
  on_broken: str = 'stop'


_ALONE = Reading()

# `image` uint8 [batch / num_hosts, 224, 224, 3], `example_id` int32 and
# `valid` bool [batch / num_hosts], False for a broken image, which is black.
Batch = dict[str, np.ndarray]


def train_batches(
  source: Source,
  ids_by_batch: Int[np.ndarray, 'steps batch'],
  seed: int,
  replicate: int,
  global_epoch: int,
  reading: Reading = _ALONE,
) -> Iterator[Batch]:
  """Stream an epoch's batches, or its last ones, randomly cropped and flipped.

  Reading starts immediately, so the next epoch's stream may be created before
  this one's last steps. Workers end with the iterator: about half a second
  each, if it is abandoned early.

  Args:
    source: the training split.
    ids_by_batch: the example_ids that `epoch.batch_ids` draws for this
      replicate and global epoch, from any step on.
    seed: at least 0.
    replicate: at least 0.
    global_epoch: at least 0.
    reading: by which host, with which workers.

  Raises:
    UserError: the hosts cannot share a batch evenly.
  """
  prepare = functools.partial(crops.augmented, seed, replicate, global_epoch)
  return _stream(source, np.asarray(ids_by_batch, np.int32), prepare, reading)


def eval_batches(
  source: Source, batch_size: int, reading: Reading = _ALONE
) -> Iterator[Batch]:
  """Stream every example once, in order, resized and centrally cropped.

  The last batch is as large as the others: places that no example is left for
  have example_id -1 and are not valid.

  Args:
    source: of any split.
    batch_size: of all hosts together.
    reading: by which host, with which workers.

  Raises:
    UserError: the hosts cannot share a batch evenly.
  """
  steps = -(-len(source) // batch_size)
  ids = np.full(steps * batch_size, _PADDING, np.int32)
  ids[: len(source)] = np.arange(len(source))
  return _stream(source, ids.reshape(steps, batch_size), _central, reading)


def _central(encoded, example_id):
  del example_id
  return crops.central(encoded)


def _stream(
  source: Source,
  ids_by_batch: Int[np.ndarray, 'steps batch'],
  prepare: Callable,
  reading: Reading,
) -> Iterator[Batch]:
  """Start one host's stream of `prepare(encoded, example_id)`."""
  batch_size = ids_by_batch.shape[1]
  if batch_size % reading.num_hosts:
    raise UserError(
      f'a batch of {batch_size} must be a multiple of the number of hosts, '
      f'{reading.num_hosts}'
    )
  ids = np.split(ids_by_batch, reading.num_hosts, axis=1)[reading.host]
  read = functools.partial(_read_example, source, prepare, reading.on_broken)
  batches = iter(_pipeline(ids, read, reading.num_workers))
  prefetched = grain.experimental.ThreadPrefetchDatasetIterator(batches, 1)
  # Start all workers together here; by default each starts at its first turn.
  # They inherit the blocked signals, until `_init_worker` ignores them.
  blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
  try:
    batches.start_prefetch()
    prefetched.start_prefetch()
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
  stream = _iterate(source, prefetched)
  # Close a stream that still exists as Python exits, before Grain is unloaded.
  weakref.finalize(stream, _close, weakref.ref(stream))
  return stream


def _pipeline(
  ids: Int[np.ndarray, 'steps batch'],
  read: Callable[[int], dict[str, Any]],
  num_workers: int,
) -> grain.IterDataset:
  """Build the Grain pipeline of batches.

  Args:
    ids: example_ids.
    read: returns a row of a batch.
    num_workers: processes; 0 for threads only.
  """
  if num_workers and not flags.FLAGS.is_parsed():
    # Grain sets up its workers by flags; a notebook has parsed none.
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


def _iterate(source: Source, batches: Any) -> Iterator[Batch]:
  """Yield batches, warn about what they leave out, and end the workers."""
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
    # The threads that read from workers each end in an exception, whose
    # reference cycle keeps the last part they read in shared memory.
    gc.collect()


def _close(stream: weakref.ref) -> None:
  """Close a stream if it still exists."""
  if stream() is not None:
    stream().close()


def _read_example(
  source: Source, prepare: Callable, on_broken: str, example_id: int
) -> dict[str, Any]:
  """Read one example and prepare its image: one row of a batch."""
  size = crops.IMAGE_SIZE
  image = np.zeros((size, size, 3), np.uint8)
  if example_id == _PADDING:
    return {'image': image, 'example_id': example_id, 'valid': False}
  encoded = source[example_id]['image']
  try:
    image = prepare(encoded, example_id)
  except _BROKEN as error:
    if on_broken == 'stop':
      raise UserError(
        f'{source.describe(example_id)} cannot be decoded: '
        f'{type(error).__name__}: {error}\npass --config.data.on_broken=skip '
        'to leave it out'
      ) from error
    return {'image': image, 'example_id': example_id, 'valid': False}
  return {'image': image, 'example_id': example_id, 'valid': True}


def _concatenate(parts: list[Batch]) -> Batch:
  return {key: np.concatenate([p[key] for p in parts]) for key in parts[0]}


def _init_worker(worker: int, num_workers: int) -> None:
  """Leave signals to the main process, and end when it ends."""
  # The main process finishes its epoch and saves, for which it needs workers.
  del worker, num_workers
  for number in _SIGNALS:
    signal.signal(number, signal.SIG_IGN)
  signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

  def end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)

  threading.Thread(target=end_with_parent, daemon=True).start()
