#!/bin/bash
# Three database nodes, three hallmark processes and HAProxy, under load while parts of it die: tests/cluster/run.sh [FAULTS]
# Needs root. Installs Debian's patroni, etcd, haproxy and postgresql, none of which is started as a service of this machine.
set -Eeuo pipefail
[ "$(id -u)" -eq 0 ] || { echo 'error: cannot make network namespaces: run as root' >&2 && exit 1; }

# shellcheck source=../clients/prepare.sh
. "$(dirname -- "$0")/../clients/lib.sh"
. "$(dirname -- "$0")/../clients/prepare.sh"
# Packages start their servers unless this says no.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
  trap 'rm -f "$policy"' EXIT
fi
install_packages patroni python3-etcd python3-psycopg2 etcd-server etcd-client haproxy postgresql openssl iproute2 \
  squashfs-tools curl
python3=/usr/bin/python3
export HALLMARK
"$python3" "$(dirname -- "$0")/run.py" "$@"
