"""A plain PyTorch training loop, for speed/throughput.py to measure against.

  pip install torch
  python speed/throughput.py --peer=speed/pytorch_loop.py
  python speed/pytorch_loop.py lenet|resnet20|vgg16 [--amp] [--compile]

What a careful user would write for one network: images in memory as uint8, no
data loader, augmentation on the device, channels-last convolutions, masked SGD,
and optionally bfloat16 and torch.compile. Prints one line of JSON: images per
second over whole training steps, in the fastest of the timed windows.
"""

import argparse
import itertools
import json
import time
from collections.abc import Callable
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional

# Channels of VGG-16's convolutions; 'M' is a maximum over 2x2 pixels.
VGG16 = (
  *(64, 64, 'M', 128, 128, 'M', 256, 256, 256, 'M'),
  *(512, 512, 512, 'M', 512, 512, 512),
)
# Steps between two looks at the clock.
STEPS = 20


class Block(nn.Module):
  """Two 3x3 convolutions and a shortcut."""

  def __init__(self, channels: int, features: int, stride: int):
    super().__init__()
    self.conv1 = nn.Conv2d(channels, features, 3, stride, 1, bias=False)
    self.bn1 = nn.BatchNorm2d(features)
    self.conv2 = nn.Conv2d(features, features, 3, 1, 1, bias=False)
    self.bn2 = nn.BatchNorm2d(features)
    self.shortcut = nn.Sequential()
    if stride != 1 or channels != features:
      self.shortcut = nn.Sequential(
        nn.Conv2d(channels, features, 1, stride, bias=False),
        nn.BatchNorm2d(features),
      )

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Return features of x, [batch, channels, height, width]."""
    y = functional.relu(self.bn1(self.conv1(x)))
    return functional.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


def lenet() -> nn.Module:
  """Return LeNet-300-100."""
  hidden = (nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU())
  return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(100, 10))


def resnet20() -> nn.Module:
  """Return ResNet-20 for CIFAR-10."""
  channels = 16
  layers = [nn.Conv2d(3, channels, 3, 1, 1, bias=False)]
  layers += [nn.BatchNorm2d(channels), nn.ReLU()]
  for features, stride in itertools.product((16, 32, 64), (2, 1, 1)):
    layers.append(Block(channels, features, 1 if features == 16 else stride))
    channels = features
  head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))
  return nn.Sequential(*layers, *head)


def vgg16() -> nn.Module:
  """Return VGG-16 with BatchNorm and one linear layer, for CIFAR-10."""
  channels, layers = 3, []
  for features in VGG16:
    if features == 'M':
      layers.append(nn.MaxPool2d(2))
    else:
      layers += [nn.Conv2d(channels, features, 3, padding=1)]
      layers += [nn.BatchNorm2d(features), nn.ReLU()]
      channels = features
  head = (nn.AvgPool2d(2), nn.Flatten(), nn.Linear(channels, 10))
  return nn.Sequential(*layers, *head)


MODELS = {'lenet': lenet, 'resnet20': resnet20, 'vgg16': vgg16}


def augment(x: torch.Tensor) -> torch.Tensor:
  """Flip and shift each image on its own; x is [batch, channels, 32, 32]."""
  n = len(x)
  flipped = torch.rand(n, device=x.device) < 0.5
  x = torch.where(flipped[:, None, None, None], x.flip(-1), x)
  windows = functional.pad(x, (4, 4, 4, 4)).unfold(2, 32, 1).unfold(3, 32, 1)
  dy, dx = torch.randint(9, (2, n), device=x.device)
  return windows[torch.arange(n, device=x.device), :, dy, dx]


def make_step(args: argparse.Namespace, device: str) -> Callable[[], None]:
  """Return a function that trains on the next batch."""
  is_conv = args.model != 'lenet'
  n = 50_000 if device == 'cuda' else 8_192
  shape = (n, 3, 32, 32) if is_conv else (n, 1, 28, 28)
  images = torch.randint(256, shape, dtype=torch.uint8, device=device)
  labels = torch.randint(10, (n,), device=device)
  model = MODELS[args.model]().to(device)
  if is_conv:
    model = model.to(memory_format=torch.channels_last)
  parameters = list(model.parameters())
  masks = [torch.ones_like(own) for own in parameters]
  momentum, weight_decay = (0.9, 1e-4) if is_conv else (0, 0)
  optimizer = torch.optim.SGD(
    parameters, 0.1, momentum=momentum, weight_decay=weight_decay
  )
  network = torch.compile(model) if args.compile else model
  batches = _cycle(torch.randperm(n, device=device), args.batch)

  def step():
    index = next(batches)
    x = (images[index].float() / 255 - 0.45) / 0.22
    if is_conv:
      x = augment(x).contiguous(memory_format=torch.channels_last)
    with torch.autocast(device, torch.bfloat16, enabled=args.amp):
      loss = functional.cross_entropy(network(x), labels[index])
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    with torch.no_grad():
      # One call for all of them; a loop takes longer on a GPU.
      torch._foreach_mul_(parameters, masks)

  return step


def _cycle(order: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
  starts = range(0, len(order) - size + 1, size)
  return itertools.cycle([order[i : i + size] for i in starts])


def measure(args: argparse.Namespace, device: str) -> float:
  """Return images per second, in the fastest window."""
  wait = torch.cuda.synchronize if device == 'cuda' else lambda: None
  step = make_step(args, device)
  for _ in range(STEPS // 2):
    step()
  wait()
  rates = []
  for _ in range(args.windows):
    start, count, seconds = time.perf_counter(), 0, 0.0
    while seconds < args.seconds / args.windows:
      for _ in range(STEPS):
        step()
      wait()
      count += STEPS * args.batch
      seconds = time.perf_counter() - start
    rates.append(count / seconds)
  return max(rates)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('model', choices=list(MODELS))
  parser.add_argument('--batch', type=int, default=128)
  parser.add_argument('--seconds', type=float, default=10)
  parser.add_argument('--windows', type=int, default=3)
  parser.add_argument('--amp', action='store_true', help='bfloat16')
  parser.add_argument('--compile', action='store_true', help='torch.compile')
  parser.add_argument('--threads', type=int, help='all cores by default')
  args = parser.parse_args()
  if args.threads:
    torch.set_num_threads(args.threads)
  device = 'cuda' if torch.cuda.is_available() else 'cpu'
  torch.backends.cudnn.benchmark = True
  torch.manual_seed(0)
  rate = measure(args, device)
  name = torch.cuda.get_device_name() if device == 'cuda' else 'cpu'
  found = {
    'peer': 'pytorch',
    'torch': torch.__version__,
    'model': args.model,
    'device': name,
    'threads': torch.get_num_threads(),
    'batch': args.batch,
    'amp': args.amp,
    'compile': args.compile,
    'images_per_second': round(rate, 1),
  }
  print(json.dumps(found))


if __name__ == '__main__':
  main()
