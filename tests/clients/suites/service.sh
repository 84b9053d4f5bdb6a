#!/bin/bash
# hallmark as a system service: the units of examples/systemd under a real systemd, with its sandbox, its passphrase as a
# credential, restarts that clients do not notice, TLS with a renewed certificate, a crash, a backup beside it, and a stop in
# order.

# shellcheck source-path=SCRIPTDIR/.. source=../lib.sh
. "$(dirname -- "$0")/../lib.sh"
# shellcheck source=../prepare.sh
. "$here/prepare.sh"
# shellcheck source=../machine.sh
. "$here/machine.sh"

if [ "${1-}" != inside ]; then
  work=$(mktemp -d "${TMPDIR:-/tmp}/hm-service.XXXXXX")
  export work
  trap 'rm -rf "$work"' EXIT
  promtool=$(need prometheus_tool)
  export promtool
  isolate timeout 600 bash "$0" inside || exit 1
  exit 0
fi

trap 'machine_down' EXIT

# with_service: the program and its units, put in place by hand.
with_service() {
  install -m 755 "$HALLMARK" "$machine_root/usr/bin/hallmark"
  install -m 644 "$top"/examples/systemd/hallmark.{service,socket} "$machine_root/etc/systemd/system/"
  mkdir -m 700 "$machine_root/etc/hallmark"
  head -c 30 /dev/urandom | base64 >"$machine_root/etc/hallmark/passphrase"
  chmod 600 "$machine_root/etc/hallmark/passphrase"
  echo 'HALLMARK_LOG=info' >"$machine_root/etc/default/hallmark"
  mkdir "$machine_root/root/callers"
  install -m 644 "$here/service/callers.py" "$machine_root/root/callers/"
  chroot "$machine_root" useradd --system --no-create-home hallmark
}
# in_service COMMAND...: with the file systems the service sees.
in_service() { on_machine nsenter --target "$(shown MainPID)" --mount -- "$@"; }
cannot_write() { ! in_service touch "$1/written" 2>/dev/null; }

# The rules and what they are about: Prometheus itself judges both.
check 'the alert rules are sound' "$promtool" check rules "$top/examples/monitoring/alerts.yaml"
check 'they fire when they should' "$promtool" test rules "$top/examples/monitoring/alerts-test.yaml"

if ! machine_up with_service; then not_ok 'a machine boots' "$work/console.log" && exit 1; fi
check 'the instance is made' on_machine env HALLMARK_KEY_PASSPHRASE_FILE=/etc/hallmark/passphrase \
  hallmark init --data /var/lib/hallmark --brand acme
check 'its directory is the service user'"'"'s' on_machine chown -R hallmark:hallmark /var/lib/hallmark
check 'the units are sound' on_machine systemd-analyze verify --man=no hallmark.service hallmark.socket
prints 'it is sandboxed: systemd-analyze security' 'OK|SAFE|PERFECT' on_machine systemd-analyze security --no-pager \
  --threshold=15 hallmark.service
check 'its socket is opened' on_machine systemctl start hallmark.socket
check 'the first client starts it, and is answered' on_machine curl --fail --silent --max-time 60 \
  http://127.0.0.1:8380/healthz
check 'it starts' on_machine systemctl start hallmark.service
check 'systemd knows that it answers' is_shown SubState running
if wait_for 60 ready; then ok 'it can read and write'; else journal >"$work/journal"; not_ok 'it can read and write' "$work/journal"; fi
check 'it runs as its user' on_machine sh -c "[ \"\$(ps -o user= -p $(shown MainPID))\" = hallmark ]"
check 'it keeps its data where it may' in_service sh -c '[ -s /var/lib/hallmark/db/journal ]'
for place in /etc /usr /var/lib /var/tmp/.. /home; do check "it cannot write $place" cannot_write "$place"; done
check 'it sees no devices of the machine' in_service sh -c '! [ -e /dev/loop-control ] && ! [ -e /dev/mem ]'
check 'nothing of what it does is forbidden' bash -c "! grep -Ei 'not permitted|denied' <<<\"\$1\"" _ "$(journal)"
check 'a backup is made beside it' on_machine hallmark backup /root/hallmark.tar --data /var/lib/hallmark
check 'the backup holds no passphrase' on_machine sh -c '! grep -qF "$(cat /etc/hallmark/passphrase)" /root/hallmark.tar'

# restarted: systemd gives up on what is started five times in ten seconds, which only a test does on purpose.
restarted() {
  on_machine systemctl reset-failed hallmark.service
  on_machine systemctl restart hallmark.service
}

# Restarts: nobody is refused, nothing that runs is broken off.
before=$(shown MainPID)
callers_begin http://127.0.0.1:8380/readyz
head -c 4000000 /dev/urandom >"$machine_root/root/callers/file"
on_machine curl --fail --silent --show-error --limit-rate 1M --form binary=@/root/callers/file \
  http://127.0.0.1:8380/unscanned-upload/ >"$work/upload.out" 2>&1 &
upload=$!
on_machine sh -c 'curl --fail --silent --show-error --limit-rate 40k http://127.0.0.1:8380/openapi.json | tail -c 1' \
  >"$work/download.out" 2>&1 &
