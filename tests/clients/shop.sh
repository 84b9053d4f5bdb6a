# shellcheck shell=bash
# A store to ask: the snaps the store suites publish, and how they are published. Sourced after instance.sh, snaps.sh.

shop_snaps='' # where the files are

# make_shop: the files of everything that is published, below $work/shop. Nothing is published yet.
make_shop() {
  shop_snaps=$work/shop
  mkdir -p "$shop_snaps"
  make_snaps "$shop_snaps" # snapd, core22
  local version
  for version in 1 2 3; do make_app hello "$version" "$shop_snaps/hello-$version.snap"; done
  make_app hello-secret 1 "$shop_snaps/hello-secret-1.snap"
  # Too big for one read, so that a transfer can be cut in the middle.
  head -c 6M /dev/urandom >"$work/filling"
  make_app hello-big 1 "$shop_snaps/hello-big-1.snap" "$work/filling"
  for version in 1 2; do make_app hello-delta "$version" "$shop_snaps/hello-delta-$version.snap" "$work/filling"; done
  make_core_gadget pc-gadget "$shop_snaps/pc-gadget.snap"
  make_kernel pc-linux "$shop_snaps/pc-linux.snap"
}

# publish FILE [OPTION...]: adds a snap to the brand's store as the brand; --release CHANNEL releases it.
publish() {
  local file=$1
  shift
  "$HALLMARK" snap add "$file" --store "$brand" --publisher "$brand" "$@"
}

# snap_id NAME: as the store gave it.
snap_id() { "$HALLMARK" snap show "$1" --format json | python3 -c 'import json, sys; print(json.load(sys.stdin)["snap-id"])'; }

# digest FILE: how assertions name it.
digest() {
  python3 -c 'import base64, hashlib, sys
print(base64.urlsafe_b64encode(hashlib.sha3_384(open(sys.argv[1], "rb").read()).digest()).rstrip(b"=").decode())' "$1"
}

# set_headers NAME SEQUENCE SNAP=REVISION...: headers of a validation-set, as JSON; SNAP:PRESENCE=REVISION is possible.
set_headers() {
  local name=$1 sequence=$2 entry snap presence list=''
  shift 2
  for entry in "$@"; do
    snap=${entry%%=*} presence=required
    case $snap in *:*) presence=${snap#*:} snap=${snap%%:*} ;; esac
    list+=${list:+,}"{\"name\":\"$snap\",\"id\":\"$(snap_id "$snap")\",\"presence\":\"$presence\""
    [ "${entry#*=}" = any ] || list+=",\"revision\":\"${entry#*=}\""
    list+='}'
  done
  cat <<JSON
{
  "type": "validation-set", "authority-id": "$brand", "series": "16", "account-id": "$brand", "name": "$name",
  "sequence": "$sequence", "timestamp": "$(date --utc +%Y-%m-%dT%H:%M:%SZ)", "snaps": [$list]
}
JSON
}

# sign_with BINARIES KEY: signs the headers on stdin with `snap sign` and one of hallmark's keys, which must be open to the
# external key manager.
sign_with() {
  [ -e "$work/hallmark-keymgr" ] || ln -s "$HALLMARK" "$work/hallmark-keymgr"
  SNAPD_EXT_KEYMGR=$work/hallmark-keymgr snap_cli "$1" sign -k "$2"
}

# sign_and_import BINARIES KEY: the same, and gives hallmark the result.
sign_and_import() {
  sign_with "$1" "$2" >"$work/signed.assert" && "$HALLMARK" assertion import "$work/signed.assert"
}

# With device.sh:

# store_seed MODEL SERIAL BINARIES: serves the model, publishes a gadget for it, builds an image from the store; prints
# the folder of its seed.
store_seed() {
  local name=$1 serial=$2 binaries=$3 folder=$work/seed-$1 api_key
  mkdir -p "$folder"
  api_key=$("$HALLMARK" model create "$name")
  make_gadget "gadget-$name" "$(hook "$name" "$api_key" "$serial")" "$folder/gadget.snap"
  publish "$folder/gadget.snap" --release stable >/dev/null
  model_headers "$name" "gadget-$name" | sed "s|\"required-snaps\"|\"store\": \"$brand\", \"required-snaps\"|" >"$folder/model.json"
  "$HALLMARK" model sign "$folder/model.json" >"$folder/model.assert"
  snap_cli "$binaries" prepare-image --classic "$folder/model.assert" "$folder/image" >"$folder/prepare.log" 2>&1 ||
    { cat "$folder/prepare.log" >&2 && return 1; }
  echo "$folder/image/var/lib/snapd/seed"
}

# runs NAME REVISION: that revision is current, its command and its service are those of the revision.
runs() {
  says "^$1 .* $2 " snap list "$1" && says "^$1 version $2\$" "/snap/bin/$1" &&
    says '^active' systemctl is-active "snap.$1.service.service" &&
    wait_for 10 says "^$1 $2\$" cat "/var/snap/$1/$2/running"
}
