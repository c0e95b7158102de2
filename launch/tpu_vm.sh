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
# the connection breaks, when the slice is preempted (in a new one) and, up to
# $RETRIES times in a row, when it fails. Exit codes: 0 done, 75 this script was
# stopped (the slice is deleted; run it again), 1 anything else. However it
# ends, the slice is deleted; where that fails, it says so. A machine that loses
# power cannot: look with
# `gcloud compute tpus queued-resources list --zone=ZONE`. For slices of several
# hosts, gcloud wants its key in your agent, if you have one:
# `ssh-add ~/.ssh/google_compute_engine`.
set -euo pipefail

# Seconds between two looks at the slice; how many looks to wait for it.
POLL_SECONDS="${POLL_SECONDS:-20}"
MAX_POLLS="${MAX_POLLS:-4320}"
# Looks at a cloud that does not answer, and attempts to delete: an hour's.
PATIENCE="${PATIENCE:-180}"
# Failures of the program, or of gcloud, that are tried again.
RETRIES="${RETRIES:-3}"
# A connection that held so long and then broke is no failure.
STEADY_SECONDS="${STEADY_SECONDS:-600}"
# Restarts after preemptions and after 75.
MAX_RESTARTS="${MAX_RESTARTS:-200}"

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
name='' zone='' accelerator='' project='' spot='--spot' keep='' dry_run=''
program=() child='' made='' delete_at_exit='' scratch=''

# Also where the terminal is gone: what follows must still be done.
say() { printf 'tpu_vm: %s\n' "$*" >&2 || true; }
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
  runtime_version="$(cd "$root" &&
    "${PYTHON:-python3}" -m launch.accelerators "$zone" "$accelerator")" || exit 1
  [[ -n "$dry_run" ]] || command -v gcloud >/dev/null ||
    fail 'there is no gcloud here: https://cloud.google.com/sdk/docs/install'
}

# Run a command in the background, so that a signal is heeded at once.
heeding_signals() {
  "$@" </dev/null &
  child=$!
  local code=0
  wait "$child" || code=$?
  child=''
  return "$code"
}

# Run a command, or print it.
do_or_show() {
  if [[ -n "$dry_run" ]]; then
    printf '%q ' "$@"
    printf '\n'
  else
    heeding_signals "$@"
  fi
}

tpu() {
  do_or_show gcloud compute tpus "$@" "--zone=$zone" \
    ${project:+"--project=$project"}
}

pause() { heeding_signals sleep "$POLL_SECONDS"; }

# Set `now` to the slice's state, GONE where there is none, and `why` to the
# reason of a failure. Where gcloud gives no answer, ask on: without one nothing
# can be done, not even the slice be deleted. 1: there never was one.
look() {
  local attempt
  local describe=(queued-resources describe "$name"
    '--format=value(state.state,state.failedData.error.message)')
  now=ACTIVE why=''
  if [[ -n "$dry_run" ]]; then
    tpu "${describe[@]}"
    return
  fi
  for ((attempt = 0; attempt < PATIENCE; attempt++)); do
    ((attempt == 0)) || pause
    if tpu "${describe[@]}" >"$scratch/state" 2>"$scratch/errors"; then
      IFS=$'\t' read -r now why <"$scratch/state" || true
      [[ -z "$now" ]] || return 0
    elif grep -q 'NOT_FOUND' "$scratch/errors"; then
      now=GONE
      return 0
    fi
  done
  cat "$scratch/errors" >&2
  return 1
}

look_or_fail() { look || fail "$name: gcloud does not answer: see above"; }

delete_or_fail() {
  local attempt
  for ((attempt = 0; attempt < PATIENCE; attempt++)); do
    tpu queued-resources delete "$name" --force --quiet || true
    look || break
    if [[ -n "$dry_run" || "$now" == GONE ]]; then
      made=''
      # In a trap a bare `return` returns what went before the trap.
      return 0
    fi
    pause
  done
  delete_at_exit=''
  fail "$name could not be deleted and MAY COST MONEY: gcloud compute tpus" \
    "queued-resources delete $name --zone=$zone --force"
}

# Leave no slice behind. Runs once, however the script ends.
finish() {
  local code=$?
  trap - EXIT
  trap '' INT TERM HUP
  # A signal may come while a command's output goes to a file.
  exec 1>&"$out" 2>&"$err"
  [[ -z "$child" ]] || kill "$child" 2>/dev/null || true
  if [[ -n "$made" && -n "$delete_at_exit" ]]; then
    say "deleting $name"
    # In a subshell: what it fails with, this ends with.
    (delete_or_fail) || code=$?
  fi
  rm -rf "$scratch"
  exit "$code"
}

