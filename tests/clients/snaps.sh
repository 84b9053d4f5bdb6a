# shellcheck shell=bash
# The snaps of the test device: a base with busybox in it, an empty snapd, a gadget with a given hook.

# make_snaps DIR: snapd.snap and core22.snap.
make_snaps() {
  local out=$1 tree name
  tree=$(mktemp -d "$work/tree.XXXXXX")
  chmod 755 "$tree" # the root of a snap must be readable

  mkdir -p "$tree/snapd/meta" "$tree/snapd/usr/lib/snapd"
  printf '%s\n' 'name: snapd' 'type: snapd' 'version: "1"' 'summary: stands in for the snapd snap' \
    'description: the daemon under test is the one of the package' >"$tree/snapd/meta/snap.yaml"
  echo 'VERSION=2.57.6' >"$tree/snapd/usr/lib/snapd/info"

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
