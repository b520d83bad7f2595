#!/usr/bin/env bash
# What needs a GPU, in one call of minutes: the CUDA kernels against the reference, bit for bit, and whole runs on the GPU against
# one CPU rank, byte by byte. A GPU's tensor cores add BF16 in an order of their own: there kernels are held near the reference,
# and runs against one rank on the GPU without graphs. With two GPUs and NCCL: the same runs with bytes between GPUs moved by it.
#   tests/gpu.sh             builds what is missing and runs it here
#   tests/gpu.sh BUNDLE      runs the programs of a bundle that launch/bundle.sh --gpu-tests made, on a machine with nothing else
#   tests/gpu.sh --emulated  the same on a GPU that does not exist (docs/cuda.md): shows that this script works
# Then `fast`, where there is cuBLASLt, and the kernels' small cases under compute-sanitizer, where that is. Eight minutes at most for all of it.
# TRIREME_TEST_MODEL: a real model to run, too. The last line: N passed, N failed, N skipped. Without a GPU it says why it skips.
set -uo pipefail
checkout="$(dirname "${BASH_SOURCE[0]}")/.."
passed=0 failed=0 skipped=0 emulated=no end=$((SECONDS + 480)) nccl=auto
case "${1:-}" in
  "" | --emulated)
    cd "$checkout"
    source launch/packages.sh
    trireme=build/trireme maker=build/tests/testkit/make_tiny_model mpirun=mpirun
    if [ "${1:-}" = --emulated ]; then
      export LD_LIBRARY_PATH="$PWD/build/tests/testkit/cublaslt${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
      emulated=yes fake=tests/testkit/cublaslt/libcublasLt.so.13 kernels=build/tests/kernels/kernels_cuda_test on_gpu=build/tests/device/trireme_on_emulated_gpu
      nccl=build/tests/testkit/nccl/libnccl.so.2
    else
      command -v nvcc > /dev/null || { echo "skipped: kernels on a GPU: no nvcc"; echo "0 passed, 0 failed, 1 skipped"; exit 0; }
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
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

"$kernels" 2>&1 | tee "$work/log"
code=${PIPESTATUS[0]}
if [ "$code" = 77 ]; then echo "0 passed, 0 failed, 1 skipped"; exit 0; fi
passed="$(sed -nE 's/.*test cases: +[0-9]+ \| +([0-9]+) passed.*/\1/p' "$work/log")" passed="${passed:-0}"
failed="$(sed -nE 's/.*test cases:.* passed \| +([0-9]+) failed.*/\1/p' "$work/log")" failed="${failed:-0}"
if [ "$code" != 0 ] && [ "$failed" = 0 ]; then failed=1; fi  # it broke off

# rows VOCABULARY: prompts of 1 to 300 tokens, greedy and sampled.
rows() {
  local length row=0 sampling=('"temperature": 1' '"temperature": 0' '"temperature": 1.5, "top_p": 0.97' '"temperature": 1, "top_k": 300' '"temperature": 1, "top_k": 20, "top_p": 0.9')
  for length in 1 3 33 64 300; do
    row=$((row + 1))
    printf '{"token_ids": [%s], "max_tokens": 9, %s}\n' \
      "$(seq -s, 1 "$length" | sed -E "s/[0-9]+/&*37+$row/g" | tr , '\n' | while read -r n; do echo $((n % $1)); done | paste -sd,)" "${sampling[row - 1]}"
  done
}

