#!/usr/bin/env bash
# Ours beside llama.cpp on the same file: prefill of 512 tokens, decode at batch 1 and 16, on all CPUs of the mask.
# llama.cpp comes from the source of llama-cpp-python (PyPI), built natively into the cache folder. Samples are taken in
# turn, threads pinned; the machine's read bandwidth is probed around every pair of samples, for it drifts.
#   bench/peers.sh [--repeats N] [--peer-only]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/packages.sh
peer_version="llama-cpp-python"
peer="$cache/llama.cpp"

fetch_peer() {
  [ ! -x "$peer/build/bin/llama-bench" ] || return 0
  install_packages cmake ninja-build g++ python3-pip python3-venv
  say "building llama.cpp from the source of $peer_version into $peer"
  mkdir -p "$peer"
  python3 -m venv "$peer/venv"
  "$peer/venv/bin/pip" install --quiet scikit-build-core pathspec
  "$peer/venv/bin/pip" download --quiet --no-deps --no-binary :all: --no-build-isolation -d "$peer" "$peer_version"
  mkdir -p "$peer/source"
  tar xzf "$peer"/llama_cpp_python-*.tar.gz -C "$peer/source" --strip-components=1
  cmake -S "$peer/source/vendor/llama.cpp" -B "$peer/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DLLAMA_CURL=OFF \
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF > "$peer/cmake.log"
  ninja -C "$peer/build" llama-bench llama-batched-bench > "$peer/build.log"
}

install_packages "${build_packages[@]}"
fetch_model
fetch_peer
BUILD_TARGETS=trireme build build
# Autogroup would make this shell's jobs share the CPU with every other session's as one group each.
{ echo -19 > /proc/self/autogroup; } 2> /dev/null || true
exec python3 bench/peers.py --trireme build/trireme --peer "$peer/build/bin" --model "$model" "$@"
