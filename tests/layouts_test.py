"""The same chain on one device, on eight, and in two processes."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests import program

# A tiny ResNet on digits: 2 members, 10 x 5 steps, BatchNorm and crops. Of 8
# layers, since each layout compiles it. A small learning rate: chaos would grow
# the rounding of any larger one.
WORKER = """
import json, sys
import jax
devices, processes, process, port = map(int, sys.argv[1:])
jax.config.update('jax_num_cpu_devices', devices)
if processes > 1:
  jax.distributed.initialize(f'localhost:{port}', processes, process)
import numpy as np
from configs import default
from pruning_gen.data import augment, datasets, streams
from pruning_gen.engine import inputs, mesh, programs
from pruning_gen.engine.over_members import over_members
from pruning_gen.experiments import build, label_sets
from pruning_gen.models import MODELS
from pruning_gen.training import epoch
from pruning_gen.training.schedule import Schedule
from tests import small_chain

MODELS['resnet20'] = small_chain.shallow('resnet20')
config = default.get_cifar_config()
config.data.name = 'digits'
config.model.name = 'resnet20'
config.model.num_filters = 2
config.noise_fractions = (0.3,)
config.replicates = 1
config.batch_size = 40
config.learning_rate = 0.0001
config.momentum = 0.0
config.model.batch_norm_scale_init = 'ones'
config.epochs = 10
config.rewind_epoch = 0
config.eval_batch_size = 40
config.data.num_train = 200
dataset = datasets.load('digits', num_train=200)
run = small_chain.make_run(config, None, dataset)
stack = label_sets.make_stack(run, label_sets.list_members(config))
layout = mesh.make_layout(config, len(stack.members))
spec = inputs.Spec(
  config,
  dataset,
  stack,
  build.make_model(config, dataset.num_classes),
  build.make_optimizer(config, stack),
  Schedule(config.epochs),
  layout,
)
built = programs.build(spec)
state, losses = built.create(), []
for global_epoch in range(10):
  state, epoch_losses = built.train_epoch(state, global_epoch)
  losses.append(epoch_losses)
found = built.evaluate(state)

def show_batch(member, images):
  ids = epoch.batch_ids(member, 3, 40)[0]
  batch = mesh.spread_batch(images[ids])
  key = streams.draw_key(member.key, 'augment', 3)
  return ids, augment.flip_and_crop(key, batch, ids)

shown = over_members(show_batch, layout, (0, None))(
  inputs.place_members(spec), mesh.broadcast(dataset.train_images, layout)
)
ids, batch = map(mesh.gather, shown)
if jax.process_index() == 0:
  print(json.dumps({
    'mesh': dict(layout.mesh.shape),
    'ids': ids.tolist(),
    'batch': batch.tolist(),
    'losses': np.concatenate(losses, axis=1).tolist(),
    'cross_entropy': found['train'].cross_entropy.tolist(),
    'test_cross_entropy': found['test'].cross_entropy.tolist(),
  }))
"""


def run(devices, processes):
  port = program.free_port()
  workers = [
    subprocess.Popen(
      [sys.executable, '-c', WORKER]
      + [str(n) for n in (devices, processes, process, port)],
      cwd=program.ROOT,
      stdout=subprocess.PIPE,
      text=True,
    )
    for process in range(processes)
  ]
  outputs = [worker.communicate(timeout=500)[0] for worker in workers]
  assert [worker.returncode for worker in workers] == [0] * processes
  return json.loads(outputs[0].splitlines()[-1])


@pytest.fixture(scope='module')
def one_device():
  return run(1, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
  'devices, processes, mesh',
  [
    pytest.param(8, 1, {'member': 2, 'data': 4}, marks=pytest.mark.long),
    (2, 2, {'member': 2, 'data': 2}),
  ],
)
def test_same_results_on_every_layout(one_device, devices, processes, mesh):
  assert one_device['mesh'] == {'member': 1, 'data': 1}
  found = run(devices, processes)
  assert found['mesh'] == mesh
  assert found['ids'] == one_device['ids']
  assert found['batch'] == one_device['batch']
  for name, tolerance in (
    ('losses', 1e-5),
    ('cross_entropy', 1e-4),
    ('test_cross_entropy', 1e-4),
  ):
    expected = np.asarray(one_device[name])
    np.testing.assert_allclose(
      found[name], expected, rtol=tolerance, atol=tolerance, err_msg=name
    )
  assert np.asarray(found['losses']).shape == (2, 50)