download=$!
sleep 0.5
check 'it is restarted while clients ask, send and fetch' restarted
check 'what was being sent has arrived' wait "$upload"
prints 'and was taken' '"successful": ?true' cat "$work/upload.out"
check 'what was being fetched has arrived' wait "$download"
prints 'to its end' '^}$' cat "$work/download.out"
for _ in 1 2 3; do check 'it is restarted once more' restarted; done
prints 'clients saw no refusal and no failure' '^requests=[0-9]{3,} failures=0 ' callers_end
check 'it is another process now' bash -c '[ "$1" != "$2" ]' _ "$before" "$(shown MainPID)"

# TLS. The certificates are throw-away ones of the tests, for localhost.
pairs=$top/tests/it/tls tls=$machine_root/etc/ssl/hallmark
put_pair() {
  install -m 644 "$pairs/$1.pem" "$tls/chain.pem"
  install -m 640 "$pairs/$1.key" "$tls/key.pem"
  on_machine chgrp hallmark /etc/ssl/hallmark/key.pem
}
subject() {
  on_machine sh -c 'openssl s_client -connect 127.0.0.1:8380 </dev/null 2>/dev/null | openssl x509 -noout -subject'
}
shows() { subject | grep -E "CN ?= ?$1\$"; }
secured() { on_machine curl --fail --silent --show-error --cacert /etc/ssl/hallmark/authority.pem "$@"; }
mkdir -p "$tls"
install -m 644 "$pairs/authority.pem" "$tls/"
put_pair first
printf '%s\n' HALLMARK_TLS_CERT_FILE=/etc/ssl/hallmark/chain.pem HALLMARK_TLS_KEY_FILE=/etc/ssl/hallmark/key.pem \
  >>"$machine_root/etc/default/hallmark"
check 'it is restarted with a certificate' restarted
check 'it speaks TLS' secured https://localhost:8380/readyz
check 'it shows the certificate' shows first
callers_begin https://localhost:8380/readyz /etc/ssl/hallmark/authority.pem
put_pair second
check 'it is told of another certificate' on_machine systemctl reload hallmark.service
check 'it shows that' wait_for 10 shows second
echo broken >"$tls/chain.pem"
check 'it is told of a broken one' on_machine systemctl reload hallmark.service
check 'which it says' wait_for 10 logs 'cannot use /etc/ssl/hallmark/chain.pem: it holds no certificate'
check 'and shows the one from before' shows second
told() { secured https://localhost:8380/metrics; }
measured() { told | grep '^hallmark_disk_free_bytes{place="data"} [1-9]' && told | grep '^hallmark_database_up 1$'; }
check 'it measures its disk and asks its database' wait_for 20 measured
# promtool reads the older form of text, where counters carry their suffix in the lines about them too. `http_in_latency` is a
# name of older vaults.
told >"$work/metrics"
awk 'NR == FNR {if ($2 == "TYPE" && $4 == "counter") counter[$3]; next} /^# EOF/ {next}
  $1 == "#" && ($3 in counter) {$3 = $3 "_total"} {print}' "$work/metrics" "$work/metrics" >"$work/metrics.txt"
check 'there is much of it' grep -c '^hallmark_[a-z_]*_total{' "$work/metrics.txt"
"$promtool" check metrics <"$work/metrics.txt" 2>&1 | grep -v '^http_in_latency ' >"$work/promtool.out" || true
check 'Prometheus reads what it tells, and has nothing to say' test ! -s "$work/promtool.out"
prints 'and tells' '^hallmark_tls_reload_success 0$' secured https://localhost:8380/metrics
put_pair first
check 'a good one it finds by itself' wait_for 20 shows first
check 'it is restarted while clients speak TLS' restarted
prints 'they saw no refusal and no failure' '^requests=[0-9]{3,} failures=0 ' callers_end
check 'who forgets TLS is told so' bash -c 'grep -q tls-required <<<"$1"' _ \
  "$(on_machine curl --silent http://127.0.0.1:8380/readyz)"
echo 'HALLMARK_LOG=info' >"$machine_root/etc/default/hallmark"
check 'it is restarted without a certificate' restarted
check 'it speaks HTTP again' ready

before=$(shown MainPID)
callers_begin http://127.0.0.1:8380/healthz
check 'it is killed' on_machine systemctl kill --signal=KILL hallmark.service
check 'and comes back by itself' wait_for 60 ready
callers_end >"$work/killed.out"
check 'clients that came meanwhile waited' bash -c '! grep -E "^(new|kept): Connection ?Refused" "$1"' _ "$work/killed.out"
check 'as another process' bash -c '[ "$1" != "$2" ]' _ "$before" "$(shown MainPID)"
check 'what a crash left is put in order' logs 'listening on'
check 'it stops' on_machine systemctl stop hallmark.socket hallmark.service
check 'in order' is_shown Result success
check 'with status 0' is_shown ExecMainStatus 0
check 'the doctor finds nothing' on_machine env HALLMARK_KEY_PASSPHRASE_FILE=/etc/hallmark/passphrase \
  runuser --user root -- hallmark doctor --data /var/lib/hallmark
tally 'a system service'
