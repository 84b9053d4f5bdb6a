# A real device under waves: part of the suite store-device. Needs device.sh and shop.sh.

# told SNAP REVISION: the device is told of a newer revision; tells_nothing SNAP: it is not.
told() { says "^$1 +$2 +$2 " snap refresh --list; }
tells_nothing() { ! on_device snap refresh --list 2>&1 | grep -E "^$1 "; }
# takes_it WAVE STATE: hallmark counts one device of the wave in this state.
takes_it() { "$HALLMARK" wave status "$1" | grep -E "How they take it.*1 $2"; }
# asks_again: the device asks once more, so that hallmark hears what it runs now.
asks_again() { on_device snap refresh --list >/dev/null 2>&1 || true; }

# signed_elsewhere WAVE BINARIES: `snap sign` signs the documents of a wave, hallmark takes them.
signed_elsewhere() {
  local document
  for document in wave abort; do
    sign_with "$2" sets <"$work/documents/$1.$document.json" >"$work/documents/$1.$document.assert" || return 1
  done
  "$HALLMARK" wave sign "$1" "$work/documents/$1.wave.assert" "$work/documents/$1.abort.assert"
}

# follows_set SET SEQUENCE: the device enforces the set, has this sequence of it, and what it says.
follows_set() { says "$1 +enforce +$2 +valid" snap validate; }

# takes_back SET SEQUENCE: the device, once it said that it has not got a cancelled wave, has what takes that back.
takes_back() {
  on_device snap refresh >/dev/null 2>&1 || true
  follows_set "$1" "$2"
}

# under_sets DEVICE SNAP TAG VERSION BINARIES: waves that make a validation set which the device enforces. Revision 4 of SNAP is
# published for the tag and on the device.
under_sets() {
  local device=$1 snap=$2 tag=$3 version=$4 binaries=$5 set=$brand/$3 first
  check 'a wave with a validation set is made, to be signed elsewhere' \
    "$HALLMARK" wave init "set-$version" --tag "$tag" "$snap=4" --offline-out "$work/documents"
  refuses 'it is not rolled out before that' not-enough-signatures "$HALLMARK" wave rollout "set-$version" --uuids "$device"
  check 'snap sign signs its documents' signed_elsewhere "set-$version" "$binaries"
  first=$("$HALLMARK" wave show "set-$version" --format json | python3 -c 'import json, sys; print(json.load(sys.stdin)["sequence"])')
  check 'it is completed' "$HALLMARK" wave complete "set-$version"
  result 'the device enforces the set of the waves' on_device snap validate --enforce "$set"
  result 'snap validate says so' follows_set "$set" "$first"
  check 'the next one is made and signed' sh -c '"$HALLMARK" wave init "$1" --tag "$2" "$3=5" --offline-out "$4"' _ \
    "five-set-$version" "$tag" "$snap" "$work/documents"
  check 'snap sign signs that' signed_elsewhere "five-set-$version" "$binaries"
  on_device snap refresh >/dev/null 2>&1 || true
  result 'before its rollout the device keeps its sequence' follows_set "$set" "$first"
  check 'it is rolled out to the device' "$HALLMARK" wave rollout "five-set-$version" --uuids "$device"
  on_device snap refresh >/dev/null 2>&1 || true
  result 'snap refresh takes the set of the wave' wait_for 60 follows_set "$set" $((first + 2))
  result 'the command and the service of the wave run' runs "$snap" 5
  check 'it is completed' "$HALLMARK" wave complete "five-set-$version"
  if [ "$version" != old ]; then # snapd 2.57.6 cannot hold single snaps
    check 'one more is made' "$HALLMARK" wave init "six-set-$version" --tag "$tag" "$snap=6" --offline-out "$work/documents"
    check 'snap sign signs it' signed_elsewhere "six-set-$version" "$binaries"
    check 'it is rolled out' "$HALLMARK" wave rollout "six-set-$version" --uuids "$device"
    result 'the device holds the snap' on_device snap refresh --hold=24h "$snap"
    on_device snap refresh >/dev/null 2>&1 || true
    result 'it has the set, not the snap' says "$set +enforce +$((first + 4)) " snap validate
    check 'the wave is cancelled' "$HALLMARK" wave cancel "six-set-$version"
    result 'it takes what takes the wave back, signed with it' wait_for 60 takes_back "$set" $((first + 5))
    result 'its owner lets the snap go' on_device snap refresh --unhold "$snap"
    on_device snap refresh >/dev/null 2>&1 || true
    result 'it stays with what is published' runs "$snap" 5
  fi
  result 'the device forgets the set' on_device snap validate --forget "$set"
}

