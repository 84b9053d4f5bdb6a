# shellcheck shell=bash
# The people of the publisher suites. Sourced after instance.sh.
#   pat and sam publish in the brand's base store, val only looks; the administrator is the one of instance.sh.

password='a password for tests only' # of instance.sh: everybody has the same

email() { echo "$1@$brand.example"; }

# new_people: their accounts and roles.
new_people() {
  local entry
  for entry in pat:publisher sam:publisher val:viewer; do
    need "$HALLMARK" account create "$(email "${entry%:*}")" --username "${entry%:*}" --display-name "${entry%:*} of tests" \
      --password-file "$work/password" >/dev/null
    need "$HALLMARK" member add "$brand" "$(email "${entry%:*}")" --role "${entry#*:}" >/dev/null
  done
}

# What they work with: $snapcraft is the command, $files the folder they are in.

# as PERSON COMMAND...: with the home and the settings of that person, who sits at no terminal.
as() {
  local home=$work/people/$1
  shift
  mkdir -p "$home"
  if [ ! -d "$home/gnupg" ]; then
    mkdir -m 700 "$home/gnupg"
    echo "pinentry-program $work/pinentry" >"$home/gnupg/gpg-agent.conf"
  fi
  (cd "$files" && env HOME="$home" XDG_CONFIG_HOME="$home/.config" XDG_CACHE_HOME="$home/.cache" \
    UBUNTU_ONE_SSO_URL="$server" STORE_DASHBOARD_URL="$server" STORE_UPLOAD_URL="$server" STORE_API_URL="$server" \
    STORE_RETRIES=1 STORE_BACKOFF=0 SNAP_REEXEC=0 SNAP_GNUPG_HOME="$home/gnupg" EDITOR="$work/editor" COLUMNS=200 TERM=dumb \
    timeout 120 "$@" </dev/null)
}
# sc PERSON ARGUMENTS...: snapcraft.
sc() {
  local person=$1
  shift
  as "$person" "$snapcraft" "$@"
}
# typing PERSON PASSWORD ARGUMENTS...: snapcraft on a terminal, where that person answers.
typing() {
  local person=$1 password=$2
  shift 2
  as "$person" expect "$here/publisher/answer.exp" "$(email "$person")" "$password" '' "$snapcraft" "$@"
}
