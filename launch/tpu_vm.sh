#!/usr/bin/env bash
# One job of a plan on one Cloud TPU slice, with nothing but gcloud.
#
#   launch/tpu_vm.sh run --plan=runs/paper/plan.jsonl --index=3 \
#       --zone=us-central2-b --accelerator=v4-8 [-- flags of pruning_gen.main]
#
# run      make the slice unless it is there, run the job to its end, delete it
# status   print the state of the slice and of the job
# logs     print the end of the program's output on each host
# delete   delete the slice, and check that it is gone
#
# --on-demand     no spot machine         --project=P   not gcloud's own
# --data=DATA     prepared data sets: gs://BUCKET/FOLDER, or the full name of a
#                 disk, projects/P/zones/Z/disks/D; mounted read-only
# --keep          leave the slice after `run`
# --service-account=A, --network=N, --subnetwork=S, --internal-ips, --reserved,
# --tags=T        as of gcloud compute tpus queued-resources create
#
# The program runs detached; this script only looks every $POLL_SECONDS, so it
# may be stopped and started again with --keep. It waits for a machine as long
# as it takes, makes another after a preemption, and gives up after 10 failed
# installations or 3 failures of the program without a new checkpoint. Exit
# codes: 0 done, 75 stopped (the slice is deleted without --keep), 1 anything
# else. A slice whose launcher is gone for $ALONE_HOURS deletes itself, if its
# service account may. bash 3.2, macOS's, is enough.
set -euo pipefail

POLL_SECONDS="${POLL_SECONDS:-30}"
# A slice that was asked for may appear so many seconds later.
GRACE_SECONDS="${GRACE_SECONDS:-60}"
# After this gcloud is taken to hang.
CALL_SECONDS="${CALL_SECONDS:-600}"
# Unanswered questions in a row, and attempts to delete: an hour's.
PATIENCE="${PATIENCE:-120}"
ALONE_HOURS="${ALONE_HOURS:-6}"
SETUPS=10
FAILURES=3

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
plan='' index='' zone='' accelerator=v4-8 data='' keep='' spot='--spot' name=''
project=() options=() extra=() job=() child='' made='' made_at=0 scratch=''
delete_at_exit=''

# Also where the terminal is gone: what follows must still be done.
say() { printf 'tpu_vm: %s\n' "$*" >&2 || true; }
fail() { say "error: $*"; exit 1; }
usage() { sed -n '2,/^set /{/^#/{s/^# \{0,1\}//;p;};}' "${BASH_SOURCE[0]}"; }

parse() {
  while (($#)); do
    case "$1" in
      --plan=*) plan="${1#*=}" ;;
      --index=*) index="${1#*=}" ;;
      --zone=*) zone="${1#*=}" ;;
      --accelerator=*) accelerator="${1#*=}" ;;
      --data=*) data="${1#*=}" ;;
      --project=*) project=("$1") ;;
      --service-account=* | --network=* | --subnetwork=* | --tags=* | \
        --internal-ips | --reserved) options+=("$1") ;;
      --on-demand) spot='' ;;
      --keep) keep=1 ;;
      --) shift; extra=("$@"); return ;;
      *) fail "unknown option $1: see launch/tpu_vm.sh help" ;;
    esac
    shift
  done
}

# Run a command in the background, so that a signal is heeded at once.
heeding() {
  local code=0
  "$@" </dev/null &
  child=$!
  wait "$child" || code=$?
  child=''
  return "$code"
}
pause() { heeding sleep "$1"; }
# Run gcloud for $CALL_SECONDS at most.
limited() {
  gcloud "$@" &
  local call=$! timer code=0 i
  # In short sleeps: killing this leaves its last one behind.
  (for ((i = 0; i < CALL_SECONDS; i++)); do sleep 1; done; kill "$call") \
    >/dev/null 2>&1 8>&- 9>&- &
  timer=$!
  trap 'kill "$call" "$timer" 2>/dev/null' TERM
  wait "$call" || code=$?
  kill "$timer" 2>/dev/null || true
  return "$code"
}

# Errors of gcloud that no retry mends.
FATAL='PERMISSION_DENIED|SERVICE_DISABLED|INVALID_ARGUMENT|UNAUTHENTICATED'
FATAL+='|[Rr]eauthentication|active account|(attribute|property) \[project\]'
FATAL+='|unrecognized arguments|Invalid value'

