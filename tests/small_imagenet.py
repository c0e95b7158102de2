"""A small ImageNet on disk, as TFDS prepares it: for tests and benchmarks."""

import io
import pathlib

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

# width, height, mode, format; then common sizes.
ODD = (
  (300, 200, 'L', 'JPEG'),
  (320, 240, 'CMYK', 'JPEG'),
  (8, 6, 'RGB', 'JPEG'),
  (1, 1, 'RGB', 'JPEG'),
  (1200, 40, 'RGB', 'JPEG'),
  (40, 900, 'RGB', 'JPEG'),
  (1600, 1200, 'RGB', 'JPEG'),
  (250, 300, 'RGB', 'PNG'),
)
COMMON = ((500, 375, 'RGB', 'JPEG'), (375, 500, 'RGB', 'JPEG')) * 8


def encode(seed, width, height, mode='RGB', format='JPEG', noise=0, quality=75):
  """Encode a smooth random image, noise levels of gray about it."""
  rng = np.random.default_rng(seed)
  pixels = rng.integers(0, 256, (6, 8, 3), np.uint8)
  smooth = Image.fromarray(pixels).resize((width, height))
  pixels = np.asarray(smooth) + noise * rng.standard_normal((height, width, 3))
  image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(mode)
  buffer = io.BytesIO()
  image.save(buffer, format, quality=quality)
  return buffer.getvalue()


def encode_all(shapes, first_seed=0):
  return [encode(first_seed + i, *shape) for i, shape in enumerate(shapes)]


def write_all_shapes(data_dir):
  """Write 24 training images, `ODD + COMMON`, and 16 for validation."""
  train = encode_all(ODD + COMMON)
  validation = encode_all(COMMON, first_seed=100)
  write(
    data_dir,
    train=(train, 10 * np.arange(len(train))),
    validation=(validation, 999 - np.arange(len(validation))),
  )


def write(data_dir, **splits):
  """Write a data set without TensorFlow.

  Args:
    data_dir: folder, as `data.dir`.
    **splits: (images, labels) by TFDS's name of the split; encoded images.

  Returns:
    The folder that holds the files.
  """
  builder = tfds.builder(
    'imagenet2012', data_dir=data_dir, file_format='array_record'
  )
  folder = pathlib.Path(builder.data_path)
  folder.mkdir(parents=True)
  infos = [_write_split(folder, name, *split) for name, split in splits.items()]
  builder.info.set_splits(tfds.core.splits.SplitDict(infos))
  builder.info.write_to_directory(folder)
  return folder


def _write_split(folder, split, images, labels, shards=2):
  """Write a split's files; return what TFDS has to know of them."""
  names = tfds.core.ShardedFileTemplate(
    dataset_name='imagenet2012',
    data_dir=folder,
    split=split,
    filetype_suffix='array_record',
  )
  lengths = []
  for shard, ids in enumerate(np.array_split(np.arange(len(images)), shards)):
    path = names.sharded_filepath(shard_index=shard, num_shards=shards)
    writer = array_record_module.ArrayRecordWriter(str(path), 'group_size:1')
    for i in ids:
      writer.write(_serialize(images[i], labels[i], f'n0_{i}.JPEG'))
    writer.close()
    lengths.append(len(ids))
  num_bytes = sum(map(len, images))
  return tfds.core.SplitInfo(
    name=split,
    shard_lengths=lengths,
    num_bytes=num_bytes,
    filename_template=names,
  )


def _serialize(image, label, file_name):
  example = tf_example_pb2.Example()
  feature = example.features.feature
  feature['image'].bytes_list.value.append(image)
  feature['label'].int64_list.value.append(label)
  feature['file_name'].bytes_list.value.append(file_name.encode())
  return example.SerializeToString()
