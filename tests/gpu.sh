#!/usr/bin/env bash
# What needs a GPU, in one call of minutes: the CUDA kernels against the reference, bit for bit, and whole runs on the GPU against
# one rank on it without graphs, byte by byte, in exact against one CPU rank. A GPU's tensor cores add BF16 in an order of their own: there kernels are
# held near the reference. With two GPUs and NCCL: the same runs with bytes between GPUs moved by it.
#   tests/gpu.sh             builds what is missing and runs it here; in a bundle that launch/bundle.sh --gpu-tests made, runs what is there
#   tests/gpu.sh BUNDLE      runs the programs of a bundle
#   tests/gpu.sh --emulated  the same on a GPU that does not exist (docs/cuda.md): shows that this script works
# And `fast`, where there is cuBLASLt, and small runs and the kernels' small cases under compute-sanitizer, where that is. What tells most comes first: eight
# minutes at most for all of it but a build, and what is past them is skipped by name. Warnings of runs are printed, and a driver that refuses CUDA
# graphs is a failure. The first runs that fail are run again without graphs, then without the early start of kernels alone, to say which of them it is.
# TRIREME_TEST_MODEL: a real model to run, too; of that which the goldens are of, they and a KL divergence. PYTHON: one that has NVIDIA's libraries (default
# python3). The last line: N passed, N failed, N skipped. Without a GPU it names all that it would have run.
set -uo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)" python="${PYTHON:-python3}"
passed=0 failed=0 skipped=0 emulated=no nccl=auto
all_s=475 kernels_s=150 run_s=60 families_s=90 sanitizer_s=60 kl_bytes=4000 deadline=(--deadline-s 25)
# nowhere WHY: no GPU. What would have run on it, but for the kernels, which have their line already.
nowhere() {
  local part parts=("whole runs on a GPU" "other batches, chunks and preemption on a GPU" "ranks that share a GPU" "fast on a GPU" "NCCL between GPUs"
    "runs and kernels under compute-sanitizer" "KL of standard on a GPU" "goldens of all families on a GPU" "goldens on a GPU")
  for part in "${parts[@]}"; do echo "skipped: $part: $1"; done
  echo "0 passed, 0 failed, $((1 + ${#parts[@]})) skipped"
  exit 0
}
if [ $# = 0 ] && [ -f "$root/bundle.txt" ]; then set -- "$root"; fi
case "${1:-}" in
  "" | --emulated)
    cd "$root"
    source launch/packages.sh
    trireme=build/trireme maker=build/tests/testkit/make_tiny_model mpirun=mpirun
    if [ "${1:-}" = --emulated ]; then
      export LD_LIBRARY_PATH="$PWD/build/tests/testkit/cublaslt${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
      # A step of long prompts may last minutes there, and a replica that is silent for one is not lost: a run has its time, no more.
      emulated=yes all_s=7200 kernels_s=1200 run_s=600 families_s=1200 kl_bytes=300 deadline=(--deadline-s "$run_s")
      fake=tests/testkit/cublaslt/libcublasLt.so.13 kernels=build/tests/kernels/kernels_cuda_test on_gpu=build/tests/device/trireme_on_emulated_gpu
      nccl=build/tests/testkit/nccl/libnccl.so.2
    else
      command -v nvcc > /dev/null || { echo "skipped: kernels on a GPU: no nvcc"; nowhere "no nvcc"; }
      kernels=build/tests/kernels/kernels_gpu_test on_gpu=$trireme
    fi
    BUILD_TARGETS="trireme ${kernels#build/} ${on_gpu#build/} ${maker#build/} ${fake:-} tests/testkit/nccl/libnccl.so.2" build build || exit 1
    ;;
  -*) echo "usage: $0 [--emulated | BUNDLE]" >&2; exit 64 ;;
  *)
    kernels="$1/bin/kernels_gpu_test" trireme="$1/bin/trireme" maker="$1/bin/make_tiny_model" mpirun="$1/bin/mpirun" on_gpu="$1/bin/trireme"
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1 \
      OMPI_MCA_hwloc_base_binding_policy=none
    ;;
