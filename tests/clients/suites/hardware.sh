#!/bin/bash
# Serials signed in hardware: SoftHSM2 is the token, snapd the device. Keys do not leave the token; while it is away
# nothing is signed, devices are told to come back, and do; nobody restarts anything.

# shellcheck source-path=SCRIPTDIR/.. source=../lib.sh
. "$(dirname -- "$0")/../lib.sh"
. "$here/prepare.sh"
. "$here/instance.sh"
. "$here/device.sh"
. "$here/snaps.sh"

if [ "${1-}" != inside ]; then
  work=$(mktemp -d "${TMPDIR:-/tmp}/hm-hardware.XXXXXX")
  export work
  trap 'rm -rf "$work"' EXIT
  need hardware_packages
  for version in $HALLMARK_SNAPD; do
    need snapd_tree "$version" >/dev/null
    need library_programs "$version" >"$work/programs-$version"
  done
  isolate timeout 1200 bash "$0" inside || exit 1
  exit 0
fi

trap 'device_down' EXIT

# new_token LABEL PIN: makes a token and prints its directory.
new_token() {
  local before=$work/before
  find "$work/tokens" -mindepth 1 -maxdepth 1 -type d | sort >"$before"
  softhsm2-util --init-token --free --label "$1" --so-pin 87654321 --pin "$2" >"$work/softhsm.out" || return 1
  find "$work/tokens" -mindepth 1 -maxdepth 1 -type d | sort | comm -13 "$before" -
}

# tool LABEL PIN ARGUMENTS...: what the vendor's tools do with a token.
tool() {
  local label=$1 pin=$2
  shift 2
  pkcs11-tool --module "$HALLMARK_PKCS11_MODULE" --token-label "$label" --login --pin "$pin" "$@"
}

# register MODEL API-KEY SERIAL: registers a device with snapd's own library.
register() {
  timeout 60 "$(cat "$work/programs-${HALLMARK_SNAPD%% *}")/asserts" -server "$server" -trusted "$root" \
    -foreign "$work/foreign.assert" -brand "$brand" -model "$1" -api-key "$2" -serial "$3"
}

# states MODEL SERIAL: what became of the revisions of that serial, in one line.
states() { "$HALLMARK" serial list --model "$1" --format json | python3 -c '
import json, sys
print(*[row["state"] for row in json.load(sys.stdin) if row["serial"] == sys.argv[1]])' "$2"; }

# signs MODEL: a model assertion signed with the key in the second token.
signs() {
  model_headers "$1" example-gadget >"$work/$1.json"
  "$HALLMARK" model sign --key model-hsm "$work/$1.json"
}

# not COMMAND...: the command must fail.
not() { ! "$@"; }

pin=43218765 second_pin=99998888
mkdir "$work/tokens" "$work/snaps"
export SOFTHSM2_CONF=$work/softhsm2.conf
printf '%s\n' "directories.tokendir = $work/tokens" 'objectstore.backend = file' 'log.level = ERROR' >"$SOFTHSM2_CONF"
HALLMARK_PKCS11_MODULE=$(softhsm_module)
export HALLMARK_PKCS11_MODULE
need new_token 'brand keys' "$pin" >"$work/first"
need new_token spare "$second_pin" >"$work/second"
first=$(cat "$work/first") second=$(cat "$work/second")
echo "$pin" >"$work/pin"
echo "$second_pin" >"$work/second-pin"
chmod 600 "$work/pin" "$work/second-pin"
export HALLMARK_PKCS11_TOKEN='brand keys,pkcs11:token=spare' HALLMARK_PKCS11_PIN_FILE=$work/pin,$work/second-pin

new_instance
make_snaps "$work/snaps"
HALLMARK_DATA=$work/other "$HALLMARK" init --data "$work/other" --brand other \
  --admin-password-file "$work/password" >/dev/null
HALLMARK_DATA=$work/other "$HALLMARK" trust export >"$work/foreign.assert"

echo '-- keys in two tokens'
prints 'settings show the tokens' 'pkcs11:token=brand%20keys,pkcs11:token=spare' "$HALLMARK" config show
prints 'a serial key is made in a token' 'pkcs11:token=brand%20keys;object=acme%2Fserial-hsm;id=' \
  "$HALLMARK" key create serial-hsm --purpose serial --token 'brand keys'
prints 'the token has it, and it never leaves' 'sensitive, always sensitive, never extractable' \
  tool 'brand keys' "$pin" --list-objects --type privkey
"$HALLMARK" key show serial-hsm --format json >"$work/key.json"
key_id=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["public-key-sha3-384"])' "$work/key.json")
check 'a key is made by the tools of the token' \
  tool spare "$second_pin" --keypairgen --key-type rsa:4096 --label existing --id 0a01
