#!/bin/bash
# A real snapd device lives on the store: finds, installs, refreshes, reverts, obeys validation; sees nobody else's.

# shellcheck source-path=SCRIPTDIR/.. source=../lib.sh
. "$(dirname -- "$0")/../lib.sh"
. "$here/prepare.sh"
. "$here/instance.sh"
. "$here/device.sh"
. "$here/snaps.sh"
. "$here/shop.sh"
. "$here/waves.sh"

if [ "${1-}" != inside ]; then
  work=$(mktemp -d "${TMPDIR:-/tmp}/hm-store-device.XXXXXX")
  export work
  trap 'rm -rf "$work"' EXIT
  for version in $HALLMARK_SNAPD; do need snapd_tree "$version" >/dev/null; done
  isolate timeout 1200 bash "$0" inside || exit 1
  exit 0
fi

trap 'device_down' EXIT

# lacks PATTERN COMMAND...: the command must succeed and print nothing like PATTERN.
lacks() {
  local pattern=$1 out
  shift
  out=$(on_device "$@" 2>&1) || { echo "$out" && return 1; }
  ! grep -E -- "$pattern" <<<"$out"
}

# reported DEVICE SNAP REVISION: hallmark knows that the device has it.
reported() { "$HALLMARK" device show "$1" | grep -E "^$2 .* $3 "; }

# change_state PATH=JSON...: restarts snapd with other values in its state.
change_state() {
  on_device systemctl stop snapd.socket snapd.service
  python3 - "$device_root/var/lib/snapd/state.json" "$@" <<'PY'
import json, sys
with open(sys.argv[1]) as file:
    state = json.load(file)
for change in sys.argv[2:]:
    path, value = change.split("=", 1)
    *keys, last = path.split("/")
    at = state["data"]
    for key in keys:
        at = at.setdefault(key, {})
    at[last] = json.loads(value)
with open(sys.argv[1], "w") as file:
    json.dump(state, file)
PY
  on_device systemctl start snapd.socket snapd.service
}

# session: the macaroon the device holds.
session() {
  on_device cat /var/lib/snapd/state.json |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["data"]["auth"]["device"]["session-macaroon"])'
}
# status SESSION PATH: the status of a GET with that session.
status() {
  curl --silent --output /dev/null --write-out '%{http_code}' --header "X-Device-Authorization: Macaroon root=\"$1\"" "$server$2"
}
# asked SESSION BODY: the answer of POST /v2/snaps/refresh.
asked() {
  curl --silent --header "Snap-Device-Authorization: Macaroon root=\"$1\"" --header 'Content-Type: application/json' \
    --header 'Snap-Device-Architecture: amd64' --data "$2" "$server/v2/snaps/refresh"
}
# gets_secret SESSION WANTED-STATUS WANTED-ANSWER: what comes of every way to the private snap.
gets_secret() {
  local id=$secret_id got path
  for path in "/download/${id}_1.snap" "/v2/assertions/snap-declaration/16/$id" \
    "/v2/assertions/snap-revision/$(digest "$shop_snaps/hello-secret-1.snap")" "/v2/snaps/info/hello-secret?fields=revision"; do
    got=$(status "$1" "$path")
    [ "$got" = "$2" ] || { echo "$path: $got" && return 1; }
  done
  for action in '"action":"install","name":"hello-secret","channel":"stable","epoch":null' \
    '"action":"download","name":"hello-secret","revision":1,"epoch":null'; do
    got=$(asked "$1" "{\"context\":[],\"fields\":[],\"actions\":[{\"instance-key\":\"x\",$action}]}")
    grep -q "$3" <<<"$got" || { echo "$action: $got" && return 1; }
  done
  got=$(asked "$1" "{\"fields\":[],\"context\":[{\"snap-id\":\"$id\",\"instance-key\":\"$id\",\"revision\":9,\"tracking-channel\":\"stable\",\"epoch\":{\"read\":[0],\"write\":[0]}}],
    \"actions\":[{\"action\":\"refresh\",\"instance-key\":\"$id\",\"snap-id\":\"$id\"}]}")
  grep -q "${3/name-not/id-not}" <<<"$got" || { echo "refresh: $got" && return 1; }
}