esac
end=$((SECONDS + all_s))
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
if [ "$emulated" = yes ]; then export TRIREME_EMULATED_GPUS=4; fi
export TRIREME_MAX_SEQS=16 TRIREME_MAX_STEP_TOKENS=512  # of all runs that do not say otherwise
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

# over WHAT: whether a run might end too late, which skips WHAT.
over() {
  if [ $((SECONDS + run_s)) -le "$end" ]; then return 1; fi
  skipped=$((skipped + 1))
  echo "skipped $1: the time is over"
}

# broken WHAT CODE SECONDS: a failure, and why.
broken() {
  failed=$((failed + 1))
  case "$2" in
    124) echo "FAILED $1: not done in $3 s" ;;
    137) echo "FAILED $1: killed, perhaps for want of memory" ;;
    *) echo "FAILED $1: exit code $2" ;;
  esac
}

limited "$kernels_s" "$kernels" 2>&1 | tee "$work/log"
code=${PIPESTATUS[0]}
if [ "$code" = 77 ]; then nowhere "$(sed -nE 's/^skipped: kernels on a GPU: //p' "$work/log")"; fi
passed="$(sed -nE 's/.*test cases: +[0-9]+ \| +([0-9]+) passed.*/\1/p' "$work/log")" passed="${passed:-0}"
failed="$(sed -nE 's/.*test cases:.* passed \| +([0-9]+) failed.*/\1/p' "$work/log")" failed="${failed:-0}"
case "$code/$failed" in
  0/*) ;;
  124/* | 137/* | */0) broken kernels "$code" "$kernels_s" ;;
esac

# rows VOCABULARY: prompts of 1 to 300 tokens, greedy and sampled.
rows() {
  local length row=0 sampling=('"temperature": 1' '"temperature": 0' '"temperature": 1.5, "top_p": 0.97' '"temperature": 1, "top_k": 300' '"temperature": 1, "top_k": 20, "top_p": 0.9')
  for length in 1 3 33 64 300; do
    row=$((row + 1))
    printf '{"token_ids": [%s], "max_tokens": 9, %s}\n' \
      "$(seq -s, 1 "$length" | sed -E "s/[0-9]+/&*37+$row/g" | tr , '\n' | while read -r n; do echo $((n % $1)); done | paste -sd,)" "${sampling[row - 1]}"
  done
}

# on_gpu_of NAME MODEL TP PP DP [options]: a run of the rows, whose results are gpu.jsonl, and what it says `said`.
on_gpu_of() {
  local name="$1" model="$2" tp="$3" pp="$4" dp="$5" ranks=$(($3 * $4 * $5)) launcher=()
  shift 5
  if [ "$ranks" -gt 1 ]; then launcher=("$mpirun" -n "$ranks"); fi
  limited "$run_s" "${launcher[@]}" "$on_gpu" run "$work/$name.jsonl" -m "$model" -o "$work/gpu.jsonl" --device cuda --nccl "$nccl" --tp "$tp" --pp "$pp" --dp "$dp" \
    "${deadline[@]}" "$@" 2> "$work/said"
}

# tell: what a run said, each line once.
tell() { awk '!seen[$0]++ { print "    said: " $0 }' "$work/said" | tail -n 8; }

# blame WHAT EXPECTED NAME MODEL TP PP DP [options]: which of the two it is, of the first runs that fail: others would say the same.
blames=4
blame() {
  local what="$1" expected="$2" without
  shift 2
  if [ "$blames" = 0 ] || [ $((SECONDS + 2 * run_s)) -gt "$end" ]; then return; fi
  blames=$((blames - 1))
  equal() { on_gpu_of "$@" && cmp -s "$expected" "$work/gpu.jsonl"; }
  if equal "$@" --cuda-graphs off; then
    without="graphs: it is they"
    if TRIREME_TEST_EARLY_START=off equal "$@"; then without="the early start of kernels: it is that"; fi
    echo "    equal without $without"
  else
    echo "    nor is it without graphs and early start ($what)"
  fi
}

