# shellcheck shell=bash
# What the client suites share: checks, waiting, a hallmark server. Sourced, never run.

set -Eeuo pipefail
export LC_ALL=C.UTF-8

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
top=$(cd -- "$here/../.." && pwd)
: "${HALLMARK:=${CARGO_TARGET_DIR:-$top/target}/debug/hallmark}"
: "${HALLMARK_CI_CACHE:=/var/cache/hallmark-ci}"
: "${HALLMARK_SNAPD:=old new}" # releases of snapd, see prepare.sh

# A suite that stops in the middle says where.
trap 'echo "error: ${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND (exit $?)" >&2' ERR

passed=0 failed=0

# ok NAME / not_ok NAME [FILE...]: one result; the files are shown with it.
ok() { passed=$((passed + 1)); echo "ok   $1"; }
not_ok() {
  failed=$((failed + 1))
  echo "FAIL $1"
  shift
  local file
  for file in "$@"; do if [ -s "$file" ]; then tail -n 40 "$file" | sed 's/^/     | /'; fi; done
}

# check NAME COMMAND...: the command must succeed; its output is shown when it does not.
check() {
  local name=$1 out=$work/check.out
  shift
  if "$@" >"$out" 2>&1; then ok "$name"; else not_ok "$name (exit $?)" "$out"; fi
}

# refuses NAME PATTERN COMMAND...: the command must fail and print PATTERN (extended regular expression).
refuses() {
  local name=$1 pattern=$2 out=$work/check.out
  shift 2
  if "$@" >"$out" 2>&1; then
    not_ok "$name: it succeeded" "$out"
  elif grep -Eq -- "$pattern" "$out"; then
    ok "$name"
  else
    not_ok "$name: no text like '$pattern'" "$out"
  fi
}

# prints NAME PATTERN COMMAND...: the command must succeed and print PATTERN.
prints() {
  local name=$1 pattern=$2 out=$work/check.out
  shift 2
  if ! "$@" >"$out" 2>&1; then
    not_ok "$name (exit $?)" "$out"
  elif grep -Eq -- "$pattern" "$out"; then
    ok "$name"
  else
    not_ok "$name: no text like '$pattern'" "$out"
  fi
}

# need COMMAND...: a step that everything after it depends on.
need() { "$@" || { echo "error: cannot go on: $* (exit $?)" >&2; exit 1; }; }

# wait_for SECONDS COMMAND...: polls twice a second; its exit status says whether the command came true.
wait_for() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.5
  done
}

tally() {
  echo "$1: $passed passed, $failed failed"
  [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

# isolate SCRIPT ARGS...: runs SCRIPT in mount, network and process namespaces and a control group of its own.
# Whatever it mounts, starts or binds goes away with it, also after kill -9.
isolate() {
  local group groups=() status=0
  for group in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
    if [ -e "$group/cgroup.procs" ] && mkdir "$group/hallmark-clients-$$" 2>/dev/null; then
      groups+=("$group/hallmark-clients-$$")
    fi
  done
  HALLMARK_GROUPS="${groups[*]}" unshare --mount --propagation private --net --pid --fork --kill-child=KILL \
    --mount-proc -- bash -c '
      for group in $HALLMARK_GROUPS; do echo $$ >"$group/cgroup.procs"; done
      ip link set lo up || exit 1
      exec "$@"' isolate "$@" || status=$?
  for group in "${groups[@]}"; do find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true; done
  return "$status"
}

# start_server [SETTING=VALUE...]: serves $data; sets $server (URL) and $server_pid. The port stays the same, and while
# the server is stopped no connection gets it as its near end: it is reserved in this network namespace (`isolate`).
server_pid='' server_port=0
start_server() {
  : >"$work/serve.out"
  env "$@" "$HALLMARK" serve --data "$data" --listen "127.0.0.1:$server_port" >"$work/serve.out" 2>>"$work/serve.log" &
  server_pid=$!
  if ! wait_for 60 grep -q '^listening on http' "$work/serve.out"; then
    not_ok 'hallmark serve starts' "$work/serve.log"
    exit 1
  fi
  server=$(sed -n 's/^listening on //p' "$work/serve.out")
  server_port=${server##*:}
  echo "$server_port" >/proc/sys/net/ipv4/ip_local_reserved_ports
}
stop_server() {
  if [ -n "$server_pid" ]; then
    kill -TERM "$server_pid" 2>/dev/null || true
    wait "$server_pid" || not_ok "hallmark serve stops cleanly (exit $?)" "$work/serve.log"
    server_pid=''
  fi
}
