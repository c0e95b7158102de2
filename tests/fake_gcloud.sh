#!/usr/bin/env bash
# Stands in for gcloud and for what a TPU VM has, by the name it is called with.
# One slice whose life is drawn from $SEED lives in $FAKE, next to its bucket;
# machine.sh runs on its hosts for real, each in a home of its own. Events are
# written to $FAKE/events. $CHANCES are percentages of what goes wrong.
set -u
event() { echo "$*" >>"$FAKE/events"; }
count() {
  # Bytes, so that a call that is killed leaves no broken number.
  printf x >>"$FAKE/$1"
  REPLY="$(stat --format=%s "$FAKE/$1")"
}
declare -A chance="(${CHANCES:-})"
luck() { ((RANDOM % 100 < ${chance[$1]:-0})); }
seed() { RANDOM=$((SEED * 1000 + $1)); : $RANDOM; }
local_path() { echo "$FAKE/bucket/${1#gs://}"; }

# What runs as the program: started by machine.sh, by way of systemd-run.
program() {
  local all="$*" host n
  host="${all##*--host=}" host="${host%% *}"
  count "starts.$host" && n="$REPLY"
  mkdir "$FAKE/running.$host" 2>/dev/null || event TWICE
  event "start $host ${all%% -- *}"
  finish() {
    rmdir "$FAKE/running.$host" 2>/dev/null
    event "end $host $1"
    exit "$1"
  }
  trap 'finish 75' TERM
  sleep "${PROGRAM_SECONDS:-0.02}" &
  wait
  # All hosts of a start have one fate.
  seed $((n * 7919))
  if luck stopped; then finish 75; fi
  if luck crashed; then echo it broke && finish 1; fi
  [[ "$host" != 0 ]] || { event 'done'; : >"$FAKE/done"; }
  finish 0
}