# same NAME MODEL VOCABULARY: on the GPU in each mode and in layouts that share it.
same() {
  local numerics layout ranks reference
  rows "$3" > "$work/$1.jsonl"
  for numerics in standard exact; do
    # Emulated: one GPU that ranks share, or one for each, which wait for each other.
    if [ "$emulated" = yes ]; then export TRIREME_EMULATED_GPUS=$([ "$numerics" = exact ] && echo 1 || echo 4); fi
    local options=(--numerics "$numerics" --tokens --digest --logprobs 2 --prompt-logprobs 1 --log-level error --restart)
    reference=()
    if [ "$numerics" = standard ] && [ "$emulated/${TRIREME_EMULATED_GPU_SM:-}" != yes/ ] && "$trireme" inspect "$2" | grep -qiwE 'bf16|fp8'; then
      reference=(--device cuda --cuda-graphs off)
    fi
    "$on_gpu" run "$work/$1.jsonl" -m "$2" -o "$work/reference.jsonl" "${options[@]}" "${reference[@]}" || { failed=$((failed + 1)); continue; }
    for layout in "1 1 1" "2 1 1" "1 2 1" "4 1 1" "1 1 2"; do
      read -r tp pp dp <<< "$layout"
      ranks=$((tp * pp * dp)) launcher=()
      if [ "$ranks" -gt 1 ]; then launcher=("$mpirun" -n "$ranks"); fi
      if "${launcher[@]}" "$on_gpu" run "$work/$1.jsonl" -m "$2" -o "$work/gpu.jsonl" "${options[@]}" --device cuda --nccl "$nccl" --tp "$tp" --pp "$pp" --dp "$dp" \
        && cmp "$work/reference.jsonl" "$work/gpu.jsonl"; then
        passed=$((passed + 1)) verdict=equal
      else
        failed=$((failed + 1)) verdict=DIFFERS
      fi
      echo "$verdict $1 $numerics tp $tp, pp $pp, dp $dp"
    done
  done
}

# fast NAME MODEL VOCABULARY: no bits are promised, so that all rows must come, and how many have standard's tokens is told.
fast() {
  local text layout ranks launcher
  rows "$3" > "$work/$1.jsonl"
  local options=(--tokens --log-level warn --restart --device cuda)
  "$on_gpu" run "$work/$1.jsonl" -m "$2" -o "$work/reference.jsonl" "${options[@]}" || { failed=$((failed + 1)); return; }
  for layout in "1 1" "2 1" "3 1" "1 2"; do
    read -r tp pp <<< "$layout"
    ranks=$((tp * pp)) launcher=()
    if [ "$ranks" -gt 1 ]; then launcher=("$mpirun" -n "$ranks"); fi
    if ! "${launcher[@]}" "$on_gpu" run "$work/$1.jsonl" -m "$2" -o "$work/gpu.jsonl" "${options[@]}" --numerics fast --tp "$tp" --pp "$pp" 2> "$work/said" \
      || [ "$(wc -l < "$work/gpu.jsonl")" != "$(wc -l < "$work/reference.jsonl")" ] || grep -q '"error"' "$work/gpu.jsonl"; then
      cat "$work/said"
      failed=$((failed + 1)) text=FAILED
    elif grep -q "needs cuBLASLt" "$work/said"; then
      skipped=$((skipped + 1)) text="skipped: $(tail -n 1 "$work/said"):"
    else
      passed=$((passed + 1)) text="ran, $(paste -d '\n' "$work/reference.jsonl" "$work/gpu.jsonl" | uniq -d | wc -l) of $(wc -l < "$work/gpu.jsonl") rows as standard:"
    fi
    echo "$text $1 fast tp $tp, pp $pp"
  done
}

# sanitized TOOL: the kernels' cases, but for the large ones.
sanitized() {
  local left=$((end - SECONDS)) code=0
  left=$((left < 120 ? left : 120))
  if ! command -v compute-sanitizer > /dev/null || [ "$emulated" = yes ]; then
    skipped=$((skipped + 1))
    echo "skipped: kernels under $1: $([ "$emulated" = yes ] && echo "this GPU does not exist" || echo "no compute-sanitizer")"
    return
  fi
  if [ "$left" -ge 20 ]; then
    timeout -k 5 "$left" compute-sanitizer --tool "$1" --target-processes all --error-exitcode 99 \
      "$kernels" "--test-case-exclude=*every level and part count*,*odd sizes*,*in proportion*" > "$work/log" 2>&1 || code=$?
  else
    code=124
  fi
  case "$code" in
    0) passed=$((passed + 1)); echo "clean under $1" ;;
    124) skipped=$((skipped + 1)); echo "skipped: kernels under $1: the time is over; so far: $(tail -n 1 "$work/log")" ;;
    *) failed=$((failed + 1)); tail -n 40 "$work/log"; echo "FAILED under $1 (exit code $code)" ;;
  esac
}

