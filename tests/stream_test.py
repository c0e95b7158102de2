import io
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import numpy as np
import PIL.JpegImagePlugin
import pytest
from PIL import Image

from pruning_gen.data import crops
from pruning_gen.data import imagenet
from pruning_gen.data import stream
from pruning_gen.data import streams
from pruning_gen.data.stream import Reading
from pruning_gen.errors import UserError
from pruning_gen.training import epoch
from pruning_gen.training import train_state
from tests import program
from tests import small_imagenet
from tests.small_imagenet import COMMON
from tests.small_imagenet import encode_all
from tests.small_imagenet import ODD

ROOT = pathlib.Path(__file__).parents[1]
ENV = os.environ | {'PYTHONPATH': str(ROOT), 'PYTHONWARNINGS': 'default'}


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
  reading = Reading(**kwargs)
  return list(stream.train_batches(source, ids, 0, 1, global_epoch, reading))


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
  again = list(stream.train_batches(train, other_place, 0, 1, 2))
  np.testing.assert_array_equal(again[0]['image'][0], expected)
  for names in ((1, 1, 2), (0, 0, 2), (0, 1, 3)):
    other = list(stream.train_batches(train, other_place, *names))
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
  with pytest.raises(UserError, match=r'\b6\b.*\b4\b'):
    stream.train_batches(train, draw_ids(0), 0, 0, 0, Reading(num_hosts=4))


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
  (batch,) = stream.train_batches(train, ids, 0, 1, 2, Reading(num_workers=2))
  np.testing.assert_array_equal(batch['image'], whole[0]['image'][:2])
  assert not multiprocessing.active_children()


def wait_for_workers(number):
  program.wait_for(
    lambda: len(multiprocessing.active_children()) >= number, seconds=120
  )
  return multiprocessing.active_children()


@pytest.mark.slow
def test_workers_leave_signals_to_the_main_process(train):
  ids = draw_ids(global_epoch=2)
  batches = stream.train_batches(train, ids, 0, 1, 2, Reading(num_workers=2))
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
    batches = stream.train_batches(train, ids, 0, 1, 2, Reading(num_workers=1))
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
    from pruning_gen.data import stream

    if __name__ == '__main__':
      source = imagenet.open_split({str(data_dir)!r}, 'train')
      ids = np.tile(np.arange(24), (1000, 1))
      reading = stream.Reading(num_workers=1)
      batches = stream.train_batches(source, ids, 0, 0, 0, reading)
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
  program.wait_for(lambda: not is_running(worker), seconds=120)


def is_running(pid):
  status = pathlib.Path(f'/proc/{pid}/stat')
  try:
    return status.read_text().rsplit(')', 1)[1].split()[0] != 'Z'
  except (FileNotFoundError, ProcessLookupError):
    return False


def test_evaluation_shows_every_example_once(train):
  batches = list(stream.eval_batches(train, 10))
  assert [batch['image'].shape for batch in batches] == [(10, 224, 224, 3)] * 3
  ids = np.concatenate([batch['example_id'] for batch in batches])
  valid = np.concatenate([batch['valid'] for batch in batches])
  np.testing.assert_array_equal(ids, [*range(24), *[-1] * 6])
  np.testing.assert_array_equal(valid, [True] * 24 + [False] * 6)
  assert (batches[2]['image'][4:] == 0).all()
  hosts = [
    list(stream.eval_batches(train, 10, Reading(host, num_hosts=2)))
    for host in range(2)
  ]
  np.testing.assert_array_equal(hosts[1][2]['example_id'], [-1] * 5)
  np.testing.assert_array_equal(hosts[1][0]['image'], batches[0]['image'][5:])


def test_evaluated_images_are_resized_then_cropped(train):
  images = images_by_id(stream.eval_batches(train, 24))
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
    assert abs(images[example_id] - expected).max() <= 1, example_id


def test_training_images_are_the_crops_drawn(train):
  images = images_by_id(train_epoch(train))
  flipped = 0
  for example_id in sorted(set(range(24)) - {2, 3}):  # a few pixels large
    image = Image.open(io.BytesIO(train[example_id]['image'])).convert('RGB')
    flip, *draws = crops.augment_draws(0, 1, 2, example_id)
    left, top, width, height = crops.random_crop(*image.size, draws)
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
    batches = stream.train_batches(train, [[6]], 0, 0, global_epoch)
    image = next(batches)['image'][0]
    flip, *draws = crops.augment_draws(0, 0, global_epoch, 6)
    left, top, width, height = crops.random_crop(1600, 1200, draws)
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
  images = images_by_id(stream.eval_batches(train, 24))
  gray = images[0]
  np.testing.assert_array_equal(gray[..., 0], gray[..., 2])
  assert gray.std() > 20
  # Their inks, or whatever is stored, are near the colors they encode.
  for example_id in (1, 7):
    shape = ODD[example_id][:2]
    rgb = Image.open(
      io.BytesIO(small_imagenet.encode(example_id, *shape, 'RGB', 'PNG'))
    )
    mean = np.asarray(rgb).mean((0, 1))
    np.testing.assert_allclose(images[example_id].mean((0, 1)), mean, atol=12)


def test_a_broken_image_stops_the_run(broken_dir):
  source = imagenet.open_split(broken_dir, 'train')
  with pytest.raises(UserError) as error:
    list(stream.eval_batches(source, 6))
  message = str(error.value)
  for value in ('n0_1.JPEG', 'OSError', str(broken_dir)):
    assert value in message
  assert '--config.data.on_broken=skip' in message


@pytest.mark.slow
def test_a_broken_image_stops_the_run_from_a_worker(broken_dir):
  source = imagenet.open_split(broken_dir, 'train')
  with pytest.raises(UserError, match=r'n0_1\.JPEG'):
    list(stream.eval_batches(source, 6, Reading(num_workers=2)))
  assert not multiprocessing.active_children()
  skipped = list(
    stream.eval_batches(source, 6, Reading(num_workers=2, on_broken='skip'))
  )
  assert_equal_batches(
    skipped, list(stream.eval_batches(source, 6, Reading(on_broken='skip')))
  )
  assert source.left_out == {1, 3}


def test_broken_images_are_left_out_and_said_once(broken_dir, capsys):
  source = imagenet.open_split(broken_dir, 'train')
  for global_epoch in range(2):
    (batch,) = stream.train_batches(
      source, [[5, 3, 1, 0]], 0, 0, global_epoch, Reading(on_broken='skip')
    )
    np.testing.assert_array_equal(batch['example_id'], [5, 3, 1, 0])
    np.testing.assert_array_equal(batch['valid'], [True, False, False, True])
    assert (batch['image'][1:3] == 0).all()
  batches = list(stream.eval_batches(source, 4, Reading(on_broken='skip')))
  np.testing.assert_array_equal(batches[0]['valid'], [True, False, True, False])
  np.testing.assert_array_equal(batches[1]['valid'], [True, True, False, False])
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == 2
  assert 'n0_1.JPEG' in lines[0] and 'n0_3.JPEG' in lines[1]
  assert source.left_out == {1, 3}
