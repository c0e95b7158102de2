import sys
import types

from pruning_gen.engine import scalars


class FullDisk:
  def __init__(self, directory):
    pass

  def write_scalars(self, step, values):
    if step > 1:
      raise RuntimeError('No space left on device')


def use(monkeypatch, writer):
  modules = types.SimpleNamespace(SummaryWriter=writer)
  clu = types.SimpleNamespace(metric_writers=modules)
  monkeypatch.setitem(sys.modules, 'clu', clu)


def test_a_full_disk_turns_them_off_once(monkeypatch, tmp_path, capsys):
  use(monkeypatch, FullDisk)
  writer = scalars.Writer(tmp_path, ['a', 'b'])
  for step in range(5):
    writer.write(step, {'loss': [1.0, 2.0]})
  writer.close()
  (line,) = capsys.readouterr().out.splitlines()
  assert 'No space left on device' in line


def test_without_tensorflow(monkeypatch, tmp_path, capsys):
  monkeypatch.setitem(sys.modules, 'clu', None)
  writer = scalars.Writer(tmp_path, ['a'])
  writer.write(0, {'loss': [1.0]})
  writer.close()
  assert 'scalars are off: import of clu halted' in capsys.readouterr().out


def test_each_network_is_a_run_of_its_own(monkeypatch, tmp_path):
  written = {}

  class Memory:
    def __init__(self, directory):
      self._directory = directory

    def write_scalars(self, step, values):
      written[self._directory, step] = values

    def close(self):
      written[self._directory, 'closed'] = True

  use(monkeypatch, Memory)
  writer = scalars.Writer(tmp_path, ['a', 'b'])
  writer.write(3, {'loss': [1.0, 2.0], 'error': [0.1, 0.2]})
  writer.close()
  assert written == {
    (f'{tmp_path}/a', 3): {'loss': 1.0, 'error': 0.1},
    (f'{tmp_path}/b', 3): {'loss': 2.0, 'error': 0.2},
    (f'{tmp_path}/a', 'closed'): True,
    (f'{tmp_path}/b', 'closed'): True,
  }
