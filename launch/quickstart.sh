#!/usr/bin/env bash
# From a fresh Debian to real documents through a real model on two ranks. Says what it installs before it does; can be
# run again at once. --offline: uses only what is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case "${1:-}" in
  "") ;;
  --offline) OFFLINE=1 ;;
  *) echo "usage: $0 [--offline]" >&2; exit 64 ;;
esac
source launch/packages.sh

install_packages "${build_packages[@]}"
fetch_model
say "building build/trireme (minutes at first, seconds when nothing changed)"
BUILD_TARGETS=trireme build build

say "licence texts that every Debian has, as documents: the first 300 words of each"
mkdir -p build/quickstart/licenses
for file in /usr/share/common-licenses/*; do
  if [ ! -L "$file" ]; then tr -s '[:space:]' ' ' < "$file" | cut -d' ' -f1-300 > "build/quickstart/licenses/$(basename "$file").txt"; fi
done
run=(mpirun -n 2 build/trireme run build/quickstart/licenses -m "$model" -o build/quickstart/summaries.jsonl
  --tp 2 --threads 1 --max-tokens 60 --instruction "Summarize this license in one sentence." --digest --restart)
say "$(printf '%q ' "${run[@]}")"
"${run[@]}"
say "build/quickstart/summaries.jsonl begins:"
head -n 3 build/quickstart/summaries.jsonl
say "next: build/trireme run --help, or README.md"
