#!/usr/bin/env bash
# What this machine's GPU reaches, in one call of at most ten minutes: the CUDA kernels, whose products are checked before they are timed, then
# decoding of whole models with made-up weights, in eight minutes. One figure a line, and a line for each that did not come.
#   bench/gpu.sh             builds what is missing and runs it here
#   bench/gpu.sh BUNDLE      runs the programs of a bundle that launch/bundle.sh --gpu-tests made
#   bench/gpu.sh --emulated  a small model on a GPU that does not exist (docs/cuda.md): shows that this script works, its figures mean nothing
set -uo pipefail
kernels="" models=(llama-3.2-1b llama-3.1-8b) dtypes=(int4 fp8 bf16) batches=(1 16 64) size=(--prompt-tokens 2048 --steps 32 --repeats 3)
case "${1:-}" in
  "" | --emulated)
    cd "$(dirname "${BASH_SOURCE[0]}")/.."
    source launch/packages.sh
    kernels=build/bench/gpu_kernels trireme=build/trireme
    if [ "${1:-}" = --emulated ]; then
      kernels="" trireme=build/tests/device/trireme_on_emulated_gpu
      models=(smollm2-135m) dtypes=(int4 fp8) batches=(1 2) size=(--prompt-tokens 33 --steps 1 --repeats 1 --max-seqs 2 --kv-gib 0.01)
    fi
    BUILD_TARGETS="${kernels#build/} ${trireme#build/}" build build || exit 1
    ;;
  -*) echo "usage: $0 [--emulated | BUNDLE]" >&2; exit 64 ;;
  *) kernels="$1/bin/gpu_kernels" trireme="$1/bin/trireme" ;;
esac

code=0
if [ -n "$kernels" ]; then
  "$kernels" || code=$?
  if [ "$code" = 77 ]; then exit 77; fi
fi

# The smaller model first: where the time runs out, the figures that are left are the slow ones.
figures=0 end=$((SECONDS + 480)) said="$(mktemp)"
trap 'rm -f "$said"' EXIT
for model in "${models[@]}"; do
  for dtype in "${dtypes[@]}"; do
    for batch in "${batches[@]}"; do
      left=$((end - SECONDS)) reason=""
      if [ "$left" -lt 10 ]; then
        reason="the time is over"
      else
        timeout -k 5 "$((left < 120 ? left : 120))" "$trireme" bench decode --shape "$model" --synthetic --dtype "$dtype" --batch "$batch" \
          "${size[@]}" --device cuda --log-level warn 2> "$said" || reason="exit code $?: $(tail -n 1 "$said")"
      fi
      if [ -z "$reason" ]; then figures=$((figures + 1)); else echo "no figure of $model, $dtype, batch $batch: $reason"; fi
    done
  done
done
if [ "$figures" = 0 ]; then code=1; fi  # one size that does not fit is no fault, none that does is
exit "$code"
