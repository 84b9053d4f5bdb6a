# shellcheck shell=bash
# A machine with a real systemd, for the suites of the service: systemd-nspawn on a copy-on-write view of this one, kept in
# memory. Sourced by a suite that runs inside `isolate`, so that nothing of it can stay behind.

machine_root=${work-}/machine machine_pid=''

# machine_up [STEP]: boots a throw-away view of this machine with nothing enabled but what the test starts; STEP puts
# things in place before that.
machine_up() {
  local units=$machine_root/etc/systemd/system
  mkdir -p "$machine_root" "$work/store"
  mount -t tmpfs -o size=2g hallmark-service "$work/store"
  mkdir "$work/store/upper" "$work/store/work"
  mount -t overlay -o "lowerdir=/,upperdir=$work/store/upper,workdir=$work/store/work" hallmark-service "$machine_root"
  : >"$machine_root/etc/fstab"
  rm -f "$machine_root/etc/machine-id"
  mkdir -p "$units"
  "${1:-true}"
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

# callers_begin URL [AUTHORITY] / callers_end: clients that ask all the time; the second says what they saw.
callers_begin() {
  on_machine rm -f /root/callers/done
  on_machine python3 /root/callers/callers.py "$1" /root/callers/done "${@:2}" >"$work/callers.out" 2>&1 &
  callers_pid=$!
  sleep 1
}
callers_end() {
  sleep 1
  on_machine touch /root/callers/done
  wait "$callers_pid"
  cat "$work/callers.out"
}