# by_nccl NAME MODEL VOCABULARY: stages, and groups of ranks that do not see each other's GPUs, each rank on its own.
by_nccl() {
  local alone='CUDA_VISIBLE_DEVICES=$OMPI_COMM_WORLD_LOCAL_RANK exec "$0" "$@"'
  if [ $emulated = yes ]; then alone='TRIREME_EMULATED_GPU_ALONE=1 exec "$0" "$@"'; fi
  rows "$3" > "$work/$1.jsonl"
  local options=(--tokens --digest --logprobs 2 --prompt-logprobs 1 --restart)
  "$trireme" run "$work/$1.jsonl" -m "$2" -o "$work/reference.jsonl" "${options[@]}" --log-level error || { failed=$((failed + 1)); return; }
  for layout in "1 2" "2 1" "2 2"; do
    read -r tp pp <<< "$layout"
    ranks=$((tp * pp))
    if [ "$ranks" -gt "$gpus" ]; then continue; fi
    if "$mpirun" -n "$ranks" bash -c "$alone" "$on_gpu" run "$work/$1.jsonl" -m "$2" -o "$work/gpu.jsonl" "${options[@]}" --device cuda \
        --tp "$tp" --pp "$pp" --nccl "$nccl" 2> "$work/log" && cmp "$work/reference.jsonl" "$work/gpu.jsonl" && grep -q "by NCCL" "$work/log"; then
      passed=$((passed + 1)) verdict=equal
    else
      failed=$((failed + 1)) verdict=DIFFERS
      tail -n 5 "$work/log"
    fi
    echo "$verdict $1 by NCCL tp $tp, pp $pp"
  done
}

for type in q4_1 bf16 q8_0 f16 q4_k_m; do
  shape=(--layers 3 --heads 9 --kv-heads 3 --head-dim 32 --hidden 288 --intermediate 416 --vocab 259)
  if [ "$type" = q4_k_m ]; then shape=(--layers 3 --heads 16 --kv-heads 1 --head-dim 16 --hidden 256 --intermediate 512 --vocab 261); fi
  "$maker" "$work/$type.gguf" "${shape[@]}" --type "$type" --seed 3 || failed=$((failed + 1))
  same "$type" "$work/$type.gguf" 259
done
if "$trireme" convert "$work/bf16.gguf" -o "$work/fp8.h5" --dtype fp8; then same fp8 "$work/fp8.h5" 259; else failed=$((failed + 1)); fi
if [ $emulated = yes ]; then  # where FP8 has a definition of its own, and many rows of BF16 are multiplied by warpgroups
  export TRIREME_EMULATED_GPU_SM=90
  same fp8-sm_90 "$work/fp8.h5" 259
  same bf16-sm_90 "$work/bf16.gguf" 259
  unset TRIREME_EMULATED_GPU_SM
fi
if [ $emulated = yes ]; then export TRIREME_EMULATED_GPUS=4; fi
doctor="$("$on_gpu" doctor --nccl "$nccl")"
gpus=$([ $emulated = yes ] && echo 4 || sed -nE 's/.*rank 0 .*GPUs ([0-9,]+)$/\1/p' <<< "$doctor" | tr , '\n' | grep -c .)
version="$(sed -nE 's/^NCCL +//p' <<< "$doctor")"
if [ "$gpus" -ge 2 ] && [[ "$version" = [0-9]* ]]; then
  by_nccl q4_1 "$work/q4_1.gguf" 259
else
  skipped=$((skipped + 1))
  echo "skipped: NCCL between GPUs: $gpus GPUs, NCCL $version"
fi
if [ -n "${TRIREME_TEST_MODEL:-}" ]; then same "$(basename "$TRIREME_TEST_MODEL")" "$TRIREME_TEST_MODEL" 1000; fi
fast bf16 "$work/bf16.gguf" 259
for tool in memcheck racecheck synccheck; do sanitized "$tool"; done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