# delta_offered: the store offers the delta of hello-delta.
delta_offered() {
  local id
  id=$(snap_id hello-delta)
  curl --silent --header "Snap-Device-Authorization: Macaroon root=\"$(session)\"" \
    --header 'Content-Type: application/json' --header 'Snap-Accept-Delta-Format: xdelta3' --data "{\"fields\":[],
    \"context\":[{\"snap-id\":\"$id\",\"instance-key\":\"$id\",\"revision\":1,\"tracking-channel\":\"stable\",\"epoch\":{\"read\":[0],\"write\":[0]}}],
    \"actions\":[{\"action\":\"refresh\",\"instance-key\":\"$id\",\"snap-id\":\"$id\"}]}" "$server/v2/snaps/refresh" |
    grep '"format":"xdelta3"'
}

new_instance
make_shop
check 'snapd is added' publish "$shop_snaps/snapd.snap" --release stable
check 'a base is added' publish "$shop_snaps/core22.snap" --release stable
check 'a private application is added' publish "$shop_snaps/hello-secret-1.snap" --private --release stable
secret_id=$(snap_id hello-secret)
check 'a key for validation-sets is made' "$HALLMARK" key create sets --purpose validation-set --constraints off --external
check 'a key for validations is made' "$HALLMARK" key create gates --purpose validation --constraints off --external
check 'a big application is added' publish "$shop_snaps/hello-big-1.snap" --release stable
check 'another brand is made' "$HALLMARK" brand create beta --name 'Beta Devices'
export HALLMARK_BRAND=$brand

# Where there is no store.
elsewhere=$((server_port + 1))
mkdir "$work/nothing"
python3 -m http.server --bind 127.0.0.1 --directory "$work/nothing" "$elsewhere" >/dev/null 2>&1 &

