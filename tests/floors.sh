#!/usr/bin/env bash
# The rules of the house that a machine can check: include floors, sizes, globals. Shows first that it sees violations.
set -euo pipefail
exec python3 "$(dirname "${BASH_SOURCE[0]}")/floors/floors.py" "$@"
