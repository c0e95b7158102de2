"""Cloud TPUs: one line of accelerators.csv per generation.

Software versions, machine types and speeds are those in Google's documentation
(docs.cloud.google.com/tpu/docs, read on 2026-11-27). Prices, in dollars per
chip and hour, are those in SkyPilot's catalogue v8 for the zone named, the
cheapest for each. They change every month.
"""

import csv
import pathlib
import re
from typing import NamedTuple

from pruning_gen.errors import UserError

PRICES_READ = '2026-11-23'
PRICE_LIST = 'https://cloud.google.com/tpu/pricing'


class Accelerator(NamedTuple):
  """One accelerator type, as 'v4-8'; speeds and prices are per chip."""

  name: str
  chips: int
  hosts: int
  cpus: int  # Of all hosts together.
  runtime_version: str
  zone: str  # Where it is known to be; there may be others.
  on_demand: float
  spot: float
  peak_teraflops: float  # bfloat16.
  gigabytes_per_second: float  # To and from memory.


def find(name: str) -> Accelerator:
  """Look up an accelerator type, as 'v4-8'.

  Raises:
    UserError: there is no such generation, or it has no such size.
  """
  prefix, _, size = name.partition('-')
  rows = list(csv.DictReader(_table().splitlines()))
  for row in rows:
    cores = int(row['cores_per_chip'])
    if row['prefix'] == prefix and size.isdigit() and int(size) >= cores:
      chips, one_host = int(size) // cores, int(row['one_host_chips'])
      # Larger slices have hosts of 4 chips; a smaller host has fewer CPUs.
      hosts = 1 if chips <= one_host else chips // 4
      cpus = int(row['host_cpus']) * min(1, chips / hosts / one_host)
      numbers = ('on_demand', 'spot', 'peak_teraflops', 'gigabytes_per_second')
      return Accelerator(
        *(name, chips, hosts, int(cpus * hosts)),
        *(row['runtime_version'], row['zone']),
        *(float(row[key]) for key in numbers),
      )
  prefixes = ', '.join(f'{row["prefix"]}-SIZE' for row in rows)
  raise UserError(f'--accelerator={name} must be one of: {prefixes}')


def _table():
  return pathlib.Path(__file__).with_suffix('.csv').read_text()


def region(zone: str) -> str:
  """Return a zone's region: 'us-central2' of 'us-central2-b'."""
  return zone.rpartition('-')[0]


def check_zone(zone: str, accelerator: Accelerator) -> str:
  """Return a warning if a zone is not where an accelerator is known to be.

  Raises:
    UserError: it does not have the form of a zone.
  """
  if not re.fullmatch(r'[a-z]+-[a-z]+\d+-[a-z0-9]+', zone):
    raise UserError(f'--zone={zone} must be a zone, as {accelerator.zone}')
  if zone == accelerator.zone:
    return ''
  return (
    f'warning: {accelerator.name} is known to be in {accelerator.zone}; check '
    f'`gcloud compute tpus accelerator-types list --zone={zone}`\n'
  )


def check_bucket(location: str, zone: str) -> str:
  """Return a warning if a bucket is in another region than a machine.

  Args:
    location: the bucket's, as Google prints it: 'US-CENTRAL2'.
    zone: the machine's.
  """
  if location.lower() == region(zone):
    return ''
  return (
    f'warning: the bucket is in {location.lower()}, the machine in '
    f'{region(zone)}: every GiB between them costs money and takes longer '
    f'(https://cloud.google.com/storage/pricing)\n'
  )
