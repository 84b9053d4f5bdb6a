#!/bin/bash
# Runs a command beside a PostgreSQL of its own: tests/postgres.sh cargo test --test it postgres
# The server lives in a temporary directory, listens on a free loopback port, and is gone afterwards. The command
# finds its address in HALLMARK_TEST_POSTGRES. It speaks TLS too: certificates for `localhost` alone, their authority, and one
# for the user `witness`, who has to show it, are in HALLMARK_TEST_POSTGRES_TLS. Needs Debian's `postgresql` and `openssl`,
# which root gets installed.
set -Eeuo pipefail

if ! ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || ! command -v openssl >/dev/null; then
  echo 'installing postgresql and openssl' >&2
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends postgresql openssl; } \
    </dev/null >/dev/null
fi
binaries=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)

# PostgreSQL refuses to run as root.
as_user=()
if [ "$(id -u)" -eq 0 ]; then as_user=(setpriv --reuid=postgres --regid=postgres --init-groups --pdeathsig QUIT --); fi

folder=$(mktemp -d "${TMPDIR:-/tmp}/hm-postgres.XXXXXX")
server=''
stop() {
  if [ -n "$server" ]; then
    kill -QUIT "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  rm -rf "$folder"
}
trap stop EXIT
trap 'exit 129' HUP INT TERM
if [ "$(id -u)" -eq 0 ]; then chown postgres: "$folder"; fi
cd "$folder"
"${as_user[@]}" "$binaries/initdb" --pgdata="$folder/data" --username=hallmark --auth=trust --encoding=UTF8 --locale=C \
  --no-sync >initdb.log 2>&1 || { cat initdb.log >&2 && exit 1; }

# Two authorities: the one that vouches for this server, and one that does not.
mkdir tls
for name in ca other; do
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=test $name" \
    -keyout "tls/$name.key" -out "tls/$name.pem" 2>>openssl.log
done
# certificate NAME COMMON-NAME EXTENSION
certificate() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$2" -keyout "tls/$1.key" -out "tls/$1.csr" 2>>openssl.log
  openssl x509 -req -in "tls/$1.csr" -CA tls/ca.pem -CAkey tls/ca.key -CAcreateserial -days 2 -out "tls/$1.pem" \
    -extfile <(printf '%s\n' "$3") 2>>openssl.log
}
{ certificate server localhost subjectAltName=DNS:localhost && certificate witness witness extendedKeyUsage=clientAuth; } ||
  { cat openssl.log >&2 && exit 1; }
{ printf 'hostssl all witness 127.0.0.1/32 cert\nhost all witness 0.0.0.0/0 reject\n' && cat data/pg_hba.conf; } >hba.conf
cat hba.conf >data/pg_hba.conf
if [ "$(id -u)" -eq 0 ]; then chown -R postgres: tls; fi
export HALLMARK_TEST_POSTGRES_TLS=$folder/tls

# No fsync: these tests kill processes, they do not cut the power.
for _ in 1 2 3 4 5; do
  port=$((20000 + RANDOM % 20000))
  "${as_user[@]}" "$binaries/postgres" -D "$folder/data" -k "$folder" -h 127.0.0.1 -p "$port" -c fsync=off \
    -c ssl=on -c ssl_cert_file="$folder/tls/server.pem" -c ssl_key_file="$folder/tls/server.key" \
    -c ssl_ca_file="$folder/tls/ca.pem" -c max_connections=200 -c log_min_messages=fatal >>server.log 2>&1 &
  server=$!
  for _ in $(seq 60); do
    kill -0 "$server" 2>/dev/null || break
    if "$binaries/pg_isready" -q -h "$folder" -p "$port"; then break 2; fi
    sleep 0.5
  done
  kill -KILL "$server" 2>/dev/null || true
  server=''
done
if [ -z "$server" ]; then
  echo 'error: cannot start PostgreSQL' >&2
  cat server.log >&2
  exit 1
fi

"$binaries/createdb" -h "$folder" -p "$port" -U hallmark hallmark
"$binaries/createuser" -h "$folder" -p "$port" -U hallmark --superuser witness
export HALLMARK_TEST_POSTGRES=postgres://hallmark@127.0.0.1:$port/hallmark
cd "$OLDPWD"
"$@"
