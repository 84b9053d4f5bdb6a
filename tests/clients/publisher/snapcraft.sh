#!/bin/bash
# The real snapcraft 4.8.1, logged in with e-mail and password, publishes: every command it has for the store.

# shellcheck source-path=SCRIPTDIR/.. source=../lib.sh
. "$(dirname -- "$0")/../lib.sh"
. "$here/prepare.sh"
. "$here/instance.sh"
. "$here/snaps.sh"
. "$here/publisher/install.sh"
. "$here/publisher/people.sh"

if [ "${1-}" != inside ]; then
  work=$(mktemp -d "${TMPDIR:-/tmp}/hm-snapcraft.XXXXXX")
  export work
  trap 'rm -rf "$work"' EXIT
  need publisher_packages
  need publisher_snapcraft >"$work/snapcraft"
  # Its `snap` makes keys and signs; nothing is compared with a root of trust there.
  need snapd_tree old >/dev/null
  isolate timeout 900 bash "$0" inside || exit 1
  exit 0
fi

new_instance
new_people
snapcraft=$(cat "$work/snapcraft")
files=$work/files
mkdir -p "$files"
PATH=$(snapd_tree old)/usr/bin:$PATH

# Where gpg asks for passphrases: the keys have none.
cat >"$work/pinentry" <<'SH'
#!/bin/sh
echo OK
while read -r command _; do
  case $command in
    GETPIN) printf 'D \nOK\n' ;;
    BYE) echo OK && exit ;;
    *) echo OK ;;
  esac
done
SH
# What the person writes into the editor.
cat >"$work/editor" <<'SH'
#!/bin/sh
exec cp "${0%/*}/edited.yaml" "$1"
SH
chmod +x "$work/editor" "$work/pinentry"

# make_snap NAME VERSION OUT: with everything snapcraft wants to read in it, and an icon.
make_snap() {
  local tree
  tree=$(mktemp -d "$work/tree.XXXXXX")
  chmod 755 "$tree"
  mkdir -p "$tree/meta/gui" "$tree/bin"
  printf '%s\n' "name: $1" "version: \"$2\"" "summary: summary of $1 $2" "description: An application of the tests, $2." \
    "title: Title of $1" 'license: MIT' 'architectures: [amd64]' 'base: core22' 'confinement: strict' \
    'grade: stable' 'apps:' "  $1:" '    command: bin/say' >"$tree/meta/snap.yaml"
  printf '%s\n' '#!/bin/sh' "echo $1 $2" | install -m 755 /dev/stdin "$tree/bin/say"
  # Every version has another icon: one pixel of another colour.
  python3 - "$tree/meta/gui/icon.png" "$2" <<'PY'
import struct, sys, zlib
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
pixel = bytes([0, int(sys.argv[2]), 100, 200])
open(sys.argv[1], "wb").write(
    b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(pixel)) + chunk(b"IEND", b""))
PY
  # Big enough, and never twice the same, for a difference between two versions to be worth sending.
  head -c 300000 "$work/filling" >"$tree/filling"
  pack_snap "$tree" "$3"
  rm -rf "$tree"
}
head -c 300000 /dev/urandom >"$work/filling"
for version in 1 2 3; do make_snap hello "$version" "$files/hello-$version.snap"; done
make_snap guard 1 "$files/guard-1.snap"
make_snap hello-nobody 1 "$files/hello-nobody-1.snap"

# revisions PERSON NAME: how many the store lists.
revisions() { sc "$1" list-revisions "$2" | grep -Ec '^[0-9]+ ' || true; }

# lacks NAME PATTERN COMMAND...: the command must succeed and not print PATTERN.
lacks() {
  local name=$1 pattern=$2 out=$work/check.out
  shift 2
  if ! "$@" >"$out" 2>&1; then
    not_ok "$name (exit $?)" "$out"
  elif grep -Eq -- "$pattern" "$out"; then
    not_ok "$name: there is '$pattern'" "$out"
  else
    ok "$name"
  fi
}

