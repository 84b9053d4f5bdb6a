#!/bin/bash
# A real snapd boots as a device, gets its serial from hallmark, and heals after everything that can go wrong there.

# shellcheck source-path=SCRIPTDIR/.. source=../lib.sh
. "$(dirname -- "$0")/../lib.sh"
. "$here/prepare.sh"
. "$here/instance.sh"
. "$here/device.sh"
. "$here/snaps.sh"

if [ "${1-}" != inside ]; then
  work=$(mktemp -d "${TMPDIR:-/tmp}/hm-device.XXXXXX")
  export work
  trap 'rm -rf "$work"' EXIT
  for version in $HALLMARK_SNAPD; do need snapd_tree "$version" >/dev/null; done
  isolate timeout 1200 bash "$0" inside || exit 1
  exit 0
fi

trap 'device_down' EXIT

# seed NAME BINARIES HOOK: a seed for model NAME with a gadget whose prepare-device hook is HOOK; prints its folder.
seed() {
  local name=$1 binaries=$2 hook=$3 folder=$work/seed-$1 snap args=()
  mkdir -p "$folder"
  cp "$work/snaps"/*.snap "$folder/"
  make_gadget "gadget-$name" "$hook" "$folder/gadget-$name.snap"
  model_headers "$name" "gadget-$name" >"$folder/model.json"
  "$HALLMARK" model sign "$folder/model.json" >"$folder/model.assert"
  for snap in "$folder"/*.snap; do args+=(--snap "$snap"); done
  snap_cli "$binaries" prepare-image --classic "${args[@]}" "$folder/model.assert" "$folder/image" \
    >"$folder/prepare.log" 2>&1 || { cat "$folder/prepare.log" >&2 && return 1; }
  echo "$folder/image/var/lib/snapd/seed"
}

# Every request for a session was answered with 200, by the field: a duration may have any digits.
sessions_accepted() {
  grep 'endpoint="/api/v1/snaps/auth/sessions"' "$work/serve.log" >"$work/sessions" || return 1
  ! grep -v ' status=200 ' "$work/sessions"
}

new_instance
mkdir "$work/snaps"
make_snaps "$work/snaps"

# 1. From an empty device to a serial and a store session, with both ends of the range of snapd releases.
for version in $HALLMARK_SNAPD; do
  tree=$(snapd_tree "$version")
  binaries=$(swapped_snapd "$version")
  name=gate-$version serial=SN-$version-0001
  echo "-- $("$binaries/snap" version | sed -n 's/^snap  */snapd /p')"
  api_key=$("$HALLMARK" model create "$name")
  seed_dir=$(seed "$name" "$binaries" "$(hook "$name" "$api_key" "$serial")")
  device_up "$tree" "$binaries" "$seed_dir" "$server"
  result 'the device is seeded' seeded
  result 'it registers' wait_for 60 registered
  result 'snap model --serial shows the proposed serial' is_registered_as "$serial"
  result 'snap known serial has the assertion' bash -c "[ -n \"\$1\" ]" _ \
    "$(on_device snap known serial brand-id=$brand model="$name" serial="$serial" 2>/dev/null || true)"
  on_device snap known serial >"$work/serial.assert" || true
  result 'hallmark verifies the serial the device holds' "$HALLMARK" assertion verify --trusted "$root" \
    --with <("$HALLMARK" assertion show account account-id=$brand) \
    --with <("$HALLMARK" assertion show account-key public-key-sha3-384="$(sed -n 's/^sign-key-sha3-384: //p' "$work/serial.assert")") \
    "$work/serial.assert"
  prints 'hallmark lists the serial' "$serial" "$HALLMARK" serial list --model "$name"
  on_device snap find nothing-of-that-name >/dev/null 2>&1 || true # any question to the store opens a session
  result 'the device opens a store session' journal_says 'POST /api/v1/snaps/auth/sessions'
  result 'the session is accepted' sessions_accepted
  device_down
done

tree=$(snapd_tree old)
binaries=$work/bin-old

# 2. A wrong API key: the device says why, and registers once the key is known.
echo '-- wrong API key'
api_key=$("$HALLMARK" model create gate-key)
lost=a-key-nobody-registered
hook gate-key "$api_key" SN-KEY-1 >/dev/null
sed -i "s|$api_key|$lost|" "$work/hook-gate-key"
seed_dir=$(seed gate-key "$binaries" "$work/hook-gate-key")
device_up "$tree" "$binaries" "$seed_dir" "$server"
result 'the device is refused' wait_for 60 refused_now
prints 'its change shows the reason hallmark gave' '[Aa][Pp][Ii] key' change_log "$registration"
refuses 'it has no serial' 'not registered|no serial' on_device snap model --serial
check 'the key is added to the model' "$HALLMARK" model api-key add gate-key --api-key "$lost"
restart_snapd
result 'the device registers after that' wait_for 60 registered
result 'it shows the proposed serial' is_registered_as SN-KEY-1
device_down

# 3. A request-id that expires on a slow line.
echo '-- expired request-id'
api_key=$("$HALLMARK" model create gate-slow)
stop_server
start_server HALLMARK_REQUEST_ID_LIFE=1
touch "$work/slow"
python3 "$here/slow_line.py" "$server_port" "$work/slow" 3 >"$work/slow_port" &
slow_pid=$!
result 'the slow line is open' wait_for 10 test -s "$work/slow_port"
slow_port=$(cat "$work/slow_port")
hook gate-slow "$api_key" SN-SLOW-1 >/dev/null
sed -i "s|127.0.0.1:$server_port|127.0.0.1:$slow_port|" "$work/hook-gate-slow"
seed_dir=$(seed gate-slow "$binaries" "$work/hook-gate-slow")
device_up "$tree" "$binaries" "$seed_dir" "$server"
result 'the device is refused' wait_for 60 refused_now
prints 'its change says that the request-id is not valid' 'request-id|nonce' change_log "$registration"
rm "$work/slow"
restart_snapd
result 'the device registers on a fast line' wait_for 60 registered
result 'it shows the proposed serial' is_registered_as SN-SLOW-1
kill "$slow_pid"
device_down
stop_server
start_server

# 4. A stopped server: the device goes on asking by itself, once a minute.
echo "-- stopped server, and a serial that snapd takes for a number unless it is quoted"
api_key=$("$HALLMARK" model create gate-late)
seed_dir=$(seed gate-late "$binaries" "$(hook gate-late "$api_key" 202611210001)")
stop_server
device_up "$tree" "$binaries" "$seed_dir" "$server"
result 'the device is seeded without a server' seeded
result 'the device asks for a request-id and finds nobody' wait_for 90 journal_says 'POST /v1/request-id'
result 'it keeps trying' wait_for 30 change_is "$registration" Doing
start_server
result 'the device registers by itself when the server is back' wait_for 90 registered
result 'it shows the proposed serial' is_registered_as 202611210001
device_down

stop_server
tally device || exit 1
