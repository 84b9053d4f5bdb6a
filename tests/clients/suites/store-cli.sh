#!/bin/bash
# The real `snap` command, without a daemon, against the store: downloads snaps and builds images.

# shellcheck source-path=SCRIPTDIR/.. source=../lib.sh
. "$(dirname -- "$0")/../lib.sh"
. "$here/prepare.sh"
. "$here/instance.sh"
. "$here/snaps.sh"
. "$here/shop.sh"

if [ "${1-}" != inside ]; then
  work=$(mktemp -d "${TMPDIR:-/tmp}/hm-store-cli.XXXXXX")
  export work
  trap 'rm -rf "$work"' EXIT
  for version in $HALLMARK_SNAPD; do need snapd_tree "$version" >/dev/null; done
  isolate timeout 900 bash "$0" inside || exit 1
  exit 0
fi

new_instance
make_shop

check 'snapd and a base are added' bash -c '"$0" snap add "$1/snapd.snap" --store "$2" --publisher "$2" --release stable &&
  "$0" snap add "$1/core22.snap" --store "$2" --publisher "$2" --release stable' "$HALLMARK" "$shop_snaps" "$brand"
check 'an application is added, and released to stable' publish "$shop_snaps/hello-1.snap" --release stable
check 'its second revision is released to edge' publish "$shop_snaps/hello-2.snap" --release edge
check 'its third revision is released nowhere' publish "$shop_snaps/hello-3.snap"
check 'a private application is added' publish "$shop_snaps/hello-secret-1.snap" --private --release stable
check 'a big application is added' publish "$shop_snaps/hello-big-1.snap" --release stable
check 'gadget and kernel of a Core model are added' bash -c '
  "$0" snap add "$1/pc-gadget.snap" --store "$2" --publisher "$2" --release stable &&
  "$0" snap add "$1/pc-linux.snap" --store "$2" --publisher "$2" --release stable' "$HALLMARK" "$shop_snaps" "$brand"
make_gadget example-gadget "$top/examples/gadget/meta/hooks/prepare-device" "$shop_snaps/example-gadget.snap"
check 'gadget of a classic model is added' publish "$shop_snaps/example-gadget.snap" --release stable
check 'a key for validation-sets is made' "$HALLMARK" key create sets --purpose validation-set --constraints off --external

token=$("$HALLMARK" token create --for prepare-image 2>"$work/token.log")
# store_auth KIND TOKEN: what UBUNTU_STORE_AUTH carries.
store_auth() { printf '{"t":"%s","v":"%s"}' "$1" "$2" | base64 --wrap=0; }

# in_store BINARIES ARGUMENTS...: `snap` of a builder who names the store.
in_store() { UBUNTU_STORE_ID=$brand snap_cli "$@"; }
# with_token BINARIES ARGUMENTS...: that builder, with credentials.
with_token() { UBUNTU_STORE_AUTH=$(store_auth "${auth_kind:-macaroon}" "$token") in_store "$@"; }

# download FOLDER BINARIES ARGUMENTS...: downloads into FOLDER.
download() {
  local folder=$1 binaries=$2
  shift 2
  mkdir -p "$folder" && "${as:-in_store}" "$binaries" download --target-directory="$folder" "$@"
}
# got FOLDER NAME REVISION FILE: the snap there is FILE, with its assertions.
got() {
  cmp "$1/$2_$3.snap" "$4" && grep -qx "snap-revision: $3" "$1/$2_$3.assert" && grep -qx "snap-name: $2" "$1/$2_$3.assert"
}

# classic_model NAME SNAP...: signs a classic model of the store; prints the file.
classic_model() {
  local name=$1
  shift
  model_headers "$name" example-gadget | sed "s|\"required-snaps\": .*|\"store\": \"$brand\", \"required-snaps\": [$(
    printf '"%s",' "$@" | sed 's/,$//')],|" >"$work/$name.json"
  "$HALLMARK" model sign "$work/$name.json" >"$work/$name.assert" 2>"$work/sign.log" || cat "$work/sign.log" >&2
  echo "$work/$name.assert"
}

# core_model NAME [MORE-HEADERS]: signs a Core 22 model; prints the file.
core_model() {
  local name=$1 list='' entry
  for entry in pc-linux:kernel pc-gadget:gadget core22:base snapd:snapd hello:app; do
    list+=${list:+,}"{\"name\":\"${entry%:*}\",\"type\":\"${entry#*:}\",\"id\":\"$(snap_id "${entry%:*}")\",\"default-channel\":\"latest/stable\"}"
  done
  cat >"$work/$name.json" <<JSON
{
  "type": "model", "authority-id": "$brand", "series": "16", "brand-id": "$brand", "model": "$name",
  "architecture": "amd64", "base": "core22", "grade": "signed", "store": "$brand", "snaps": [$list], ${2-}
  "timestamp": "$(date --utc +%Y-%m-%dT%H:%M:%SZ)"
}
JSON
  "$HALLMARK" model sign "$work/$name.json" >"$work/$name.assert" 2>"$work/sign.log" || cat "$work/sign.log" >&2
  echo "$work/$name.assert"
}

