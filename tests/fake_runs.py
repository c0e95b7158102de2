"""Small workdirs with made-up results, written as experiments write them."""

import numpy as np
import pandas as pd

from pruning_gen.engine.stack import Member
from pruning_gen.storage import epochs
from pruning_gen.storage import level_tables
from pruning_gen.storage import provenance
from pruning_gen.storage import results
from pruning_gen.storage import roster

CONFIG = {
  'model': {'name': 'lenet', 'widths': [300, 100]},
  'data': {'name': 'digits'},
  'epochs': 10,
  'levels': 3,
  'prune_fraction': 0.2,
  'num_subgroups': 4,
  'width': {'levels': 2},
  'experiments': ['chain'],
  'replicates': 2,
  'first_replicate': 0,
}
NUM_TRAIN = 20
NUM_VALIDATION = 4
NUM_TEST = 8
NUM_CLASSES = 4
NOISE_FRACTIONS = (0.0, 0.2)
REPLICATES = (0, 1)


def make_row(**columns):
  """Return a row of results.csv: the chain's dense network, where not said."""
  return (
    dict.fromkeys(results.COLUMNS, 0.5)
    | {
      'experiment': 'chain',
      'arm': 'pruning',
      'noise_fraction': 0.0,
      'replicate': 0,
      'network': 0,
      'left_out': '',
      'chosen_at': -1,
      'level': 0,
      'num_weights': 1000,
      'weights_remaining': 1.0,
      'num_train': NUM_TRAIN,
      'epochs_trained': 10,
      'diverged': 0,
    }
    | columns
  )


def make_results(errors, arm='pruning', validation=None, **columns):
  """Return rows with the test errors {level: [by replicate]}."""
  return pd.DataFrame(
    [
      make_row(
        arm=arm,
        level=level,
        replicate=replicate,
        test_error=error,
        validation_error=(validation or {level: error})[level],
        weights_remaining=1.0 if arm.endswith('dense') else 0.8**level,
        epochs_trained=10 * (level + 1),
        **columns,
      )
      for level, by_replicate in errors.items()
      for replicate, error in enumerate(by_replicate)
    ]
  )


def write_chain(
  workdir,
  arms=('pruning', 'extended_dense'),
  levels=4,
  config=(),
  replicates=REPLICATES,
):
  """Write a chain whose losses are -0.1 x level x the example's rank."""
  provenance.write_config(workdir, CONFIG | dict(config))
  provenance.add_provenance(workdir, {'command': 'python -m pruning_gen.main'})
  rows, members = [], []
  for noise_fraction in NOISE_FRACTIONS:
    for arm in arms:
      errors = {
        level: [0.3 + noise_fraction - 0.02 * level, 0.32 - 0.01 * level]
        for level in range(levels)
      }
      table = make_results(errors, arm, noise_fraction=noise_fraction)
      if not noise_fraction:
        table['train_cross_entropy_noisy'] = np.nan
      table = table[table.replicate.isin(replicates)]
      rows += table.to_dict('records')
      members += [Member(arm, noise_fraction, i) for i in replicates]
  results.write_rows(workdir, rows)
  _write_arrays(workdir, 'chain', members, levels)
  write_layers(workdir, members, levels)


