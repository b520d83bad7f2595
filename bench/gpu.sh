#!/usr/bin/env bash
# What this machine's GPU reaches, in one call of at most eight minutes: decoding and prefill of whole models with made-up weights, BF16 beside
# PyTorch with CUDA graphs, where that is; the price of `standard` over `fast`, where there is cuBLASLt; the CUDA kernels, whose rows are checked
# before they are timed. What is wanted most comes first. One figure a line, what a program warned of below it, and a line for each that did not come.
#   bench/gpu.sh             builds what is missing and runs it here; in a bundle that launch/bundle.sh --gpu-tests made, runs what is there
#   bench/gpu.sh BUNDLE      runs the programs of a bundle
#   bench/gpu.sh --emulated  a small model on a GPU that does not exist (docs/cuda.md): shows that this script works, its figures mean nothing
# PYTHON: the one that has PyTorch (default python3). A program that fails is run again without the early start of kernels, then without CUDA graphs,
# and what served all others have, too. Without a GPU it names all that it would have measured.
set -uo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
python="${PYTHON:-python3}"
all_s=465 products_s=90 kernels_s=60 figure_s=75  # of all; of these at the least; of one at most
models=(llama-3.1-8b llama-3.2-1b) dtypes=(bf16 fp8 int4) batches=1,16,64
decode=(--prompt-tokens 2048 --steps 32 --repeats 3) prefill=(--prompt-tokens 4096 --repeats 3) ours=(--max-step-tokens 2048 --deadline-s 30) size=() torch=() torch_shape=""
# nowhere WHY: no GPU. What would have been measured on it.
nowhere() {
  local part parts=("decode of 8B and 1B shapes, BF16, FP8 and 4 bits" "prefill beside cuBLASLt" "PyTorch beside" "the price of standard over fast"
    "products beside cuBLASLt" "attention's share of its limits")
  for part in "${parts[@]}"; do echo "skipped: $part: $1"; done
  echo "0 passed, 0 failed, ${#parts[@]} skipped"
  exit 0
}
if [ $# = 0 ] && [ -f "$here/../bundle.txt" ]; then set -- "$here/.."; fi
case "${1:-}" in
  "" | --emulated)
    cd "$here/.."
    source launch/packages.sh
    kernels=build/bench/gpu_kernels products=build/bench/gpu_products trireme=build/trireme
    if [ "${1:-}" = --emulated ]; then
      all_s=3600 figure_s=600 kernels+=_on_emulated_gpu products+=_on_emulated_gpu trireme=build/tests/device/trireme_on_emulated_gpu size=(--small)
      torch=(--device cpu) torch_shape=tiny
      export LD_LIBRARY_PATH="$PWD/build/tests/testkit/cublaslt${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
      models=(smollm2-135m) dtypes=(bf16 int4) batches=1,2 ours=(--max-seqs 2 --kv-gib 0.01 --max-step-tokens 16)
      decode=(--prompt-tokens 33 --steps 1 --repeats 1) prefill=(--prompt-tokens 2 --repeats 1)
    elif ! command -v nvcc > /dev/null; then
      nowhere "no nvcc"
    fi
    BUILD_TARGETS="${kernels#build/} ${products#build/} ${trireme#build/}" build build || exit 1
    ;;
  -*) echo "usage: $0 [--emulated | BUNDLE]" >&2; exit 64 ;;
  *) kernels="$1/bin/gpu_kernels" products="$1/bin/gpu_products" trireme="$1/bin/trireme" ;;
esac

end=$((SECONDS + all_s)) code=0 said="$(mktemp)" lines="$(mktemp)"
trap 'rm -f "$said" "$lines"' EXIT
# PyTorch's Python has NVIDIA's libraries, whether or not its environment was activated.
if [ -z "${VIRTUAL_ENV:-}" ] || [ -n "${PYTHON:-}" ]; then
  environment="$("$python" -c 'import sys; print(sys.prefix if sys.prefix not in ("/usr", "/usr/local") else "")' 2> /dev/null)"
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

status=0
limited "$figure_s" "$kernels" --limits > "$lines" || status=$?
if [ "$status" = 77 ]; then nowhere "$(sed -nE 's/^skipped: [^:]*: //p' "$lines")"; fi
cat "$lines"
case "$status" in
  0) ;;
  124) echo "no limits: not done in $figure_s s" ;;
  *) code=1 ;;
esac

figures=0
declare -A of_standard  # WHAT MODEL DTYPE: tok/s of each figure
# figure NAME COMMAND...: runs it if there is time, and shows what came and what was said; tok/s of each line in $rates. Gives its exit code.
figure() {
  local name="$1" left=$((end - reserved - SECONDS)) reason="" status=0 limit
  shift
  rates=()
  limit=$((left < figure_s ? left : figure_s))
  if [ "$limit" -lt 10 ]; then echo "no figure of $name: the time is over"; return 124; fi
  limited "$limit" "$@" > "$lines" 2> "$said" || status=$?
  case "$status" in
    0) ;;
    77) reason="$(tail -n 1 "$lines")" ;;
    124) reason="not done in $limit s" ;;
    137) reason="killed, perhaps for want of memory" ;;
    *) reason="exit code $status" ;;
  esac
  if [ "$status" != 77 ]; then cat "$lines"; fi
  sed 's/^/    said: /' "$said" | tail -n 12
  if [ -n "$reason" ]; then echo "no figure of $name$([ -s "$lines" ] && [ "$status" != 77 ] && echo " but these"): $reason"; fi
  mapfile -t rates < <(sed -nE 's/^.* ([0-9.e+]+) tok\/s .*/\1/p' "$lines")
  return "$status"
}

