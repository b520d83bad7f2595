#!/usr/bin/env bash
# Runs under a real Slurm of two emulated hosts, as its users start them: srun by PMIx, the batch script of docs/examples, the
# bundle; the same bytes as one rank alone. Installs Slurm where it is missing.
#   tests/slurm/slurm.sh [--offline]   last line: N passed, N failed, N skipped
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if [ "${1:-}" = --offline ]; then OFFLINE=1; fi
source launch/packages.sh
passed=0 failed=0
skip() { echo "skipped: runs under Slurm: $*"; echo "0 passed, 0 failed, 1 skipped"; exit 0; }
check() {
  local what="$1"
  shift
  if "$@" > "$work/said" 2>&1; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED $what"; tail -n 20 "$work/said"; fi
}

[ "$(id -u)" = 0 ] || skip "needs root"
unshare --net --uts --ipc --mount --pid --fork true 2> /dev/null || skip "this machine allows no namespaces"
(install_packages slurmctld slurmd slurm-client munge iproute2) > /dev/null 2>&1 || skip "Slurm cannot be installed"
work="$(mktemp -d)"
cluster=(env "TRIREME_LAB=slurm-$$" tests/slurm/cluster.sh)
trap '"${cluster[@]}" down > /dev/null 2>&1; rm -rf "$work"' EXIT
"${cluster[@]}" up 2 4 > "$work/said" 2>&1 || { tail -n 3 "$work/said"; skip "it does not start here"; }

bin="$PWD/build" rows=12
build/tests/testkit/make_tiny_model "$work/model.gguf" > /dev/null || failed=1
"$bin/trireme" convert "$work/model.gguf" -o "$work/model.h5" > /dev/null 2>&1
for ((i = 0; i < rows; i++)); do echo "{\"id\": \"$i\", \"prompt\": \"the lease shall not be assigned, $i\"}"; done > "$work/docs.jsonl"
options=(-m model.h5 --max-tokens 12 --log-level warn)
"$bin/trireme" run "$work/docs.jsonl" -m "$work/model.h5" -o "$work/alone.jsonl" --max-tokens 12 --log-level warn || failed=1

# on_hosts COMMAND...: on the head, in the folder of the documents.
on_hosts() { timeout 120 "${cluster[@]}" run env -u TRIREME_LAB -C "$work" PATH="$bin:/usr/bin:/bin" "$@"; }
tasks=(-N2 --ntasks-per-node=2 -c 1)
same() {
  local output="$1"
  shift
  on_hosts "$@" && cmp "$work/alone.jsonl" "$work/$output"
}
check "srun --mpi=pmix, four tasks on two hosts" same srun.jsonl srun --mpi=pmix --kill-on-bad-exit=1 "${tasks[@]}" trireme run docs.jsonl -o srun.jsonl "${options[@]}"
check "tensor parallel, pipeline" same layout.jsonl srun --mpi=pmix --kill-on-bad-exit=1 "${tasks[@]}" trireme run docs.jsonl -o layout.jsonl --tp 2 --pp 2 "${options[@]}"

refused() {
  local code=0
  on_hosts "$@" > "$work/refused" 2>&1 || code=$?
  cat "$work/refused"
  [ "$code" = 78 ] && grep -q "each is a world of one rank: use srun --mpi=pmix" "$work/refused" && [ ! -e "$work/none.jsonl" ]
}
check "srun without PMIx is refused" refused srun "${tasks[@]}" trireme run docs.jsonl -o none.jsonl "${options[@]}"

sed -e 's/--ntasks-per-node=4/--ntasks-per-node=2/; s/--cpus-per-task=16/--cpus-per-task=1/; s/--mem=0/--mem=2000/; s/--time=08:00:00/--time=00:02:00/' \
  -e 's/^options=.*/options=(-m model.h5 --max-tokens 12)/' docs/examples/job.sbatch > "$work/job.sbatch"
batch() { same out.jsonl sbatch --wait job.sbatch && cat "$work"/trireme-*.log && grep -q "^done: out.jsonl" "$work"/trireme-*.log; }
check "docs/examples/job.sbatch" batch

launch/bundle.sh --offline "$work/bundle" > "$work/said" 2>&1 || { failed=$((failed + 1)); tail -n 5 "$work/said"; }
check "the bundle, by srun" same bundle.jsonl srun --mpi=pmix --kill-on-bad-exit=1 "${tasks[@]}" "$work/bundle/bin/trireme" run docs.jsonl -o bundle.jsonl "${options[@]}"

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