for version in $HALLMARK_SNAPD; do
  tree=$(snapd_tree "$version")
  binaries=$(swapped_snapd "$version")
  name=shop-$version app=hello-$version
  echo "-- $("$binaries/snap" version | sed -n 's/^snap  */snapd /p')"
  for revision in 1 2 3 4; do make_app "$app" "$revision" "$shop_snaps/$app-$revision.snap"; done
  for revision in 1 2; do make_app "other-$version" "$revision" "$shop_snaps/other-$version-$revision.snap"; done
  check 'an application is added and released' publish "$shop_snaps/$app-1.snap" --release stable
  check 'its next revision is added' publish "$shop_snaps/$app-2.snap"
  app_id=$(snap_id "$app")

  # From an empty device to a session.
  seed_dir=$(store_seed "$name" "SN-$version-1" "$binaries")
  device_up "$tree" "$binaries" "$seed_dir" "$server"
  result 'the device is seeded with snaps of the store' seeded
  result 'it registers' wait_for 60 registered
  result 'snap model --serial shows the proposed serial' is_registered_as "SN-$version-1"
  result 'none of its snaps is without assertions' lacks '^(core22|snapd|gadget).* x[0-9]' snap list

  # Look around.
  result 'snap find finds the application' says "^$app +1 .*acme" snap find "$app"
  result 'snap find finds the private one too' says '^hello-secret ' snap find hello-secret
  result 'snap info shows the channels' says '^ *latest/stable: +1 ' snap info "$app"
  result 'snap info says what is not there' says_not 'no snap found' snap info hello-nobody

  # Install.
  result 'what no channel holds is refused' says_not 'not available on 7.0/stable|no snap revision available' \
    snap install --channel=7.0/stable "$app"
  result 'snap install installs it' on_device snap install "$app"
  result 'its command and its service run' runs "$app" 1
  result 'snap install installs the private one' on_device snap install hello-secret
  result 'all is up to date' says 'All snaps up to date' snap refresh --list
  result 'a snap that is not there is refused' says_not 'snap "hello-nobody" not found' snap install hello-nobody

  check 'another application is added and released' publish "$shop_snaps/other-$version-1.snap" --release stable
  result 'snap install installs it too' on_device snap install "other-$version"

  # Refresh and revert.
  check 'the next revision is released' "$HALLMARK" snap release "$app" 2 stable
  result 'snap refresh --list shows it' says "^$app +2 +2 " snap refresh --list
  result 'snap refresh takes it' on_device snap refresh "$app"
  result 'the command and the service of it run' runs "$app" 2
  result 'snap revert goes back' on_device snap revert "$app"
  result 'the command and the service of before run' runs "$app" 1
  result 'a refresh of everything leaves it there' on_device snap refresh
  result 'the command and the service of before still run' runs "$app" 1
  check 'one more revision is released' publish "$shop_snaps/$app-3.snap" --release stable
  result 'a refresh of everything takes that' on_device snap refresh
  result 'the command and the service of that run' runs "$app" 3

  # A delta: only the difference is sent.
  check 'a big application is released' publish "$shop_snaps/hello-delta-1.snap" --release stable
  result 'snap install installs it' on_device snap install hello-delta
  check 'its next revision is released' publish "$shop_snaps/hello-delta-2.snap" --release stable
  result 'the delta between them is made' wait_for 60 delta_offered
  result 'snap refresh takes it' on_device snap refresh hello-delta
  result 'the next revision runs' runs hello-delta 2
  result 'the device got the delta, and applied it' journal_says 'Successfully applied delta for "hello-delta"'
  result 'it did not ask for the whole file' bash -c '! grep -E "GET.*/download/$1_2\.snap" "$2"' _ "$(snap_id hello-delta)" "$work/serve.log"

  # Channels.
  check 'one more revision is released to edge' publish "$shop_snaps/$app-4.snap" --release edge
  result 'snap refresh stays with stable' says 'All snaps up to date' snap refresh
  result 'snap refresh --channel takes it' on_device snap refresh --channel=edge "$app"
  result 'the command and the service of edge run' runs "$app" 4
  check 'edge is closed' "$HALLMARK" snap close "$app" edge
  result 'the device gets what stable holds' on_device snap refresh "$app"
  result 'the command and the service of stable run' runs "$app" 3
  result 'snap refresh --channel returns to stable' on_device snap refresh --channel=stable "$app"

  # Validation sets.
  set_headers "set-$version" 1 "$app=2" | sign_and_import "$binaries" sets >"$work/sign.log" 2>&1 ||
    not_ok 'a validation-set signed by snap is imported' "$work/sign.log"
  result 'snap validate monitors the set, and says that it is not met' \
    says 'invalid' bash -c "snap validate --monitor $brand/set-$version && snap validate"
  result 'snap validate --enforce refuses it for the wrong revision' \
    says_not "$app.* required( at revision|: *at revision)? *.*2|wrong revision|required at revision" \
    snap validate --enforce "$brand/set-$version=1"
  set_headers "set-$version" 2 "$app=3" | sign_and_import "$binaries" sets >"$work/sign.log" 2>&1 ||
    not_ok 'its next sequence is imported' "$work/sign.log"
  result 'snap refresh fetches it, and the set is met' \
    says "$brand/set-$version +monitor +2 +valid" bash -c 'snap refresh && snap validate'
  result 'snap validate --enforce enforces it' on_device snap validate --enforce "$brand/set-$version"
  result 'snap validate says so' says "$brand/set-$version +enforce +2 +valid" snap validate
  check 'a revision outside of the set is released' "$HALLMARK" snap release "$app" 4 stable
  on_device snap refresh "$app" >/dev/null 2>&1 || true
  result 'the device stays with the revision of the set' runs "$app" 3
  result 'it cannot remove what the set requires' says_not 'required by validation set|required by an enforcing' snap remove "$app"
  result 'it forgets the set' on_device snap validate --forget "$brand/set-$version"
  result 'and takes the new revision' on_device snap refresh "$app"
  result 'the command and the service of the new revision run' runs "$app" 4

  # Update control: the gadget lets only validated revisions of the application through.
  printf 'refresh-control: [%s]\n' "$app_id" >"$work/gate.yaml"
  check 'the gadget gates the application' "$HALLMARK" snap declare "gadget-$name" "$work/gate.yaml"

  on_device snap refresh >/dev/null 2>&1 || true # takes the new declaration
  check 'an earlier revision is released again' "$HALLMARK" snap release "$app" 2 stable
  result 'it is held back without a validation' says_not "cannot refresh \"$app\" to revision 2: no validation by \"gadget-$name\"" \
    snap refresh "$app"
  result 'a refresh of everything leaves it out' on_device snap refresh
  result 'the command and the service of before still run' runs "$app" 4
  check 'another application is updated' publish "$shop_snaps/other-$version-2.snap" --release stable
  # A device holds refreshes for two hours after its first boot.
  change_state 'last-refresh="2020-01-01T00:00:00Z"' config/core/refresh='{}'
  result 'the device refreshes by itself, as it has not for long' wait_for 60 \
    says "^other-$version .* 2 " sh -c 'snap debug ensure-state-soon && snap list "$1"' _ "other-$version"
  result 'what is held back did not stop the other' runs "other-$version" 2
  result 'the command and the service of before still run' runs "$app" 4
  cat <<JSON | sign_and_import "$binaries" gates >"$work/sign.log" 2>&1 || not_ok 'a validation signed by snap is imported' "$work/sign.log"
{
  "type": "validation", "authority-id": "$brand", "series": "16", "snap-id": "$(snap_id "gadget-$name")",
  "approved-snap-id": "$app_id", "approved-snap-revision": "2", "timestamp": "$(date --utc +%Y-%m-%dT%H:%M:%SZ)"
}
JSON
  result 'it is taken once it is validated' on_device snap refresh "$app"
  result 'the command and the service of it run' runs "$app" 2

  # Waves: who sees which revision, when.
  under_waves "$name/SN-$version-1" "other-$version" "tag-$version" "$version" "$binaries"

  # A session that is no more is renewed without a word.
  change_state 'auth/device/session-macaroon="forged"'
  result 'a device with a spoilt session gets a new one by itself' says "^$app " snap find "$app"
  result 'it is another one' bash -c '[ "$1" != forged ]' _ "$(session)"
  result 'with it every way to the private snap is open' gets_secret "$(session)" 200 '"revision":1'

  # What the store knows of the device: what it said when it last asked for something new.
  on_device snap refresh --list >/dev/null 2>&1
  result 'hallmark shows what the device reported' wait_for 60 reported "$name/SN-$version-1" "$app" 2

  # proxy.store: the device is sent to us by an assertion, not by its environment.
  sed -i "s|_URL=[^ ]*|_URL=http://127.0.0.1:$elsewhere/|g" "$device_root/etc/systemd/system/snapd.service.d/hallmark.conf"
  on_device systemctl daemon-reload
  restart_snapd
  result 'a device that is sent elsewhere does not find the store' says_not '404' snap find hello
  before=$(session)
  "$HALLMARK" store connect "$brand" >"$device_root/root/connect" || not_ok 'hallmark store connect'
  result 'what hallmark store connect prints connects it' on_device sh /root/connect
  result 'it finds the store' says '^hello-delta ' snap find hello
  # 2.57.6 keeps its session; that is good here too.
  [ "$version" = old ] || result 'it has a new session there' bash -c '[ "$1" != "$2" ]' _ "$(session)" "$before"
  result 'it installs from there' on_device snap install hello-big

  # A device that is denied.
  check 'the serial is denied' "$HALLMARK" serial deny "$name" "SN-$version-1"
  result 'its session is over' [ "$(status "$(session)" "/download/${secret_id}_1.snap")" = 403 ]
  result 'the device hears why' says_not 'the device or its model is disabled' snap find hello
  device_down

  # A device of another brand.
  HALLMARK_BRAND=beta brand=beta
  seed_dir=$(HALLMARK_BRAND=beta store_seed "beta-$version" "SN-$version-2" "$binaries")
  device_up "$tree" "$binaries" "$seed_dir" "$server"
  result 'a device of another brand is seeded' seeded
  result 'it registers' wait_for 60 registered
  result 'it does not find the private snap' says_not 'no snap found' snap info hello-secret
  result 'nor does a search' lacks '^hello' snap find hello
  result 'it cannot install it' says_not 'snap "hello-secret" not found' snap install hello-secret
  result 'nor what is public in the store of the other brand' says_not "snap \"$app\" not found" snap install "$app"
  result 'with its session every way to the private snap is closed' gets_secret "$(session)" 404 'name-not-found'
  HALLMARK_BRAND=acme brand=acme
  device_down

  # A device that does not know our root.
  mkdir -p "$work/stock-$version"
  ln -sfn "$tree/usr/bin/snap" "$work/stock-$version/snap"
  ln -sfn "$tree/usr/lib/snapd/snapd" "$work/stock-$version/snapd"
  device_up "$tree" "$work/stock-$version" '' "$server"
  result 'a device with its own root believes nothing of it' \
    says_not 'circular assertions are not expected: account-key' snap install "$app"
  device_down
done

stop_server
tally store-device || exit 1
