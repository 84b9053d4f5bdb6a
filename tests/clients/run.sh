#!/bin/bash
# Runs real snap clients against hallmark: run.sh [SUITE]...
# Needs root and a Debian-like system; installs what it needs. See README.md.

# shellcheck source-path=SCRIPTDIR
. "$(dirname -- "$0")/lib.sh"
. "$here/prepare.sh"

suites=("$@")
[ "${#suites[@]}" -gt 0 ] || suites=(cli asserts device hardware service package store-cli store-library store-device web oidc publisher-snapcraft publisher-device publisher-libraries)

if ! mkdir -p "$HALLMARK_CI_CACHE" 2>/dev/null; then
  HALLMARK_CI_CACHE=$(mktemp -d)
  trap 'rm -rf "$HALLMARK_CI_CACHE"' EXIT
fi
export HALLMARK_CI_CACHE HALLMARK

need client_packages
need preflight
[ -x "$HALLMARK" ] || (cd "$top" && cargo build --bin hallmark)

status=0
for suite in "${suites[@]}"; do
  began=$SECONDS
  case $suite in
    publisher-*) bash "$here/publisher/${suite#publisher-}.sh" || status=1 ;;
    *) bash "$here/suites/$suite.sh" || status=1 ;;
  esac
  echo "$suite: $((SECONDS - began)) s"
done
exit "$status"
