#!/usr/bin/env bash
# What this machine's GPU reaches, in one call of at most ten minutes: the CUDA kernels, whose products are checked before they are timed; the
# price of `standard` over `fast`, where there is cuBLASLt; then decoding and prefill of whole models with made-up weights, BF16 beside
# PyTorch with CUDA graphs, where that is. One figure a line, and a line for each that did not come.
#   bench/gpu.sh             builds what is missing and runs it here
#   bench/gpu.sh BUNDLE      runs the programs of a bundle that launch/bundle.sh --gpu-tests made
#   bench/gpu.sh --emulated  a small model on a GPU that does not exist (docs/cuda.md): shows that this script works, its figures mean nothing
# PYTHON: the one that has PyTorch (default python3).
set -uo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
kernels="" models=(llama-3.2-1b llama-3.1-8b) dtypes=(int4 fp8 bf16) batches=(1 16 64) numerics=(standard fast)
decode=(--prompt-tokens 2048 --steps 32 --repeats 3) prefill=(--prompt-tokens 4096 --repeats 3) ours=(--max-step-tokens 2048) size=() torch=()
case "${1:-}" in
  "" | --emulated)
    cd "$here/.."
    source launch/packages.sh
    kernels=build/bench/gpu_kernels products=build/bench/gpu_products trireme=build/trireme
    if [ "${1:-}" = --emulated ]; then
      kernels="" products=build/bench/gpu_products_on_emulated_gpu trireme=build/tests/device/trireme_on_emulated_gpu size=(--small) torch=(--device cpu)
      export LD_LIBRARY_PATH="$PWD/build/tests/testkit/cublaslt${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
      models=(smollm2-135m) dtypes=(int4 bf16) batches=(1 2) ours=(--max-seqs 2 --kv-gib 0.01 --max-step-tokens 16)
      decode=(--prompt-tokens 33 --steps 1 --repeats 1) prefill=(--prompt-tokens 2 --repeats 1)
    fi
    BUILD_TARGETS="${kernels#build/} ${products#build/} ${trireme#build/}" build build || exit 1
    ;;
  -*) echo "usage: $0 [--emulated | BUNDLE]" >&2; exit 64 ;;
  *) kernels="$1/bin/gpu_kernels" products="$1/bin/gpu_products" trireme="$1/bin/trireme" ;;
esac

code=0
if [ -n "$kernels" ]; then
  timeout -k 5 90 "$kernels" || code=$?
  if [ "$code" = 77 ]; then exit 77; fi
fi
timeout -k 5 150 "$products" "${size[@]}" || case $? in
  77) ;;
  124) echo "the rest of the price of standard over fast: the time is over" ;;
  *) code=1 ;;
esac

figures=0 end=$((SECONDS + 330)) said="$(mktemp)" line="$(mktemp)"
trap 'rm -f "$said" "$line"' EXIT

# figure NAME COMMAND...: runs it if there is time; its tok/s in $rate, "" when there is none.
figure() {
  local name="$1" left=$((end - SECONDS)) reason="" status=0
  shift
  rate=""
  if [ "$left" -lt 10 ]; then
    reason="the time is over"
  else
    timeout -k 5 "$((left < 120 ? left : 120))" "$@" > "$line" 2> "$said" || status=$?
    if [ "$status" = 77 ]; then
      reason="$(tail -n 1 "$line")"
    elif [ "$status" != 0 ]; then
      reason="exit code $status: $(tail -n 1 "$said")"
    fi
  fi
  if [ -n "$reason" ]; then echo "no figure of $name: $reason"; return; fi
  cat "$line"
  rate="$(sed -nE 's/^.* ([0-9.e+]+) tok\/s .*/\1/p' "$line" | head -n 1)"
}

# figures WHAT MODEL DTYPE [options]: ours, and PyTorch's of the same where the weights are BF16.
figures() {
  local what="$1" model="$2" dtype="$3" mode best="" size=()
  shift 3
  if [ "$what" = decode ]; then size=("${decode[@]}"); else size=("${prefill[@]}"); fi
  for mode in "${numerics[@]}"; do
    if [ "$mode" = fast ] && [ "$dtype" != bf16 ]; then continue; fi  # the same as standard
    figure "$what, $model, $dtype, $mode $*" "$trireme" bench "$what" --shape "$model" --synthetic --dtype "$dtype" "$@" "${size[@]}" "${ours[@]}" \
      --numerics "$mode" --device cuda --log-level warn
    if [ -n "$rate" ]; then figures=$((figures + 1)) best="$rate"; fi
  done
  if [ "$dtype" != bf16 ]; then return; fi
  figure "PyTorch's $what, $model $*" "${PYTHON:-python3}" "$here/torch_decode.py" "$what" --shape "${torch_shape:-$model}" "$@" "${size[@]}" "${torch[@]}"
  if [ -n "$rate" ] && [ -n "$best" ]; then
    awk -v a="$best" -v b="$rate" -v what="$what, $model, bf16, $mode $*" 'BEGIN { printf "%s: %.2f of PyTorch\n", what, a / b }'
  fi
}

torch_shape=""
if [ "${1:-}" = --emulated ]; then torch_shape=tiny; fi
# The smaller model first: where the time runs out, the figures that are left are the slow ones.
for model in "${models[@]}"; do
  for dtype in "${dtypes[@]}"; do
    if [ "$dtype" = bf16 ]; then figures prefill "$model" "$dtype"; fi
    for batch in "${batches[@]}"; do figures decode "$model" "$dtype" --batch "$batch"; done
  done
done
if [ "$figures" = 0 ]; then code=1; fi  # one size that does not fit is no fault, none that does is
exit "$code"
