#!/usr/bin/env bash
# The whole test suite, from a bare machine. The last line: N passed, N failed, N skipped; the exit code says the same.
#   tests/run.sh            everything but what takes hours (tests/law.sh --all)
#   tests/run.sh --offline  uses only what is there
#   tests/run.sh --fast     without sanitizers and law
#   tests/run.sh --gpu-arch=sm_90a    CUDA code for these alone (meson's gpu_arch), in the build folder, too
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
fast=""
for argument in "$@"; do
  case "$argument" in
    --offline) OFFLINE=1 ;;
    --fast) fast=1 ;;
    --gpu-arch=?*) export gpu_arch="${argument#*=}" ;;
    *) echo "usage: $0 [--offline] [--fast] [--gpu-arch=ARCH,...]" >&2; exit 64 ;;
  esac
done
source launch/packages.sh

passed=0 failed=0 skipped=0
add() { passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3)); }

# stage NAME SECONDS COMMAND...: its output goes to a log that is shown when it fails. The stage counts what the last
# line "N passed, N failed, N skipped" of its output says, else itself as one.
stage() {
  local name="$1" limit="$2" log start=$SECONDS code=0 counts
  shift 2
  log="build/test-logs/${name// /-}.log"
  timeout --kill-after=10 "$limit" "$@" > "$log" 2>&1 || code=$?
  counts="$(grep -oE '[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?' "$log" | tail -1 | grep -oE '[0-9]+' | tr '\n' ' ')"
  if [ -n "$counts" ]; then
    read -r p f s <<< "$counts"
    if [ "$code" != 0 ] && [ "$f" = 0 ]; then f=1; fi
    add "$p" "$f" "${s:-0}"
  elif [ "$code" = 0 ]; then add 1 0 0
  else add 0 1 0; fi
  if [ "$code" = 0 ]; then
    echo "ok      $name ($((SECONDS - start)) s)${counts:+: $(echo "$counts" | awk '{print $1 " passed"}')}"
    grep -E '^skipped:' "$log" || true
  else
    if [ "$code" = 124 ]; then echo "FAILED  $name: not done after the $limit s that it may take; the end of $log:"
    else echo "FAILED  $name (exit $code, $((SECONDS - start)) s); the end of $log:"; fi
    tail -n 40 "$log"
  fi
  return "$code"
}

check_format() {
  git ls-files '*.h' '*.cpp' | xargs clang-format --dry-run --Werror
}

install_packages "${build_packages[@]}" clang-format ccache libsimde-dev || exit 1
fetch_model || { say "no model: tests that need it will be skipped by name"; }
[ ! -f "$model" ] || export TRIREME_TEST_MODEL="$model"
mkdir -p build/test-logs

export -f check_format
stage "format" 60 bash -c check_format
stage "floors" 60 tests/floors.sh
build_only() { BUILD_TARGETS="$*" build build; }
export -f build_only build configure die
# targets PATTERN: the files that a sed pattern names, of those that ninja makes.
targets() { sed -nE "s/^build ($1):.*/\1/p" build/build.ninja | tr '\n' ' '; }

give_up() {
  add 0 1 0
  echo "$passed passed, $failed failed, $skipped skipped"
  exit 1
}

say "building"
(configure build) || give_up
cuda_objects="$(targets 'kernels\/[a-z_]+\.cu\.o')"
if [ -n "$cuda_objects" ]; then
  # And what is said of libraries that are loaded while a run begins, beside their headers, where those are.
  stage "CUDA code for $gpu_arch" 360 bash -c "build_only $cuda_objects $(targets 'tests\/device\/lib[a-z]+_header\.a')"
  # ptxas says it where it cannot keep a product by warpgroups under way behind the next one's loads.
  stage "wgmma is not serialized" 10 bash -c '! grep "C75[0-9][0-9]" build/ninja.log'
else
  echo "skipped: CUDA code: $(command -v nvcc > /dev/null && echo "nvcc has no CUDA runtime beside it" || echo "no nvcc")"
  add 0 0 1
fi
# What sanitizers' programs test is not built twice; --fast has no others.
but="$([ -n "$fast" ] || echo --but logic)"
(build_only $(tests/programs.py build $but --list)) || give_up
stage "unit tests" 900 tests/programs.py build $but
# What bench/gpu.sh runs is in no other target: for an emulated GPU, and with nvcc for a real one.
stage "GPU benchmarks are built" 300 bash -c "build_only $(targets 'bench\/gpu_(kernels|products)(_on_emulated_gpu)?')"
stage "rows" 300 tests/inputs/rows.py build/trireme
stage "forms" 300 tests/inputs/forms.py build/trireme
stage "status" 300 tests/inputs/status.py build/trireme
stage "batch requests" 300 tests/inputs/batch.py build/trireme
stage "mistakes" 300 tests/mistakes/mistakes.py build/trireme
stage "families" 600 tests/golden/families/check.py build/trireme $([ -n "$fast" ] || echo --switched-off)
stage "NCCL" 600 tests/device/nccl_runs.py build/trireme
# Where there is no GPU, these name what they leave out.
stage "GPU" 600 tests/gpu.sh
stage "GPU figures" 600 bench/gpu.sh
stage "bundle" 300 tests/bundle/bundle.sh ${OFFLINE:+--offline}
stage "Slurm" 300 tests/slurm/slurm.sh ${OFFLINE:+--offline}
stage "goldens" 600 tests/golden/check.py build/trireme
stage "quality" 300 tests/golden/quality.py check build/trireme
if [ -z "$fast" ]; then
  say "building with sanitizers"
  # Only what the unit tests need: gcc takes its time over instrumented code.
  if (BUILD_TARGETS=meson-test-prereq build build-asan -Db_sanitize=address,undefined -Db_lundef=false -Doptimization=0); then
    # Frames that are not optimized are larger, and some inputs are nested on purpose.
    ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
      stage "sanitizers" 1500 bash -c 'ulimit -S -s 65536; exec tests/programs.py build-asan'
  else
    add 0 1 0
  fi
fi
if [ -z "$fast" ] && [ -x tests/law.sh ]; then stage "law" 1500 tests/law.sh; fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
