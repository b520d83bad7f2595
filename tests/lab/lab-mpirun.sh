#!/usr/bin/env bash
# lab-mpirun.sh SLOTS MPIRUN-ARGS... - mpirun on "head" over all hosts of the lab, at most SLOTS ranks a host.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
hostfile=/run/trireme-${TRIREME_LAB:-lab}/hostfile.$$
"$here/lab.sh" hostfile "${1:?slots}" >"$hostfile"
trap 'rm -f "$hostfile"' EXIT
shift
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
"$here/lab.sh" exec head mpirun --hostfile "$hostfile" --mca plm rsh --mca plm_rsh_agent "$here/lab-rsh.sh" \
  --mca oob_tcp_if_include eth0 --mca btl_tcp_if_include eth0 --mca pml ob1 --mca btl self,vader,tcp \
  --mca mpi_yield_when_idle 1 --bind-to none "$@"