prints 'it is taken into use where it is' 'pkcs11:token=spare;object=existing' \
  "$HALLMARK" key import model-hsm --purpose model --reference 'pkcs11:token=spare;object=existing'
check 'it signs a model' signs by-hsm
check 'a small key is made by the tools of the token' \
  tool spare "$second_pin" --keypairgen --key-type rsa:2048 --label small --id 0a02
refuses 'too small a key is refused' '2048 bits' \
  "$HALLMARK" key import small --reference 'pkcs11:token=spare;object=small'
check 'a key that can be taken out is made by the tools of the token' \
  tool spare "$second_pin" --keypairgen --key-type rsa:4096 --label loose --id 0a03 --extractable
refuses 'it is refused' 'taken out' "$HALLMARK" key import loose --reference 'pkcs11:token=spare;object=loose'
refuses 'a key that is not there is refused' 'there is no private key' \
  "$HALLMARK" key import none --reference 'pkcs11:token=spare;object=none'
refuses 'a token that is not set up is refused' 'none of those' \
  "$HALLMARK" key create none --token elsewhere
refuses 'a PIN in a URI is refused' 'PIN has no place' \
  "$HALLMARK" key import none --reference 'pkcs11:token=spare;object=small?pin-value=12345'
check 'a key is switched off' "$HALLMARK" key disable model-hsm
refuses 'it does not sign then' 'key-disabled' signs switched-off
check 'it is switched on' "$HALLMARK" key enable model-hsm
check 'it signs again' signs switched-on
prints 'doctor says which key lives where' 'token brand keys answers: acme/serial-hsm' "$HALLMARK" doctor

echo '-- real devices get serials signed in the token'
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
# has_serial SERIAL: the device shows it, its signature is that of the key in the token, and hallmark verifies it.
has_serial() {
  local serial=$1
  result 'snap model --serial shows the proposed serial' is_registered_as "$serial"
  on_device snap known serial >"$work/serial.assert" || true
  result 'it is signed with the key in the token' grep -qx "sign-key-sha3-384: $key_id" "$work/serial.assert"
  result 'it verifies' "$HALLMARK" assertion verify --trusted "$root" \
    --with <("$HALLMARK" assertion show account account-id=$brand) \
    --with <("$HALLMARK" assertion show account-key public-key-sha3-384="$key_id") "$work/serial.assert"
}
for version in $HALLMARK_SNAPD; do
  tree=$(snapd_tree "$version")
  binaries=$(swapped_snapd "$version")
  name=hsm-$version serial=SN-$version-1
  echo "-- $("$binaries/snap" version | sed -n 's/^snap  */snapd /p')"
  api_key=$("$HALLMARK" model create "$name")
  check 'the model gets a policy with the key in the token' "$HALLMARK" model policy "$name" --key serial-hsm
  seed_dir=$(seed "$name" "$binaries" "$(hook "$name" "$api_key" "$serial")")
  device_up "$tree" "$binaries" "$seed_dir" "$server"
  result 'the device is seeded' seeded
  result 'it registers' wait_for 60 registered
  has_serial "$serial"
  device_down