# Who one is.
refuses 'a wrong password is refused' 'nvalid|ncorrect|rong|redential|assword' typing pat nonsense login
prints 'snapcraft login takes e-mail and password' 'Login successful' typing pat "$password" login
prints 'whoami names the person' "email: +$(email pat)" sc pat whoami
account=$(sc pat whoami 2>/dev/null | sed -n 's/^developer-id: *//p') || true
check 'whoami names the account' test -n "$account"
prints 'another person logs in' 'Login successful' typing sam "$password" login
lacks 'it is another account' "developer-id: +$account\$" sc sam whoami

# Names.
check 'list works with no names' sc pat list
prints 'register takes a name' "publisher of 'hello'" sc pat register --yes hello
prints 'register takes another name' "publisher of 'guard'" sc pat register --yes guard
prints 'register takes a private name' "publisher of 'hello-secret'" sc pat register --yes --private hello-secret
prints 'register --store takes a name in a store' "publisher of 'hello-there'" sc pat register --yes --store "$brand" hello-there
refuses 'a name one has is not registered again' 'already|owner|own' sc pat register --yes hello
refuses 'a name of another is not registered' 'already|taken|registered' sc sam register --yes hello
refuses 'a name that is none is refused' 'not (a )?valid|[Ii]nvalid|should only' sc pat register --yes 'Hello_World'
refuses 'who may only look registers nothing' . sc val register --yes hello-val
prints 'who may only look can log in' 'Login successful' typing val "$password" login
refuses 'who may only look registers nothing when logged in' 'Registration failed|ermission|llowed' sc val register --yes hello-val
prints 'list shows names' '^hello +[0-9-]+T.* public ' sc pat list
prints 'list shows which are private' '^hello-secret .* private ' sc pat list
lacks 'list does not show names of others' '^hello ' sc sam list

# Revisions.
refuses 'status of a snap that is not there is refused' 'not found|could not|rror|not ' sc pat status hello-nobody
prints 'status says when nothing is released' 'no released revisions' sc pat status hello
refuses 'upload of a name nobody registered is refused' 'required to register' sc pat upload hello-nobody-1.snap
refuses 'upload to a name of another is refused' 'ublisher|ermission|register|orbidden' sc sam upload hello-1.snap
prints 'upload gives the first revision' "Revision 1 of 'hello' created" sc pat upload hello-1.snap
prints 'upload --release releases too' "Revision 2 of 'hello' created" sc pat upload hello-2.snap --release edge,beta
prints 'what was released is in the channel map' '^ +beta +2 +2' sc pat status hello
prints 'risks that are closed show what they follow' '^ +edge +2 +2' sc pat status hello
prints 'a third revision' "Revision 3 of 'hello' created" sc pat upload hello-3.snap
prints 'the guard gets a revision' "Revision 1 of 'guard' created" sc pat upload guard-1.snap --release stable
# The same bytes: the client may be told so, or given the revision there is; never a new one.
same_bytes() {
  rm -rf "$work/people/pat/.cache" # else it sends the difference to what it sent before
  if sc pat upload hello-1.snap >"$work/same.out" 2>&1; then
    grep -q "Revision 1 of 'hello' created" "$work/same.out"
  else
    grep -Eq 'already|same content' "$work/same.out"
  fi || { cat "$work/same.out" && return 1; }
}
check 'the same bytes are no new revision' same_bytes
check 'there are three revisions' test "$(revisions pat hello)" = 3
prints 'list-revisions shows version and channels' '^2 +[0-9-]+T[0-9:.]+Z? +amd64 +2 +.*latest/beta\*,latest/edge\*' \
  sc pat list-revisions hello
prints 'list-revisions --arch chooses' '^3 ' sc pat list-revisions hello --arch amd64
lacks 'list-revisions --arch leaves out others' '^[0-9]+ ' sc pat list-revisions hello --arch armhf

