"""The Cloud TPUs this project launches on: sizes, zones, software, prices.

  python3 -m launch.accelerators us-central2-b v4-8

prints the software version, for tpu_vm.sh. Only the standard library is
needed. Sizes, zones and software versions are those that Google's documentation
lists (docs.cloud.google.com/tpu/docs/regions-zones and /runtimes, read on
2026-11-23); add a line here for a new one.
"""

import argparse
import re
import sys
from typing import NamedTuple

from pruning_gen.errors import UserError

# Dollars a chip and hour, (on demand, spot): SkyPilot's price catalogue v8 for
# Google Cloud and, for v4, its price fetcher. Spot prices move every month.
PRICES_READ = '2026-11-23'
PRICE_LIST = 'https://cloud.google.com/tpu/pricing'
PRICES = {
  ('v4', 'us-central2'): (3.22, 0.966),
  ('v5e', 'us-central1'): (1.20, 0.2449),
  ('v5e', 'us-west1'): (1.20, 0.2449),
  ('v5e', 'us-west4'): (1.20, 0.48),
  ('v5e', 'us-south1'): (1.416, 0.5664),
  ('v5e', 'europe-west4'): (1.56, 0.4045),
  ('v5p', 'us-central1'): (4.20, 0.9286),
  ('v5p', 'us-east5'): (4.20, 1.68),
  ('v5p', 'europe-west4'): (4.2525, 1.3485),
  ('v6e', 'us-central1'): (2.70, 0.5729),
  ('v6e', 'us-east1'): (2.70, 0.5729),
  ('v6e', 'us-east5'): (2.70, 1.35),
  ('v6e', 'europe-west4'): (2.97, 1.0375),
}
# Dollars a GiB that crosses from one region to another: from, up to. Google's
# list has a price for each pair of continents.
TRANSFER_PRICES = (0.02, 0.14)


class Generation(NamedTuple):
  """A generation of TPUs.

  Attributes:
    prefix: str, of its accelerator types: 'v5litepod' in 'v5litepod-8'.
    sizes: tuple of int, what may follow the prefix.
    cores_per_chip: int, how many of the size's unit make a chip.
    single_host_chips: int, slices of up to so many chips have one host; larger
      ones have one for every 4 chips.
    runtime_version: str.
    zones: tuple of str.
    peak_teraflops: bfloat16, a chip.
  """

  prefix: str
  sizes: tuple[int, ...]
  cores_per_chip: int
  single_host_chips: int
  runtime_version: str
  zones: tuple[str, ...]
  peak_teraflops: float


GENERATIONS = {
  'v4': Generation(
    'v4',
    (8, 16, 32, 64, 128),
    2,
    4,
    'tpu-ubuntu2204-base',
    ('us-central2-b',),
    275,
  ),
  'v5e': Generation(
    'v5litepod',
    (1, 4, 8, 16, 32, 64, 128, 256),
    1,
    8,
    'v2-alpha-tpuv5-lite',
    (
      'us-central1-a',
      'us-west1-c',
      'us-west4-a',
      'us-south1-a',
      'europe-west4-b',
    ),
    197,
  ),
  'v5p': Generation(
    'v5p',
    (8, 16, 32, 64, 128),
    2,
    4,
    'v2-alpha-tpuv5',
    ('us-central1-a', 'us-east5-a', 'europe-west4-b'),
    459,
  ),
  'v6e': Generation(
    'v6e',
    (1, 4, 8, 16, 32, 64, 128, 256),
    1,
    8,
    'v2-alpha-tpuv6e',
    (
      'us-central1-b',
      'us-east1-d',
      'us-east5-a',
      'us-east5-b',
      'europe-west4-a',
    ),
    918,
  ),
}


class Accelerator(NamedTuple):
  """One accelerator type, as 'v4-8'."""

  name: str
  generation: str
  chips: int
  hosts: int
  runtime_version: str
  zones: tuple[str, ...]
  peak_teraflops: float

  def price(self, zone, spot=True):
    """Return dollars a chip and hour in a zone."""
    return PRICES[self.generation, region(zone)][int(spot)]


def find(name):
  """Look up an accelerator type.

  Args:
    name: str, as 'v4-8'; SkyPilot's spelling 'tpu-v4-8' is understood.

  Raises:
    UserError: there is none of this name; lists those there are.
  """
  prefix, _, size = name.removeprefix('tpu-').partition('-')
  for generation, known in GENERATIONS.items():
    if prefix == known.prefix and size in map(str, known.sizes):
      chips = int(size) // known.cores_per_chip
      hosts = 1 if chips <= known.single_host_chips else chips // 4
      return Accelerator(
        f'{prefix}-{size}',
        generation,
        chips,
        hosts,
        known.runtime_version,
        known.zones,
        known.peak_teraflops,
      )
  names = '; '.join(
    f'{known.prefix}-{{{",".join(map(str, known.sizes))}}}'
    for known in GENERATIONS.values()
  )
  raise UserError(
    f'--accelerator={name} is not one this project knows: {names}'
  )


def region(zone):
  """Return a zone's region: 'us-central2' of 'us-central2-b'."""
  return zone.rpartition('-')[0]


def check_zone(zone, accelerator=None):
  """Check that a zone has an accelerator, or any of those known.

  Raises:
    UserError: it is no zone, or has none.
  """
  if accelerator:
    zones, name = accelerator.zones, accelerator.name
  else:
    zones = sorted({z for known in GENERATIONS.values() for z in known.zones})
    name = 'TPU'
  if not re.fullmatch(r'[a-z]+-[a-z]+\d+-[a-z0-9]+', zone):
    raise UserError(f'--zone={zone} has not the form of a zone, as {zones[0]}')
  if zone not in zones:
    raise UserError(
      f'--zone={zone} has no {name}, by launch/accelerators.py: '
      f'{", ".join(zones)} have'
    )


def check_bucket(location, zone):
  """Tell what a bucket in another place than the machine costs, or None.

  Args:
    location: str, the bucket's, as Google prints it: 'US-CENTRAL2'.
    zone: str, the machine's.
  """
  if location.lower() == region(zone):
    return None
  low, high = TRANSFER_PRICES
  return (
    f'warning: the bucket is in {location.lower()}, the machine in '
    f'{region(zone)}: every GiB between them costs ${low:.2f} to ${high:.2f} '
    f'(check https://cloud.google.com/storage/pricing) and takes longer; '
    f'make one with --location={region(zone)}'
  )


def main():
  """Check a zone and an accelerator for tpu_vm.sh; print what it runs."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('zone')
  parser.add_argument('accelerator', nargs='?', help='empty: any')
  args = parser.parse_args()
  try:
    accelerator = find(args.accelerator) if args.accelerator else None
    check_zone(args.zone, accelerator)
  except UserError as error:
    sys.exit(f'error: {error}')
  if accelerator:
    print(accelerator.runtime_version)


if __name__ == '__main__':
  main()
