import io
import json
import multiprocessing
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tarfile
import textwrap
import time

import numpy as np
import PIL.JpegImagePlugin
import pytest
from PIL import Image

from pruning_gen.data import datasets
from pruning_gen.data import imagenet
from pruning_gen.data import streams
from pruning_gen.errors import UserError
from pruning_gen.training import epoch
from pruning_gen.training import train_state
from tests import small_imagenet

ROOT = pathlib.Path(__file__).parents[1]

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


def encode_all(shapes, first_seed=0):
  return [
    small_imagenet.encode(first_seed + i, *shape)
    for i, shape in enumerate(shapes)
  ]


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('tensorflow_datasets')
  train = encode_all(ODD + COMMON)
  validation = encode_all(COMMON, first_seed=100)
  small_imagenet.write(
    folder,
    train=(train, 10 * np.arange(len(train))),
    validation=(validation, 999 - np.arange(len(validation))),
  )
  return folder


@pytest.fixture(scope='module')
def train(data_dir):
  return imagenet.open_split(data_dir, 'train')


@pytest.fixture
def broken_dir(tmp_path):
  """Write a training split in which examples 1 and 3 are broken."""
  images = encode_all(COMMON[:6])
  images[1] = images[1][: len(images[1]) // 2]
  images[3] = b'no image'
  small_imagenet.write(tmp_path, train=(images, np.arange(6)))
  return tmp_path


def draw_ids(global_epoch, num_examples=24, batch_size=6, replicate=1):
  member = train_state.MemberData(
    key=streams.replicate_key(0, replicate),
    labels=np.zeros(num_examples, np.int32),
    example_ids=np.arange(num_examples, dtype=np.int32),
  )
  return np.asarray(epoch.batch_ids(member, np.int32(global_epoch), batch_size))


def train_epoch(source, global_epoch=2, first_step=0, **kwargs):
  ids = draw_ids(global_epoch)[first_step:]
  return list(imagenet.train_batches(source, ids, 0, 1, global_epoch, **kwargs))


def assert_equal_batches(batches, expected):
  assert len(batches) == len(expected)
  for batch, other in zip(batches, expected):
    assert batch.keys() == other.keys()
    for key in batch:
      np.testing.assert_array_equal(batch[key], other[key])


def images_by_id(batches):
  return {
    int(example_id): image
    for batch in batches
    for example_id, image in zip(batch['example_id'], batch['image'])
  }


def test_an_epoch_is_the_order_that_members_draw(train):
  batches = train_epoch(train)
  ids = draw_ids(global_epoch=2)
  assert ids.shape == (4, 6)
  for batch, expected in zip(batches, ids):
    assert batch['image'].shape == (6, 224, 224, 3)
    assert batch['image'].dtype == np.uint8
    assert batch['example_id'].dtype == np.int32
    assert batch['valid'].dtype == bool
    np.testing.assert_array_equal(batch['example_id'], expected)
    assert batch['valid'].all()
  # No image of an epoch is like another: no crop is drawn for a whole batch.
  assert (
    len({image.tobytes() for image in images_by_id(batches).values()}) == 24
  )


def test_augmentation_depends_on_seed_replicate_epoch_and_example_alone(train):
  expected = images_by_id(train_epoch(train))[9]
  other_place = np.array([[9, 3], [4, 5]])
  again = list(imagenet.train_batches(train, other_place, 0, 1, 2))
  np.testing.assert_array_equal(again[0]['image'][0], expected)
  for names in ((1, 1, 2), (0, 0, 2), (0, 1, 3)):
    other = list(imagenet.train_batches(train, other_place, *names))
    assert (other[0]['image'][0] != expected).any()


def test_hosts_share_every_batch(train):
  whole = train_epoch(train)
  hosts = [train_epoch(train, host=host, num_hosts=2) for host in range(2)]
  assert hosts[0][0]['image'].shape == (3, 224, 224, 3)
  joined = [
    {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    for parts in zip(*hosts)
  ]
  assert_equal_batches(joined, whole)
  with pytest.raises(UserError, match='batch of 6 cannot be shared by 4 hosts'):
    imagenet.train_batches(train, draw_ids(0), 0, 0, 0, num_hosts=4)


def test_a_restart_at_any_step_sees_the_rest_of_the_epoch(train):
  whole = train_epoch(train)
  assert_equal_batches(train_epoch(train, first_step=3), whole[3:])
  assert train_epoch(train, first_step=4) == []


@pytest.mark.slow
def test_workers_change_nothing(train):
  whole = train_epoch(train)
  for num_workers in (1, 2):
    assert_equal_batches(train_epoch(train, num_workers=num_workers), whole)
  # Nothing is left for the second worker.
  ids = draw_ids(2)[:1, :2]
  (batch,) = imagenet.train_batches(train, ids, 0, 1, 2, num_workers=2)
  np.testing.assert_array_equal(batch['image'], whole[0]['image'][:2])
  assert not multiprocessing.active_children()


def wait_for_workers(number):
  deadline = time.monotonic() + 20
  while len(multiprocessing.active_children()) < number:
    assert time.monotonic() < deadline, 'no worker starts'
    time.sleep(0.01)
  return multiprocessing.active_children()


@pytest.mark.slow
def test_workers_leave_signals_to_the_main_process(train):
  ids = draw_ids(global_epoch=2)
  batches = imagenet.train_batches(train, ids, 0, 1, 2, num_workers=2)
  taken = []
  # While they start, and at work.
  for _ in range(2):
    for worker in wait_for_workers(2):
      os.kill(worker.pid, signal.SIGTERM)
      os.kill(worker.pid, signal.SIGINT)
    taken.append(next(batches))
  assert_equal_batches([*taken, *batches], train_epoch(train))


@pytest.mark.slow
def test_a_stream_starts_at_once_and_may_be_given_up(train):
  ids = draw_ids(global_epoch=2)
  for take in (0, 1):
    batches = imagenet.train_batches(train, ids, 0, 1, 2, num_workers=1)
    wait_for_workers(1)
    for _ in range(take):
      next(batches)
    del batches
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_workers_end_where_the_main_process_is_killed(data_dir, tmp_path):
  script = tmp_path / 'script.py'
  script.write_text(
    textwrap.dedent(f"""
    import multiprocessing, time
    import numpy as np
    from pruning_gen.data import imagenet

    if __name__ == '__main__':
      source = imagenet.open_split({str(data_dir)!r}, 'train')
      ids = np.tile(np.arange(24), (1000, 1))
      batches = imagenet.train_batches(source, ids, 0, 0, 0, num_workers=1)
      next(batches)
      print(multiprocessing.active_children()[0].pid, flush=True)
      time.sleep(100)
    """)
  )
  process = subprocess.Popen(
    [sys.executable, script], stdout=subprocess.PIPE, text=True, env=ENV
  )
  worker = int(process.stdout.readline())
  process.kill()
  process.communicate()
  deadline = time.monotonic() + 20
  while is_running(worker):
    assert time.monotonic() < deadline, 'the worker lives on'
    time.sleep(0.1)


ENV = os.environ | {'PYTHONPATH': str(ROOT), 'PYTHONWARNINGS': 'default'}


def is_running(pid):
  status = pathlib.Path(f'/proc/{pid}/stat')
  try:
    return status.read_text().rsplit(')', 1)[1].split()[0] != 'Z'
  except (FileNotFoundError, ProcessLookupError):
    return False


def test_scoring_shows_every_example_once(train):
  batches = list(imagenet.score_batches(train, 10))
  assert [batch['image'].shape for batch in batches] == [(10, 224, 224, 3)] * 3
  ids = np.concatenate([batch['example_id'] for batch in batches])
  valid = np.concatenate([batch['valid'] for batch in batches])
  np.testing.assert_array_equal(ids, [*range(24), *[-1] * 6])
  np.testing.assert_array_equal(valid, [True] * 24 + [False] * 6)
  assert (batches[2]['image'][4:] == 0).all()
  hosts = [
    list(imagenet.score_batches(train, 10, host=host, num_hosts=2))
    for host in range(2)
  ]
  np.testing.assert_array_equal(hosts[1][2]['example_id'], [-1] * 5)
  np.testing.assert_array_equal(hosts[1][0]['image'], batches[0]['image'][5:])


def test_scored_images_are_resized_then_cropped(train):
  scored = images_by_id(imagenet.score_batches(train, 24))
  for example_id in (0, 1, 2, 4, 5, 6, 7, 8, 9):
    image = Image.open(io.BytesIO(train[example_id]['image'])).convert('RGB')
    width, height = image.size
    scale = 256 / min(width, height)
    image = image.resize(
      (int(width * scale), int(height * scale)), Image.Resampling.BILINEAR
    )
    left = round((image.width - 224) / 2)
    top = round((image.height - 224) / 2)
    expected = np.asarray(image.crop((left, top, left + 224, top + 224)), int)
    assert abs(scored[example_id] - expected).max() <= 1, example_id


def test_center_box():
  assert imagenet.center_box(256, 256) == (16, 16, 240, 240)
  # 512 x 256, once resized.
  assert imagenet.center_box(1024, 512) == (288, 32, 736, 480)


def test_draws_are_the_same_for_ever():
  # Change these, and every published run changes its data.
  draws = imagenet.augment_draws(0, 1, 2, 3)
  assert len(draws) == 41
  assert draws[:2] == [0.6572874874286314, 0.722336558056354]
  assert imagenet.random_crop(500, 375, draws[1:]) == (77, 0, 385, 365)


def test_random_crops_are_in_range():
  areas, ratios, lefts, flips = [], [], [], []
  for example_id in range(4000):
    flip, *draws = imagenet.augment_draws(0, 0, 0, example_id)
    left, top, width, height = imagenet.random_crop(4000, 4000, draws)
    assert 0 <= left <= 4000 - width
    assert 0 <= top <= 4000 - height
    areas.append(width * height / 16e6)
    ratios.append(width / height)
    lefts.append(left / max(4000 - width, 1))
    flips.append(flip < 0.5)
  assert 0.0999 < min(areas) < 0.102
  assert 0.95 < max(areas) <= 1
  assert 0.799 < min(ratios) < 0.801
  assert 1.249 < max(ratios) < 1.251
  # Half of the ratios are below 1: the draw is uniform in their logarithm.
  assert np.mean(np.array(ratios) < 1) == pytest.approx(0.5, abs=0.03)
  assert np.mean(lefts) == pytest.approx(0.5, abs=0.02)
  assert np.mean(flips) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
  'size, crop',
  [
    ((2000, 50), (969, 0, 62, 50)),
    ((50, 2000), (0, 969, 50, 62)),
    ((1, 1), (0, 0, 1, 1)),
    ((3, 1), (1, 0, 1, 1)),
  ],
)
def test_a_crop_that_never_fits_is_central(size, crop):
  # The largest area, which is no narrower than 0.8 of its height.
  assert imagenet.random_crop(*size, [1 - 2**-53] * 40) == crop


def test_training_images_are_the_crops_drawn(train):
  images = images_by_id(train_epoch(train))
  flipped = 0
  for example_id in sorted(set(range(24)) - {2, 3}):  # a few pixels large
    image = Image.open(io.BytesIO(train[example_id]['image'])).convert('RGB')
    flip, *draws = imagenet.augment_draws(0, 1, 2, example_id)
    left, top, width, height = imagenet.random_crop(*image.size, draws)
    image = image.crop((left, top, left + width, top + height))
    image = image.resize((224, 224), Image.Resampling.BILINEAR)
    expected = np.asarray(image, int)[:, :: -1 if flip < 0.5 else 1]
    flipped += flip < 0.5
    # At its edges, ours scales with the pixels around the crop.
    difference = abs(images[example_id] - expected)
    assert difference.mean() < 1, example_id
    assert difference[8:-8, 8:-8].max() <= 4, example_id
  assert 4 < flipped < 20


def test_large_images_are_decoded_smaller_but_not_too_small(train, monkeypatch):
  drafts = []
  draft = PIL.JpegImagePlugin.JpegImageFile.draft

  def spy(image, mode, size):
    whole = image.width
    result = draft(image, mode, size)
    drafts.append(whole / result[1][2])
    return result

  monkeypatch.setattr(PIL.JpegImagePlugin.JpegImageFile, 'draft', spy)
  reductions = set()
  for global_epoch in range(12):
    drafts.clear()
    batches = imagenet.train_batches(train, [[6]], 0, 0, global_epoch)
    image = next(batches)['image'][0]
    flip, *draws = imagenet.augment_draws(0, 0, global_epoch, 6)
    left, top, width, height = imagenet.random_crop(1600, 1200, draws)
    reduction = drafts[0] if drafts else 1
    reductions.add(reduction)
    assert min(width, height) / reduction >= 224
    assert reduction == 4 or min(width, height) / (2 * reduction) < 224
    full = Image.open(io.BytesIO(train[6]['image'])).resize(
      (224, 224),
      Image.Resampling.BILINEAR,
      (left, top, left + width, top + height),
    )
    full = np.asarray(full, int)[:, :: -1 if flip < 0.5 else 1]
    assert abs(image - full).mean() < 1
    assert abs(image - full).max() <= 12
  assert reductions == {2, 4}


def test_gray_and_cmyk_and_png_become_rgb(train):
  scored = images_by_id(imagenet.score_batches(train, 24))
  gray = scored[0]
  np.testing.assert_array_equal(gray[..., 0], gray[..., 2])
  assert gray.std() > 20
  # Their inks, or whatever is stored, are near the colors they encode.
  for example_id in (1, 7):
    shape = ODD[example_id][:2]
    rgb = Image.open(
      io.BytesIO(small_imagenet.encode(example_id, *shape, 'RGB', 'PNG'))
    )
    mean = np.asarray(rgb).mean((0, 1))
    np.testing.assert_allclose(scored[example_id].mean((0, 1)), mean, atol=12)


def test_labels_are_read_once(train, data_dir, tmp_path, monkeypatch):
  labels = imagenet.read_labels(train, tmp_path)
  assert labels.dtype == np.int32
  np.testing.assert_array_equal(labels, 10 * np.arange(24))
  few = imagenet.open_split(data_dir, 'train', num_examples=5)
  np.testing.assert_array_equal(
    imagenet.read_labels(few, tmp_path), [0, 10, 20, 30, 40]
  )

  def read_again(*_):
    raise AssertionError('read again')

  monkeypatch.setattr(imagenet, '_read_stored_labels', read_again)
  np.testing.assert_array_equal(imagenet.read_labels(train, tmp_path), labels)


def test_a_label_out_of_range_names_its_record(tmp_path):
  images = encode_all(COMMON[:3])
  small_imagenet.write(tmp_path, train=(images, [0, 1000, -1]))
  source = imagenet.open_split(tmp_path, 'train')
  with pytest.raises(UserError) as error:
    imagenet.read_labels(source, tmp_path / 'cache')
  message = str(error.value)
  assert 'train example 1 (n0_1.JPEG, record 1' in message
  assert 'has label 1000, not one in [0, 1000); 2 examples' in message
  assert not (tmp_path / 'cache').exists()


def test_validation_and_test_share_the_stored_validation_split(
  data_dir, tmp_path
):
  validation = imagenet.open_split(data_dir, 'validation')
  test = imagenet.open_split(data_dir, 'test')
  expected_validation, expected_test = datasets.split_test(16)
  assert (len(validation), len(test)) == (3, 13)
  np.testing.assert_array_equal(
    imagenet.read_labels(validation, tmp_path), 999 - expected_validation
  )
  np.testing.assert_array_equal(
    imagenet.read_labels(test, tmp_path), 999 - expected_test
  )
  assert sorted([*expected_validation, *expected_test]) == list(range(16))
  batch = next(imagenet.score_batches(validation, 4))
  np.testing.assert_array_equal(batch['example_id'], [0, 1, 2, -1])


def test_a_broken_image_stops_the_run(broken_dir):
  source = imagenet.open_split(broken_dir, 'train')
  with pytest.raises(UserError) as error:
    list(imagenet.score_batches(source, 6))
  message = str(error.value)
  assert 'ImageNet train example 1 (n0_1.JPEG, record 1' in message
  assert 'OSError: ' in message
  assert "on_broken='skip'" in message
  with pytest.raises(ValueError, match="on_broken='ignore'"):
    imagenet.score_batches(source, 6, on_broken='ignore')


@pytest.mark.slow
def test_a_broken_image_stops_the_run_from_a_worker(broken_dir):
  source = imagenet.open_split(broken_dir, 'train')
  with pytest.raises(UserError, match=r'train example 1 \(n0_1.JPEG, record 1'):
    list(imagenet.score_batches(source, 6, num_workers=2))
  assert not multiprocessing.active_children()
  skipped = list(
    imagenet.score_batches(source, 6, num_workers=2, on_broken='skip')
  )
  assert_equal_batches(
    skipped, list(imagenet.score_batches(source, 6, on_broken='skip'))
  )
  assert source.left_out == {1, 3}


def test_broken_images_are_left_out_and_said_once(broken_dir, capsys):
  source = imagenet.open_split(broken_dir, 'train')
  for global_epoch in range(2):
    (batch,) = imagenet.train_batches(
      source, [[5, 3, 1, 0]], 0, 0, global_epoch, on_broken='skip'
    )
    np.testing.assert_array_equal(batch['example_id'], [5, 3, 1, 0])
    np.testing.assert_array_equal(batch['valid'], [True, False, False, True])
    assert (batch['image'][1:3] == 0).all()
  batches = list(imagenet.score_batches(source, 4, on_broken='skip'))
  np.testing.assert_array_equal(batches[0]['valid'], [True, False, True, False])
  np.testing.assert_array_equal(batches[1]['valid'], [True, True, False, False])
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == 2
  assert lines[0].startswith('ImageNet train example 1 (n0_1.JPEG, record 1 of')
  assert lines[1].startswith('ImageNet train example 3 (n0_3.JPEG, record 3 of')
  assert lines[1].endswith('cannot be decoded and is left out')
  assert source.left_out == {1, 3}


def test_data_that_is_not_there(tmp_path):
  with pytest.raises(UserError) as error:
    imagenet.open_split(tmp_path, 'train')
  message = str(error.value)
  assert f"data.dir holds no 'imagenet2012' ({tmp_path})" in message
  assert 'ILSVRC2012_img_val.tar' in message
  assert f'into {tmp_path}/downloads/manual' in message
  assert 'download_and_prepare()' in message
  assert '--config.data.dir=FOLDER' in message
  assert list(tmp_path.iterdir()) == []


def test_data_that_is_not_all_there(data_dir, tmp_path):
  with pytest.raises(UserError, match=r'train split in .* holds 24 examples'):
    imagenet.open_split(data_dir, 'train', num_examples=25)
  folder = small_imagenet.write(
    tmp_path, train=(encode_all(COMMON[:2]), [0, 1])
  )
  with pytest.raises(UserError, match="without its split 'validation'"):
    imagenet.open_split(tmp_path, 'test')
  (folder / 'imagenet2012-train.array_record-00001-of-00002').unlink()
  with pytest.raises(UserError, match=r'1 of the 2 files .*-00001-of-00002'):
    imagenet.open_split(tmp_path, 'train')


def test_data_prepared_without_random_access(tmp_path):
  folder = small_imagenet.write(
    tmp_path, train=(encode_all(COMMON[:2]), [0, 1])
  )
  path = folder / 'dataset_info.json'
  info = json.loads(path.read_text())
  info['fileFormat'] = 'tfrecord'
  path.write_text(json.dumps(info))
  with pytest.raises(UserError) as error:
    imagenet.open_split(tmp_path, 'train')
  assert f"holds 'imagenet2012' ({tmp_path}) as tfrecord" in str(error.value)
  assert 'prepare it in another folder' in str(error.value)


def add_file(tar, name, data):
  info = tarfile.TarInfo(name)
  info.size = len(data)
  tar.addfile(info, io.BytesIO(data))


@pytest.mark.slow
def test_data_prepared_as_the_message_says(tmp_path):
  with pytest.raises(UserError) as error:
    imagenet.open_split(tmp_path, 'train')
  manual = tmp_path / 'downloads' / 'manual'
  manual.mkdir(parents=True)
  wordnet_ids = ('n01440764', 'n01443537', 'n13037406')
  with tarfile.open(manual / 'ILSVRC2012_img_train.tar', 'w') as tar:
    for i, wordnet_id in enumerate(wordnet_ids):
      inner = io.BytesIO()
      with tarfile.open(fileobj=inner, mode='w') as inner_tar:
        for j, image in enumerate(encode_all(COMMON[:4], 10 * i)):
          add_file(inner_tar, f'{wordnet_id}_{j}.JPEG', image)
      add_file(tar, f'{wordnet_id}.tar', inner.getvalue())
  with tarfile.open(manual / 'ILSVRC2012_img_val.tar', 'w') as tar:
    for i, image in enumerate(encode_all(COMMON[:10], 100)):
      add_file(tar, f'ILSVRC2012_val_{i + 1:08}.JPEG', image)
  (command,) = re.findall('^  (python -c .*)$', str(error.value), re.MULTILINE)
  subprocess.run(
    [sys.executable, *shlex.split(command)[1:]], check=True, env=ENV
  )

  # Any import of TensorFlow fails, in workers too.
  no_tensorflow = tmp_path / 'no' / 'tensorflow.py'
  no_tensorflow.parent.mkdir()
  no_tensorflow.write_text("raise ImportError('there is no TensorFlow')")
  script = tmp_path / 'script.py'
  script.write_text(
    textwrap.dedent(f"""
    import numpy as np
    from pruning_gen.data import imagenet

    if __name__ == '__main__':
      source = imagenet.open_split({str(tmp_path)!r}, 'train')
      labels = imagenet.read_labels(source, {str(tmp_path / 'cache')!r})
      print(*sorted(labels.tolist()))
      print(*[source[i]['file_name'].decode() for i in range(len(source))])
      ids = np.arange(12).reshape(3, 4)
      batches = imagenet.train_batches(source, ids, 0, 0, 0, num_workers=1)
      print(*[i for batch in batches for i in batch['example_id'].tolist()])
      test = imagenet.open_split({str(tmp_path)!r}, 'test')
      print(*imagenet.read_labels(test, {str(tmp_path / 'cache')!r}))
    """)
  )
  path = os.pathsep.join([str(no_tensorflow.parent), ENV['PYTHONPATH']])
  out = subprocess.run(
    [sys.executable, script],
    check=True,
    env=ENV | {'PYTHONPATH': path},
    stdout=subprocess.PIPE,
    text=True,
  ).stdout.splitlines()
  assert out[0] == '0 0 0 0 1 1 1 1 993 993 993 993'
  assert sorted(out[1].split()) == sorted(
    f'{wordnet_id}_{j}.JPEG' for wordnet_id in wordnet_ids for j in range(4)
  )
  assert out[2] == '0 1 2 3 4 5 6 7 8 9 10 11'
  assert len(out[3].split()) == 8
