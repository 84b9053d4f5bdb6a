#!/bin/bash
# The Debian package: built from the binary, installed on a machine with a real systemd, started, upgraded under clients that
# do not notice, removed with its data kept, and purged.

# shellcheck source-path=SCRIPTDIR/.. source=../lib.sh
. "$(dirname -- "$0")/../lib.sh"
# shellcheck source=../prepare.sh
. "$here/prepare.sh"
# shellcheck source=../machine.sh
. "$here/machine.sh"

if [ "${1-}" != inside ]; then
  work=$(mktemp -d "${TMPDIR:-/tmp}/hm-package.XXXXXX")
  export work
  trap 'rm -rf "$work"' EXIT
  need install_packages lintian binutils adduser
  isolate timeout 900 bash "$0" inside || exit 1
  exit 0
fi

trap 'machine_down' EXIT

# A build for tests has symbols of a gigabyte; a release has none.
strip --strip-debug -o "$work/hallmark" "$HALLMARK"
mkdir "$work/debs"
export DEB_COMPRESSION=none SOURCE_DATE_EPOCH=1780272000
first=$("$top/examples/debian/build.sh" "$work/hallmark" "$work/debs" 0.0.9)
second=$("$top/examples/debian/build.sh" "$work/hallmark" "$work/debs" 0.1.0)
before=$(sha256sum <"$second")
check 'the same input makes the same package' "$top/examples/debian/build.sh" "$work/hallmark" "$work/debs" 0.1.0
check 'to the byte' test "$before" = "$(sha256sum <"$second")"
check 'lintian has nothing to say' lintian --allow-root --fail-on error,warning --tag-display-limit 0 \
  --suppress-tags uses-no-compression-for-control-tarball,uses-no-compression-for-data-tarball "$second"

if ! machine_up; then not_ok 'a machine boots' "$work/console.log" && exit 1; fi
mkdir "$machine_root/root/debs"
cp "$first" "$second" "$machine_root/root/debs/"
on_machine mkdir -p /root/callers
install -m 644 "$here/service/callers.py" "$machine_root/root/callers/"
apt_here() { on_machine env DEBIAN_FRONTEND=noninteractive "$@" </dev/null; }
is_there() { on_machine test -e "$1"; }
is_gone() { on_machine test ! -e "$1"; }
version_is() { on_machine dpkg-query --show --showformat='${Version}' hallmark | grep -Fx "$1"; }
unit_is() { [ "$(on_machine systemctl is-active "$1")" = "$2" ]; }

check 'it is installed' apt_here dpkg --install "/root/debs/${first##*/}"
check 'its user is there' on_machine getent passwd hallmark
prints 'who cannot log in' 'nologin$' on_machine getent passwd hallmark
check 'nothing runs before there is an instance' unit_is hallmark.service inactive
check 'its manual is read' on_machine sh -c 'man -w hallmark-serve || test -s /usr/share/man/man1/hallmark-serve.1.gz'
check 'its completions are whole' on_machine bash -n /usr/share/bash-completion/completions/hallmark
check 'a passphrase is put in place' on_machine sh -c 'umask 077; head -c 30 /dev/urandom | base64 >/etc/hallmark/passphrase'
check 'an instance is made' on_machine env HALLMARK_KEY_PASSPHRASE_FILE=/etc/hallmark/passphrase \
  hallmark init --data /var/lib/hallmark --brand acme
check 'it is the service user'"'"'s' on_machine chown -R hallmark:hallmark /var/lib/hallmark
check 'the service is enabled and started' on_machine systemctl enable --now hallmark.socket hallmark.service
if wait_for 60 ready; then ok 'it answers'; else journal >"$work/journal"; not_ok 'it answers' "$work/journal"; fi
check 'its health is asked as a container would' on_machine hallmark status --running --data /var/lib/hallmark
echo 'HALLMARK_LOG=debug' >>"$machine_root/etc/default/hallmark"

instance() { on_machine hallmark status --data /var/lib/hallmark --format json | grep -F instance-id; }
known=$(instance) pid=$(shown MainPID)
callers_begin http://127.0.0.1:8380/readyz
check 'it is upgraded while clients ask' apt_here dpkg --install "/root/debs/${second##*/}"
check 'to the next version' version_is 0.1.0
check 'another process serves' bash -c '[ "$1" != "$2" ] && [ "$2" != 0 ]' _ "$pid" "$(shown MainPID)"
prints 'clients saw no refusal and no failure' '^requests=[0-9]{2,} failures=0 ' callers_end
check 'the data are the same' test "$known" = "$(instance)"
check 'settings that were changed stay' on_machine grep -qx HALLMARK_LOG=debug /etc/default/hallmark

check 'it is removed' apt_here dpkg --remove hallmark
check 'nothing runs any more' unit_is hallmark.service inactive
check 'the program is gone' is_gone /usr/bin/hallmark
check 'the data are kept' is_there /var/lib/hallmark/db/journal
check 'and the passphrase' is_there /etc/hallmark/passphrase
check 'it is installed again' apt_here dpkg --install "/root/debs/${second##*/}"
check 'and started' on_machine systemctl start hallmark.socket hallmark.service
check 'it answers with the same data' wait_for 60 ready
check 'indeed the same' test "$known" = "$(instance)"
on_machine touch /var/lib/elsewhere
check 'it is purged without a question' apt_here dpkg --purge hallmark
for place in /var/lib/hallmark /etc/hallmark /etc/default/hallmark /usr/share/doc/hallmark \
  /etc/systemd/system/sockets.target.wants/hallmark.socket; do check "$place is gone" is_gone "$place"; done
check 'what is not its own is there' is_there /var/lib/elsewhere
check 'its user stays, so that nobody else gets the number' on_machine getent passwd hallmark
tally 'the Debian package'