create() {
  local attempt code
  for ((attempt = 0; ; attempt++)); do
    made=1
    code=0
    tpu queued-resources create "$name" "--node-id=$name" \
      "--accelerator-type=$accelerator" "--runtime-version=$runtime_version" \
      ${spot:+"$spot"} --async 2>"$scratch/errors" || code=$?
    cat "$scratch/errors" >&2
    ((code)) || return 0
    if grep -qi 'quota' "$scratch/errors"; then
      fail "no quota for $accelerator in $zone: ask for it at" \
        'https://cloud.google.com/tpu/docs/quota, or take another zone'
    fi
    # An answer that got lost: the request may have been heard.
    look_or_fail
    [[ "$now" == GONE ]] || return 0
    ((attempt < RETRIES)) || fail "$name cannot be made: see above"
    pause
  done
}

# Wait until the slice is there. 1: it was taken away, or cannot be made.
wait_until_active() {
  local polls gone=0
  for ((polls = 0; polls < MAX_POLLS; polls++)); do
    look_or_fail
    case "$now" in
      ACTIVE) return 0 ;;
      FAILED | SUSPENDING | SUSPENDED | DELETING) return 1 ;;
      # It may take a moment until what was asked for is seen.
      GONE) ((++gone <= RETRIES + 1)) || return 1 ;;
    esac
    pause
  done
  fail "$name was not there after $MAX_POLLS looks: run it again later," \
    'or take another zone'
}

# Slices of one name have other keys each time they are made.
over_ssh() { tpu tpu-vm "$@" --worker=all --strict-host-key-checking=no; }
on_all_hosts() { over_ssh ssh "$name" "--command=$1"; }

set_up() {
  local bundle="$scratch/pruning_gen.bundle"
  [[ -n "$dry_run" ]] || git -C "$root" diff --quiet HEAD ||
    say 'warning: what is not committed does not run'
  # A bundle: the code as committed, with its history for provenance.json.
  do_or_show git -C "$root" bundle create --quiet "$bundle" HEAD ||
    fail "the code in $root cannot be bundled: it must be a git checkout"
  over_ssh scp "$bundle" "$name:" || return 1
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
run_program() {
  local quoted
  quoted="$(printf '%q ' "${program[@]}")"
  on_all_hosts "cd pruning_gen && . .venv/bin/activate &&
    flock ../job.lock ${quoted} >>../job.log 2>&1 ||
    { code=\$?; tail -n 20 ../job.log; exit \$code; }"
}

# Count a failure, unless it is one too many.
failed_once_more() {
  ((++failures <= RETRIES)) || fail "$name: failed $failures times, last with $1"
  say "$name: failed with $1; again"
}

run() {
  ((${#program[@]})) || fail 'run needs a program: run --name=... -- python ...'
  local restarts failures=0 code began ready=''
  # In the middle of anything from here on, leave nothing behind.
  [[ -n "$keep" ]] || delete_at_exit=1
  for ((restarts = 0; restarts <= MAX_RESTARTS; restarts++)); do
    code=0
    if [[ -z "$ready" ]]; then
      look_or_fail
      [[ -z "$dry_run" && "$now" != GONE ]] || create
      made=1
      if wait_until_active && set_up; then ready=1; else code=1; fi
    fi
    if [[ -n "$ready" ]]; then
      began=$SECONDS
      run_program || code=$?
      if ((code == 0)); then
        say "$name: done"
        return
      fi
      # 255 is the connection's, not the program's.
      ((code != 255 || SECONDS - began < STEADY_SECONDS)) || failures=0
    fi
    look_or_fail
    case "$now" in
      ACTIVE)
        if ((code == 75)); then
          failures=0
          say "$name: stopped and saved; again"
        else
          failed_once_more "code $code"
        fi
        pause
        ;;
      FAILED)
        failed_once_more "state FAILED: $why"
        delete_or_fail
        ready=''
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
    create | run) accelerator="${accelerator:-v4-8}" ;;
    status | logs | delete) ;;
    *) fail "unknown command $verb: create, run, status, logs or delete" ;;
  esac
  check
  exec {out}>&1 {err}>&2
  trap finish EXIT
  trap 'exit 75' INT TERM HUP
  scratch="$(mktemp -d)"
  case "$verb" in
    create)
      delete_at_exit=1
      create
      wait_until_active || fail "$name was taken away before it was there"
      set_up || fail "$name could not be set up: see above"
      delete_at_exit=''
      ;;
    run) run ;;
    status)
      PATIENCE=1
      look_or_fail
      [[ -n "$dry_run" ]] || echo "$now${why:+: $why}"
      ;;
    logs) on_all_hosts 'tail -n 50 job.log' ;;
    delete) delete_or_fail ;;
  esac
}

main "$@"
