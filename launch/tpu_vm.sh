#!/usr/bin/env bash
# One program on one Cloud TPU slice, with nothing but gcloud.
#
#   launch/tpu_vm.sh run --name=NAME --zone=ZONE [--accelerator=v4-8] \
#       -- python -m pruning_gen.main --config=... --workdir=gs://...
#
# create   ask for the slice (a queued resource; spot), wait for it, set it up
# run      create it unless it is there, run the program to its end, delete it
# status   print the state of the slice
# logs     print the end of the program's output on each host
# delete   delete the slice, and check that it is gone
#
# --on-demand   no spot machine     --project=P   not gcloud's own
# --keep        leave the slice after `run`
# --dry-run     print every command, do nothing
#
# `run` runs the program again when it ends with 75 (stopped and saved), when
# the slice is preempted (in a new one) and, up to $RETRIES times, when it
# fails. Exit codes: 0 done, 75 this script was stopped (the slice is deleted;
# run it again), 1 anything else. However it ends, the slice is deleted; where
# that fails, it says so. A machine that loses power cannot: look with
# `gcloud compute tpus queued-resources list --zone=ZONE`.
set -euo pipefail

# Seconds between two looks at the slice; how many looks to wait for it.
POLL_SECONDS="${POLL_SECONDS:-20}"
MAX_POLLS="${MAX_POLLS:-4320}"
# Failures of the program, or of gcloud, that are tried again.
RETRIES="${RETRIES:-3}"
# Restarts after preemptions and after 75.
MAX_RESTARTS="${MAX_RESTARTS:-200}"

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
name='' zone='' accelerator='v4-8' project='' spot='--spot' keep='' dry_run=''
program=() child='' made='' delete_at_exit=''

say() { printf 'tpu_vm: %s\n' "$*" >&2; }
fail() { say "error: $*"; exit 1; }

usage() { sed -n '2,/^set /{/^#/{s/^# \{0,1\}//;p;};}' "${BASH_SOURCE[0]}"; }

parse() {
  while (($#)); do
    case "$1" in
      --name=*) name="${1#*=}" ;;
      --zone=*) zone="${1#*=}" ;;
      --accelerator=*) accelerator="${1#*=}" ;;
      --project=*) project="${1#*=}" ;;
      --on-demand) spot='' ;;
      --keep) keep=1 ;;
      --dry-run) dry_run=1 ;;
      --) shift; program=("$@"); return ;;
      *) fail "unknown option $1: see launch/tpu_vm.sh help" ;;
    esac
    shift
  done
}

check() {
  [[ "$name" =~ ^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$ ]] ||
    fail "--name='$name' must be small letters, digits and dashes, 63 at most"
  # One list of what exists, in launch/accelerators.py.
  local line
  line="$(cd "$root" &&
    "${PYTHON:-python3}" -m launch.accelerators "$accelerator" "$zone")" || exit 1
  runtime_version="${line%% *}"
  [[ -n "$dry_run" ]] || command -v gcloud >/dev/null ||
    fail 'there is no gcloud here: https://cloud.google.com/sdk/docs/install'
}

# Run gcloud. In the background, so that a signal is heeded at once.
tpu() {
  local command=(gcloud compute tpus "$@" "--zone=$zone")
  [[ -z "$project" ]] || command+=("--project=$project")
  if [[ -n "$dry_run" ]]; then
    printf '%q ' "${command[@]}"
    printf '\n'
    return 0
  fi
  "${command[@]}" </dev/null &
  child=$!
  local code=0
  wait "$child" || code=$?
  child=''
  return "$code"
}

# Print the slice's state; GONE where there is none, UNKNOWN where gcloud fails.
state() {
  local errors output
  [[ -z "$dry_run" ]] || { echo ACTIVE; return; }
  errors="$(mktemp)"
  if output="$(tpu queued-resources describe "$name" \
    '--format=value(state.state)' 2>"$errors")"; then
    echo "${output:-UNKNOWN}"
  elif grep -q 'NOT_FOUND' "$errors"; then
    echo GONE
  else
    echo UNKNOWN
  fi
  rm -f "$errors"
}

delete() {
  local attempt
  for ((attempt = 0; attempt <= RETRIES; attempt++)); do
    tpu queued-resources delete "$name" --force --quiet || true
    if [[ -n "$dry_run" || "$(state)" == GONE ]]; then
      made=''
      # In a trap a bare `return` returns what went before the trap.
      return 0
    fi
    sleep "$POLL_SECONDS"
  done
  return 1
}

delete_or_fail() {
  delete || {
    delete_at_exit=''
    fail "$name could not be deleted and MAY COST MONEY: gcloud compute tpus" \
      "queued-resources delete $name --zone=$zone --force"
  }
}

# Leave no slice behind. Runs once, however the script ends.
finish() {
  local code=$?
  trap - EXIT
  trap '' INT TERM
  [[ -z "$child" ]] || kill "$child" 2>/dev/null || true
  if [[ -n "$made" && -n "$delete_at_exit" ]]; then
    say "deleting $name"
    delete_or_fail
  fi
  exit "$code"
}