# End what runs on the hosts, as a power cut does.
power_off() {
  local pid host
  # From here on no process can start there.
  mv "$FAKE/hosts" "$FAKE/off" 2>/dev/null
  while read -r pid; do
    kill -9 -- "-$pid" 2>/dev/null
  done < <(cat "$FAKE"/off/*/pids 2>/dev/null)
  for host in 0 1; do
    ! rmdir "$FAKE/running.$host" 2>/dev/null || event "end $host power"
  done
  rm -rf "$FAKE/off"
}
# Start a process of its own on a host, with a log.
detached() {
  # shellcheck disable=SC2016
  setsid bash -c 'echo $$ >>"$HOME/pids" && exec "$@"' - "${@:2}" >>"$1" 2>&1 \
    </dev/null &
}
boot() {
  local i
  for ((i = 0; i < ${HOSTS:-1}; i++)); do
    mkdir -p "$FAKE/hosts/$i"
    HOME="$FAKE/hosts/$i" detached "$FAKE/log" bash "$FAKE/startup.sh"
  done
}

case "$(basename "$0")" in
  sudo)
    # Not even a test touches a lock file of libtpu's own.
    [[ "$*" != *libtpu_lockfile* ]] || { event unlock; exit; }
    [[ "$1" != mount ]] || { event "$*"; exit; }
    exec "$@"
    ;;
  curl) # The first attempts to get a token, and to delete, fail.
    [[ "$*" != *token* ]] || { count tokens; ((REPLY > 1)) || exit 22; }
    [[ "$*" != *DELETE* ]] || { count deletes; ((REPLY > 1)) || exit 22; }
    [[ "$*" != *DELETE* ]] || event "delete ${*: -1}"
    case "$*" in
      *agent-worker-number*) basename "$HOME" ;;
      *worker-network-endpoints*) [[ "${HOSTS:-1}" == 1 ]] || echo a,b ;;
      *token*) echo '{"access_token":"secret","expires_in":3599}' ;;
      *project-id*) echo project ;;
    esac
    exit ;;
  fuser | mountpoint) exit 1 ;;
  gcsfuse) event "gcsfuse $*"; exit ;;
  python3) # pip and uv; the venv's Python is the program.
    luck setup_error && exit 1
    [[ "$*" != *'uv venv'* ]] || { mkdir -p venv/bin; ln -sf "$0" venv/bin/python; }
    exit ;;
  python) program "$@" ;;
  systemd-run)
    while [[ "$1" != bash ]]; do log="${1##*append:}" && shift; done
    detached "$log" "$@"
    exit ;;
  git) # A small repository in place of this one.
    [[ "$*" != *'bundle create'* ]] || exec cp "$FAKE_BUNDLE" "${*: -2:1}"
    exec "$REAL_GIT" "$@"
    ;;
esac

# gcloud itself.
count calls
seed "$REPLY"
now=GONE
[[ ! -e "$FAKE/state" ]] || read -r now <"$FAKE/state"
become() { now="$1"; echo "$1" >"$FAKE/state"; event "state $1"; }
error() { echo "ERROR: $*" >&2; exit 1; }
# The state may be known before the machine is off, and the other way round.
preempt() {
  if luck late_power; then : >"$FAKE/doomed"; become SUSPENDED
  elif luck late_state; then power_off
  else power_off; become SUSPENDED
  fi
}
# What was asked for appears a moment later.
lags() {
  local until=0
  [[ ! -e "$FAKE/lag" ]] || read -r until <"$FAKE/lag"
  ((${EPOCHREALTIME/./} < until))
}
if [[ "$HOME" != */hosts/* ]]; then
  [[ ! -e "$FAKE/doomed" ]] || { rm "$FAKE/doomed"; power_off; }
  ! luck hang || exec sleep 1000
fi

case "$*" in
  storage*)
    luck denied && error 'PERMISSION_DENIED'
    luck bucket_error && error 'UNAVAILABLE: try again'
    last="$(local_path "${*: -1}")"
    case "$*" in
      *'--recursive') cp -r "$(local_path "$3")" . ;;
      *'cp '*)
        mkdir -p "${last%/*}"
        if [[ "$3" == - ]]; then cat >"$last"; else cp "${@:3:$#-3}" "$last"; fi
        ;;
      *' ls '*done/*) [[ -e "$FAKE/done" ]] || error 'matched no objects' ;;
      *describe*) stat --format=%Y "$(local_path "$4")" ;;
      *) [[ -e "$last" ]] || error 'matched no objects'
        [[ "$2" != rm ]] || rm "$last"
        [[ "$2" != cat ]] || cat "$last"
        ;;
    esac
    ;;
  *'accelerator-types describe'*) luck elsewhere && error 'NOT_FOUND: no type' ;;
  *'queued-resources list'*) luck api && error 'SERVICE_DISABLED: enable it' ;;
  *'queued-resources create'*)
    luck quota && error "RESOURCE_EXHAUSTED: Quota limit exceeded"
    luck bad_argument && error 'INVALID_ARGUMENT: no such type'
    luck create_error && error 'UNAVAILABLE: try again'
    [[ "$now" == GONE ]] || error 'ALREADY_EXISTS'
    if luck lag; then echo $((${EPOCHREALTIME/./} + 700000)) >"$FAKE/lag"; fi
    all="$*" && script="${all##*startup-script=}"
    cp "${script%% *}" "$FAKE/startup.sh"
    become WAITING_FOR_RESOURCES
    luck create_lost && error 'DEADLINE_EXCEEDED'
    ;;
  *'queued-resources describe'*)
    luck describe_error && error 'UNAVAILABLE: try again'
    ! lags || error 'NOT_FOUND: Resource not found'
    case "$now" in
      GONE) error 'NOT_FOUND: Resource not found' ;;
      WAITING_FOR_RESOURCES) luck never || become PROVISIONING ;;
      PROVISIONING)
        if luck failed; then become FAILED; else become ACTIVE; boot; fi
        ;;
      ACTIVE) luck preempted && preempt ;;
    esac
    printf '%s\t' "$now"
    if [[ "$now" == FAILED ]]; then echo 'no room'; else echo; fi
    ;;
  *'queued-resources delete'*)
    luck delete_error && error 'UNAVAILABLE: try again'
    # A lagging slice cannot be deleted before it appears.
    { [[ "$now" != GONE ]] && ! lags; } || error 'NOT_FOUND: Resource not found'
    power_off
    become GONE
    luck delete_lost && error 'DEADLINE_EXCEEDED'
    ;;
  *'tpu-vm describe'*)
    [[ "$now" != GONE ]] || error 'NOT_FOUND: Resource not found'
    if [[ -e "$FAKE/hosts/0" ]]; then echo READY; else echo PREEMPTED; fi
    ;;
  *) error "no such command: $*" ;;
esac
exit 0
