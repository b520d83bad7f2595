#!/bin/sh
# lab-rsh.sh HOST "orted ..." - stands in for ssh when mpirun starts its daemons: enters the namespaces of the host's
# first process and hands the joined words to a shell, as ssh does.
host=$1
shift
pid=$(cat "/run/trireme-${TRIREME_LAB:-lab}/$host.pid") || {
  echo "lab-rsh.sh: no host $host" >&2
  exit 255
}
exec nsenter -t "$pid" -m -u -i -n -p --wd="$PWD" -- sh -c "$*"