# Call gcloud; show its errors at once.
cloud() {
  local code=0
  heeding limited "$@" ${project[@]+"${project[@]}"} 2>"$scratch/errors" || code=$?
  ((code)) || return 0
  ! grep -q NOT_FOUND "$scratch/errors" || return "$code"
  cat "$scratch/errors" >&2
  ! grep -qE "$FATAL" "$scratch/errors" || fail 'gcloud refused: see above'
  return "$code"
}
tpu() { cloud compute tpus "$@" "--zone=$zone"; }
ssh_all() {
  tpu tpu-vm "$1" "${@:2}" --worker=all --strict-host-key-checking=no
}
on_hosts() { ssh_all ssh "$name" "--command=$1"; }

# Check all that can be wrong before a machine is asked for.
prepare() {
  local values
  values="$(cd "$root" && "${PYTHON:-python3}" -m launch.sweep vm \
    --plan="$plan" --index="${index:--1}" --zone="$zone" \
    --accelerator="$accelerator" --data="$data" --bundle="$scratch/bundle")" ||
    exit 1
  # Of our own making: name, workdir, runtime, hosts.
  eval "$values"
  command -v gcloud >/dev/null ||
    fail 'gcloud is not installed: https://cloud.google.com/sdk/docs/install'
}
preflight() {
  job=("$index" "$hosts" -- ${extra[@]+"${extra[@]}"})
  tpu queued-resources list --limit=1 >/dev/null ||
    fail "the queue in $zone cannot be read: see above"
  echo launcher >"$scratch/launcher"
  cloud storage cp "$scratch/launcher" "$workdir/launcher" ||
    fail "$workdir cannot be written: see above"
}
is_done() { cloud storage ls "$workdir/done/$name" >/dev/null 2>&1; }
progress() {
  cloud storage ls "$workdir/checkpoints/*/" >"$scratch/progress" 2>/dev/null ||
    true
}

# Set `now` to the slice's state, GONE where there is none, and `why` to the
# reason of a failure. What was asked for a moment ago is not GONE yet.
look() {
  local attempt
  for ((attempt = 0; attempt < PATIENCE; attempt++)); do
    ((attempt == 0)) || pause "$POLL_SECONDS"
    now='' why=''
    if tpu queued-resources describe "$name" \
      '--format=value(state.state,state.failedData.error.message)' \
      >"$scratch/state"; then
      IFS=$'\t' read -r now why <"$scratch/state" || true
      [[ -z "$now" ]] || return 0
    elif grep -q NOT_FOUND "$scratch/errors"; then
      now=GONE
      if [[ -n "$made" ]] && ((SECONDS - made_at < GRACE_SECONDS)); then
        now=ASKED
      fi
      return 0
    fi
  done
  fail "$name: gcloud does not answer: see above"
}

delete_slice() {
  local attempt
  ready=''
  for ((attempt = 0; attempt < PATIENCE; attempt++)); do
    tpu queued-resources delete "$name" --force --quiet || true
    look
    if [[ "$now" == GONE ]]; then
      made=''
      return
    fi
    pause "$POLL_SECONDS"
  done
  fail "$name could not be deleted"
}

# Leave no slice behind. Runs once, however the script ends.
finish() {
  local code=$?
  trap - EXIT
  # Not ignored, which gcloud would inherit, and could then not be stopped.
  trap : INT TERM HUP
  # A signal may come while a command's output goes to a file.
  exec 1>&8 2>&9
  [[ -z "$child" ]] || kill "$child" 2>/dev/null || true
  if [[ -n "$made" && -n "$delete_at_exit" ]]; then
    say "deleting $name"
    # In a subshell: what it fails with, this ends with.
    if ! (delete_slice); then
      code=1
      say "$name MAY COST MONEY: gcloud compute tpus queued-resources delete" \
        "$name --zone=$zone --force"
    fi
  fi
  rm -rf "$scratch"
  exit "$code"
}

