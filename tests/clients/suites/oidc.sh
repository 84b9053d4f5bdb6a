#!/bin/bash
# People sign in with a real OpenID Connect provider: oidc-provider on Node.js, Chromium of Debian driven by Playwright.

# shellcheck source-path=SCRIPTDIR/.. source=../lib.sh
. "$(dirname -- "$0")/../lib.sh"
. "$here/prepare.sh"
. "$here/instance.sh"

if [ "${1-}" != inside ]; then
  work=$(mktemp -d "${TMPDIR:-/tmp}/hm-oidc.XXXXXX")
  export work
  trap 'rm -rf "$work"' EXIT
  need web_packages
  browser_tools=$(need browser_tools)
  export browser_tools
  isolate timeout 600 bash "$0" inside || exit 1
  exit 0
fi

new_instance
for person in jo sam; do "$HALLMARK" account create "$person@acme.example" --password-file "$work/password" >/dev/null; done
stop_server

export PEOPLE=$work/people.json CLIENT_SECRET='s3cret: of tests/%+' BACK=$server/login/provider/back
echo "$CLIENT_SECRET" >"$work/client-secret"
cat >"$PEOPLE" <<'JSON'
{
  "jo": {"sub": "jo", "email": "jo@acme.example", "email_verified": true, "name": "Jo"},
  "liar": {"sub": "liar", "email": "sam@acme.example", "email_verified": false, "name": "Sam"},
  "nobody": {"sub": "nobody", "email": "nobody@acme.example", "email_verified": true, "name": "Nobody"}
}
JSON
(cd "$browser_tools" && exec node provider.mjs) >"$work/provider.out" 2>"$work/provider.log" &
provider_pid=$!
if ! wait_for 30 grep -q '^http' "$work/provider.out"; then
  not_ok 'the provider starts' "$work/provider.log"
  exit 1
fi
ISSUER=$(grep -m 1 '^http' "$work/provider.out")
export ISSUER
start_server "HALLMARK_OIDC_ISSUER=$ISSUER" HALLMARK_OIDC_CLIENT_ID=hallmark \
  "HALLMARK_OIDC_CLIENT_SECRET_FILE=$work/client-secret" 'HALLMARK_OIDC_NAME=Test SSO'

export SERVER=$server SHOTS=$HALLMARK_CI_CACHE/web-shots HALLMARK HOME=$work
if (cd "$browser_tools" && HALLMARK_HOME=$work/browser-home node oidc.mjs) 2>&1 | tee "$work/browser.out"; then
  ok 'all of it in a browser'
else
  not_ok 'all of it in a browser' "$work/provider.log" "$work/serve.log"
fi
export HALLMARK_HOME=$work/browser-home
prints 'the terminal is logged in as who let it in' 'jo@acme.example' "$HALLMARK" whoami
export HALLMARK_HOME=$work/home
prints 'the audit log tells who was bound' 'account.provider.bind' "$HALLMARK" audit list --all --action account.provider.
prints 'an account is unbound' 'bound to nobody' "$HALLMARK" account unbind jo@acme.example

echo '-- the provider stops'
kill "$provider_pid"
wait "$provider_pid" || true
asked() { curl --silent --show-error --max-time 30 --write-out '\n%{http_code}\n' "$server/login/provider"; }
stopped() { asked | tee "$work/stopped.html" | grep -q 'does not answer; use your password' && tail -n 1 "$work/stopped.html" | grep -qx 503; }
# What was learnt of it an hour ago or less still sends people there; after a restart nothing is known of it.
stop_server
start_server "HALLMARK_OIDC_ISSUER=$ISSUER" HALLMARK_OIDC_CLIENT_ID=hallmark \
  "HALLMARK_OIDC_CLIENT_SECRET_FILE=$work/client-secret" 'HALLMARK_OIDC_NAME=Test SSO'
check 'without the provider the page says so' stopped
prints 'passwords go on' 'logged in to' "$HALLMARK" login --server "$server" --email jo@acme.example --password-file "$work/password"
check 'the secret is in no log' bash -c '! grep -qF -- "$1" "$2"' - "$CLIENT_SECRET" "$work/serve.log"
stop_server
tally oidc
