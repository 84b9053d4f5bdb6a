#!/bin/bash
# snapd's assertion library, oldest and newest, checks what hallmark issues.

# shellcheck source-path=SCRIPTDIR/.. source=../lib.sh
. "$(dirname -- "$0")/../lib.sh"
. "$here/prepare.sh"
. "$here/instance.sh"

if [ "${1-}" != inside ]; then
  work=$(mktemp -d "${TMPDIR:-/tmp}/hm-asserts.XXXXXX")
  export work
  trap 'rm -rf "$work"' EXIT
  for version in $HALLMARK_SNAPD; do need library_programs "$version" >"$work/programs-$version"; done
  isolate timeout 600 bash "$0" inside || exit 1
  exit 0
fi

new_instance
model_headers gate-1 example-gadget >"$work/model.json"
check 'a model is signed' "$HALLMARK" model sign "$work/model.json"
api_key=$("$HALLMARK" model create gate-1)

# A second root, for the device that must not believe ours.
HALLMARK_DATA=$work/other "$HALLMARK" init --data "$work/other" --brand other \
  --admin-password-file "$work/password" >/dev/null
HALLMARK_DATA=$work/other "$HALLMARK" trust export >"$work/foreign.assert"

for version in $HALLMARK_SNAPD; do
  release=$(basename "$HALLMARK_CI_CACHE"/debian/"$(snapd_suite "$version")"/golang-github-snapcore-snapd-dev/deb/*.deb)
  echo "-- library of $release"
  if timeout 200 "$(cat "$work/programs-$version")/asserts" -server "$server" -trusted "$root" \
    -foreign "$work/foreign.assert" -brand "$brand" -model gate-1 -api-key "$api_key" -serial "LIB-$version" \
    >"$work/checker.out" 2>&1; then
    cat "$work/checker.out"
    ok "the library of $release agrees"
  else
    not_ok "the library of $release agrees" "$work/checker.out" "$work/serve.log"
  fi
done

stop_server
tally asserts || exit 1
