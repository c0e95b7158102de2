#!/usr/bin/env bash
# What runs on a TPU VM, for launch.tpu_vm and SkyPilot. Next to this file lie
# pruning_gen.bundle, plan.jsonl and requirements.lock.
#
# setup [DATA]      install; mount DATA, gs://BUCKET or `disk`, read-only
# run LINES [FLAGS] run these lines of the plan in order, with flags of main
# start ...         the same, detached; systemd gives it 25 s to save and stop
# poll              print what became of it; its launcher is alive
# log               print the end of its output
# watch NAME ZONE HOURS   delete this slice once its launcher is gone so long
# start_watch ...   the same, detached
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
metadata() {
  curl --silent --fail --header 'Metadata-Flavor: Google' \
    "http://metadata.google.internal/computeMetadata/v1/$1"
}

setup() {
  exec 9>machine.lock && flock 9
  # Another launcher may have started the job.
  [[ "$(poll)" != *running ]] || return 0
  rm -rf code
  git -c advice.detachedHead=false clone --quiet pruning_gen.bundle code
  # The machine's own Python is too old.
  python3 -m pip install --quiet --user 'uv>=0.9,<1'
  python3 -m uv venv --quiet --clear --python 3.12 venv
  python3 -m uv pip sync --quiet --python venv/bin/python --require-hashes \
    requirements.lock
  python3 -m uv pip install --quiet --python venv/bin/python --no-deps \
    --editable code
  mkdir -p data
  mountpoint --quiet data || mount_data "${1:-}"
}

mount_data() {
  case "$1" in
    disk) sudo mount -o ro,noload /dev/disk/by-id/google-persistent-disk-1 data ;;
    gs://*)
      command -v gcsfuse >/dev/null || install_gcsfuse
      local bucket="${1#gs://}" folder=''
      [[ "$bucket" != */* ]] || folder="${bucket#*/}" bucket="${bucket%%/*}"
      gcsfuse --implicit-dirs -o ro ${folder:+--only-dir "$folder"} "$bucket" data
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
  local lines="$1" flags=() retries="${RETRIES:-3}" line
  shift
  if mountpoint --quiet data; then
    flags=(--config.data.dir="$PWD/data"
      --config.data.num_workers="$(($(nproc) * 3 / 4))")
  fi
  if [[ "$(metadata instance/attributes/worker-network-endpoints)" == *,* ]]; then
    # Hosts that retry each on their own would not meet again.
    flags+=(--distributed) retries=0
  fi
  # A program that was killed leaves it; another user's may not be opened.
  sudo fuser --silent /dev/accel* /dev/vfio/[0-9]* 2>/dev/null ||
    sudo rm -f /tmp/libtpu_lockfile
  # Never on the CPU in silence.
  export JAX_PLATFORMS=tpu
  cd code
  # Signals are the program's, which saves.
  trap : TERM INT HUP
  for line in $lines; do
    ../venv/bin/python -m launch.sweep exec --plan=../plan.jsonl \
      --index="$line" --retries="$retries" \
      --host="$(metadata instance/attributes/agent-worker-number)" -- \
      "${flags[@]}" "$@"
  done
}

start() {
  sudo systemctl reset-failed pruning_gen 2>/dev/null || true
  sudo systemctl stop pruning_gen 2>/dev/null || true
  # Its launcher counts its failures, those of all hosts together.
  sudo systemd-run --quiet --unit=pruning_gen --uid="$(id -u)" \
    --setenv=HOME="$HOME" --setenv=RETRIES=0 --remain-after-exit \
    --property=TimeoutStopSec=25 \
    --property=StandardOutput="append:$PWD/job.log" \
    --property=StandardError="append:$PWD/job.log" \
    bash "$PWD/machine.sh" run "$@"
}

log() { tail -n 20 job.log; }

start_watch() {
  sudo systemctl is-active --quiet watch ||
    sudo systemd-run --quiet --unit=watch --uid="$(id -u)" \
      bash "$PWD/machine.sh" watch "$@"
}

poll() {
  local states
  touch alive
  states="$(systemctl show pruning_gen --property=ActiveState,SubState,LoadState)"
  case "$states" in
    *LoadState=not-found*) echo pruning_gen: absent ;;
    *SubState=exited* | *ActiveState=failed*)
      echo "pruning_gen: ended $(systemctl show pruning_gen \
        --property=ExecMainStatus | cut -d= -f2)"
      ;;
    *) echo pruning_gen: running ;;
  esac
}

watch() {
  touch alive
  while [[ -n "$(find alive -mmin "-$(($3 * 60))")" ]]; do sleep 300; done
  token="$(metadata instance/service-accounts/default/token |
    sed 's/.*"access_token": *"\([^"]*\)".*/\1/')"
  curl --silent --request DELETE --header "Authorization: Bearer $token" \
    "https://tpu.googleapis.com/v2/projects/$(metadata project/project-id)/locations/$2/queuedResources/$1?force=true"
}

"$@"
