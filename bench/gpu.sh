#!/usr/bin/env bash
# What the CUDA kernels reach on this machine's GPU, in one call of minutes; products are checked before they are timed.
#   bench/gpu.sh             builds what is missing and runs it here
#   bench/gpu.sh BUNDLE      runs the program of a bundle that launch/bundle.sh --gpu-tests made
set -euo pipefail
case "${1:-}" in
  "")
    cd "$(dirname "${BASH_SOURCE[0]}")/.."
    source launch/packages.sh
    BUILD_TARGETS=bench/gpu_kernels build build
    exec build/bench/gpu_kernels
    ;;
  -*) echo "usage: $0 [BUNDLE]" >&2; exit 64 ;;
  *) exec "$1/bin/gpu_kernels" ;;
esac
