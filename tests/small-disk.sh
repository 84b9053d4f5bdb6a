#!/bin/bash
# Runs a command beside a file system of 48 MiB: tests/small-disk.sh cargo test --test it small_disk
# It is ext4 in a file where there are loop devices, else tmpfs; mounted in a namespace of its own, so that nothing of
# it stays behind. The command finds its mount point in HALLMARK_TEST_SMALL_DISK. Needs root.
set -Eeuo pipefail

if [ "${1-}" = --inside ]; then
  folder=$2
  shift 2
  mount --make-rprivate /
  if mkfs.ext4 -q -m 0 "$folder/image" 48m 2>/dev/null && mount -o loop "$folder/image" "$folder/disk" 2>/dev/null; then
    echo 'small disk: ext4' >&2
  else
    mount -t tmpfs -o size=48m none "$folder/disk"
    echo 'small disk: tmpfs, as there is no loop device' >&2
  fi
  export HALLMARK_TEST_SMALL_DISK=$folder/disk
  exec "$@"
fi

[ "$(id -u)" -eq 0 ] || { echo 'error: cannot mount a small disk: run this as root' >&2 && exit 1; }
folder=$(mktemp -d "${TMPDIR:-/tmp}/hm-small-disk.XXXXXX")
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/disk"
unshare --mount -- "$0" --inside "$folder" "$@"
