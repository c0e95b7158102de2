import errno
import fcntl
import json
import os
import socket
import subprocess
import sys

import pytest

from pruning_gen.errors import UserError
from pruning_gen.storage import lock

HOLD = (
  'import sys, time\n'
  'from pruning_gen.storage import lock\n'
  'with lock.hold(sys.argv[1]):\n'
  '  print("held", flush=True)\n'
  '  time.sleep(60)\n'
)


@pytest.mark.slow
def test_a_second_process_is_refused_until_the_first_dies(tmp_path):
  holder = subprocess.Popen(
    [sys.executable, '-c', HOLD, str(tmp_path)],
    stdout=subprocess.PIPE,
    text=True,
  )
  assert holder.stdout.readline() == 'held\n'
  with (
    pytest.raises(UserError, match=str(tmp_path)) as error,
    lock.hold(tmp_path),
  ):
    pass
  assert f'"process_id": {holder.pid}' in str(error.value)
  assert f'"host": "{socket.gethostname()}"' in str(error.value)
  holder.kill()
  holder.communicate()
  # The dead process's file is still there, and stops nobody.
  assert json.loads((tmp_path / 'lock.json').read_text())
  with lock.hold(tmp_path):
    written = json.loads((tmp_path / 'lock.json').read_text())
    assert written['process_id'] == os.getpid()


def fail_with(code):
  def fail(*_):
    raise OSError(code, os.strerror(code))

  return fail


def test_a_full_disk_does_not_hide_the_lock(tmp_path, monkeypatch):
  monkeypatch.setattr(os, 'write', fail_with(errno.ENOSPC))
  with (
    lock.hold(tmp_path),
    pytest.raises(UserError, match=str(tmp_path)),
    lock.hold(tmp_path),
  ):
    pass


@pytest.mark.parametrize('code', lock.NO_LOCKS)
def test_a_file_system_without_locks(tmp_path, monkeypatch, capsys, code):
  monkeypatch.setattr(fcntl, 'flock', fail_with(code))
  with lock.hold(tmp_path), lock.hold(tmp_path):
    assert json.loads((tmp_path / 'lock.json').read_text())
  assert (
    capsys.readouterr().out.count(f'warning: the file system of {tmp_path} ')
    == 2
  )


def test_a_lock_that_fails_otherwise(tmp_path, monkeypatch):
  monkeypatch.setattr(fcntl, 'flock', fail_with(errno.EIO))
  with pytest.raises(UserError, match=str(tmp_path)), lock.hold(tmp_path):
    pass


def test_it_is_released(tmp_path):
  for _ in range(2):
    with lock.hold(tmp_path):
      pass


def test_a_folder_is_created(tmp_path):
  with lock.hold(tmp_path / 'new' / 'run'):
    assert (tmp_path / 'new' / 'run' / 'lock.json').exists()
  with (
    pytest.raises(UserError, match=r'--workdir=.*/under'),
    lock.hold(tmp_path / 'new' / 'run' / 'lock.json' / 'under'),
  ):
    pass
