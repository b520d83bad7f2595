#!/bin/sh
# The program holds machine code for each architecture that the build asks nvcc for, and PTX where it asks for that: of every source.
#   machine_code.sh build/trireme build/build.ninja    exit code 77, and why, where nothing can be seen
PATH="$PATH:/usr/local/cuda/bin"
skip() { echo "skipped: $1"; exit 77; }
asked="$(grep -oE 'code=(sm|compute)_[0-9]+[a-z]?' "$2" | sed 's/code=//; s/compute_/PTX_/' | sort -u)"
[ -n "$asked" ] || skip "this build has no CUDA"
command -v cuobjdump > /dev/null || skip "no cuobjdump"
sources="$(grep -cE '^build [^ ]*\.cu\.o' "$2")"
held="$({
  cuobjdump --list-elf "$1" | sed -nE 's/.*\.(sm_[0-9]+[a-z]?)\.cubin$/\1/p'
  cuobjdump --list-ptx "$1" | sed -nE 's/.*\.sm_([0-9]+[a-z]?)\.ptx$/PTX_\1/p'
} | sort | uniq -c | awk -v sources="$sources" '{ print $2 ($1 == sources ? "" : " of " $1 " of " sources " sources") }')"
[ "$held" = "$asked" ] && exit 0
echo "asked for:" $asked
echo "in the program:" $held
exit 1
