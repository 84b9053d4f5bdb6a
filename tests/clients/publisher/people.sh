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
