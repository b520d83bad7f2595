#!/bin/sh
# The libraries for newer CPUs may define no symbol that the linker could take for a shared inline function (weak, vague or
# unique): it would run on every CPU. Arguments: those libraries.
found=$(nm -C "$@" | grep -E ' [WVwvu] ' | grep -vE '^ +[wv] ')
[ -z "$found" ] && exit 0
echo "shared symbols in libraries for newer CPUs:"
echo "$found"
exit 1
