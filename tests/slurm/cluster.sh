#!/usr/bin/env bash
# cluster.sh - a real Slurm on the emulated hosts of tests/lab/lab.sh (root; Debian's slurmctld, slurmd, slurm-client, munge).
#   cluster.sh up N [CPUS]   N hosts, munged, slurmctld on "head", one slurmd in each host; waits until all are idle
#   cluster.sh run CMD...    runs a Slurm command (srun, sbatch, squeue, ...) on "head"
#   cluster.sh down          ends it all, by recorded process ids
# CPUS (default 4): what each node claims to have; it may be more than the machine has. TRIREME_LAB names the lab and the cluster.
set -euo pipefail
lab="$(dirname "${BASH_SOURCE[0]}")/../lab/lab.sh"
state="/run/trireme-${TRIREME_LAB:-lab}-slurm"
die() { echo "cluster.sh: $*" >&2; exit 1; }

run() { "$lab" exec head env SLURM_CONF="$state/slurm.conf" "$@"; }

configure() {
  mkdir -p "$state/state" "$state/spool" "$state/log"
  chmod 755 "$state"
  install -d -m 700 "$state/munge"
  install -d -m 755 "$state/socket"
  head -c 1024 /dev/urandom > "$state/munge/key"
  chmod 600 "$state/munge/key"
  cat > "$state/slurm.conf" << EOF
ClusterName=trireme
SlurmctldHost=head(10.77.0.254)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$state/socket/munge
CredType=cred/munge
StateSaveLocation=$state/state
SlurmdSpoolDir=$state/spool/%n
MailProg=/bin/true
TmpFS=$state/tmp/%n
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.%n.pid
SlurmctldLogFile=$state/log/slurmctld.log
SlurmdLogFile=$state/log/slurmd.%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=bf_interval=1,sched_min_interval=100000,batch_sched_delay=0
MpiDefault=none
ReturnToService=2
KillWait=5
NodeName=n[1-$1] CPUs=$2 RealMemory=2000 State=UNKNOWN
PartitionName=lab Nodes=ALL Default=YES MaxTime=INFINITE State=UP
EOF
  printf 'CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\n' > "$state/cgroup.conf"
}

up() {
  local hosts="$1" i t
  configure "$hosts" "${2:-4}"
  # One munged serves all hosts: its socket is a path, and it checks users only.
  munged --force --key-file="$state/munge/key" --socket="$state/socket/munge" --pid-file="$state/munge/pid" \
    --seed-file="$state/munge/seed" --log-file="$state/munge/log" --num-threads=2
  "$lab" up "$hosts"
  "$lab" exec head slurmctld -f "$state/slurm.conf" -c
  for ((i = 1; i <= hosts; i++)); do
    mkdir -p "$state/spool/n$i" "$state/tmp/n$i"
    "$lab" exec "n$i" env -u TRIREME_LAB slurmd -f "$state/slurm.conf" -N "n$i"
  done
  for ((t = 0; t < 300; t++)); do
    if [ "$(run sinfo -h -t idle -o %D 2> /dev/null | tr -d ' ')" = "$hosts" ]; then return 0; fi
    sleep 0.1
  done
  tail -n 5 "$state"/log/*.log >&2
  die "the nodes are not idle after 30 s"
}

# slurmd runs in a namespace of processes: it ends with its host.
down() {
  local t pid
  if [ -s "$state/slurmctld.pid" ]; then
    pid="$(cat "$state/slurmctld.pid")"
    kill "$pid" 2> /dev/null || true
    for ((t = 0; t < 100; t++)); do kill -0 "$pid" 2> /dev/null || break; sleep 0.05; done
  fi
  "$lab" down
  if [ -s "$state/munge/pid" ]; then kill "$(cat "$state/munge/pid")" 2> /dev/null || true; fi
  rm -rf "$state"
}

case "${1:-}" in
  up | run | down) "$@" ;;
  *) sed -n '2,6p' "${BASH_SOURCE[0]}"; exit 64 ;;
esac