def write_layers(workdir, members, levels):
  """Write a first layer that loses half at each level, and an output layer."""
  rows = [
    (*member.identity, level, layer, kept, size, np.float32(3))
    for level in range(levels)
    for member in members
    for layer, size, kept in (
      ('dense_0', 800, 800 // 2 ** (level * (member.arm == 'pruning'))),
      ('output', 200, 200),
    )
  ]
  name = level_tables.LAYERS
  table = pd.DataFrame(rows, columns=list(level_tables.COLUMNS[name]))
  level_tables.write(workdir, name, table)


def write_width(workdir, levels=3):
  """Write narrower networks, each with half as many weights."""
  rows, members = [], []
  for noise_fraction in NOISE_FRACTIONS:
    members += [Member('dense', noise_fraction, i) for i in REPLICATES]
    rows += [
      make_row(
        experiment='width',
        arm='dense',
        noise_fraction=noise_fraction,
        replicate=replicate,
        level=level,
        width=0.8**level,
        num_weights=1000 // 2**level,
        weights_remaining=0.5**level,
        test_error=0.3 + 0.01 * level + 0.001 * replicate,
      )
      for level in range(levels)
      for replicate in REPLICATES
    ]
  results.write_rows(workdir, rows)
  _write_arrays(workdir, 'width', members, levels)


def write_el2n(workdir, replicates=REPLICATES):
  """Write scores that rank the examples by their id."""
  table = pd.DataFrame(
    [(p, i) for p in NOISE_FRACTIONS for i in replicates],
    columns=['noise_fraction', 'replicate'],
  )
  scores = np.tile(np.arange(NUM_TRAIN, dtype=np.float32), (len(table), 1))
  results.EL2N.write(workdir, table, scores)


def write_leave_out(workdir, replicates=REPLICATES):
  """Write networks without sets of 4 and 5 examples, and random ones."""
  sets = {
    ('most_improved', 3): (16, 0.4),
    ('most_worsened', 3): (16, 0.2),
    ('random', 4): (16, 0.3),
    ('misclassified', 3): (15, 0.1),
    ('subgroup', 0): (15, 0.3),
    ('subgroup', 1): (15, 0.35),
    ('random', 5): (15, 0.25),
  }
  rows = [
    make_row(
      experiment='leave_out',
      arm='dense',
      left_out=left_out,
      chosen_at=chosen_at,
      noise_fraction=noise_fraction,
      replicate=replicate,
      num_train=num_train,
      test_error=error + 0.01 * replicate,
    )
    for (left_out, chosen_at), (num_train, error) in sets.items()
    for noise_fraction in NOISE_FRACTIONS
    for replicate in replicates
  ]
  results.write_rows(workdir, rows)


def write_most_worsened(workdir, replicates=(0,)):
  """Write two examples for each noise fraction, as grey images."""
  rows = [
    (p, i, 3, example_id, 1, 2, 2, 0.5)
    for p in NOISE_FRACTIONS
    for i in replicates
    for example_id in (0, 7)
  ]
  columns = ['noise_fraction', 'replicate', 'level', 'example_id']
  columns += ['label', 'true_label', 'prediction', 'effect']
  images = np.full((len(rows), 8, 8, 1), 128, np.uint8)
  results.MOST_WORSENED.write(
    workdir, pd.DataFrame(rows, columns=columns), images
  )


def write_all(workdir):
  """Write a run of every experiment."""
  write_chain(workdir)
  write_width(workdir)
  write_el2n(workdir)
  write_leave_out(workdir)
  write_most_worsened(workdir)
  write_epochs(workdir)


def write_epochs(workdir):
  """Write losses that halve with every epoch, and errors of every other."""
  members = roster.read(workdir, 'chain')
  table = epochs.Epochs(workdir, 'chain', members)
  for epoch in range(1, 7):
    losses = [0.5**epoch * (1 + member[2]) for member in members]
    errors = None if epoch % 2 else [(loss / 10, loss / 9) for loss in losses]
    table.add(members, (epoch - 1) // 2, epoch, losses, errors)
  table.write()


def _write_arrays(workdir, folder, members, levels):
  true_labels = np.arange(NUM_TRAIN, dtype=np.uint16) % NUM_CLASSES
  test_labels = np.arange(NUM_TEST, dtype=np.uint16) % NUM_CLASSES
  is_noisy = np.zeros((len(members), NUM_TRAIN), bool)
  for i, member in enumerate(members):
    # The highest scores are the noisy examples.
    num_noisy = round(member.noise_fraction * NUM_TRAIN)
    is_noisy[i, NUM_TRAIN - num_noisy :] = True
  labels = {
    'labels': ((true_labels + is_noisy) % NUM_CLASSES).astype(np.uint16),
    'is_noisy': is_noisy,
    'true_labels': true_labels,
    'validation_labels': test_labels[:NUM_VALIDATION],
    'test_labels': test_labels,
  }
  roster.add(workdir, folder, members, labels)
  for level in range(levels):
    losses = 5 - 0.1 * level * np.arange(NUM_TRAIN)
    losses = np.tile(losses.astype(np.float32), (len(members), 1))
    test = np.tile(predict_test(level), (len(members), 1))
    prediction = predict_train(level, labels)
    arrays = {
      'cross_entropy': losses,
      'prediction': prediction,
      'correct': prediction == labels['labels'],
      'validation_cross_entropy': 1.5 * losses[:, :NUM_VALIDATION],
      'validation_prediction': test[:, :NUM_VALIDATION],
      'test_cross_entropy': 2 * losses[:, :NUM_TEST],
      'test_prediction': test,
    }
    results.write_level(workdir, folder, level, arrays)


def predict_train(level, labels):
  """Predict training labels, but not these.

  Of the noisy examples, the first `level` are predicted as their true label,
  and from level 2 on the last one as another class. Example 0, of class 0, is
  wrong from level 2 on.
  """
  prediction = labels['labels'].copy()
  for row, is_noisy in zip(prediction, labels['is_noisy']):
    noisy = np.flatnonzero(is_noisy)
    row[noisy[:level]] = labels['true_labels'][noisy[:level]]
    if level >= 2:
      row[noisy[-1:]] = (labels['true_labels'][noisy[-1:]] + 2) % NUM_CLASSES
      row[0] = 3
  return prediction


def predict_test(level):
  """Predict test labels: 1 is wrong always, and 0 from level 1 on."""
  prediction = np.arange(NUM_TEST, dtype=np.uint16) % NUM_CLASSES
  prediction[1] = 0
  if level >= 1:
    prediction[0] = 1
  return prediction
