#!/bin/bash
# Makes a Debian package of a built hallmark: build.sh BINARY DIRECTORY [VERSION]
#
# Needs dpkg-deb and gzip, nothing else; BINARY must run here, since it writes its own manual and completions. VERSION is that
# of the binary unless told otherwise. Prints the package's path. See docs/operations.md, "As a Debian package".
set -euo pipefail
[ "$#" -ge 2 ] || { echo 'usage: build.sh BINARY DIRECTORY [VERSION]' >&2 && exit 2; }
binary=$(realpath -- "$1") out=$(realpath -- "$2")
here=$(cd -- "$(dirname -- "$0")" && pwd)
top=$(cd -- "$here/../.." && pwd)
version=${3:-$("$binary" --version | awk '{print $2}')}
arch=$(dpkg --print-architecture)
: "${SOURCE_DATE_EPOCH:=$(date +%s)}" # set it, and the same input makes the same package
: "${DEB_COMPRESSION:=xz}" # `none` is quick
export SOURCE_DATE_EPOCH

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
umask 022
share=$root/usr/share

install -D -m 755 "$binary" "$root/usr/bin/hallmark"
install -D -m 644 -t "$root/lib/systemd/system" "$top"/examples/systemd/hallmark.{service,socket}
install -D -m 644 "$here/default" "$root/etc/default/hallmark"

mkdir -p "$share/man/man1"
"$binary" man "$share/man/man1" 2>/dev/null
gzip -9n "$share"/man/man1/*.1
mkdir -p "$share/bash-completion/completions" "$share/zsh/vendor-completions" "$share/fish/vendor_completions.d"
"$binary" completions bash >"$share/bash-completion/completions/hallmark"
"$binary" completions zsh >"$share/zsh/vendor-completions/_hallmark"
"$binary" completions fish >"$share/fish/vendor_completions.d/hallmark.fish"

doc=$share/doc/hallmark
install -D -m 644 -t "$doc" "$top/README.md"
install -D -m 644 -t "$doc/docs" "$top"/docs/*.md
install -D -m 644 -t "$doc/examples/monitoring" "$top"/examples/monitoring/*
install -D -m 644 "$here/copyright" "$doc/copyright"
gzip -9nc "$top/CHANGELOG.md" >"$doc/NEWS.gz"
printf 'hallmark (%s) unstable; urgency=medium\n\n  * See NEWS.gz.\n\n -- %s  %s\n' "$version" \
  "$(sed -n 's/^Maintainer: //p' "$here/control")" "$(date --utc --rfc-email --date="@$SOURCE_DATE_EPOCH")" |
  gzip -9n >"$doc/changelog.gz"
install -D -m 644 "$here/lintian-overrides" "$share/lintian/overrides/hallmark"

install -d "$root/DEBIAN"
install -m 755 -t "$root/DEBIAN" "$here"/{postinst,prerm,postrm}
echo /etc/default/hallmark >"$root/DEBIAN/conffiles"
# The C library that the binary asks for: the newest of the versions named in it.
libc=$(grep -aoE 'GLIBC_2\.[0-9]+' "$binary" | sort -uV | tail -n 1)
installed=$(du -k --apparent-size --exclude DEBIAN -s "$root" | cut -f 1)
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" -e "s/@SIZE@/$installed/" -e "s/@LIBC@/${libc#GLIBC_}/" \
  "$here/control" >"$root/DEBIAN/control"
(cd "$root" && find etc lib usr -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
find "$root" -newermt "@$SOURCE_DATE_EPOCH" -print0 | xargs -0r touch --no-dereference --date="@$SOURCE_DATE_EPOCH"

package=$out/hallmark_${version}_$arch.deb
dpkg-deb --root-owner-group -Z"$DEB_COMPRESSION" --build "$root" "$package" >/dev/null
echo "$package"
