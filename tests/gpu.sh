#!/usr/bin/env bash
# What needs a GPU, in one call of minutes: the CUDA kernels against the reference, bit for bit.
#   tests/gpu.sh             builds what is missing and runs it here
#   tests/gpu.sh BUNDLE      runs the programs of a bundle that launch/bundle.sh --gpu-tests made, on a machine with nothing else
# The last line: N passed, N failed, N skipped. Without a GPU it says why it skips.
set -uo pipefail
case "${1:-}" in
  "")
    cd "$(dirname "${BASH_SOURCE[0]}")/.."
    source launch/packages.sh
    command -v nvcc > /dev/null || { echo "skipped: kernels on a GPU: no nvcc"; echo "0 passed, 0 failed, 1 skipped"; exit 0; }
    BUILD_TARGETS=tests/kernels/kernels_gpu_test build build || exit 1
    program=build/tests/kernels/kernels_gpu_test
    ;;
  -*) echo "usage: $0 [BUNDLE]" >&2; exit 64 ;;
  *) program="$1/bin/kernels_gpu_test" ;;
esac
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
"$program" 2>&1 | tee "$log"
code=${PIPESTATUS[0]}
if [ "$code" = 77 ]; then echo "0 passed, 0 failed, 1 skipped"; exit 0; fi
passed="$(sed -nE 's/.*test cases: +[0-9]+ \| +([0-9]+) passed.*/\1/p' "$log")"
failed="$(sed -nE 's/.*test cases:.* passed \| +([0-9]+) failed.*/\1/p' "$log")"
if [ "$code" != 0 ] && [ "${failed:-0}" = 0 ]; then failed=1; fi  # it broke off
echo "${passed:-0} passed, ${failed:-0} failed, 0 skipped"
[ "$code" = 0 ]