# under_waves DEVICE SNAP TAG VERSION BINARIES: from before a wave to after several. The device has revision 2 of SNAP, which
# stable holds.
under_waves() {
  local device=$1 snap=$2 tag=$3 version=$4 binaries=$5 revision
  for revision in 3 4 5 6; do
    make_app "$snap" "$revision" "$shop_snaps/$snap-$revision.snap"
    check "revision $revision is added and released nowhere" publish "$shop_snaps/$snap-$revision.snap"
  done
  check 'the device is made a production device' "$HALLMARK" device production "$device" yes
  check 'it follows a tag' "$HALLMARK" device tag "$device" "$tag"
  asks_again
  result 'a production device without waves follows its channel' tells_nothing "$snap"
  check 'a wave is made' "$HALLMARK" wave init "three-$version" --tag "$tag" "$snap=3" --policy \
    '{"error": {"percent": 100, "min-devices": 2, "kinds": ["reverted"]}}'
  result 'before a rollout it is told nothing' tells_nothing "$snap"
  result 'nor does it get the revision by its number' says_not 'no snap revision available|revision .*not found|not available' \
    snap refresh --revision=3 "$snap"
  check 'the wave is rolled out to it' "$HALLMARK" wave rollout "three-$version" --uuids "$device"
  result 'it is told of the wave' told "$snap" 3
  result 'hallmark counts it as offered' wait_for 60 takes_it "three-$version" offered
  check 'the wave is halted' "$HALLMARK" wave halt "three-$version"
  result 'it is told nothing while the wave is halted' tells_nothing "$snap"
  check 'the wave goes on' "$HALLMARK" wave resume "three-$version"
  if [ "$version" != old ]; then # snapd 2.57.6 cannot hold single snaps
    result 'its owner holds the snap' on_device snap refresh --hold=24h "$snap"
    on_device snap refresh >/dev/null 2>&1 || true
    result 'it stays where it is' runs "$snap" 2
    result 'hallmark counts it as held' wait_for 60 takes_it "three-$version" held
    result 'its owner lets it go' on_device snap refresh --unhold "$snap"
  fi
  result 'snap refresh takes the revision of the wave' on_device snap refresh "$snap"
  result 'the command and the service of it run' runs "$snap" 3
  asks_again
  result 'hallmark counts it as updated' wait_for 60 takes_it "three-$version" '(updated|healthy)'
  result 'hallmark says why it sees what it sees' bash -c '"$HALLMARK" device show "$1" | grep -E "^$2 .*wave $3 was rolled out"' \
    _ "$device" "$snap" "three-$version"
  result 'snap revert goes back' on_device snap revert "$snap"
  asks_again
  result 'hallmark counts it as reverted' wait_for 60 takes_it "three-$version" reverted
  result 'it is not told of the same again' tells_nothing "$snap"
  result 'the command and the service of before run' runs "$snap" 2
  check 'the wave is cancelled' "$HALLMARK" wave cancel "three-$version"

  check 'a next wave is made and rolled out by number' sh -c \
    '"$HALLMARK" wave init "$1" --tag "$2" "$3=4" && "$HALLMARK" wave rollout "$1" --limit 1' _ "four-$version" "$tag" "$snap"
  result 'the device takes it' on_device snap refresh "$snap"
  result 'the command and the service of it run' runs "$snap" 4
  asks_again
  result 'hallmark hears of it' wait_for 60 takes_it "four-$version" '(updated|healthy)'
  check 'it is cancelled too' "$HALLMARK" wave cancel "four-$version"
  on_device snap refresh "$snap" >/dev/null 2>&1 || true
  result 'what it has is not taken back' runs "$snap" 4

  check 'one more is made and completed at once' sh -c \
    '"$HALLMARK" wave init "$1" --tag "$2" "$3=5" && "$HALLMARK" wave complete "$1"' _ "five-$version" "$tag" "$snap"
  result 'every production device of the tag takes it' on_device snap refresh "$snap"
  result 'the command and the service of it run' runs "$snap" 5
  check 'a revision is released to its channel' "$HALLMARK" snap release "$snap" 6 stable
  result 'what is published holds, whatever the channel says' tells_nothing "$snap"
  check 'a rollback is made and rolled out' sh -c \
    '"$HALLMARK" wave init "$1" --tag "$2" "$3=4" --rollback && "$HALLMARK" wave rollout "$1" --uuids "$4"' _ \
    "back-$version" "$tag" "$snap" "$device"
  result 'only that goes back' on_device snap refresh "$snap"
  result 'the command and the service of it run' runs "$snap" 4
  check 'the rollback is completed' "$HALLMARK" wave complete "back-$version"
  under_sets "$device" "$snap" "$tag" "$version" "$binaries"
  check 'the device follows no tag any more' "$HALLMARK" device tag "$device" --unset
  result 'its channel decides again' told "$snap" 6
}
