#!/usr/bin/env bash
# What runs on a TPU VM, for tpu_vm.sh and SkyPilot. Next to this file lie
# pruning_gen.bundle, plan.jsonl and requirements.lock.
#
# setup [DATA]      install; mount DATA, gs://BUCKET or `disk`, read-only
# run JOB           run job JOB of the plan (INDEX HOSTS [-- flags of main])
# start JOB         the same, detached; systemd gives it 25 s to save and stop
# poll              print what became of it; its launcher is alive
# watch NAME ZONE HOURS   delete this slice once its launcher is gone so long
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
metadata() {
  curl --silent --fail --header 'Metadata-Flavor: Google' \
    "http://metadata.google.internal/computeMetadata/v1/$1"
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
}

mount_data() {
  mountpoint --quiet data && return
  mkdir -p data
  case "$1" in
    disk) sudo mount -o ro,noload /dev/disk/by-id/google-persistent-disk-1 data ;;
    gs://*)
      if ! command -v gcsfuse >/dev/null; then
        key=https://packages.cloud.google.com/apt/doc/apt-key.gpg
        curl --silent --fail "$key" | sudo tee /etc/apt/trusted.gpg.d/gcsfuse.asc \
          >/dev/null
        echo "deb https://packages.cloud.google.com/apt gcsfuse-jammy main" |
          sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null
        sudo apt-get -qq update
        sudo apt-get -qq install gcsfuse
      fi
      bucket="${1#gs://}" folder=''
      [[ "$bucket" != */* ]] || folder="${bucket#*/}" bucket="${bucket%%/*}"
      gcsfuse --implicit-dirs -o ro ${folder:+--only-dir "$folder"} "$bucket" data
      ;;
  esac
}

setup() {
  local attempt
  exec 9>machine.lock && flock 9
  # Another launcher may have started the job.
  [[ "$(poll)" != *running ]] || return 0
  for ((attempt = 1; ; attempt++)); do
    # Not in a condition, where `set -e` has no effect.
    set +e
    (set -e; install; [[ -z "${1:-}" ]] || mount_data "$1")
    code=$?
    set -e
    ((code)) || return 0
    ((attempt < ${SETUP_TRIES:-10})) || return 1
    sleep $((attempt * 10))
  done
}

run() {
  local index="$1" hosts="$2" flags=()
  shift 2
  [[ "${1:-}" != -- ]] || shift
  if mountpoint --quiet data; then
    flags=(--config.data.dir="$PWD/data"
      --config.data.num_workers="$(($(nproc) * 3 / 4))")
  fi
  # A program that was killed leaves it; another user's may not be opened.
  sudo fuser --silent /dev/accel* /dev/vfio/[0-9]* 2>/dev/null ||
    sudo rm -f /tmp/libtpu_lockfile
  cd code
  exec ../venv/bin/python -m pruning_gen.launch.sweep exec --plan=../plan.jsonl --logs=- \
    --platform=tpu --index="$index" --hosts="$hosts" \
    --host="$(metadata instance/attributes/agent-worker-number || echo 0)" \
    --retries="${RETRIES:-0}" -- ${flags[@]+"${flags[@]}"} "$@"
}

start() {
  sudo systemctl reset-failed pruning_gen 2>/dev/null || true
  sudo systemctl stop pruning_gen 2>/dev/null || true
  sudo systemd-run --quiet --unit=pruning_gen --uid="$(id -u)" \
    --setenv=HOME="$HOME" --remain-after-exit --property=TimeoutStopSec=25 \
    --property=StandardOutput="append:$PWD/job.log" \
    --property=StandardError="append:$PWD/job.log" \
    bash "$PWD/machine.sh" run "$@"
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
