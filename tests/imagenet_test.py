import io
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tarfile
import textwrap

import numpy as np
import pytest

from pruning_gen.data import imagenet
from pruning_gen.data import splits
from pruning_gen.data import stream
from pruning_gen.errors import UserError
from tests import small_imagenet
from tests.small_imagenet import COMMON
from tests.small_imagenet import encode_all

ROOT = pathlib.Path(__file__).parents[1]
ENV = os.environ | {'PYTHONPATH': str(ROOT), 'PYTHONWARNINGS': 'default'}


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
  for value in ('n0_1.JPEG', '1000', '2', str(tmp_path)):
    assert value in str(error.value)
  assert not (tmp_path / 'cache').exists()


def test_validation_and_test_share_the_stored_validation_split(
  data_dir, tmp_path
):
  validation = imagenet.open_split(data_dir, 'validation')
  test = imagenet.open_split(data_dir, 'test')
  expected_validation, expected_test = splits.split_test(16)
  assert (len(validation), len(test)) == (3, 13)
  np.testing.assert_array_equal(
    imagenet.read_labels(validation, tmp_path), 999 - expected_validation
  )
  np.testing.assert_array_equal(
    imagenet.read_labels(test, tmp_path), 999 - expected_test
  )
  assert sorted([*expected_validation, *expected_test]) == list(range(16))
  batch = next(stream.eval_batches(validation, 4))
  np.testing.assert_array_equal(batch['example_id'], [0, 1, 2, -1])


def test_no_name_of_a_folder_is_a_pattern(tmp_path):
  folder = tmp_path / 'data [old]*'
  small_imagenet.write(folder, train=(encode_all(COMMON[:2]), [3, 4]))
  source = imagenet.open_split(folder, 'train')
  labels = imagenet.read_labels(source, tmp_path / 'cache [1]')
  assert labels.tolist() == [3, 4]
  assert len(list((tmp_path / 'cache [1]').iterdir())) == 1


def test_data_that_is_not_there(tmp_path):
  with pytest.raises(UserError) as error:
    imagenet.open_split(tmp_path, 'train')
  message = str(error.value)
  for value in (
    'imagenet2012',
    'ILSVRC2012_img_val.tar',
    f'{tmp_path}/downloads/manual',
    'download_and_prepare()',
    '--config.data.dir=',
  ):
    assert value in message
  assert list(tmp_path.iterdir()) == []


def test_data_that_is_not_all_there(data_dir, tmp_path):
  with pytest.raises(UserError, match=r'data\.num_train=25.*\b24\b'):
    imagenet.open_split(data_dir, 'train', num_examples=25)
  folder = small_imagenet.write(
    tmp_path, train=(encode_all(COMMON[:2]), [0, 1])
  )
  with pytest.raises(UserError, match=r"data\.dir.*'validation'"):
    imagenet.open_split(tmp_path, 'test')
  (folder / 'imagenet2012-train.array_record-00001-of-00002').unlink()
  with pytest.raises(UserError, match=r'data\.dir.*-00001-of-00002'):
    imagenet.open_split(tmp_path, 'train')


@pytest.mark.parametrize('keep', [0, 0.5])
def test_a_damaged_file_of_imagenet_is_named(tmp_path, keep):
  folder = small_imagenet.write(
    tmp_path, train=(encode_all(COMMON[:4]), [0, 1, 2, 3])
  )
  name = 'imagenet2012-train.array_record-00001-of-00002'
  whole = (folder / name).read_bytes()
  (folder / name).write_bytes(whole[: int(keep * len(whole))])
  source = imagenet.open_split(tmp_path, 'train')
  assert source[1]['label'] == 1
  for read in (
    lambda: imagenet.read_labels(source, tmp_path / 'cache'),
    lambda: list(stream.eval_batches(source, 4)),
  ):
    with pytest.raises(UserError) as error:
      read()
    for value in (name, 'config.data.dir', 'download_and_prepare()'):
      assert value in str(error.value)


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
  for value in ('imagenet2012', str(tmp_path), 'tfrecord', 'data.dir'):
    assert value in str(error.value)


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
    from pruning_gen.data import stream

    if __name__ == '__main__':
      source = imagenet.open_split({str(tmp_path)!r}, 'train')
      labels = imagenet.read_labels(source, {str(tmp_path / 'cache')!r})
      print(*sorted(labels.tolist()))
      print(*[source[i]['file_name'].decode() for i in range(len(source))])
      ids = np.arange(12).reshape(3, 4)
      reading = stream.Reading(num_workers=1)
      batches = stream.train_batches(source, ids, 0, 0, 0, reading)
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
