#!/bin/bash
# Runs a command beside an S3 server of its own: tests/s3.sh cargo test --test it bucket
# The server is versitygw, which keeps objects as files of a temporary directory; it listens on a free loopback port, and is
# gone afterwards. The command finds its address in HALLMARK_TEST_S3 and its access keys in the file that
# HALLMARK_TEST_S3_KEYS names; the bucket is called `hallmark`. Needs Go, which root gets installed; the program is compiled
# once and kept in $HALLMARK_CI_CACHE.
set -Eeuo pipefail

version=v1.8.0
programs=${HALLMARK_CI_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/hallmark-tests}/versitygw-$version
server=''
folder=$(mktemp -d "${TMPDIR:-/tmp}/hm-s3.XXXXXX")
stop() {
  if [ -n "$server" ]; then
    kill -TERM "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  rm -rf "$folder"
}
trap stop EXIT
trap 'exit 129' HUP INT TERM

if ! [ -x "$programs/versitygw" ]; then
  if ! command -v go >/dev/null; then
    echo 'installing golang-go' >&2
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends golang-go; } \
      </dev/null >/dev/null
  fi
  echo "compiling versitygw $version" >&2
  mkdir -p "$programs"
  # From a folder without a module of ours around it.
  (cd "$folder" && GOBIN=$folder/bin GOFLAGS=-modcacherw go install "github.com/versity/versitygw/cmd/versitygw@$version") >&2
  mv "$folder/bin/versitygw" "$programs/versitygw"
fi

mkdir -p "$folder/objects/hallmark" "$folder/facts"
access=hallmark secret=$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')
(umask 077 && printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$access" "$secret" >"$folder/keys")
for _ in 1 2 3 4 5; do
  port=$((20000 + RANDOM % 20000))
  ROOT_ACCESS_KEY=$access ROOT_SECRET_KEY=$secret "$programs/versitygw" --port "127.0.0.1:$port" --region us-east-1 --quiet \
    posix --sidecar "$folder/facts" "$folder/objects" >>"$folder/server.log" 2>&1 &
  server=$!
  for _ in $(seq 60); do
    kill -0 "$server" 2>/dev/null || break
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then break 2; fi
    sleep 0.2
  done
  kill -KILL "$server" 2>/dev/null || true
  server=''
done
if [ -z "$server" ]; then
  echo 'error: cannot start versitygw' >&2
  cat "$folder/server.log" >&2
  exit 1
fi

export HALLMARK_TEST_S3=http://127.0.0.1:$port HALLMARK_TEST_S3_KEYS=$folder/keys
"$@"
