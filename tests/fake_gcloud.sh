#!/usr/bin/env bash
# Stands in for gcloud: slices whose lives are drawn from $SEED, in $FAKE/NAME/.
# Writes what happens to $FAKE/NAME/events. The percentages are $CHANCES.
set -u
case "$*" in
  *buckets\ describe*) echo US-CENTRAL2; exit ;;
  storage*) echo "$*" >>"$FAKE/storage"; exit ;;
  *scp*) name="${6%:}" ;;
  *) name="$5" ;;
esac
FAKE="$FAKE/$name"
[[ -d "$FAKE" ]] || mkdir "$FAKE"
# Builtins only: this runs thousands of times.
calls=0
[[ ! -e "$FAKE/calls" ]] || read -r calls <"$FAKE/calls"
calls="$((calls + 1))"
echo "$calls" >"$FAKE/calls"
RANDOM=$((SEED * 1000 + calls))
: $RANDOM
declare -A chance="($CHANCES)"
luck() { ((RANDOM % 100 < ${chance[$1]:-0})); }
event() { echo "$*" >>"$FAKE/events"; }
now=GONE
[[ ! -e "$FAKE/state" ]] || read -r now <"$FAKE/state"
become() { now="$1"; echo "$1" >"$FAKE/state"; event "state $1"; }
stop_program() { [[ ! -e "$FAKE/running" ]] || { rm "$FAKE/running"; event "end $1"; }; }
error() { echo "ERROR: $*" >&2; exit 1; }
preempt() { stop_program preempted; become SUSPENDED; }

case "$*" in
  *'queued-resources create'*)
    luck quota && error "Quota limit 'TPUV4sPreemptiblePodPerProject' exceeded"
    luck create_error && error 'UNAVAILABLE: try again'
    [[ "$now" == GONE ]] || error 'ALREADY_EXISTS'
    become WAITING_FOR_RESOURCES
    luck create_lost && error 'DEADLINE_EXCEEDED'
    ;;
  *'queued-resources describe'*)
    luck describe_error && error 'UNAVAILABLE: try again'
    case "$now" in
      GONE) error 'NOT_FOUND: Resource not found' ;;
      WAITING_FOR_RESOURCES) luck never || become PROVISIONING ;;
      PROVISIONING) if luck failed; then become FAILED; else become ACTIVE; fi ;;
      ACTIVE) luck preempted && preempt ;;
    esac
    printf '%s\t' "$now"
    if [[ "$now" == FAILED ]]; then echo 'no room'; else echo; fi
    ;;
  *'queued-resources delete'*)
    luck delete_error && error 'UNAVAILABLE: try again'
    [[ "$now" == GONE ]] && error 'NOT_FOUND: Resource not found'
    stop_program deleted
    become GONE
    luck delete_lost && error 'DEADLINE_EXCEEDED'
    ;;
  *'tpu-vm scp'* | *'git clone'*)
    [[ "$now" == ACTIVE ]] || exit 255
    if [[ -e "$FAKE/running" && "$*" == *'git clone'* ]]; then
      [[ "$*" == *flock* ]] || event CLOBBERED
      stop_program itself
    fi
    luck setup_error && exit 1
    ;;
  *'tpu-vm ssh'*)
    [[ "$now" == ACTIVE ]] || exit 255
    if [[ -e "$FAKE/running" ]]; then
      [[ "$*" == *flock* ]] || event TWICE
      stop_program itself
    fi
    : >"$FAKE/running"
    event start
    [[ -z "${PROGRAM_SECONDS:-}" ]] || sleep "$PROGRAM_SECONDS"
    if luck preempted; then preempt; exit 255; fi
    if luck dropped; then exit 255; fi
    if luck stopped; then stop_program 75; exit 75; fi
    if luck crashed; then stop_program 1; exit 1; fi
    stop_program 0
    event finished
    ;;
  *) error "no such command: $*" ;;
esac
exit 0
