#!/usr/bin/env bash
# Measure an accelerator in at most 9 minutes, without a network.
#
#   speed/accelerator.sh OUTPUT [PEER]
#
# OUTPUT, a new folder, gets as they come:
#   devices.json      what JAX sees, and versions
#   throughput.jsonl  one line per measurement: images per second of our stack, or
#                     of PEER, a PyTorch loop (see throughput.py), in turn
#   failed.txt        what ran out of memory or time, and what was skipped
#   chain/            the workdir of a ResNet-20 on CIFAR-10, as far as it gets
#
# In the environment: MODELS, MEMBERS, STACKINGS and DTYPES to measure, IMAGES per
# epoch, LIMIT (seconds for all of it), CHAIN (seconds of them for the chain), DATA
# (a folder of TensorFlow Datasets), CHAIN_FLAGS (more flags for the chain).
set -u
cd "$(dirname "$0")/.."
output=${1:?usage: speed/accelerator.sh OUTPUT [PEER]}
peer=${2:-}
limit=${LIMIT:-530}
chain=${CHAIN:-200}
images=${IMAGES:-12800}
mkdir "$output" || exit 1
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1

python - "$output/devices.json" << 'PYTHON'
import importlib.metadata
import json
import sys

import jax

names = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint')
described = {
  'devices': [f'{device.platform}: {device.device_kind}' for device in jax.devices()],
  'versions': {name: importlib.metadata.version(name) for name in names},
}
with open(sys.argv[1], 'w') as file:
  json.dump(described, file, indent=2)
print(described)
PYTHON

# measure NAME COMMAND...: add the last line that a command prints.
measure() {
  local name=$1 left=$((limit - chain - SECONDS)) line
  shift
  if ((left < 5)); then
    echo "skipped: $name" >> "$output/failed.txt"
    return
  fi
  if line=$(timeout "$left" "$@" 2> "$output/stderr.txt" | tail -n 1) &&
    [[ $line == '{'* ]]; then
    echo "$line" | tee -a "$output/throughput.jsonl"
  else
    { echo "failed: $name"; tail -n 2 "$output/stderr.txt"; } >> "$output/failed.txt"
  fi
}

for members in ${MEMBERS:-12 1 24 3}; do
  for model in ${MODELS:-resnet20 vgg16 lenet}; do
    if [[ -n $peer && ! -e "$output/.peer_$model" ]]; then
      touch "$output/.peer_$model"
      measure "$model, PyTorch" python "$peer" "$model" --seconds 5
      measure "$model, PyTorch compiled, amp" \
        python "$peer" "$model" --seconds 5 --amp --compile
    elif [[ -z $peer ]]; then
      grep -qs PyTorch "$output/failed.txt" ||
        echo 'skipped: PyTorch, no script was passed' >> "$output/failed.txt"
    fi
    for stacking in ${STACKINGS:-map vmap}; do
      for dtype in ${DTYPES:-float32 bfloat16}; do
        measure "$model, $members members, $stacking, $dtype" \
          python speed/throughput.py --model "$model" --worker "$members" \
          --stacking "$stacking" --dtype "$dtype" --images "$images"
      done
    done
  done
done
rm -f "$output"/.peer_*

# Stopped by SIGTERM it saves, exits with 75, and leaves the levels it finished.
left=$((limit - SECONDS - 20))
if ((left > 20)); then
  timeout --preserve-status "$left" python -m pruning_gen.main --config=configs/resnet20.py \
    --workdir="$output/chain" --config.data.dir="${DATA:-}" \
    --config.experiments="('chain',)" --config.noise_fractions='(0.0,0.3)' \
    --config.epochs=16 --config.rewind_epoch=1 --config.milestones='(8,12)' \
    --config.checkpoint.every_epochs=4 ${CHAIN_FLAGS:-}
  echo "chain: exit code $?"
else
  echo 'skipped: the chain' >> "$output/failed.txt"
fi