# Channels.
prints 'release opens a channel' '^ +candidate +1 +1' sc pat release hello 1 candidate
prints 'release to several channels' "channels are now open|stable +1 +1" sc pat release hello 1 stable,edge
prints 'release to a branch' 'stable/hotfix +3 +3' sc pat release hello 3 stable/hotfix
refuses 'a revision that is not there is not released' '77|not found|no such|existing revision' sc pat release hello 77 stable
refuses 'a channel that is none is refused' . sc pat release hello 1 nonsense
refuses 'a track that is not there is refused' . sc pat release hello 1 9.9/stable
refuses 'another person cannot release' . sc sam release hello 2 stable
prints 'release --progressive releases to some' '(30|→30)%' \
  sc pat release hello 3 stable --progressive 30 --experimental-progressive-releases
prints 'status shows both revisions' 'amd64 +stable +1 +1' sc pat status hello
prints 'status shows how far it went' '→30%' sc pat status hello --experimental-progressive-releases
prints 'a progressive release is completed' 'stable +3 +3' sc pat release hello 3 stable
prints 'status --arch and --track choose' 'stable +3 +3' sc pat status hello --arch amd64 --track latest
prints 'close closes a channel' 'beta channel is now closed' sc pat close hello beta
prints 'close closes several' 'candidate and edge channels are now closed' sc pat close hello candidate edge
prints 'a closed channel follows the safer one' '^ +edge +↑ +↑' sc pat status hello
prints 'release again' 'candidate +2 +2' sc pat release hello 2 candidate
prints 'promote releases what a channel holds to another' 'stable +2 +2' \
  sc pat promote hello --from-channel candidate --to-channel stable --yes
refuses 'promote from an empty channel is refused' . sc pat promote hello --from-channel beta/none --to-channel stable --yes
check 'hallmark says the same of stable' bash -c '"$1" snap show hello --format json | grep -q "\"revision\": *2"' _ "$HALLMARK"

# Tracks.
prints 'list-tracks shows latest' '^latest +(active|default) ' sc pat list-tracks hello
check 'tracks are allowed' "$HALLMARK" snap track guard hello '[0-9]+\.x'
check 'a track is made' "$HALLMARK" snap track add hello 1.x
prints 'list-tracks shows it' '^1\.x +active ' sc pat list-tracks hello
prints 'release to a track' 'stable +1 +1' sc pat release hello 1 1.x/stable
prints 'set-default-track' "Default track for 'hello' set to '1.x'" sc pat set-default-track hello 1.x
prints 'list-tracks shows the default' '^1\.x +default ' sc pat list-tracks hello
refuses 'set-default-track to a track that is not there is refused' 'does not exist' sc pat set-default-track hello 9.9

# What people read.
prints 'upload-metadata sends texts and icon' 'metadata has been uploaded' sc pat upload-metadata hello-1.snap
prints 'hallmark shows the summary' 'summary of hello 1' "$HALLMARK" snap show hello --format json
prints 'upload-metadata --force replaces them' 'metadata has been uploaded' sc pat upload-metadata --force hello-2.snap
prints 'hallmark shows the new summary' 'summary of hello 2' "$HALLMARK" snap show hello --format json
prints 'upload-metadata with nothing new is no trouble' 'metadata has been uploaded' sc pat upload-metadata --force hello-2.snap

# Keys.
prints 'list-keys with no keys' 'No keys have been registered' sc pat list-keys
check 'create-key makes a key' typing pat "$password" create-key publishing
refuses 'create-key does not make it again' 'already' typing pat "$password" create-key publishing
refuses 'sign-build wants a registered key' 'not registered|register' sc pat sign-build hello-1.snap --key-name publishing
refuses 'register-key wants the password' . typing pat nonsense register-key publishing
prints 'register-key registers it' 'may be used to sign your assertions' typing pat "$password" register-key publishing
prints 'list-keys shows it registered' '^\* +publishing +[A-Za-z0-9_-]{64}' sc pat list-keys
check 'a second key is made' typing pat "$password" create-key spare
prints 'list-keys shows it not registered' '^- +spare .*not registered' sc pat list-keys
refuses 'a key is not registered twice' . typing pat "$password" register-key publishing
prints 'sign-build signs and sends' 'uploaded to the Store' sc pat sign-build hello-1.snap --key-name publishing
check 'what it signed is there' grep -qx 'type: snap-build' "$files/hello-1.snap-build"
prints 'sign-build sends it again' 'uploaded to the Store' sc pat sign-build hello-1.snap --key-name publishing
prints 'sign-build --local sends nothing' 'saved to disk' sc pat sign-build --local hello-2.snap --key-name spare