done

echo '-- the passphrase changes, the token stays'
stop_server
echo 'another passphrase for tests only' >"$work/next"
chmod 600 "$work/next"
check 'the passphrase is rotated' "$HALLMARK" passphrase rotate --new-file "$work/next"
cp "$work/next" "$work/passphrase"
start_server
check 'the key in the token signs' signs rotated

check 'the key is replaced' "$HALLMARK" key roll model-hsm --to model-next
prints 'its successor is in the same token' 'pkcs11:token=spare;object=acme%2Fmodel-next;id=' \
  "$HALLMARK" key show model-next

echo '-- one of two tokens is away'
mv "$second" "$work/away"
refuses 'its key does not sign' 'token-unavailable' signs away
api_key=$("$HALLMARK" model create gate)
check 'the model gets a policy with the key in the other token' "$HALLMARK" model policy gate --key serial-hsm
model_headers gate example-gadget >"$work/gate.json"
check 'the model is signed by software' "$HALLMARK" model sign "$work/gate.json"
check 'the other token signs serials' register gate "$api_key" OTHER-1
refuses 'doctor says so' 'key model-hsm of acme: cannot use token spare' "$HALLMARK" doctor
mv "$work/away" "$second"
check 'its key signs again when it is back' wait_for 90 signs back

echo '-- all tokens are away'
mv "$work/tokens" "$work/tokens-away"
refuses 'a serial is refused for now' 'status 503.*signing-assertion' register gate "$api_key" GONE-1
refuses 'and again' 'status 503.*signing-assertion' register gate "$api_key" GONE-1
# The request that found it out left a revision that is void, those after it nothing.
prints 'nothing of it is half written' '^void$' states gate GONE-1
refuses 'doctor says so' 'token brand keys does not answer: acme/serial-hsm' "$HALLMARK" doctor
model_headers software example-gadget >"$work/software.json"
check 'a software key still signs' "$HALLMARK" model sign "$work/software.json"
stop_server
start_server
ok 'the server starts without its tokens'
check 'it is ready' curl --silent --fail "$server/readyz"
refuses 'a serial is refused for now' 'status 503.*signing-assertion' register gate "$api_key" GONE-1
for version in ${HALLMARK_SNAPD%% *}; do
  tree=$(snapd_tree "$version")
  binaries=$work/bin-$version
  hsm_key=$("$HALLMARK" model create hsm-late)
  check 'the model gets a policy with the key in the token' "$HALLMARK" model policy hsm-late --key serial-hsm
  seed_dir=$(seed hsm-late "$binaries" "$(hook hsm-late "$hsm_key" SN-LATE-1)")
  device_up "$tree" "$binaries" "$seed_dir" "$server"
  result 'the device is seeded' seeded
  result 'it is answered 503' wait_for 60 journal_says '503'
  result 'it keeps trying' wait_for 30 change_is "$registration" Doing
  mv "$work/tokens-away" "$work/tokens"
  result 'it registers by itself when the token is back' wait_for 120 registered
  has_serial SN-LATE-1
  device_down
done
check 'the serial that was refused is issued' register gate "$api_key" GONE-1
prints 'doctor finds nothing wrong' 'all is well' "$HALLMARK" doctor

echo '-- a wrong PIN is tried once'
stop_server
echo 11112222 >"$work/pin"
: >"$work/serve.log"
start_server
for _ in 1 2 3; do
  refuses 'a serial is refused for now' 'status 503' register gate "$api_key" PIN-1
  sleep 2
done
check 'the token was asked once' test "$(grep -c 'a token refused its PIN' "$work/serve.log")" -eq 1
echo "$pin" >"$work/pin"
check 'the right PIN is taken without a restart' wait_for 60 register gate "$api_key" PIN-1
check 'no PIN is in the log' not grep -E "$pin|$second_pin|11112222" "$work/serve.log"

stop_server
tally hardware || exit 1
