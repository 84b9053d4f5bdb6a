# shellcheck shell=bash
# A real snapd as a device: systemd and snapd in a throw-away container over a copy-on-write view of this machine.
# Sourced by a suite that runs inside `isolate`, so that the container, its mounts and processes cannot outlive it.
# The container is not isolated from the kernel: only for the trusted code of these tests.
#
#   device_up SNAPD-TREE BINARIES SEED API   boots, without a seed if SEED is empty; returns when snapd answers
#   on_device COMMAND...                     runs in the container
#   device_down                              powers off and forgets everything

device_root='' device_pid=''
registration='Initialize device'

device_up() {
  local tree=$1 binaries=$2 seed=$3 api=$4 units
  device_root=$work/device/root
  mkdir -p "$device_root" "$work/device/store"
  mount -t tmpfs -o size=2g hallmark-device "$work/device/store"
  mkdir "$work/device/store/upper" "$work/device/store/work"
  mount -t overlay -o "lowerdir=/,upperdir=$work/device/store/upper,workdir=$work/device/store/work" \
    hallmark-device "$device_root"

  # The package is unpacked into the overlay only. /lib is a link on a merged-/usr system: go around it.
  cp -a "$tree/usr" "$tree/etc" "$device_root/"
  if [ -d "$tree/lib" ]; then cp -a "$tree/lib/." "$device_root/usr/lib/"; fi
  install -m 755 "$binaries/snap" "$device_root/usr/bin/snap"
  install -m 755 "$binaries/snapd" "$device_root/usr/lib/snapd/snapd"

  # There is no udevd in a container: snapd would fail with "cannot reload udev rules".
  printf '#!/bin/sh\nexit 0\n' | install -m 755 /dev/stdin "$device_root/usr/bin/udevadm"
  # The real snap-confine cannot build its mount namespace on an overlay of /: hooks run unconfined.
  printf '%s\n' '#!/bin/sh' 'while :; do case $1 in --classic) shift ;; --base) shift 2 ;; *) break ;; esac; done' \
    'shift # the security tag' 'exec "$@"' | install -m 755 /dev/stdin "$device_root/usr/lib/snapd/snap-confine"

  rm -rf "$device_root/var/lib/snapd" "$device_root/snap" "$device_root/var/snap" "$device_root/etc/machine-id"
  mkdir -p "$device_root/var/lib/snapd/snaps" "$device_root/snap" "$device_root/var/snap"
  if [ -n "$seed" ]; then cp -a "$seed" "$device_root/var/lib/snapd/seed"; fi
  : >"$device_root/etc/fstab"

  # Nobody sets the clock in a container; asked by this service, snapd would wait ten minutes for that before it
  # refreshes by itself.
  rm -f "$device_root/usr/share/dbus-1/system-services/org.freedesktop.timedate1.service"

  # A target of our own: services enabled on this machine must not start in the container.
  units=$device_root/etc/systemd/system
  mkdir -p "$units/snapd.service.d"
  printf '%s\n' '[Unit]' 'Requires=basic.target dbus.socket snapd.socket snapd.service' \
    'After=basic.target dbus.socket snapd.socket' 'AllowIsolate=yes' >"$units/hallmark-device.target"
  ln -sfn hallmark-device.target "$units/default.target"
  ln -sfn /dev/null "$units/systemd-firstboot.service"
  cat >"$units/snapd.service.d/hallmark.conf" <<UNIT
[Service]
Environment=SNAPPY_FORCE_API_URL=$api/ SNAPPY_FORCE_SAS_URL=$api/ SNAP_REEXEC=0 SNAPD_DEBUG=1 SNAPD_DEBUG_HTTP=7
ExecStartPre=-/bin/sh -c 'for i in \$(seq 0 31); do [ -e /dev/loop\$i ] || mknod /dev/loop\$i b 7 \$i; done'
ExecStartPre=-/bin/mount -o remount,rw,bind /sys/fs/cgroup/freezer
ExecStartPre=-/bin/mount -o remount,rw,bind /sys/fs/cgroup/devices
UNIT

  systemd-nspawn --directory="$device_root" --register=no --keep-unit --capability=all \
    --system-call-filter=@mount --bind=/dev/loop-control --bind=/dev/fuse --hostname=device --boot \
    --console=pipe >"$work/console.log" 2>&1 </dev/null &
  device_pid=$!
  if ! wait_for 90 device_answers; then
    not_ok 'snapd starts in the container' "$work/console.log"
    return 1
  fi
}

