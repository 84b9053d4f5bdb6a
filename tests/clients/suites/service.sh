#!/bin/bash
# hallmark as a system service: the unit of examples/systemd under a real systemd, with its sandbox, its passphrase as a
# credential, a crash, a backup beside it, and a stop in order.

# shellcheck source-path=SCRIPTDIR/.. source=../lib.sh
. "$(dirname -- "$0")/../lib.sh"

if [ "${1-}" != inside ]; then
  work=$(mktemp -d "${TMPDIR:-/tmp}/hm-service.XXXXXX")
  export work
  trap 'rm -rf "$work"' EXIT
  isolate timeout 600 bash "$0" inside || exit 1
  exit 0
fi

machine_root=$work/machine machine_pid=''
trap 'machine_down' EXIT

# A throw-away view of this machine with nothing enabled but what the test starts.
machine_up() {
  local units=$machine_root/etc/systemd/system
  mkdir -p "$machine_root" "$work/store"
  mount -t tmpfs -o size=1g hallmark-service "$work/store"
  mkdir "$work/store/upper" "$work/store/work"
  mount -t overlay -o "lowerdir=/,upperdir=$work/store/upper,workdir=$work/store/work" hallmark-service "$machine_root"
  : >"$machine_root/etc/fstab"
  rm -f "$machine_root/etc/machine-id"
  install -m 755 "$HALLMARK" "$machine_root/usr/bin/hallmark"
  install -D -m 644 "$top/examples/systemd/hallmark.service" "$units/hallmark.service"
  mkdir -m 700 "$machine_root/etc/hallmark"
  head -c 30 /dev/urandom | base64 >"$machine_root/etc/hallmark/passphrase"
  chmod 600 "$machine_root/etc/hallmark/passphrase"
  echo 'HALLMARK_LISTEN=127.0.0.1:8380' >"$machine_root/etc/default/hallmark"
  chroot "$machine_root" useradd --system --no-create-home hallmark
  printf '%s\n' '[Unit]' 'Requires=basic.target' 'After=basic.target' 'AllowIsolate=yes' >"$units/hallmark-test.target"
  ln -sfn hallmark-test.target "$units/default.target"
  ln -sfn /dev/null "$units/systemd-firstboot.service"
  systemd-nspawn --directory="$machine_root" --register=no --keep-unit --capability=all --system-call-filter=@mount \
    --hostname=machine --boot --console=pipe >"$work/console.log" 2>&1 </dev/null &
  machine_pid=$!
  wait_for 90 on_machine systemctl is-active basic.target
}

on_machine() {
  local leader
  leader=$(awk '{print $1}' "/proc/$machine_pid/task/$machine_pid/children")
  timeout 120 nsenter --target "$leader" --mount --uts --ipc --pid --cgroup -- "$@"
}

machine_is_gone() { ! kill -0 "$machine_pid" 2>/dev/null; }
machine_down() {
  [ -n "$machine_pid" ] || return 0
  on_machine systemctl poweroff >/dev/null 2>&1 || true
  wait_for 30 machine_is_gone || kill -KILL "$machine_pid" 2>/dev/null || true
  wait "$machine_pid" 2>/dev/null || true
  machine_pid=''
  umount -R -l "$machine_root" "$work/store" || true
}

shown() { on_machine systemctl show --value --property="$1" hallmark.service; }
is_shown() { [ "$(shown "$1")" = "$2" ]; }
journal() { on_machine journalctl --unit=hallmark --no-pager --output=cat; }
logs() { journal | grep -E -- "$1"; }
ready() { on_machine curl --fail --silent http://127.0.0.1:8380/readyz; }
# in_service COMMAND...: with the file systems the service sees.
in_service() { on_machine nsenter --target "$(shown MainPID)" --mount -- "$@"; }
cannot_write() { ! in_service touch "$1/written" 2>/dev/null; }

if ! machine_up; then not_ok 'a machine boots' "$work/console.log" && exit 1; fi
check 'the instance is made' on_machine env HALLMARK_KEY_PASSPHRASE_FILE=/etc/hallmark/passphrase \
  hallmark init --data /var/lib/hallmark --brand acme
check 'its directory is the service user'"'"'s' on_machine chown -R hallmark:hallmark /var/lib/hallmark
check 'the unit is sound' on_machine systemd-analyze verify --man=no hallmark.service
prints 'it is sandboxed: systemd-analyze security' 'OK|SAFE|PERFECT' on_machine systemd-analyze security --no-pager \
  --threshold=15 hallmark.service
check 'it starts' on_machine systemctl start hallmark.service
if wait_for 60 ready; then ok 'it can read and write'; else journal >"$work/journal"; not_ok 'it can read and write' "$work/journal"; fi
check 'it runs as its user' on_machine sh -c "[ \"\$(ps -o user= -p $(shown MainPID))\" = hallmark ]"
check 'it keeps its data where it may' in_service sh -c '[ -s /var/lib/hallmark/db/journal ]'
for place in /etc /usr /var/lib /var/tmp/.. /home; do check "it cannot write $place" cannot_write "$place"; done
check 'it sees no devices of the machine' in_service sh -c '! [ -e /dev/loop-control ] && ! [ -e /dev/mem ]'
check 'nothing of what it does is forbidden' bash -c "! grep -Ei 'not permitted|denied' <<<\"\$1\"" _ "$(journal)"
check 'a backup is made beside it' on_machine hallmark backup /root/hallmark.tar --data /var/lib/hallmark
check 'the backup holds no passphrase' on_machine sh -c '! grep -qF "$(cat /etc/hallmark/passphrase)" /root/hallmark.tar'

before=$(shown MainPID)
check 'it is killed' on_machine systemctl kill --signal=KILL hallmark.service
check 'and comes back by itself' wait_for 60 ready
check 'as another process' bash -c '[ "$1" != "$2" ]' _ "$before" "$(shown MainPID)"
check 'what a crash left is put in order' logs 'listening on'
check 'it stops' on_machine systemctl stop hallmark.service
check 'in order' is_shown Result success
check 'with status 0' is_shown ExecMainStatus 0
check 'the doctor finds nothing' on_machine env HALLMARK_KEY_PASSPHRASE_FILE=/etc/hallmark/passphrase \
  runuser --user root -- hallmark doctor --data /var/lib/hallmark
tally 'a system service'
