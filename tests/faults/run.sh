#!/bin/bash
# Runs the suites of disks and clocks that fail: run.sh [power [CYCLES [SEED]] | errors [WORD] | clock | soak [SECONDS]]
# Without arguments: power, errors, clock. Needs root and a Debian-like system; installs what it needs. See README.md.

# shellcheck source=../clients/lib.sh
. "$(dirname -- "$0")/../clients/lib.sh"
. "$here/prepare.sh"
faults=$(cd -- "$(dirname -- "$0")" && pwd)

# can WHAT COMMAND...: says what is missing here, instead of failing in the middle.
can() {
  local what=$1 out
  shift
  out=$("$@" 2>&1) || { printf 'error: cannot run the suites of failing disks: %s\n%s\n' "$what" "$out" >&2 && exit 1; }
}

if [ "${1-}" != --inside ]; then
  can 'they must run as root' test "$(id -u)" -eq 0
  can '/dev/fuse is needed' test -c /dev/fuse
  need install_packages python3 python3-pyfuse3 python3-trio fuse3 squashfs-tools openssl faketime libfaketime iproute2 util-linux
  can 'pyfuse3 is needed' /usr/bin/python3 -c 'import pyfuse3, trio'
  can 'mount, network and process namespaces are needed' isolate true
  [ -x "$HALLMARK" ] || (cd "$top" && cargo build --bin hallmark)
  export HALLMARK
  [ "$#" -gt 0 ] || { "$0" power && "$0" errors && exec "$0" clock; }
  FAULTS_WORK=$(mktemp -d "${TMPDIR:-/tmp}/hm-faults.XXXXXX")
  export FAULTS_WORK PYTHONDONTWRITEBYTECODE=1
  if isolate "$faults/run.sh" --inside "$@"; then
    rm -rf "$FAULTS_WORK"
  else
    status=$?
    grep -v ' INFO ' "$FAULTS_WORK/serve.log" 2>/dev/null | tail -n 20 | sed 's/^/     | /' || true
    tail -n 20 "$FAULTS_WORK/disk.log" 2>/dev/null | sed 's/^/     | /' || true
    echo "$1: failed; disk and logs are in $FAULTS_WORK" >&2
    exit "$status"
  fi
  exit
fi

suite=$2
shift 2
case $suite in
  power) exec /usr/bin/python3 "$faults/power.py" "${@:-40}" ;;
  errors) exec /usr/bin/python3 "$faults/errors.py" "$@" ;;
  clock) exec /usr/bin/python3 "$faults/clock.py" "$@" ;;
  soak) exec /usr/bin/python3 "$faults/soak.py" "${@:-600}" ;;
  *) echo "error: there is no suite $suite" >&2 && exit 2 ;;
esac
