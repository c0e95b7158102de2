import io
import sys

import numpy as np
import pytest
import tqdm

from pruning_gen.engine import progress
from pruning_gen.engine.stack import Member
from pruning_gen.engine.stack import Stack
from pruning_gen.training.schedule import Schedule
from tests import small_chain


class Terminal(io.StringIO):
  def isatty(self):
    return True


def show(config, name, schedule, epochs):
  """Show epochs at level 0 of a stack of two networks."""
  members = [Member('pruning', 0.0, i) for i in range(2)]
  stack = Stack(members, None, None, np.zeros((2, 64)))
  shown = progress.Progress(
    small_chain.make_run(config, None), name, stack, schedule
  )
  for epoch in range(epochs):
    losses = np.full((2, 2), 0.328512, np.float32)
    shown.show_epoch(losses, 0, epoch, epoch + 1)
  shown.close()


@pytest.mark.parametrize(
  'name, levels, where',
  [
    ('chain', 20, 'chain: level 0/20, epoch 160/160'),
    ('leave_out/train_48000', 0, 'leave_out/train_48000: epoch 160/160'),
  ],
)
def test_a_bar_is_whole_at_80_columns(config, monkeypatch, name, levels, where):
  terminal = Terminal()
  monkeypatch.setattr(sys, 'stderr', terminal)
  monkeypatch.setattr(
    tqdm.std, '_screen_shape_wrapper', lambda: lambda _: (80, 24)
  )
  show(config, name, Schedule(160, 10, levels), 160)
  last = terminal.getvalue().replace('\n', '').split('\r')[-1]
  assert last.startswith(where) and len(last) <= 80
  assert ' left, ' in last and last.endswith('image/s, loss 0.329')


def test_a_log_has_lines_and_no_bar(config, monkeypatch, capsys):
  now = iter(range(0, 10_000, 100))
  monkeypatch.setattr(progress.time, 'monotonic', lambda: next(now))
  show(config, 'chain', Schedule(40, 32, 7), 8)
  out, err = capsys.readouterr()
  assert not err
  # A line after the first epoch, then every 300 s, here of 100 s an epoch; 96
  # epochs in all.
  assert out.splitlines() == [
    'chain: level 0/7, epoch 1/40, loss 0.329',
    'chain: level 0/7, epoch 4/40, loss 0.329, about 2:33:20 left',
    'chain: level 0/7, epoch 7/40, loss 0.329, about 2:28:20 left',
  ]
