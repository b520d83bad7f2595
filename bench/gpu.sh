#!/usr/bin/env bash
# What this machine's GPU reaches, in one call of at most eight minutes: decoding and prefill of whole models with made-up weights, BF16 beside
# PyTorch with CUDA graphs, where that is; the price of `standard` over `fast`, where there is cuBLASLt; then the CUDA kernels, whose products
# are checked before they are timed. What matters most comes first. One figure a line, and a line for each that did not come.
#   bench/gpu.sh             builds what is missing and runs it here
#   bench/gpu.sh BUNDLE      runs the programs of a bundle that launch/bundle.sh --gpu-tests made
#   bench/gpu.sh --emulated  a small model on a GPU that does not exist (docs/cuda.md): shows that this script works, its figures mean nothing
# PYTHON: the one that has PyTorch (default python3).
set -uo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
all_s=465 products_s=100 kernels_s=65 figure_s=60  # of all; of these at the least; of one at most
kernels="" models=(llama-3.1-8b llama-3.2-1b) dtypes=(bf16 fp8 int4) batches=(1 16 64)
decode=(--prompt-tokens 2048 --steps 32 --repeats 3) prefill=(--prompt-tokens 4096 --repeats 3) ours=(--max-step-tokens 2048) size=() torch=()
case "${1:-}" in
  "" | --emulated)
    cd "$here/.."
    source launch/packages.sh
    kernels=build/bench/gpu_kernels products=build/bench/gpu_products trireme=build/trireme
    if [ "${1:-}" = --emulated ]; then
      all_s=3600 figure_s=600 kernels="" products=build/bench/gpu_products_on_emulated_gpu trireme=build/tests/device/trireme_on_emulated_gpu size=(--small) torch=(--device cpu)
      export LD_LIBRARY_PATH="$PWD/build/tests/testkit/cublaslt${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
      models=(smollm2-135m) dtypes=(bf16 int4) batches=(1 2) ours=(--max-seqs 2 --kv-gib 0.01 --max-step-tokens 16)
      decode=(--prompt-tokens 33 --steps 1 --repeats 1) prefill=(--prompt-tokens 2 --repeats 1)
    fi
    BUILD_TARGETS="${kernels#build/} ${products#build/} ${trireme#build/}" build build || exit 1
    ;;
  -*) echo "usage: $0 [--emulated | BUNDLE]" >&2; exit 64 ;;
  *) kernels="$1/bin/gpu_kernels" products="$1/bin/gpu_products" trireme="$1/bin/trireme" ;;
esac

end=$((SECONDS + all_s)) code=0
# PyTorch's environment has NVIDIA's libraries, whether or not it was activated.
if [ -z "${VIRTUAL_ENV:-}" ]; then
  environment="$("${PYTHON:-python3}" -c 'import sys; print(sys.prefix if sys.prefix != sys.base_prefix else "")' 2> /dev/null)"
  if [ -n "$environment" ]; then export VIRTUAL_ENV="$environment"; fi
fi
# A GPU that nobody has open may be set up anew for each program, which takes seconds.
for node in /dev/nvidia[0-9]*; do
  if [ -w "$node" ]; then { exec {awake}<> "$node"; } 2> /dev/null; fi
done
# limited SECONDS COMMAND...: exit code 124 when it takes longer, 137 when something else kills it.
limited() {
  local start=$SECONDS code=0
  timeout -k 5 "$@" < /dev/null || code=$?
  if [ "$code" = 137 ] && [ $((SECONDS - start)) -ge "$1" ]; then code=124; fi
  return "$code"
}

if [ -n "$kernels" ]; then
  limited "$figure_s" "$kernels" --limits || case $? in
    77) exit 77 ;;
    124) echo "no limits: not done in $figure_s s" ;;
    *) code=1 ;;
  esac
fi

figures=0 said="$(mktemp)" line="$(mktemp)"
trap 'rm -f "$said" "$line"' EXIT

# figure NAME COMMAND...: runs it if there is time; its tok/s in $rate, "" when there is none.
figure() {
  local name="$1" left=$((end - products_s - kernels_s - SECONDS)) reason="" status=0 limit
  shift
  rate=""
  if [ "$left" -lt 10 ]; then
    reason="the time is over"
  else
    limit=$((left < figure_s ? left : figure_s))
    limited "$limit" "$@" > "$line" 2> "$said" || status=$?
    case "$status" in
      0) ;;
      77) reason="$(tail -n 1 "$line")" ;;
      124) reason="not done in $limit s" ;;
      137) reason="killed, perhaps for want of memory" ;;
      *) reason="exit code $status: $(tail -n 1 "$said")" ;;
    esac
  fi
  if [ -n "$reason" ]; then echo "no figure of $name: $reason"; return; fi
  cat "$line"
  rate="$(sed -nE 's/^.* ([0-9.e+]+) tok\/s .*/\1/p' "$line" | head -n 1)"
}

declare -A theirs  # PyTorch's, by name; "": it gave none

# figures WHAT MODEL DTYPE NUMERICS [options]: ours, and PyTorch's of the same where the weights are BF16.
figures() {
  local what="$1" model="$2" dtype="$3" numerics="$4" mine size=()
  shift 4
  if [ "$what" = decode ]; then size=("${decode[@]}"); else size=("${prefill[@]}"); fi
  local name="$what, $model, $dtype, $numerics $*" neighbor="PyTorch's $what, $model $*"
  figure "$name" "$trireme" bench "$what" --shape "$model" --synthetic --dtype "$dtype" "$@" "${size[@]}" "${ours[@]}" --numerics "$numerics" \
    --device cuda --log-level warn
  mine="$rate"
  if [ -n "$mine" ]; then figures=$((figures + 1)); fi
  if [ "$dtype" != bf16 ]; then return; fi
  if [ -z "${theirs[$neighbor]+asked}" ]; then
    figure "$neighbor" "${PYTHON:-python3}" "$here/torch_decode.py" "$what" --shape "${torch_shape:-$model}" "$@" "${size[@]}" "${torch[@]}"
    theirs[$neighbor]="$rate"
  fi
  if [ -n "$mine" ] && [ -n "${theirs[$neighbor]}" ]; then
    awk -v a="$mine" -v b="${theirs[$neighbor]}" -v name="$name" 'BEGIN { printf "%s: %.2f of PyTorch\n", name, a / b }'
  fi
}

torch_shape=""
if [ "${1:-}" = --emulated ]; then torch_shape=tiny; fi
for batch in "${batches[@]}"; do
  for model in "${models[@]}"; do
    for dtype in "${dtypes[@]}"; do figures decode "$model" "$dtype" standard --batch "$batch"; done
  done
done
for numerics in standard fast; do
  for model in "${models[@]}"; do figures prefill "$model" bf16 $numerics; done
done
for batch in "${batches[@]}"; do
  for model in "${models[@]}"; do figures decode "$model" bf16 fast --batch "$batch"; done
done
if [ "$figures" = 0 ]; then code=1; fi  # one size that does not fit is no fault, none that does is

# table NAME SECONDS COMMAND...: what is printed line by line, as far as it comes.
table() {
  local name="$1" seconds="$2" status=0
  shift 2
  limited "$seconds" "$@" || status=$?
  case "$status" in
    0 | 77) ;;
    124) echo "no more of $name: the time is over" ;;
    *) code=1 ;;
  esac
}
table "the price of standard over fast" $((end - kernels_s - SECONDS)) "$products" "${size[@]}"
if [ -n "$kernels" ]; then table "the kernels" $((end - SECONDS)) "$kernels"; fi
exit "$code"
