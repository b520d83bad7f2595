#!/usr/bin/env bash
# lab.sh - a cluster of emulated hosts on one Linux machine (needs root, iproute2, util-linux).
#
# Every host ("n1" ... "nN") is a pause process with its own net, uts, ipc, pid and mount namespace: own hostname, own
# interface 10.77.0.<i>, own /dev/shm, own process numbers, the same files (as with NFS or Lustre). "head" has its own net
# and uts namespace only, so that mpirun started there sees the pause processes and lab-rsh.sh can enter the others.
# Nothing is made in the root network namespace, and nothing routes out.
#
#   lab.sh up N                make the hosts, joined by a bridge
#   lab.sh exec HOST CMD...    run a command on a host, or on "head"
#   lab.sh link HOST up|down   plug or pull the cable of a host
#   lab.sh rate HOST MBIT|off  limit both directions of a host's link
#   lab.sh hostfile SLOTS      print an Open MPI hostfile
#   lab.sh down                end the hosts, by their recorded pids, and remove everything
#
# TRIREME_LAB names the cluster (default "lab"), so that several can stand side by side.
set -euo pipefail

lab=${TRIREME_LAB:-lab}
state=/run/trireme-$lab
head_ns=trireme-$lab-head
switch_ns=trireme-$lab-switch
net=10.77.0

die() {
  echo "lab.sh: $*" >&2
  exit 1
}

pid_of() {
  [ -s "$state/$1.pid" ] || die "no host $1 in $state"
  cat "$state/$1.pid"
}

start_host() { # INDEX: the only child of unshare becomes the host's first process
  local name=n$1 unshare pid
  unshare --net --uts --ipc --mount --pid --fork --kill-child --mount-proc --propagation private \
    bash -c "hostname $name; mount -t tmpfs -o mode=1777 tmpfs /dev/shm; mount --bind '$state/hosts' /etc/hosts
             ip link set lo up; exec sleep infinity" </dev/null >/dev/null 2>&1 &
  unshare=$!
  echo "$unshare" >"$state/$name.unshare"
  for _ in $(seq 200); do
    pid=$(tr -d ' ' <"/proc/$unshare/task/$unshare/children" 2>/dev/null || true)
    if [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = sleep ]; then
      echo "$pid" >"$state/$name.pid"
      return
    fi
    sleep 0.02
  done
  die "host $name did not start"
}

plug() { # NAME: its cable to the switch, and its address
  local name=$1 address ns
  if [ "$name" = head ]; then
    ns=$head_ns address=$net.254
    ip link add eth0 netns "$ns" type veth peer name phead netns "$switch_ns"
    ip -n "$ns" addr add "$address/24" dev eth0
    ip -n "$ns" link set eth0 up
  else
    ns=$(pid_of "$name") address=$net.${name#n}
    ip link add eth0 netns "$ns" type veth peer name "p$name" netns "$switch_ns"
    nsenter -t "$ns" -n ip addr add "$address/24" dev eth0
    nsenter -t "$ns" -n ip link set eth0 up
  fi
  ip -n "$switch_ns" link set "p$name" master br0
  ip -n "$switch_ns" link set "p$name" up
}

up() {
  local n=$1 i
  [ ! -e "$state" ] || die "$state exists: run 'lab.sh down' first"
  mkdir -p "$state" "/etc/netns/$head_ns"
  echo "$n" >"$state/hosts_count"
  {
    echo "127.0.0.1 localhost"
    echo "$net.254 head"
    for ((i = 1; i <= n; i++)); do echo "$net.$i n$i"; done
  } >"$state/hosts"
  cp "$state/hosts" "/etc/netns/$head_ns/hosts" # ip netns exec binds it over /etc/hosts
  ip netns add "$head_ns"
  ip -n "$head_ns" link set lo up
  ip netns add "$switch_ns"
  ip -n "$switch_ns" link add br0 type bridge
  ip -n "$switch_ns" link set br0 up
  for ((i = 1; i <= n; i++)); do start_host "$i"; done
  plug head
  for ((i = 1; i <= n; i++)); do plug "n$i"; done
}

run_on() {
  local host=$1
  shift
  if [ "$host" = head ]; then
    exec ip netns exec "$head_ns" unshare --uts -- sh -c 'hostname head; exec "$@"' sh "$@"
  fi
  exec nsenter -t "$(pid_of "$host")" -m -u -i -n -p --wd="$PWD" -- "$@"
}

limit() { # HOST MBIT|off; the burst is 1 ms of traffic, at least one large packet
  local host=$1 rate=$2 pid burst
  pid=$(pid_of "$host")
  nsenter -t "$pid" -n tc qdisc del dev eth0 root 2>/dev/null || true
  ip netns exec "$switch_ns" tc qdisc del dev "p$host" root 2>/dev/null || true
  [ "$rate" = off ] && return
  burst=$((rate * 125 < 65536 ? 65536 : rate * 125))
  nsenter -t "$pid" -n tc qdisc add dev eth0 root tbf rate "${rate}mbit" burst $burst latency 50ms
  ip netns exec "$switch_ns" tc qdisc add dev "p$host" root tbf rate "${rate}mbit" burst $burst latency 50ms
}

down() {
  local file pid
  for file in "$state"/*.unshare; do
    [ -s "$file" ] && kill -9 "$(cat "$file")" 2>/dev/null || true
  done
  for file in "$state"/n*.pid; do
    [ -s "$file" ] || continue
    pid=$(cat "$file")
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null && sleep 0.02 || break; done
  done
  ip netns del "$head_ns" 2>/dev/null || true
  ip netns del "$switch_ns" 2>/dev/null || true
  rm -rf "/etc/netns/$head_ns" "$state"
}

case ${1:-} in
  up) up "${2:?how many hosts}" ;;
  exec) shift; run_on "$@" ;;
  link) nsenter -t "$(pid_of "$2")" -n ip link set eth0 "$3" ;;
  rate) limit "$2" "$3" ;;
  hostfile) for i in $(seq "$(cat "$state/hosts_count")"); do echo "n$i slots=${2:?slots}"; done ;;
  down) down ;;
  *) sed -n '2,19p' "${BASH_SOURCE[0]}"; exit 64 ;;
esac
