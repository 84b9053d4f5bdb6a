#!/bin/bash
# The real `snap` command, without a daemon: signs with hallmark's and with gpg's keys, reads hallmark's store.

# shellcheck source-path=SCRIPTDIR/.. source=../lib.sh
. "$(dirname -- "$0")/../lib.sh"
. "$here/prepare.sh"
. "$here/instance.sh"
. "$here/snaps.sh"

if [ "${1-}" != inside ]; then
  work=$(mktemp -d "${TMPDIR:-/tmp}/hm-cli.XXXXXX")
  export work
  trap 'rm -rf "$work"' EXIT
  for version in $HALLMARK_SNAPD; do need snapd_tree "$version" >/dev/null; done
  isolate timeout 900 bash "$0" inside || exit 1
  exit 0
fi

new_instance
mkdir "$work/snaps"
make_snaps "$work/snaps"
ln -s "$HALLMARK" "$work/hallmark-keymgr"
"$HALLMARK" assertion show account account-id=$brand >"$work/account.assert"

# by_keymgr / by_gpg BINARIES ARGUMENTS...: `snap` with hallmark, or with gpg, as its key manager.
by_keymgr() { SNAPD_EXT_KEYMGR=$work/hallmark-keymgr snap_cli "$@"; }
by_gpg() { SNAP_GNUPG_HOME=$work/gnupg SNAP_GNUPG_CMD=/usr/bin/gpg snap_cli "$@"; }

# brand_key FILE: writes the account-key of the key that signed FILE.
brand_key() {
  "$HALLMARK" assertion show account-key \
    public-key-sha3-384="$(sed -n 's/^sign-key-sha3-384: //p' "$1")" >"$work/account-key.assert"
}
# verified FILE: hallmark's verdict about FILE, resting on the root alone.
verified() {
  brand_key "$1" && "$HALLMARK" assertion verify --trusted "$root" --with "$work/account.assert" \
    --with "$work/account-key.assert" "$1"
}

# A gpg key as `snap create-key` makes it, without its terminal.
mkdir -m 700 "$work/gnupg"
printf '%s\n' '%no-protection' 'Key-Type: RSA' 'Key-Length: 4096' 'Name-Real: desk' \
  'Creation-Date: seconds=1451606400' '%commit' |
  need gpg --homedir "$work/gnupg" --batch --quiet --gen-key 2>"$work/gpg.log"
gpg --homedir "$work/gnupg" --batch --armor --export-secret-keys desk >"$work/desk.asc" 2>>"$work/gpg.log"
check 'hallmark imports the gpg key' "$HALLMARK" key import desk "$work/desk.asc" --purpose model
check 'the model key is opened to the external key manager' "$HALLMARK" key external model on

for version in $HALLMARK_SNAPD; do
  binaries=$(swapped_snapd "$version")
  echo "-- $("$binaries/snap" version | sed -n 's/^snap  */snap /p')"

  # The external key manager.
  prints 'snap keys lists the key that hallmark offers' '^model ' by_keymgr "$binaries" keys
  refuses 'the serial key is not offered' 'cannot|not' by_keymgr "$binaries" export-key serial
  model_headers "cli-$version" example-gadget >"$work/model.json"
  by_keymgr "$binaries" sign -k model <"$work/model.json" >"$work/keymgr-model.assert" 2>"$work/sign.log" ||
    not_ok 'snap sign with the hallmark key' "$work/sign.log"
  check 'a model signed by snap with a hallmark key is verified' verified "$work/keymgr-model.assert"
  check 'it is imported' "$HALLMARK" assertion import "$work/keymgr-model.assert"
  by_keymgr "$binaries" export-key --account=$brand model >"$work/keymgr-request.assert" 2>"$work/sign.log" ||
    not_ok 'snap export-key with the hallmark key' "$work/sign.log"
  check 'its account-key-request is verified' "$HALLMARK" assertion verify --trusted "$root" \
    --with "$work/account.assert" "$work/keymgr-request.assert"

  # gpg keys.
  prints 'snap keys lists the gpg key' '^desk ' by_gpg "$binaries" keys
  model_headers "desk-$version" example-gadget >"$work/model.json"
  by_gpg "$binaries" sign -k desk <"$work/model.json" >"$work/gpg-model.assert" 2>"$work/sign.log" ||
    not_ok 'snap sign with the gpg key' "$work/sign.log"
  check 'a model signed by snap with the gpg key is verified' verified "$work/gpg-model.assert"
  check 'it is imported' "$HALLMARK" assertion import "$work/gpg-model.assert"
  by_gpg "$binaries" export-key --account=$brand desk >"$work/gpg-request.assert" 2>"$work/sign.log" ||
    not_ok 'snap export-key with the gpg key' "$work/sign.log"
  check 'its account-key-request is verified' "$HALLMARK" assertion verify --trusted "$root" \
    --with "$work/account.assert" "$work/gpg-request.assert"
  sed -i 's/"type": "model",/"type": "model", "revision": "1",/' "$work/model.json"
  "$HALLMARK" model sign "$work/model.json" --key desk >"$work/own-model.assert" 2>"$work/sign.log" ||
    not_ok 'hallmark signs with the imported gpg key' "$work/sign.log"
  check 'hallmark and gpg sign with one and the same key' test \
    "$(sed -n 's/^sign-key-sha3-384: //p' "$work/own-model.assert")" = \
    "$(sed -n 's/^sign-key-sha3-384: //p' "$work/gpg-model.assert")"
  sed 's/^architecture: .*/architecture: arm64/' "$work/gpg-model.assert" >"$work/changed.assert"
  refuses 'a model that was changed afterwards is refused' 'refused' verified "$work/changed.assert"

  # The store, as the command reads it.
  prints 'snap known --remote finds the account' "^account-id: $brand\$" \
    snap_cli "$binaries" known --remote account account-id=$brand
  prints 'snap known --remote finds the model' "^model: desk-$version\$" \
    snap_cli "$binaries" known --remote model series=16 brand-id=$brand model="desk-$version"
  refuses 'snap known --remote says what is not there' 'not found' \
    snap_cli "$binaries" known --remote account account-id=nobody
  make_gadget example-gadget "$top/examples/gadget/meta/hooks/prepare-device" "$work/snaps/example-gadget.snap"
  check 'snap prepare-image makes a seed' snap_cli "$binaries" prepare-image --classic \
    --snap "$work/snaps/snapd.snap" --snap "$work/snaps/core22.snap" --snap "$work/snaps/example-gadget.snap" \
    "$work/gpg-model.assert" "$work/image-$version"
  check 'the seed holds the brand and the model' bash -c 'cat "$1"/var/lib/snapd/seed/assertions/* |
    grep "^model: desk-$2\$" && test -s "$1/var/lib/snapd/seed/seed.yaml"' _ "$work/image-$version" "$version"

  # A client with its own root believes none of it.
  ln -sfn "$(snapd_tree "$version")/usr/bin" "$work/stock"
  refuses 'a stock snap does not believe our root' 'circular assertions are not expected|cannot find public key|not found' \
    snap_cli "$work/stock" prepare-image --classic --snap "$work/snaps/snapd.snap" --snap "$work/snaps/core22.snap" \
    --snap "$work/snaps/example-gadget.snap" "$work/gpg-model.assert" "$work/stock-$version"
done

stop_server
tally cli || exit 1