# same NAME MODEL VOCABULARY NUMERICS WAY...: on the GPU in layouts ("TP PP DP [options]") that share it.
same() {
  local name="$1" model="$2" numerics="$4" way others what code expected="$work/$1.$4.jsonl" reference=()
  local options=(--numerics "$4" --tokens --digest --logprobs 2 --prompt-logprobs 1 --restart)
  rows "$3" > "$work/$name.jsonl"
  shift 4
  # Emulated: one GPU that ranks share, or one for each, which wait for each other.
  if [ "$emulated/$numerics" = yes/exact ]; then local -x TRIREME_EMULATED_GPUS=1; fi
  if [ "$numerics" = standard ]; then reference=(--device cuda --cuda-graphs off); fi
  for way in "$@"; do
    read -r tp pp dp others <<< "$way"
    what="$name $numerics tp $tp, pp $pp, dp $dp${others:+, $others}"
    if over "$what"; then continue; fi
    if [ ! -f "$expected" ]; then
      code=0
      limited "$run_s" "$on_gpu" run "$work/$name.jsonl" -m "$model" -o "$work/reference.jsonl" "${options[@]}" "${reference[@]}" --log-level error || code=$?
      if [ "$code" != 0 ]; then broken "$name $numerics, the reference" "$code" "$run_s"; return; fi
      mv "$work/reference.jsonl" "$expected"
    fi
    code=0
    on_gpu_of "$name" "$model" "$tp" "$pp" "$dp" "${options[@]}" $others --log-level warn || code=$?
    if [ "$code" != 0 ]; then
      broken "$what" "$code" "$run_s"
    elif ! cmp "$expected" "$work/gpu.jsonl"; then
      code=1
      failed=$((failed + 1))
      echo "DIFFERS $what"
    elif grep -q "CUDA graphs" "$work/said"; then
      failed=$((failed + 1))
      echo "FAILED $what: equal, but without graphs"
    else
      passed=$((passed + 1))
      echo "equal $what"
    fi
    tell
    if [ "$code" != 0 ]; then blame "$what" "$expected" "$name" "$model" "$tp" "$pp" "$dp" "${options[@]}" $others --log-level error; fi
  done
}

# fast NAME MODEL VOCABULARY: no bits are promised, so that all rows must come, and how many have standard's tokens is told.
fast() {
  local layout what code=0
  rows "$3" > "$work/$1.jsonl"
  local options=(--tokens --log-level warn --restart)
  if over "$1 fast"; then return; fi
  on_gpu_of "$1" "$2" 1 1 1 "${options[@]}" || code=$?
  if [ "$code" != 0 ]; then tell; broken "$1 fast, standard beside it" "$code" "$run_s"; return; fi
  mv "$work/gpu.jsonl" "$work/reference.jsonl"
  for layout in "1 1" "2 1" "3 1" "1 2"; do
    read -r tp pp <<< "$layout"
    what="$1 fast tp $tp, pp $pp"
    if over "$what"; then continue; fi
    code=0
    on_gpu_of "$1" "$2" "$tp" "$pp" 1 "${options[@]}" --numerics fast || code=$?
    if [ "$code" != 0 ]; then
      broken "$what" "$code" "$run_s"
    elif [ "$(wc -l < "$work/gpu.jsonl")" != "$(wc -l < "$work/reference.jsonl")" ] || grep -q '"error"' "$work/gpu.jsonl"; then
      failed=$((failed + 1))
      echo "FAILED $what: not all rows"
    elif grep -q "needs cuBLASLt" "$work/said"; then
      skipped=$((skipped + 1))
      echo "skipped $what"
    elif grep -q "CUDA graphs" "$work/said"; then
      failed=$((failed + 1))
      echo "FAILED $what: without graphs"
    else
      passed=$((passed + 1))
      echo "ran, $(paste -d '\n' "$work/reference.jsonl" "$work/gpu.jsonl" | uniq -d | wc -l) of $(wc -l < "$work/gpu.jsonl") rows as standard: $what"
    fi
    tell
  done
}

