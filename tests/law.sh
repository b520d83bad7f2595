#!/usr/bin/env bash
# The law of the house: digests, tokens and texts do not depend on how a run is laid out.
#   tests/law.sh          a pairwise cover on tiny models and a handful of runs on SmolLM2 (CI)
#   tests/law.sh --all    every layout of 1 to 7 ranks on every model, a printed random sample of the rest, emulated hosts
#   tests/law.sh --mutants  shows that it fails when it should: builds three small wrongs and catches each
#   tests/law.sh --help   more
set -euo pipefail
here="$(dirname "${BASH_SOURCE[0]}")/law"
if [ "${1:-}" = --mutants ]; then exec python3 "$here/mutants.py"; fi
exec python3 "$here/law.py" "$@"