ways=("" TRIREME_TEST_EARLY_START=off TRIREME_CUDA_GRAPHS=off) way=0

# take WAY: all programs from now on.
take() {
  unset TRIREME_TEST_EARLY_START TRIREME_CUDA_GRAPHS
  if [ "$1" -gt 0 ]; then export "${ways[$1]}"; fi
}

# by_ways COMMAND...: where that fails for a reason of the GPU's, by the next of the ways, too. Gives the exit code of the last.
by_ways() {
  local try status
  for ((try = way; try < ${#ways[@]}; try++)); do
    status=0
    take "$try"
    if [ "$try" -gt "$way" ]; then echo "once more with ${ways[try]}"; fi
    "$@" || status=$?
    # Inner errors, a GPU that hangs or faults, a signal; others would be the same.
    if [ "$status" != 70 ] && [ "$status" != 71 ] && { [ "$status" -lt 128 ] || [ "$status" = 137 ]; }; then break; fi
    code=1
  done
  if [ "$status" = 0 ] && [ "$try" -gt "$way" ]; then
    way="$try"
    echo "FAILED without ${ways[way]}, which all further programs have"
  fi
  take "$way"
  return "$status"
}

# measure WHAT MODEL DTYPE NUMERICS [options]: our figures, one for each batch; of fast, with standard's price over it.
measure() {
  local what="$1" model="$2" dtype="$3" numerics="$4" sizes=("${prefill[@]}") kept i
  shift 4
  if [ "$what" = decode ]; then sizes=("${decode[@]}"); fi
  by_ways figure "$what, $model, $dtype, $numerics" "$trireme" bench "$what" --shape "$model" --synthetic --dtype "$dtype" "$@" "${sizes[@]}" "${ours[@]}" \
    --numerics "$numerics" --device cuda --log-level warn
  figures=$((figures + ${#rates[@]}))
  if [ "$numerics" = standard ]; then of_standard["$what $model $dtype"]="${rates[*]}"; return; fi
  if grep -q "needs cuBLASLt" "$said"; then return; fi  # it was standard
  read -ra kept <<< "${of_standard["$what $model $dtype"]:-}"
  for i in "${!kept[@]}"; do
    if [ -n "${rates[i]:-}" ]; then
      awk -v s="${kept[i]}" -v f="${rates[i]}" -v name="$what, $model, figure $((i + 1))" \
        'BEGIN { printf "%s: standard takes %.2f times as long as fast\n", name, f / s }'
    fi
  done
}

# beside WHAT MODEL [options]: PyTorch's of what `measure` has just given in BF16, and ours as parts of them.
beside() {
  local what="$1" model="$2" sizes=("${prefill[@]}") mine=("${rates[@]}") i
  shift 2
  if [ "$what" = decode ]; then sizes=("${decode[@]}"); fi
  figure "PyTorch's $what, $model" "$python" "$here/torch_decode.py" "$what" --shape "${torch_shape:-$model}" "$@" "${sizes[@]}" "${torch[@]}"
  for i in "${!mine[@]}"; do
    if [ -n "${rates[i]:-}" ]; then
      awk -v a="${mine[i]}" -v b="${rates[i]}" -v name="$what, $model, figure $((i + 1))" 'BEGIN { printf "%s: %.2f of PyTorch\n", name, a / b }'
    fi
  done
}

# until_s END COMMAND...: the time that is left, however often it is tried.
until_s() {
  local left=$(($1 - SECONDS))
  shift
  [ "$left" -ge 10 ] || return 124
  limited "$left" "$@"
}
# table NAME SECONDS COMMAND...: what is printed line by line, as far as it comes.
table() {
  local name="$1" seconds="$2" status=0
  shift 2
  if [ "$seconds" -lt 10 ]; then echo "no $name: the time is over"; return; fi
  by_ways until_s "$((SECONDS + seconds))" "$@" || status=$?
  case "$status" in
    0 | 77) ;;
    124) echo "no more of $name: the time is over" ;;
    *) code=1 ;;
  esac
}

large="${models[0]}" small="${models[1]:-}" first="${dtypes[0]}"
reserved=$((products_s + kernels_s))
measure decode "$large" "$first" standard --batch "$batches"
beside decode "$large" --batch "$batches"
for dtype in "${dtypes[@]:1}"; do measure decode "$large" "$dtype" standard --batch "$batches"; done
if [ -n "$small" ]; then measure decode "$small" "$first" standard --batch "$batches"; beside decode "$small" --batch "$batches"; fi
measure prefill "$large" "$first" standard
beside prefill "$large"
measure prefill "$large" "$first" fast
table "the price of standard over fast" $((end - kernels_s - SECONDS < 2 * products_s ? end - kernels_s - SECONDS : 2 * products_s)) "$products" "${size[@]}"
table "the kernels" $((end - SECONDS < 2 * kernels_s ? end - SECONDS : 2 * kernels_s)) "$kernels" "${size[@]}"
reserved=0
measure decode "$large" "$first" fast --batch "$batches"
if [ -n "$small" ]; then
  measure prefill "$small" "$first" standard
  beside prefill "$small"
  for dtype in "${dtypes[@]:1}"; do measure decode "$small" "$dtype" standard --batch "$batches"; done
  measure prefill "$small" "$first" fast
  measure decode "$small" "$first" fast --batch "$batches"
fi
if [ "$figures" = 0 ]; then code=1; fi  # one size that does not fit is no fault, none that does is
exit "$code"
