#!/bin/bash
# Runs a command beside a PostgreSQL of its own: tests/postgres.sh cargo test --test it postgres
# The server lives in a temporary directory, listens on a free loopback port, and is gone afterwards. The command
# finds its address in HALLMARK_TEST_POSTGRES. Needs Debian's `postgresql`, which root gets installed.
set -Eeuo pipefail

if ! ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; then
  echo 'installing postgresql' >&2
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends postgresql; } \
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

# No fsync: these tests kill processes, they do not cut the power.
for _ in 1 2 3 4 5; do
  port=$((20000 + RANDOM % 20000))
  "${as_user[@]}" "$binaries/postgres" -D "$folder/data" -k "$folder" -h 127.0.0.1 -p "$port" -c fsync=off \
    -c max_connections=200 -c log_min_messages=fatal >>server.log 2>&1 &
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
export HALLMARK_TEST_POSTGRES=postgres://hallmark@127.0.0.1:$port/hallmark
cd "$OLDPWD"
"$@"
