#!/usr/bin/env bash
# What runs on a TPU VM, for launch.tpu_vm and SkyPilot. Next to this file lie
# pruning_gen.bundle, plan.jsonl and requirements.lock.
#
# setup [DATA]      install; mount DATA, gs://BUCKET or `disk`, read-only
# run LINES [FLAGS] run these lines of the plan in order, with flags of main
# boot NAME ZONE WORKDIR HOURS DATA LINES [FLAGS]
#                   set up and run, detached; delete the slice NAME once its
#                   launcher is gone for HOURS; WORKDIR/machine/failed says why
#                   this gave up
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
data="$(dirname "$PWD")/data"
metadata() {
  curl --silent --fail --header 'Metadata-Flavor: Google' \
    "http://metadata.google.internal/computeMetadata/v1/$1"
}

setup() {
  local attempt
  for attempt in $(seq 10); do
    # A process of its own: `set -e` has no effect in a condition.
    ! bash machine.sh install "${1:-}" || return 0
    sleep $((attempt * ${SETUP_WAIT:-10}))
  done
  return 1
}

install() {
  rm -rf code
  git -c advice.detachedHead=false clone --quiet pruning_gen.bundle code
  # The machine's own Python is too old.
  python3 -m pip install --quiet --user 'uv>=0.9,<1'
  python3 -m uv venv --quiet --clear --python 3.12 venv
  python3 -m uv pip sync --quiet --python venv/bin/python --require-hashes \
    requirements.lock
  python3 -m uv pip install --quiet --python venv/bin/python --no-deps \
    --editable code
  mkdir -p "$data"
  mountpoint --quiet "$data" || mount_data "$1"
}

mount_data() {
  case "$1" in
    disk)
      sudo mount -o ro,noload /dev/disk/by-id/google-persistent-disk-1 "$data"
      ;;
    gs://*)
      command -v gcsfuse >/dev/null || install_gcsfuse
      local bucket="${1#gs://}" folder=''
      [[ "$bucket" != */* ]] || folder="${bucket#*/}" bucket="${bucket%%/*}"
      gcsfuse --implicit-dirs -o ro ${folder:+--only-dir "$folder"} \
        "$bucket" "$data"
      ;;
  esac
}

install_gcsfuse() {
  local packages=https://packages.cloud.google.com/apt
  curl --silent --fail "$packages/doc/apt-key.gpg" |
    sudo tee /etc/apt/trusted.gpg.d/gcsfuse.asc >/dev/null
  echo "deb $packages gcsfuse-jammy main" |
    sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null
  sudo apt-get -qq update
  sudo apt-get -qq install gcsfuse
}

run() {
  local lines="$1" flags=() wait=1 line
  shift
  if mountpoint --quiet "$data"; then
    flags=(--config.data.dir="$data"
      --config.data.num_workers="$(($(nproc) * 3 / 4))")
  fi
  if [[ "$(metadata instance/attributes/worker-network-endpoints)" == *,* ]]; then
    # A program that lost another host notices within two minutes, and waits
    # for it for five: so all hosts try again together.
    flags+=(--distributed) wait=180
  fi
  # A program that was killed leaves it; another user's may not be opened.
  sudo fuser --silent /dev/accel* /dev/vfio/[0-9]* 2>/dev/null ||
    sudo rm -f /tmp/libtpu_lockfile
  # Never fall back silently to the CPU. Buckets are read by gcsfs, as tested.
  export JAX_PLATFORMS=tpu EPATH_USE_TF=false
  cd code
  # Leave signals to the program, which saves.
  trap : TERM INT HUP
  for line in $lines; do
    ../venv/bin/python -m launch.sweep exec --plan=../plan.jsonl \
      --index="$line" --retries=3 --wait="$wait" \
      --host="$(metadata instance/attributes/agent-worker-number)" -- \
      "${flags[@]}" "$@"
  done
}

boot() {
  local name="$1" zone="$2" workdir="$3" hours="$4"
  shift 4
  detach watch "$name" "$zone" "$workdir" "$hours"
  detach job "$workdir" "$@"
}

# Of its own, by systemd, which gives it 25 seconds to save when it stops.
detach() {
  systemd-run --quiet --unit="pruning_gen_$1" --setenv=HOME="$HOME" \
    --setenv=PATH="$PATH" --property=TimeoutStopSec=25 \
    --property=StandardOutput="append:$PWD/$1.log" \
    --property=StandardError="append:$PWD/$1.log" \
    bash "$PWD/machine.sh" "$@"
}

job() {
  local workdir="$1" mount="$2" code=0
  shift 2
  bash machine.sh setup "$mount" || code=1
  until ((code)) || bash machine.sh run "$@"; do
    code=$?
    # Stopped and saved, and the machine is still here.
    ((code != 75)) || code=0
  done
  ((code == 0)) || tail -n 20 job.log |
    gcloud storage cp - "$workdir/machine/failed"
}

watch() {
  local name="$1" zone="$2" workdir="$3" seconds=$(($4 * 3600)) seen=0 last=0
  while ((SECONDS - seen <= seconds)); do
    alive="$(gcloud storage objects describe "$workdir/machine/alive" \
      --format='value(generation)' || true)"
    [[ "$alive" == "$last" ]] || seen=$SECONDS last="$alive"
    sleep "${WATCH_SECONDS:-300}"
  done
  until token="$(metadata instance/service-accounts/default/token |
    sed 's/.*"access_token": *"\([^"]*\)".*/\1/')" &&
    curl --silent --show-error --fail --request DELETE \
      --header "Authorization: Bearer $token" \
      "https://tpu.googleapis.com/v2/projects/$(metadata project/project-id)/locations/$zone/queuedResources/$name?force=true"; do
    sleep "${WATCH_SECONDS:-300}"
  done
}

"$@"