on_device() {
  local leader
  leader=$(awk '{print $1}' "/proc/$device_pid/task/$device_pid/children")
  timeout 60 nsenter --target "$leader" --mount --uts --ipc --pid --cgroup -- "$@"
}

device_answers() { on_device snap version 2>/dev/null | grep '^series *16'; }

# change_is SUMMARY STATUS: the newest change of that kind has that status.
change_is() { [ "$(on_device snap changes | awk -v want="$1" 'index($0, want) {s = $2} END {print s}')" = "$2" ]; }

# change_log SUMMARY: tasks and messages of the newest change of that kind.
change_log() {
  local id
  id=$(on_device snap changes | awk -v want="$1" 'index($0, want) {s = $1} END {print s}')
  on_device snap change "$id"
}

device_journal() { on_device journalctl --unit=snapd --no-pager --output=cat; }

device_down() {
  [ -n "$device_pid" ] || return 0
  on_device systemctl poweroff >/dev/null 2>&1 || true
  wait_for 30 device_is_gone || kill -KILL "$device_pid" 2>/dev/null || true
  wait "$device_pid" 2>/dev/null || true
  device_pid=''
  umount -R -l "$device_root" "$work/device/store" || true
}
device_is_gone() { ! kill -0 "$device_pid" 2>/dev/null; }

# hook MODEL API-KEY SERIAL: what `model hook` prints, with the serial line a manufacturer would fill in.
hook() {
  "$HALLMARK" model hook "$1" --api-key "$2" |
    sed "s|^# *\(snapctl set registration.proposed-serial=\).*|\1'\"$3\"'|" >"$work/hook-$1"
  grep -q "^snapctl set registration.proposed-serial='\"$3\"'" "$work/hook-$1" || return 1
  echo "$work/hook-$1"
}

registered() { change_is "$registration" Done; }
refused_now() { change_is "$registration" Error; }
shown_serial() { on_device snap model --serial | awk '$1 == "serial:" {print $2}'; }
is_registered_as() { [ "$(shown_serial)" = "$1" ]; }
restart_snapd() { on_device systemctl restart snapd.service; }
journal_says() { device_journal | grep -E -- "$1" >/dev/null; } # not -q: it would break the pipe

# The seed must be in before anything else is looked at.
seeded() { wait_for 60 change_is 'Initialize system state' Done; }

show_device() {
  device_journal >"$work/journal" 2>/dev/null || true
  grep -Ev 'v2/changes|apparmor' "$work/journal" | cut -c 1-300 >"$work/journal.short" || true
  on_device snap changes 2>&1 || true
  on_device snap change "$(on_device snap changes | awk '$1 ~ /^[0-9]+$/ {s = $1} END {print s}')" 2>&1 || true
  tail -n 30 "$work/journal.short"
  tail -n 20 "$work/serve.log"
}

# result NAME COMMAND...: like check, and shows the device when it fails.
result() {
  local name=$1
  shift
  if "$@" >"$work/check.out" 2>&1; then
    ok "$name"
  else
    show_device >"$work/device.log" 2>&1
    not_ok "$name" "$work/check.out" "$work/device.log"
  fi
}

# says PATTERN COMMAND...: on the device; the command must succeed and print PATTERN.
says() {
  local pattern=$1 out
  shift
  out=$(on_device "$@" 2>&1) || { echo "$out" && return 1; }
  grep -Eq -- "$pattern" <<<"$out" || { echo "no text like '$pattern': $out" && return 1; }
}
# says_not PATTERN COMMAND...: the command must fail and print PATTERN.
says_not() {
  local pattern=$1 out
  shift
  if out=$(on_device "$@" 2>&1); then echo "it succeeded: $out" && return 1; fi
  out=$(tr -s '[:space:]' ' ' <<<"$out") # messages are wrapped to the width of a terminal
  grep -Eq -- "$pattern" <<<"$out" || { echo "no text like '$pattern': $out" && return 1; }
}