create() {
  local disk=()
  [[ "$data" != projects/* ]] || disk=("--data-disk=source=$data,mode=read-only")
  made=1 made_at=$SECONDS
  tpu queued-resources create "$name" "--node-id=$name" \
    "--accelerator-type=$accelerator" "--runtime-version=$runtime" \
    ${spot:+"$spot"} ${disk[@]+"${disk[@]}"} ${options[@]+"${options[@]}"} \
    --async || back_off 'no machine'
  made_at=$SECONDS
}

# Wait twice as long each time, up to an hour.
back_off() {
  local i
  ((waits >= 7)) || ((++waits))
  say "$name: $1; trying again"
  for ((i = 0; i < 1 << waits; i++)); do pause "$POLL_SECONDS"; done
}

set_up() {
  local what=''
  case "$data" in projects/*) what=disk ;; *) what="$data" ;; esac
  on_hosts 'mkdir -p job' &&
    ssh_all scp "$scratch/bundle/"* "$name:job/" &&
    on_hosts "SETUP_TRIES=1 bash job/machine.sh setup $what" &&
    on_hosts "sudo systemctl is-active --quiet watch || sudo systemd-run --quiet --unit=watch --uid=\$(id -u) bash \$HOME/job/machine.sh watch $name $zone $ALONE_HOURS"
}

# Look after a slice that is there. 0: the job is done.
tend() {
  local node states
  tpu tpu-vm describe "$name" '--format=value(state)' >"$scratch/node" || return 1
  node="$(cat "$scratch/node")"
  if [[ "$node" != READY ]]; then
    case "$node" in
      CREATING | STARTING | RESTARTING | REPAIRING) return 1 ;;
    esac
    say "$name: taken away ($node)"
    delete_slice
    return 1
  fi
  if [[ -z "$ready" ]]; then
    if ! set_up; then
      ((++setups < SETUPS)) || fail "$name: could not be set up $SETUPS times"
      return 1
    fi
    ready=1 setups=0 waits=0
  fi
  # A connection that breaks is no failure: the program does not depend on it.
  if ! on_hosts 'bash job/machine.sh poll' >"$scratch/poll"; then
    if ((++silent > PATIENCE)); then
      say "$name: does not answer"
      delete_slice
    fi
    return 1
  fi
  silent=0
  states="$(grep '^pruning_gen: ' "$scratch/poll")" || return 1
  case "$states" in
    *running*) return 1 ;;
    *'ended 75'*) say "$name: stopped and saved" ;;
    *ended\ [1-9]*) failed "$states" ;;
    *'ended 0'*) return 0 ;;
  esac
  on_hosts "bash job/machine.sh start $(printf '%q ' "${job[@]}")" ||
    failed 'it could not be started'
  return 1
}

# Count a failure of the program, and give up on the last.
failed() {
  progress
  [[ "$(cat "$scratch/progress")" == "$checkpoints" ]] || failures=0
  checkpoints="$(cat "$scratch/progress")"
  on_hosts 'tail -n 20 job/job.log' || true
  ((++failures <= FAILURES)) || fail "$name: failed $failures times in a row"
  say "$name: failed $failures times in a row ($1); again"
}

run() {
  local ready='' setups=0 waits=0 failures=0 silent=0 checkpoints=''
  local last=''
  [[ -n "$keep" ]] || delete_at_exit=1
  progress
  checkpoints="$(cat "$scratch/progress")"
  while :; do
    look
    [[ "$now" == "$last" ]] || say "$name: $now"
    last="$now"
    case "$now" in
      GONE)
        ready=''
        if is_done; then
          say "$name: done"
          return
        fi
        create
        ;;
      ACTIVE)
        made=1
        if tend; then
          say "$name: done"
          [[ -n "$keep" ]] || delete_slice
          return
        fi
        ;;
      FAILED)
        last="$why"
        delete_slice
        back_off "$last"
        ;;
      SUSPENDING | SUSPENDED) delete_slice ;;
    esac
    pause "$POLL_SECONDS"
  done
}

main() {
  local verb="${1:-help}" now='' why='' hosts='' workdir='' runtime='' ready=''
  (($# == 0)) || shift
  parse "$@"
  case "$verb" in
    help | --help | -h) usage; return ;;
    run | status | logs | delete) ;;
    *) fail "unknown command $verb: run, status, logs or delete" ;;
  esac
  exec 8>&1 9>&2
  trap finish EXIT
  trap 'exit 75' INT TERM HUP
  scratch="$(mktemp -d)"
  prepare
  case "$verb" in
    run) preflight; run ;;
    status) look; echo "$now${why:+: $why}"
      [[ "$now" != ACTIVE ]] || on_hosts 'bash job/machine.sh poll' ;;
    logs) on_hosts 'tail -n 50 job/job.log' ;;
    delete) made=1 delete_at_exit=1; delete_slice ;;
  esac
}

main "$@"
