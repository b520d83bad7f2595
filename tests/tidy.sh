#!/usr/bin/env bash
# clang-tidy over the tree, or over the files given; needs build/compile_commands.json (any build makes it). Version 16 or
# later: earlier ones do not know std::source_location. Not part of tests/run.sh: it takes about five seconds a file.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tidy="$(command -v clang-tidy-16 || command -v clang-tidy)"
files=("$@")
if [ ${#files[@]} = 0 ]; then mapfile -t files < <(git ls-files 'src/*.cpp' 'topology/*.cpp' 'launch/*.cpp' 'kernels/*.cpp'); fi
printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -n 4 "$tidy" --quiet -p build 2>&1 | grep -E '(warning|error):' | sort -u > build/tidy.log || true
cat build/tidy.log
echo "$((${#files[@]})) files, $(wc -l < build/tidy.log) findings"
[ ! -s build/tidy.log ]
