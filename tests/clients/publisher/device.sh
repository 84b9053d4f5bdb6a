#!/bin/bash
# The whole way: the real snapcraft 4.8.1 publishes, a real snapd device installs that and refreshes to the next release.

# shellcheck source-path=SCRIPTDIR/.. source=../lib.sh
. "$(dirname -- "$0")/../lib.sh"
. "$here/prepare.sh"
. "$here/instance.sh"
. "$here/device.sh"
. "$here/snaps.sh"
. "$here/shop.sh"
. "$here/publisher/install.sh"
. "$here/publisher/people.sh"

if [ "${1-}" != inside ]; then
  work=$(mktemp -d "${TMPDIR:-/tmp}/hm-publisher-device.XXXXXX")
  export work
  trap 'rm -rf "$work"' EXIT
  need publisher_packages
  need publisher_snapcraft >"$work/snapcraft"
  for version in $HALLMARK_SNAPD; do need snapd_tree "$version" >/dev/null; done
  isolate timeout 900 bash "$0" inside || exit 1
  exit 0
fi

trap 'device_down' EXIT

new_instance
new_people
snapcraft=$(cat "$work/snapcraft")
files=$work/files
mkdir -p "$files" "$work/shop"
shop_snaps=$work/shop
make_snaps "$shop_snaps"
check 'snapd is added' publish "$shop_snaps/snapd.snap" --release stable
check 'a base is added' publish "$shop_snaps/core22.snap" --release stable
prints 'a publisher logs in' 'Login successful' typing pat "$password" login
token=$(
  export HALLMARK_HOME=$work/home-pat
  "$HALLMARK" login --server "$server" --email "$(email pat)" --password-file "$work/password" >/dev/null &&
    "$HALLMARK" token create --for ci --description tests 2>"$work/token.log"
) || true

# numbers PATTERN METRIC: what pat is told of the devices that have $app, since yesterday; the answer must have PATTERN in it.
# snapcraft 4.8.1 has no command for it; this is what `snapcraft metrics` of later releases sends.
numbers() {
  local id answer days
  id=$(curl --silent --header "Authorization: Macaroon $token" "$server/dev/api/snaps/info/$app" |
    sed -n 's/.*"snap_id": *"\([^"]*\)".*/\1/p')
  days="\"start\": \"$(date -u -d yesterday +%F)\", \"end\": \"$(date -u +%F)\""
  answer=$(curl --silent --header "Authorization: Macaroon $token" --header 'Content-Type: application/json' \
    --data "{\"filters\": [{\"snap_id\": \"$id\", \"metric_name\": \"$2\", $days}]}" "$server/dev/api/snaps/metrics")
  grep -Eq -- "$1" <<<"$answer" || { echo "no text like '$1': $answer" && return 1; }
}

for version in $HALLMARK_SNAPD; do
  tree=$(snapd_tree "$version")
  binaries=$(swapped_snapd "$version")
  name=reader-$version app=novel-$version secret=diary-$version
  echo "-- $("$binaries/snap" version | sed -n 's/^snap  */snapd /p')"
  head -c 1M /dev/urandom >"$work/filling"
  for revision in 1 2 3 4; do make_app "$app" "$revision" "$files/$app-$revision.snap" "$work/filling"; done
  make_app "$secret" 1 "$files/$secret-1.snap"

  prints 'snapcraft registers a name' "publisher of '$app'" sc pat register --yes "$app"
  prints 'snapcraft registers a private name' "publisher of '$secret'" sc pat register --yes --private "$secret"
  prints 'snapcraft uploads and releases' "Revision 1 of '$app' created" sc pat upload "$app-1.snap" --release stable
  prints 'and what is private' "Revision 1 of '$secret' created" sc pat upload "$secret-1.snap" --release stable

  seed_dir=$(store_seed "$name" "SN-$version-1" "$binaries")
  device_up "$tree" "$binaries" "$seed_dir" "$server"
  result 'a device is seeded' seeded
  result 'it registers' wait_for 60 registered
  result 'it finds what was published, and by whom' says "^$app +1 +pat" snap find "$app"
  result 'it installs it' on_device snap install "$app"
  result 'its command and its service run' runs "$app" 1
  result 'it installs what is private' on_device snap install "$secret"

  prints 'snapcraft uploads the next revision' "Revision 2 of '$app' created" sc pat upload "$app-2.snap"
  result 'the device stays with what is released' says 'All snaps up to date' snap refresh --list
  prints 'snapcraft releases it' 'stable +2 +2' sc pat release "$app" 2 stable
  result 'the device refreshes to it' on_device snap refresh "$app"
  result 'the command and the service of it run' runs "$app" 2
  result 'it says what it has' on_device snap refresh --list
  result 'the publisher is told of a device that runs the release' wait_for 20 numbers \
    '"name":"2","values":\[([0-9]+,)?1\],"currently_released":true' installed_base_by_version
  result 'and of the channel it follows' numbers '"name":"latest/stable","values":\[([0-9]+,)?1\]' installed_base_by_channel

  prints 'snapcraft uploads to beta' "Revision 3 of '$app' created" sc pat upload "$app-3.snap" --release beta
  result 'the device refreshes to beta' on_device snap refresh --channel=beta "$app"
  result 'the command and the service of beta run' runs "$app" 3
  prints 'snapcraft promotes it' 'stable +3 +3' sc pat promote "$app" --from-channel beta --to-channel stable --yes
  prints 'snapcraft closes beta' 'beta channel is now closed' sc pat close "$app" beta
  result 'the device goes on with what stable holds' on_device snap refresh --channel=stable "$app"
  result 'the same revision still runs' runs "$app" 3

  check 'tracks are allowed' "$HALLMARK" snap track guard "$app" '[0-9]+'
  check 'a track is made' "$HALLMARK" snap track add "$app" 2
  prints 'snapcraft releases to a track' "Revision 4 of '$app' created" sc pat upload "$app-4.snap" --release 2/stable
  result 'the device changes to it' on_device snap refresh --channel=2/stable "$app"
  result 'the command and the service of the track run' runs "$app" 4
  device_down
done

stop_server
tally publisher-device || exit 1
