# shellcheck shell=bash
# A fresh hallmark for a suite: brand `acme`, logged in as its administrator. Sourced.

brand=acme
export HALLMARK_KEY_PASSPHRASE_FILE='' # set below; never the caller's own

# new_instance: initialises $data, serves it, logs in. Sets $root (account + account-key of the trust root).
new_instance() {
  data=$work/data root=$work/root.assert
  export HALLMARK_DATA=$data HALLMARK_HOME=$work/home HALLMARK_KEY_PASSPHRASE_FILE=$work/passphrase
  echo 'a passphrase for tests only' >"$work/passphrase"
  echo 'a password for tests only' >"$work/password"
  chmod 600 "$work/passphrase" "$work/password"
  need "$HALLMARK" init --data "$data" --brand "$brand" --brand-name 'Acme Devices' \
    --admin-password-file "$work/password" >"$work/init.out"
  start_server
  need "$HALLMARK" login --server "$server" --email "admin@$brand.example" --password-file "$work/password" >/dev/null
  "$HALLMARK" trust export >"$root"
}

# swapped_snapd old|new: `snap` and `snapd` of that version with our root of trust; prints their folder.
swapped_snapd() {
  local tree out=$work/bin-$1 account key binary
  tree=$(snapd_tree "$1")
  mkdir -p "$out"
  read -r account key < <(python3 "$here/swap_root.py" sizes "$tree/usr/bin/snap")
  "$HALLMARK" trust export --account-bytes "$account" --key-bytes "$key" >"$out/root"
  head -c "$account" "$out/root" >"$out/account"
  tail -c "$key" "$out/root" >"$out/account-key"
  for binary in usr/bin/snap usr/lib/snapd/snapd; do
    python3 "$here/swap_root.py" swap "$tree/$binary" "$out/${binary##*/}" "$out/account" "$out/account-key"
    chmod 755 "$out/${binary##*/}"
  done
  echo "$out"
}

# model_headers MODEL GADGET: headers of a classic model, as JSON.
model_headers() {
  cat <<JSON
{
  "type": "model", "authority-id": "$brand", "series": "16", "brand-id": "$brand", "model": "$1",
  "architecture": "amd64", "classic": "true", "gadget": "$2", "required-snaps": ["core22"],
  "timestamp": "$(date --utc +%Y-%m-%dT%H:%M:%SZ)"
}
JSON
}

# snap_cli BINARIES ARGUMENTS...: that `snap`, talking to our server; never waits for a daemon.
snap_cli() {
  local binaries=$1
  shift
  SNAPPY_FORCE_API_URL=$server/ SNAPPY_FORCE_SAS_URL=$server/ SNAP_REEXEC=0 timeout 60 "$binaries/snap" "$@"
}
