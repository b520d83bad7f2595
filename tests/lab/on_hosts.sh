#!/usr/bin/env bash
# on_hosts.sh HOSTS SLOTS RANKS PROGRAM ARGS... - one program of ranks on a lab made for it and removed after it.
# Exits 77, which meson shows as skipped, where hosts cannot be emulated.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
hosts=$1 slots=$2 ranks=$3
shift 3
skip() {
  echo "SKIPPED: ranks on $hosts emulated hosts: $*"
  exit 77
}
[ "$(id -u)" = 0 ] || skip "needs root"
for tool in ip nsenter unshare mpirun; do
  command -v $tool >/dev/null || skip "needs $tool (iproute2, util-linux, openmpi-bin)"
done
unshare --net --uts --ipc --mount --pid --fork true 2>/dev/null || skip "this machine allows no namespaces"
export TRIREME_LAB=${TRIREME_LAB:-test-$$}
trap '"$here/lab.sh" down' EXIT
"$here/lab.sh" up "$hosts"
"$here/lab-mpirun.sh" "$slots" -n "$ranks" "$@"