seed_of() { echo "$1/var/lib/snapd/seed"; }
valid_seed() { snap_cli "$1" debug validate-seed "$(seed_of "$2")/seed.yaml"; }
# asserted FOLDER SNAP...: the seed has these snaps, none of them without assertions.
asserted() {
  local seed snap
  seed=$(seed_of "$1")/seed.yaml
  shift
  ! grep unasserted "$seed" || return 1
  for snap in "$@"; do grep -Eq "^ *-? *name: $snap\$" "$seed" || return 1; done
}

for version in $HALLMARK_SNAPD; do
  binaries=$(swapped_snapd "$version")
  at=$work/$version
  echo "-- $("$binaries/snap" version | sed -n 's/^snap  */snap /p')"

  # snap download
  check 'snap download takes what is stable' download "$at" "$binaries" hello
  check 'it is the file that was added, with its assertions' got "$at" hello 1 "$shop_snaps/hello-1.snap"
  check 'snap download --channel takes another risk' download "$at" "$binaries" --channel=edge hello
  check 'it is the second revision' got "$at" hello 2 "$shop_snaps/hello-2.snap"
  check 'a risk that is closed follows the safer one' download "$at/beta" "$binaries" --channel=beta hello
  check 'it is the first revision' got "$at/beta" hello 1 "$shop_snaps/hello-1.snap"
  check 'snap download --revision takes what is in no channel' download "$at" "$binaries" --revision=3 hello
  check 'it is the third revision' got "$at" hello 3 "$shop_snaps/hello-3.snap"
  refuses 'a revision that is not there is refused' '"hello": no snap revision available as specified' \
    download "$at" "$binaries" --revision=77 hello
  refuses 'a track that is not there is refused' '"hello": no snap revision available as specified' \
    download "$at" "$binaries" --channel=9.9/stable hello
  refuses 'a snap that is not there is refused' '"hello-nobody": snap not found' \
    download "$at" "$binaries" hello-nobody
  "$HALLMARK" assertion verify --trusted "$root" "$at/hello_1.assert" >"$work/verify.out" 2>&1 ||
    not_ok 'hallmark verifies what snap download wrote' "$work/verify.out"
  mkdir -p "$at/cut"
  head -c 4000000 "$shop_snaps/hello-big-1.snap" >"$at/cut/hello-big_1.snap.partial"
  : >"$work/serve.mark" && log_from=$(wc -l <"$work/serve.log")
  check 'snap download goes on where it was cut' download "$at/cut" "$binaries" hello-big
  check 'the whole is right' got "$at/cut" hello-big 1 "$shop_snaps/hello-big-1.snap"
  prints 'only the rest was sent' 'download.* status=206' sed "1,${log_from}d" "$work/serve.log"

  # A private snap.
  refuses 'a private snap is not there for who does not say who they are' '"hello-secret": snap not found' \
    download "$at" "$binaries" hello-secret
  as=with_token check 'a token for images opens it' download "$at" "$binaries" hello-secret
  check 'it is the file that was added' got "$at" hello-secret 1 "$shop_snaps/hello-secret-1.snap"
  as=with_token auth_kind=bearer check 'the token is taken as bearer too' download "$at/bearer" "$binaries" hello-secret
  token=hmk_nonsense as=with_token refuses 'a token that is none opens nothing' '"hello-secret": snap not found' \
    download "$at/none" "$binaries" hello-secret
  "$HALLMARK" token create --for prepare-image --format json >"$work/token.json" 2>"$work/token.log"
  revoked=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["token"])' <"$work/token.json")
  check 'a token is revoked' "$HALLMARK" token revoke \
    "$(python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])' <"$work/token.json")"
  token=$revoked as=with_token refuses 'it opens nothing any more' 'HTTP status code 401|snap not found' \
    download "$at/none" "$binaries" hello-secret

  # snap known --remote
  known() { snap_cli "$binaries" known --remote "$@"; }
  hello_id=$(snap_id hello)
  prints 'snap known finds the account' "^username: $brand\$" known account account-id="$brand"
  prints 'snap known finds the account-key' "^account-id: $brand\$" \
    known account-key public-key-sha3-384="$("$HALLMARK" assertion show account-key account-id="$brand" |
      sed -n 's/^public-key-sha3-384: //p' | head -n 1)"
  prints 'snap known finds the snap-declaration' '^snap-name: hello$' known snap-declaration series=16 snap-id="$hello_id"
  prints 'snap known finds the snap-revision' '^snap-revision: 2$' \
    known snap-revision snap-sha3-384="$(digest "$shop_snaps/hello-2.snap")"
  refuses 'the snap-revision of a private snap is not there' 'snap-revision .* not found' \
    known snap-revision snap-sha3-384="$(digest "$shop_snaps/hello-secret-1.snap")"
  set_headers "base-$version" 1 hello=1 hello-big:optional=any | sign_and_import "$binaries" sets >"$work/sign.log" 2>&1 ||
    not_ok 'a validation-set signed by snap is imported' "$work/sign.log"
  set_headers "base-$version" 2 hello=2 | sign_and_import "$binaries" sets >"$work/sign.log" 2>&1 ||
    not_ok 'its next sequence is imported' "$work/sign.log"
  for sequence in 1 2; do
    prints "snap known finds sequence $sequence of the validation-set" "^ *revision: $sequence\$" \
      known validation-set series=16 account-id="$brand" name="base-$version" sequence="$sequence"
  done

  # Classic images.
  model=$(classic_model "classic-$version" core22 hello)
  check 'snap prepare-image makes a classic image from the store' \
    snap_cli "$binaries" prepare-image --classic "$model" "$at/classic"
  check 'its snaps are there with their assertions' asserted "$at/classic" snapd core22 example-gadget hello
  check 'snap debug validate-seed is content' valid_seed "$binaries" "$at/classic"
  check 'snap prepare-image takes another channel' \
    snap_cli "$binaries" prepare-image --classic --snap hello=edge "$model" "$at/classic-edge"
  check 'the seed holds the second revision' cmp "$(seed_of "$at/classic-edge")/snaps/hello_2.snap" "$shop_snaps/hello-2.snap"
  model=$(classic_model "private-$version" core22 hello-secret)
  refuses 'an image with a private snap needs credentials' '"hello-secret": snap not found' \
    snap_cli "$binaries" prepare-image --classic "$model" "$at/private-no"
  check 'an image with a private snap is made with a token' \
    with_token "$binaries" prepare-image --classic "$model" "$at/private"
  check 'snap debug validate-seed is content with that too' valid_seed "$binaries" "$at/private"

  # Core images.
  model=$(core_model "core-$version")
  check 'snap prepare-image makes a Core image from the store' snap_cli "$binaries" prepare-image "$model" "$at/core"
  system=$(echo "$at/core"/system-seed/systems/*)
  check 'it has one recovery system with the model' grep -qx "model: core-$version" "$system/model"
  check 'it holds kernel, gadget, base, snapd and the application' \
    bash -c 'cd "$1" && for snap in pc-linux pc-gadget core22 snapd hello; do ls "${snap}"_1.snap || exit 1; done' _ \
    "$at/core/system-seed/snaps"
  check 'the assertions of its snaps are there' bash -c 'test "$(cat "$1"/assertions/* | grep -c "^type: snap-revision")" = 5' _ "$system"
  if [ "$version" = new ]; then # validation-sets in models came with 2.59
    model=$(core_model "sets-$version" "\"validation-sets\": [{\"account-id\":\"$brand\",\"name\":\"base-$version\",\"mode\":\"enforce\"}],")
    check 'snap prepare-image obeys a validation-set of the model' \
      snap_cli "$binaries" prepare-image "$model" "$at/sets"
    check 'it takes the revision that the newest sequence names' \
      cmp "$at/sets/system-seed/snaps/hello_2.snap" "$shop_snaps/hello-2.snap"
    # A wave that makes a set: images are built of what is complete.
    check 'a wave makes a validation-set' "$HALLMARK" wave init images --tag images hello=2 --key sets
    model=$(core_model "waves-$version" "\"validation-sets\": [{\"account-id\":\"$brand\",\"name\":\"images\",\"mode\":\"enforce\"}],")
    refuses 'no image is built of a wave before it is complete' 'validation-set .*not found' \
      snap_cli "$binaries" prepare-image "$model" "$at/waved"
    check 'the wave is completed' "$HALLMARK" wave complete images
    check 'snap prepare-image takes what it published' snap_cli "$binaries" prepare-image "$model" "$at/waved"
    check 'the seed holds its revision' cmp "$at/waved/system-seed/snaps/hello_2.snap" "$shop_snaps/hello-2.snap"
  fi

  # A client with its own root believes none of it.
  ln -sfn "$(snapd_tree "$version")/usr/bin" "$work/stock"
  refuses 'a stock snap does not believe our root' 'circular assertions are not expected: account-key' \
    download "$work/stock-$version" "$work/stock" hello
done

check 'edge is closed' "$HALLMARK" snap close hello edge
check 'who asks for edge then gets what is stable' download "$work/closed" "$binaries" --channel=edge hello
check 'it is the first revision' got "$work/closed" hello 1 "$shop_snaps/hello-1.snap"

stop_server
tally store-cli || exit 1
