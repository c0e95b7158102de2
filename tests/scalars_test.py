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
  writer = scalars.Writer(tmp_path)
  for step in range(5):
    writer.write(step, {'loss': 1.0})
  writer.close()
  said = capsys.readouterr().out
  assert said == 'TensorBoard scalars are off: No space left on device\n'


def test_without_tensorflow(monkeypatch, tmp_path, capsys):
  monkeypatch.setitem(sys.modules, 'clu', None)
  writer = scalars.Writer(tmp_path)
  writer.write(0, {'loss': 1.0})
  writer.close()
  assert 'scalars are off: import of clu halted' in capsys.readouterr().out