create() {
  local attempt errors
  errors="$(mktemp)"
  for ((attempt = 0; ; attempt++)); do
    made=1
    if tpu queued-resources create "$name" "--node-id=$name" \
      "--accelerator-type=$accelerator" "--runtime-version=$runtime_version" \
      ${spot:+"$spot"} --async 2> >(tee "$errors" >&2); then
      break
    fi
    if grep -qi 'quota' "$errors"; then
      fail "no quota for $accelerator in $zone: ask for it at" \
        'https://cloud.google.com/tpu/docs/quota, or take another zone'
    fi
    # An answer that got lost: the request may have been heard.
    [[ "$(state)" == GONE ]] || break
    ((attempt < RETRIES)) || fail "$name cannot be made: see above"
    sleep "$POLL_SECONDS"
  done
  rm -f "$errors"
}

# Wait until the slice is there. 1: it was taken away, or cannot be made.
wait_until_active() {
  local polls now unknown=0
  for ((polls = 0; polls < MAX_POLLS; polls++)); do
    now="$(state)"
    case "$now" in
      ACTIVE) return ;;
      FAILED | SUSPENDING | SUSPENDED | DELETING) return 1 ;;
      GONE | UNKNOWN) ((++unknown <= RETRIES + 1)) || return 1 ;;
      *) unknown=0 ;;
    esac
    sleep "$POLL_SECONDS"
  done
  fail "$name was not there after $MAX_POLLS looks: run it again later," \
    'or take another zone'
}

on_all_hosts() { tpu tpu-vm ssh "$name" --worker=all "--command=$1"; }

set_up() {
  local folder
  folder="$(mktemp -d)"
  # A bundle: the code as committed, with its history for provenance.json.
  if [[ -n "$dry_run" ]]; then
    echo "git -C $root bundle create $folder/pruning_gen.bundle HEAD"
  else
    git -C "$root" bundle create --quiet "$folder/pruning_gen.bundle" HEAD ||
      fail "the code in $root cannot be bundled: it must be a git checkout"
  fi
  local code=0
  tpu tpu-vm scp "$folder/pruning_gen.bundle" "$name:" --worker=all || code=$?
  rm -rf "$folder"
  ((code == 0)) || return 1
  # The machine's own Python is too old. The lock: see run_program.
  on_all_hosts 'set -e
    exec 9>job.lock && flock 9
    rm -rf pruning_gen
    git clone --quiet pruning_gen.bundle pruning_gen
    cd pruning_gen
    python3 -m pip install --quiet --user "uv>=0.9,<1"
    python3 -m uv venv --quiet --python 3.12 .venv
    python3 -m uv pip install --quiet --python .venv/bin/python \
      --editable . "jax[tpu]"'
}

# Run the program on all hosts until it ends; return its exit code. The lock:
# a connection may break while the program goes on, and is then waited for.
# The port: JAX's default one is not among those that Google's automatic
# firewall opens between the hosts of a slice (jax-ml/jax#35905).
run_program() {
  local quoted
  quoted="$(printf '%q ' "${program[@]}")"
  on_all_hosts "cd pruning_gen && . .venv/bin/activate &&
    export JAX_COORDINATOR_PORT=8476 &&
    flock ../job.lock ${quoted} >>../job.log 2>&1 ||
    { code=\$?; tail -n 20 ../job.log; exit \$code; }"
}

run() {
  ((${#program[@]})) || fail 'run needs a program: run --name=... -- python ...'
  local restarts failures=0 code ready=''
  # In the middle of anything from here on, leave nothing behind.
  [[ -n "$keep" ]] || delete_at_exit=1
  for ((restarts = 0; restarts <= MAX_RESTARTS; restarts++)); do
    if [[ -z "$ready" ]]; then
      if [[ -n "$dry_run" || "$(state)" == GONE ]]; then
        create
      fi
      made=1
      code=1
      if wait_until_active; then
        code=0
        set_up || code=$?
      fi
    fi
    if [[ -n "$ready" ]] || ((code == 0)); then
      ready=1
      code=0
      run_program || code=$?
      if ((code == 0)); then
        say "$name: done"
        return
      fi
    fi
    case "$(state)" in
      ACTIVE)
        if ((code == 75)); then
          say "$name: stopped and saved; again"
        else
          ((++failures <= RETRIES)) ||
            fail "$name: failed $failures times, last with code $code"
          say "$name: failed with code $code; again"
        fi
        sleep "$POLL_SECONDS"
        ;;
      UNKNOWN)
        ((++failures <= RETRIES)) || fail "$name: gcloud does not answer"
        sleep "$POLL_SECONDS"
        ;;
      *)
        say "$name: taken away; in a new one"
        delete_or_fail
        ready=''
        ;;
    esac
  done
  fail "$name: not done after $MAX_RESTARTS restarts"
}

main() {
  local verb="${1:-help}"
  (($# == 0)) || shift
  parse "$@"
  case "$verb" in
    help | --help | -h) usage; return ;;
    create | run | status | logs | delete) check ;;
    *) fail "unknown command $verb: create, run, status, logs or delete" ;;
  esac
  trap finish EXIT
  trap 'exit 75' INT TERM
  case "$verb" in
    create)
      delete_at_exit=1
      create
      wait_until_active || fail "$name was taken away before it was there"
      set_up || fail "$name could not be set up: see above"
      delete_at_exit=''
      ;;
    run) run ;;
    status) state ;;
    logs) on_all_hosts 'tail -n 50 job.log' ;;
    delete) delete_or_fail ;;
  esac
}

main "$@"
