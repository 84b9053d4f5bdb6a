#!/bin/bash
# The pages in a real browser: Chromium of Debian, driven by Playwright, read by axe. Pictures of every page are kept in
# $HALLMARK_CI_CACHE/web-shots.

# shellcheck source-path=SCRIPTDIR/.. source=../lib.sh
. "$(dirname -- "$0")/../lib.sh"
. "$here/prepare.sh"
. "$here/snaps.sh"

if [ "${1-}" != inside ]; then
  work=$(mktemp -d "${TMPDIR:-/tmp}/hm-web.XXXXXX")
  export work
  trap 'rm -rf "$work"' EXIT
  need web_packages
  browser_tools=$(need browser_tools)
  export browser_tools
  isolate timeout 900 bash "$0" inside || exit 1
  exit 0
fi

export HALLMARK_HOME=$work/home
make_app hello 1 "$work/hello.snap"
# What a publisher uploads and a reviewer looks at: the second one plugs into what needs a grant.
make_app keeper 1 "$work/keeper_1.snap" '' network camera
make_app keeper 2 "$work/keeper_2.snap" '' network snapd-control
"$HALLMARK" quickstart --data "$work/quickstart" --listen 127.0.0.1:0 --devices 60 >"$work/quickstart.out" 2>&1 &
if ! wait_for 300 grep -q '^quickstart: ' "$work/quickstart.out" || ! wait_for 10 grep -q 'serving on' "$work/quickstart.out"; then
  not_ok 'hallmark quickstart serves' "$work/quickstart.out"
  exit 1
fi
SERVER=$(sed -n 's/^.*web address: *//p' "$work/quickstart.out" | head -n 1)
EMAIL=$(sed -n 's/^.*--email \([^ ]*\) .*$/\1/p' "$work/quickstart.out")
PASSWORD=$(sed -n 's/^.*one-time password: \([^)]*\)).*$/\1/p' "$work/quickstart.out")
export SERVER EMAIL PASSWORD SNAP=$work/hello.snap KEEPER=$work/keeper SHOTS=$HALLMARK_CI_CACHE/web-shots HOME=$work
rm -rf "$SHOTS"
cd "$browser_tools" && exec node pages.mjs
