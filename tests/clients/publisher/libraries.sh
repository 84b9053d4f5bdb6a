#!/bin/bash
# The Python libraries that publishers' programs and web pages are made of: craft-store and canonicalwebteam.store-api
# call everything they can.

# shellcheck source-path=SCRIPTDIR/.. source=../lib.sh
. "$(dirname -- "$0")/../lib.sh"
. "$here/prepare.sh"
. "$here/instance.sh"
. "$here/snaps.sh"
. "$here/shop.sh"
. "$here/publisher/install.sh"
. "$here/publisher/people.sh"

if [ "${1-}" != inside ]; then
  work=$(mktemp -d "${TMPDIR:-/tmp}/hm-publisher.XXXXXX")
  export work
  trap 'rm -rf "$work"' EXIT
  need publisher_packages
  need publisher_libraries >"$work/python"
  need library_programs old >"$work/programs"
  isolate timeout 900 bash "$0" inside || exit 1
  exit 0
fi

new_instance
new_people
files=$work/files
mkdir -p "$files"
for version in 1 2; do make_app crafted "$version" "$files/crafted-$version.snap"; done
make_app hello 1 "$files/hello-1.snap"

# program NAME ARGUMENTS...: a program of library/; its checks count as ours.
program() {
  local name=$1 ok_lines
  shift
  HOME=$work/home PASSWORD=$password PYTHONDONTWRITEBYTECODE=1 CRAFT_STORE_RETRIES=1 CRAFT_STORE_BACKOFF=0 \
    timeout 600 "$(cat "$work/python")" "$here/publisher/library/$name.py" "$server" "$brand" "$@" >"$work/$name.out" 2>"$work/$name.err" || true
  cat "$work/$name.out"
  ok_lines=$(grep -c '^ok ' "$work/$name.out" || true)
  passed=$((passed + ok_lines)) failed=$((failed + $(grep -c '^FAIL ' "$work/$name.out" || true)))
  # A program that stops in the middle is no success.
  grep -q "^$name: [0-9]* passed" "$work/$name.out" || not_ok "$name.py ends" "$work/$name.err"
}

check 'a snap is published' "$HALLMARK" snap add "$files/hello-1.snap" --store "$brand" --publisher "$(email pat)" --release stable
check 'it may have tracks' "$HALLMARK" snap track guard hello '[0-9.]+'

# What pat's programs on machines log in with.
token=$(
  export HALLMARK_HOME=$work/home-pat
  "$HALLMARK" login --server "$server" --email "$(email pat)" --password-file "$work/password" >/dev/null &&
    "$HALLMARK" token create --for ci --description tests 2>"$work/token.log"
) || true
check 'pat has a token' test -n "$token"
TOKEN=$token program craft hello "$files/crafted-1.snap" "$files/crafted-2.snap"

check 'a store is made of the base store' "$HALLMARK" store create acme-view --name 'Acme View' --parent "$brand"
model_headers gate-1 example-gadget >"$work/model.json"
check 'a model is signed' "$HALLMARK" model sign "$work/model.json"
api_key=$("$HALLMARK" model create gate-1) || true
# The checker registers a device, whatever else it finds.
"$HALLMARK" init --data "$work/other" --brand other --admin-password-file "$work/password" >/dev/null
HALLMARK_DATA=$work/other "$HALLMARK" trust export >"$work/foreign.assert"
check 'a serial is issued' timeout 200 "$(cat "$work/programs")/asserts" -server "$server" -trusted "$root" \
  -foreign "$work/foreign.assert" -brand "$brand" -model gate-1 -api-key "$api_key" -serial WEB-1
program web acme-view hello gate-1 WEB-1

stop_server
tally publisher-libraries || exit 1
