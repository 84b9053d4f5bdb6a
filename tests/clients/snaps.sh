# shellcheck shell=bash
# The snaps of the test device: a base with busybox in it, an empty snapd, a gadget with a given hook.

# make_snaps DIR: snapd.snap and core22.snap.
make_snaps() {
  local out=$1 tree name
  tree=$(mktemp -d "$work/tree.XXXXXX")
  chmod 755 "$tree" # the root of a snap must be readable

  mkdir -p "$tree/snapd/meta" "$tree/snapd/usr/lib/snapd" "$tree/snapd/usr/bin"
  printf '%s\n' 'name: snapd' 'type: snapd' 'version: "1"' 'summary: stands in for the snapd snap' \
    'description: the daemon under test is the one of the package' >"$tree/snapd/meta/snap.yaml"
  echo 'VERSION=2.57.6' >"$tree/snapd/usr/lib/snapd/info"
  cp /usr/bin/xdelta3 "$tree/snapd/usr/bin/" # what a device applies deltas with

  mkdir -p "$tree"/core22/{meta,bin,usr/bin,dev,etc,home,root,proc,sys,tmp,run,media,mnt,snap,lib/modules,lib64,opt} \
    "$tree"/core22/usr/{lib/snapd,src} "$tree"/core22/var/{snap,lib/snapd,tmp,log}
  cp /bin/busybox "$tree/core22/bin/busybox"
  for name in sh cat echo env sleep date; do ln -s busybox "$tree/core22/bin/$name"; done
  ln -s /usr/lib/snapd/snapctl "$tree/core22/usr/bin/snapctl"
  printf '%s\n' 'name: core22' 'type: base' 'version: "1"' 'summary: the smallest base' \
    'description: busybox and mount points' >"$tree/core22/meta/snap.yaml"

  for name in snapd core22; do pack_snap "$tree/$name" "$out/$name.snap"; done
  rm -rf "$tree"
}

# make_gadget NAME HOOK OUT: a gadget whose prepare-device hook is the file HOOK.
make_gadget() {
  local tree
  tree=$(mktemp -d "$work/tree.XXXXXX")
  chmod 755 "$tree"
  mkdir -p "$tree/meta/hooks"
  cp "$top/examples/gadget/meta/gadget.yaml" "$tree/meta/gadget.yaml"
  sed "s/^name: .*/name: $1/" "$top/examples/gadget/meta/snap.yaml" >"$tree/meta/snap.yaml"
  install -m 755 "$2" "$tree/meta/hooks/prepare-device"
  pack_snap "$tree" "$3"
  rm -rf "$tree"
}

pack_snap() { mksquashfs "$1" "$2" -noappend -all-root -comp xz -no-xattrs -quiet -no-progress >/dev/null; }

# make_app NAME VERSION OUT [FILLING] [PLUG]...: an application with a command and a service; the file FILLING makes it
# big; plugs are named like their interfaces.
make_app() {
  local tree
  tree=$(mktemp -d "$work/tree.XXXXXX")
  chmod 755 "$tree"
  mkdir -p "$tree/meta" "$tree/bin"
  printf '%s\n' "name: $1" 'base: core22' "version: \"$2\"" 'summary: says hello' \
    'description: An application of the tests.' 'apps:' "  $1:" '    command: bin/say' '  service:' \
    '    command: bin/serve' '    daemon: simple' >"$tree/meta/snap.yaml"
  if [ "$#" -gt 4 ]; then
    printf 'plugs:\n' >>"$tree/meta/snap.yaml"
    printf '  %s: null\n' "${@:5}" >>"$tree/meta/snap.yaml"
  fi
  printf '%s\n' '#!/bin/sh' "echo $1 version $2" | install -m 755 /dev/stdin "$tree/bin/say"
  printf '%s\n' '#!/bin/sh' "echo $1 $2 >\"\$SNAP_DATA/running\"" 'exec sleep 100000' |
    install -m 755 /dev/stdin "$tree/bin/serve"
  if [ -n "${4-}" ]; then cp "$4" "$tree/filling"; fi
  pack_snap "$tree" "$3"
  rm -rf "$tree"
}

# make_core_gadget NAME OUT: what prepare-image reads of the gadget of a Core 20+ model.
make_core_gadget() {
  local tree
  tree=$(mktemp -d "$work/tree.XXXXXX")
  chmod 755 "$tree"
  mkdir -p "$tree/meta"
  printf '%s\n' "name: $1" 'type: gadget' 'base: core22' 'version: "1"' 'summary: gadget of a Core model' \
    'description: Volumes, and nothing to start from.' >"$tree/meta/snap.yaml"
  cat >"$tree/meta/gadget.yaml" <<'YAML'
volumes:
  pc:
    schema: gpt
    bootloader: grub
    structure:
      - {name: ubuntu-seed, role: system-seed, filesystem: vfat, size: 1200M, type: "EF,C12A7328-F81F-11D2-BA4B-00A0C93EC93B"}
      - {name: ubuntu-boot, role: system-boot, filesystem: ext4, size: 750M, type: "83,0FC63DAF-8483-4772-8E79-3D69D8477DE4"}
      - {name: ubuntu-save, role: system-save, filesystem: ext4, size: 16M, type: "83,0FC63DAF-8483-4772-8E79-3D69D8477DE4"}
      - {name: ubuntu-data, role: system-data, filesystem: ext4, size: 1G, type: "83,0FC63DAF-8483-4772-8E79-3D69D8477DE4"}
YAML
  : >"$tree/grub.conf"
  pack_snap "$tree" "$2"
  rm -rf "$tree"
}

# make_kernel NAME OUT: a kernel snap that nothing can boot.
make_kernel() {
  local tree
  tree=$(mktemp -d "$work/tree.XXXXXX")
  chmod 755 "$tree"
  mkdir -p "$tree/meta"
  printf '%s\n' "name: $1" 'type: kernel' 'version: "6.8"' 'summary: kernel of a Core model' \
    'description: Nothing can boot it.' >"$tree/meta/snap.yaml"
  : >"$tree/meta/kernel.yaml"
  echo 'not a kernel' >"$tree/kernel.efi"
  printf '%s\n' 'VERSION=2.77.1' 'SNAPD_ASSERTS_FORMATS='"'"'{"snap-declaration":7,"system-user":2}'"'" >"$tree/snapd-info"
  pack_snap "$tree" "$2"
  rm -rf "$tree"
}

# make_os OUT: a core snap with nothing in it.
make_os() {
  local tree
  tree=$(mktemp -d "$work/tree.XXXXXX")
  chmod 755 "$tree"
  mkdir "$tree/meta"
  printf '%s\n' 'name: core' 'type: os' 'version: "16"' 'summary: the first base' 'description: Nothing in it.' \
    >"$tree/meta/snap.yaml"
  pack_snap "$tree" "$1"
  rm -rf "$tree"
}