# Validations.
prints 'gated says when nothing is' "no validations for snap 'guard'" sc pat gated guard
prints 'validate approves a revision' 'Signing validations assertion' sc pat validate guard hello=2 --key-name publishing
prints 'gated shows it' '^hello +2 +True' sc pat gated guard
check 'validate approves a second one' sc pat validate guard hello=3 --key-name publishing
prints 'gated shows both' '^hello +3 +True' sc pat gated guard
check 'validate --revoke takes it back' sc pat validate guard hello=3 --key-name publishing --revoke
lacks 'gated no longer shows it' '^hello +3 ' sc pat gated guard
refuses 'who is not its publisher approves nothing' . sc sam validate guard hello=2 --key-name publishing

# Validation-sets.
# edited SEQUENCE REVISION: what the editor leaves behind.
edited() {
  printf '%s\n' "account-id: $account" 'name: ring' "sequence: $1" 'snaps:' '  - name: hello' '    presence: required' \
    "    revision: $2" '  - name: guard' '    presence: optional' >"$work/edited.yaml"
}
prints 'list-validation-sets with none' '(No validation sets|no validation|^Account-ID)' sc pat list-validation-sets
edited 1 2
check 'edit-validation-sets makes a sequence' sc pat edit-validation-sets "$account" ring 1 --key-name publishing
prints 'list-validation-sets shows it' "^$account +ring +1 +0" sc pat list-validation-sets
edited 2 3
check 'edit-validation-sets makes the next' sc pat edit-validation-sets "$account" ring 2 --key-name publishing
edited 2 2
check 'edit-validation-sets changes it' sc pat edit-validation-sets "$account" ring 2 --key-name publishing
prints 'list-validation-sets shows the newest' "^$account +ring +2 +1" sc pat list-validation-sets --name ring
prints 'list-validation-sets --sequence all shows all' "^$account +ring +1 +0" sc pat list-validation-sets --name ring --sequence all
prints 'hallmark serves it to devices' '^ *revision: 2$' "$HALLMARK" assertion show validation-set \
  series=16 account-id="$account" name=ring sequence=2
edited 3 77
refuses 'a set with a revision that is not there, or a key that is not registered, is refused' . \
  sc pat edit-validation-sets "$account" ring 3 --key-name spare

# Logins for machines.
# For the names of the snaps it may touch it asks for their declarations, as JSON.
prints 'export-login writes a login that may do less' 'Login successfully exported' typing pat "$password" export-login \
  --snaps hello --channels edge --acls package_access,package_push,package_release --expires "$(date --utc --date "1 year" +%Y-%m-%dT%H:%M:%S)" exported
check 'nobody else can read it' test "$(stat --format %a "$files/exported")" = 400
prints 'login --with takes it' 'Login successful' sc machine login --with exported
prints 'it says what it may do' 'edge' sc machine login --with exported
prints 'whoami is the person' "email: +$(email pat)" sc machine whoami
prints 'it releases where it may' 'edge +3 +3' sc machine release hello 3 edge
refuses 'it releases nowhere else' 'ermission|hannel|llowed' sc machine release hello 3 stable
refuses 'it releases no other snap' 'ermission|llowed|orbidden|not' sc machine release guard 1 edge
refuses 'it registers nothing' 'Registration failed|ermission|llowed|orbidden' sc machine register --yes hello-machine
prints 'export-login prints it' 'starts on next line' typing pat "$password" export-login --acls package_access -
prints 'logout forgets' 'Credentials cleared' sc pat logout
refuses 'nothing is known afterwards' . sc pat whoami
prints 'one can log in again' 'Login successful' typing pat "$password" login
check 'a person who is switched off can do nothing' "$HALLMARK" account disable "$(email sam)"
refuses 'their login is dead' . sc sam whoami

stop_server
tally publisher-snapcraft || exit 1