# near NAME MODEL: of BF16 weights, how far standard lies from exact: at most 1e-3 nats a position.
near() {
  local what="$1: KL of standard from exact" code=0 kl
  if over "$what"; then return; fi
  head -c "$kl_bytes" "$root/tests/gpu.sh" > "$work/text"
  limited "$run_s" "$on_gpu" bench quality -m "$2" --against-numerics exact "$work/text" --device cuda --json --log-level warn > "$work/log" 2> "$work/said" || code=$?
  kl="$(sed -nE 's/.*"kl":\{"value":([0-9.e+-]+).*/\1/p' "$work/log")"
  if [ "$code" != 0 ]; then
    tell
    broken "$what" "$code" "$run_s"
  elif awk -v kl="$kl" 'BEGIN { exit !(kl != "" && kl <= 1e-3) }'; then
    passed=$((passed + 1))
    echo "near $what: $kl"
  else
    failed=$((failed + 1))
    echo "FAILED $what: $kl, more than 1e-3"
  fi
}

# counted WHAT SECONDS COMMAND...: a program whose last line is N passed, N failed.
counted() {
  local what="$1" limit="$2" code=0 counts
  shift 2
  if over "$what"; then return; fi
  limited "$limit" "$@" > "$work/log" 2>&1 || code=$?
  grep -E "FAILED|passed" "$work/log"
  counts="$(sed -nE '$ s/^([0-9]+) passed, ([0-9]+) failed.*/\1 \2/p' "$work/log")"
  if [ -z "$counts" ]; then broken "$what" "$code" "$limit"; return; fi
  passed=$((passed + ${counts% *})) failed=$((failed + ${counts#* }))
}

# families: tiny models of every family in exact against transformers in FP32.
families() {
  if ! "$python" -c "" 2> /dev/null; then
    skipped=$((skipped + 1))
    echo "skipped: goldens of all families on a GPU: no $python"
    return
  fi
  counted "goldens of all families on a GPU" "$families_s" "$python" "$root/tests/golden/families/check.py" "$on_gpu" --device cuda
}

# goldens: of the real model that they are of; its weights as BF16 are near, too.
goldens() {
  local of=SmolLM2-135M-Instruct.Q4_1.gguf why=""
  if [ "$(basename "${TRIREME_TEST_MODEL:-}")" != "$of" ]; then
    why="TRIREME_TEST_MODEL is not $of"
  elif [ "$emulated" = yes ]; then
    why="this GPU is too slow"
  elif ! "$python" -c "" 2> /dev/null; then
    why="no $python"
  fi
  if [ -n "$why" ]; then
    skipped=$((skipped + 1))
    echo "skipped: goldens on a GPU: $why"
    return
  fi
  counted "goldens on a GPU" "$run_s" "$python" "$root/tests/golden/check.py" "$on_gpu" --device cuda
  if over "$of as BF16: KL of standard from exact"; then return; fi
  limited "$run_s" "$trireme" convert "$TRIREME_TEST_MODEL" -o "$work/real.h5" --dtype bf16 > "$work/log" 2>&1 || { broken "$of as BF16" $? "$run_s"; return; }
  near "$of as BF16" "$work/real.h5"
}

# sanitized WHAT TOOL COMMAND...: what it does to the GPU's memory.
sanitizer="$(PATH="$PATH:/usr/local/cuda/bin" command -v compute-sanitizer)"
sanitized() {
  local what="$1 under $2" tool="$2" left=$((end - SECONDS)) code=0 why=""
  shift 2
  left=$((left < sanitizer_s ? left : sanitizer_s))
  if [ "$emulated" = yes ]; then
    why="this GPU does not exist"
  elif [ -z "$sanitizer" ]; then
    why="no compute-sanitizer"
  elif [ "$left" -lt 20 ]; then
    why="the time is over"
  else
    limited "$left" "$sanitizer" --tool "$tool" --target-processes all --error-exitcode 99 "$@" > "$work/log" 2>&1 || code=$?
    if grep -qi "device not supported" "$work/log"; then
      why="$(grep -im 1 "device not supported" "$work/log")"
    elif [ "$code" = 124 ] && ! grep -qE '^=+ +(Invalid|Uninitialized|Error:|Barrier error|Program hit)' "$work/log"; then
      why="not done in $left s, nothing found so far"
    fi
  fi
  if [ -n "$why" ]; then
    skipped=$((skipped + 1))
    echo "skipped: $what: $why"
  elif [ "$code" = 0 ]; then
    passed=$((passed + 1))
    echo "clean: $what"
  else
    failed=$((failed + 1))
    grep '^===' "$work/log" | head -n 40
    tail -n 5 "$work/log"
    echo "FAILED $what (exit code $code)"
  fi
}
# All of the kernels' operands lie in one allocation, past whose pieces nobody sees a read: whole runs have an allocation for each.
sanitized_kernels() {
  sanitized kernels "$1" "$kernels" "--test-case-exclude=*every level and part count*,*odd sizes*,*in proportion*,*of experts has the bits*"
}
sanitized_runs() {
  local name
  for name in "${most_used[@]}"; do
    rows 259 > "$work/$name.jsonl"
    sanitized "$name" "$1" "$on_gpu" run "$work/$name.jsonl" -m "${models[$name]}" -o "$work/gpu.jsonl" --device cuda --cuda-graphs off --max-tokens 4 --restart \
      --log-level error
  done
}

# by_nccl NAME MODEL VOCABULARY: stages, and groups of ranks that do not see each other's GPUs, each rank on its own.
by_nccl() {
  local alone='CUDA_VISIBLE_DEVICES=$OMPI_COMM_WORLD_LOCAL_RANK exec "$0" "$@"' layout what ranks code=0
  if [ $emulated = yes ]; then alone='TRIREME_EMULATED_GPU_ALONE=1 exec "$0" "$@"'; fi
  rows "$3" > "$work/$1.jsonl"
  local options=(--tokens --digest --logprobs 2 --prompt-logprobs 1 --restart)
  if over "$1 by NCCL"; then return; fi
  limited "$run_s" "$on_gpu" run "$work/$1.jsonl" -m "$2" -o "$work/reference.jsonl" "${options[@]}" --device cuda --cuda-graphs off --log-level error || code=$?
  if [ "$code" != 0 ]; then broken "$1 by NCCL, the reference" "$code" "$run_s"; return; fi
  for layout in "1 2" "2 1" "2 2"; do
    read -r tp pp <<< "$layout"
    ranks=$((tp * pp)) code=0 what="$1 by NCCL tp $tp, pp $pp"
    if [ "$ranks" -gt "$gpus" ] || over "$what"; then continue; fi
    limited "$run_s" "$mpirun" -n "$ranks" bash -c "$alone" "$on_gpu" run "$work/$1.jsonl" -m "$2" -o "$work/gpu.jsonl" "${options[@]}" --device cuda \
      --tp "$tp" --pp "$pp" --nccl "$nccl" 2> "$work/log" || code=$?
    if [ "$code" != 0 ]; then
      tail -n 5 "$work/log"
      broken "$what" "$code" "$run_s"
    elif cmp "$work/reference.jsonl" "$work/gpu.jsonl" && grep -q "by NCCL" "$work/log"; then
      passed=$((passed + 1))
      echo "equal $what"
    else
      failed=$((failed + 1))
      tail -n 5 "$work/log"
      echo "DIFFERS $what"
    fi
  done
}

# One of each form of weights, and two with experts.
names=() shared=("2 1 1" "1 2 1" "4 1 1" "1 1 2")
declare -A models
for type in bf16 fp8 q4_1 q8_0 q4_k_m f16 experts_bf16 experts_q4_1; do
  shape=(--layers 3 --heads 9 --kv-heads 3 --head-dim 32 --hidden 288 --intermediate 416 --vocab 259)
  if [ "$type" = q4_k_m ]; then shape=(--layers 3 --heads 16 --kv-heads 1 --head-dim 16 --hidden 256 --intermediate 512 --vocab 261); fi
  if [[ "$type" = experts_* ]]; then shape=(--layers 3 --heads 8 --kv-heads 2 --head-dim 32 --hidden 128 --intermediate 96 --experts 11 --experts-used 3 --vocab 259); fi
  models[$type]="$work/$type.gguf" code=0
  if [ "$type" = fp8 ]; then
    models[$type]="$work/fp8.h5"
    "$trireme" convert "${models[bf16]}" -o "${models[fp8]}" --dtype fp8 || code=$?
  else
    "$maker" "${models[$type]}" "${shape[@]}" --type "${type#experts_}" --seed 3 || code=$?
  fi
  if [ "$code" = 0 ]; then names+=("$type"); else broken "a model in $type" "$code" 0; fi
done

most_used=("${names[@]:0:3}")

# each NUMERICS LAYOUT...: of the models in `chosen`.
each() {
  local name
  for name in "${chosen[@]}"; do same "$name" "${models[$name]}" 259 "$@"; done
}

chosen=("${names[@]}")
each standard "1 1 1"
chosen=("${most_used[@]}")
each standard "${shared[@]}"
chosen=("${names[@]}")
sanitized_runs memcheck
sanitized_kernels memcheck
fast bf16 "${models[bf16]}" 259
doctor="$(limited "$run_s" "$on_gpu" doctor --nccl "$nccl")"
gpus=$([ $emulated = yes ] && echo 4 || sed -nE 's/.*rank 0 .*GPUs ([0-9,]+)$/\1/p' <<< "$doctor" | tr , '\n' | grep -c .)
version="$(sed -nE 's/^NCCL +//p' <<< "$doctor")"
if [ "$gpus" -ge 2 ] && [[ "$version" = [0-9]* ]]; then
  by_nccl q4_1 "${models[q4_1]}" 259
else
  skipped=$((skipped + 1))
  echo "skipped: NCCL between GPUs: $gpus GPUs, NCCL $version"
fi
if [ -n "${TRIREME_TEST_MODEL:-}" ]; then same "$(basename "$TRIREME_TEST_MODEL")" "$TRIREME_TEST_MODEL" 1000 standard "1 1 1"; fi
each exact "1 1 1"
near bf16 "${models[bf16]}"
families
goldens
each standard "1 1 1 --max-seqs 1" "1 1 1 --max-step-tokens 17" "1 1 1 --preempt-every 5 --kv-blocks 12"
chosen=("${names[@]:3}")
each standard "${shared[@]}"
chosen=("${names[@]}")
each exact "${shared[@]}"
if [ -n "${TRIREME_TEST_MODEL:-}" ]; then
  same "$(basename "$TRIREME_TEST_MODEL")" "$TRIREME_TEST_MODEL" 1000 standard "${shared[@]}"
  same "$(basename "$TRIREME_TEST_MODEL")" "$TRIREME_TEST_MODEL" 1000 exact "1 1 1" "${shared[@]}"
fi
if [ $emulated = yes ]; then  # where FP8 has a definition of its own, and many rows of BF16 and FP16 are multiplied by warpgroups
  export TRIREME_EMULATED_GPU_SM=90
  for numerics in standard exact; do
    for type in fp8 bf16 f16; do same "$type-sm_90" "${models[$type]}" 259 $numerics "1 1 1" "${shared[@]}"; done
  done
fi
sanitizer_s=120
for tool in racecheck synccheck; do sanitized_kernels "$tool"; done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
