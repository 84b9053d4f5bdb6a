#!/bin/bash
# snapd's `store` package, oldest and newest, asks the store everything it can ask.

# shellcheck source-path=SCRIPTDIR/.. source=../lib.sh
. "$(dirname -- "$0")/../lib.sh"
. "$here/prepare.sh"
. "$here/instance.sh"
. "$here/snaps.sh"
. "$here/shop.sh"

if [ "${1-}" != inside ]; then
  work=$(mktemp -d "${TMPDIR:-/tmp}/hm-store-library.XXXXXX")
  export work
  trap 'rm -rf "$work"' EXIT
  for version in $HALLMARK_SNAPD; do
    need snapd_tree "$version" >/dev/null
    need library_programs "$version" >"$work/programs-$version"
  done
  isolate timeout 600 bash "$0" inside || exit 1
  exit 0
fi

new_instance
make_shop
binaries=$(swapped_snapd new)

check 'snapd is published' publish "$shop_snaps/snapd.snap" --release stable
make_os "$work/core.snap"
check 'core is published: older clients look for it to see whether the store is there' \
  publish "$work/core.snap" --release stable
check 'a base is published' publish "$shop_snaps/core22.snap" --release stable
check 'an application is published to stable' publish "$shop_snaps/hello-1.snap" --release stable
check 'another revision is published to edge' publish "$shop_snaps/hello-2.snap" --release edge
check 'a third one is published to no channel' publish "$shop_snaps/hello-3.snap"
check 'a private application is published' publish "$shop_snaps/hello-secret-1.snap" --private --release stable
check 'a big application is published' publish "$shop_snaps/hello-big-1.snap" --release stable
check 'a big application with two revisions is published' bash -c '
  for revision in 1 2; do
    "$0" snap add "$1/hello-delta-$revision.snap" --store "$2" --publisher "$2" --release stable || exit 1
  done' "$HALLMARK" "$shop_snaps" "$brand"
check 'a key for validation-sets is made' "$HALLMARK" key create sets --purpose validation-set --constraints off --external
set_headers ring 1 hello=1 | sign_and_import "$binaries" sets >"$work/sign.log" 2>&1 ||
  not_ok 'a validation-set signed by snap is imported' "$work/sign.log"
set_headers ring 2 hello=2 | sign_and_import "$binaries" sets >"$work/sign.log" 2>&1 ||
  not_ok 'its next sequence is imported' "$work/sign.log"

# serve_model MODEL: signs and serves a model of the brand's store; prints its API key.
serve_model() {
  model_headers "$1" example-gadget | sed "s|\"required-snaps\"|\"store\": \"$brand\", \"required-snaps\"|" >"$work/$1.json"
  "$HALLMARK" model sign "$work/$1.json" >/dev/null 2>"$work/sign.log" || { cat "$work/sign.log" >&2 && return 1; }
  "$HALLMARK" model create "$1" 2>>"$work/sign.log"
}
check 'another brand is made' "$HALLMARK" brand create beta --name 'Beta Devices'
api_key=$(HALLMARK_BRAND=acme serve_model counter)
other_api_key=$(brand=beta HALLMARK_BRAND=beta serve_model barrier)
export HALLMARK_BRAND=acme

for version in $HALLMARK_SNAPD; do
  release=$(basename "$HALLMARK_CI_CACHE"/debian/"$(snapd_suite "$version")"/golang-github-snapcore-snapd-dev/deb/*.deb)
  echo "-- library of $release"
  if timeout 240 "$(cat "$work/programs-$version")/store" -server "$server" -trusted "$root" -files "$shop_snaps" \
    -hallmark "$HALLMARK" -brand "$brand" -model counter -api-key "$api_key" -serial "SHOP-$version" \
    -other-brand beta -other-model barrier -other-api-key "$other_api_key" -set ring >"$work/store.out" 2>&1; then
    cat "$work/store.out"
    ok "the library of $release finds everything as it should be"
  else
    grep -v '^ok' "$work/store.out" >"$work/store.bad" || true
    not_ok "the library of $release finds everything as it should be" "$work/store.bad" "$work/serve.log"
  fi
done

stop_server
tally store-library || exit 1
