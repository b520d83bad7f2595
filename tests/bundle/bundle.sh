#!/usr/bin/env bash
# The bundle of launch/bundle.sh runs where nothing is installed: an empty root with a shell and nothing else, no network, as
# a user who is not root, from a read-only folder; and on this host from another path, with this host's libc. Where there is nvcc it carries the
# programs and scripts for a machine with a GPU, too, which say by name what they leave out without one.
#   tests/bundle/bundle.sh [--offline]   last line: N passed, N failed, N skipped
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if [ "${1:-}" = --offline ]; then OFFLINE=1; fi
source launch/packages.sh
passed=0 failed=0 skipped=0
check() {
  local what="$1"
  shift
  if "$@" > "$work/said" 2>&1; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED $what"; tail -n 20 "$work/said"; fi
}
end() { echo "$passed passed, $failed failed, $((skipped + ${1:-0})) skipped"; [ "$failed" = 0 ]; exit; }

work="$(mktemp -d)"
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
(install_packages busybox-static patchelf util-linux iproute2) || { echo "skipped: the bundle: packages are missing"; end 1; }
check "the bundle is made" launch/bundle.sh ${OFFLINE:+--offline} "$work/made"
[ "$failed" = 0 ] || end
check "it has at most 60 MiB" test "$(du -sm "$work/made" | cut -f1)" -le 60
mkdir "$work/unpacked" "$work/a folder" "$work/bin" "$work/files" "$work/other"
check "its archive unpacks" tar -C "$work/unpacked" -xzf "$work/made.tar.gz"
check "to the same folder" diff -r "$work/made" "$work/unpacked/made"
gpu_tests=()
if grep -q "^build tests/kernels/kernels_gpu_test:" build/build.ninja; then gpu_tests=(--gpu-tests); fi
check "a second one takes its place" launch/bundle.sh ${OFFLINE:+--offline} "${gpu_tests[@]}" "$work/made"
touch "$work/other/file"
kept() { ! launch/bundle.sh --offline "$work/other" && test -f "$work/other/file"; }
check "but not that of another folder" kept
licensed() {
  local of
  for of in trireme libc6 libopenmpi3 libucx0 zlib1g nlohmann-json3-dev common-licenses/LGPL-2.1; do test -s "$work/made/share/licenses/$of" || return 1; done
}
check "with everybody's license" licensed
no_path_of_this_machine() { ! grep -rlI -e "$PWD" -e "$work" "$work/made"; }
check "no text in it names a path of this machine" no_path_of_this_machine

build/tests/testkit/make_tiny_model "$work/files/tiny.gguf" --layers 2
printf '{"prompt":"Once"}\n{"prompt":"upon a time","max_tokens":3}\n' > "$work/files/in.jsonl"
run=(run in.jsonl -m tiny.gguf --max-tokens 8 --digest --log-level warn --restart)
check "the program as it was built runs" bash -c "cd '$work/files' && '$PWD/build/trireme' ${run[*]} -o expected.jsonl"
same() { cmp "$work/files/expected.jsonl" "$1"; }

# On this host, from another path, by a link, beside another MPI.
touch "$work/other/libmpi.so.40"
mv "$work/made" "$work/a folder/moved"
chmod -R a-w "$work/a folder/moved"
for name in trireme mpirun; do ln -s "$work/a folder/moved/bin/$name" "$work/bin/$name"; done
check "moved, by a link, on two ranks" bash -c "cd '$work/files' && env LD_LIBRARY_PATH='$work/other' PATH='$work/bin:/usr/bin:/bin' mpirun -n 2 trireme ${run[*]} -o moved.jsonl --tp 2"
check "with the same bytes" same "$work/files/moved.jsonl"
links_only_its_own() {
  local object others
  while read -r object; do
    others="$(LD_TRACE_LOADED_OBJECTS=1 /lib64/ld-linux-x86-64.so.2 "$object" | sed -n 's/.* => \(.*\) (0x.*/\1/p; /not found/p' | grep -v "^$work/a folder/moved/")"
    echo "$object: $others"
    ! grep -vE '/(libc|libm|libdl|librt|libpthread|libutil|libresolv)\.so\.[0-9]+$' <<< "$others" | grep . || return 1
  done < <(find "$work/a folder/moved/libexec" "$work/a folder/moved/lib" -type f ! -path '*/glibc/*')
}
check "with libraries of its own, libc and its kin apart" links_only_its_own

# What finds no GPU names each part that it leaves out, and counts them.
names_what_is_left_out() {
  local said count
  said="$(env -C / PATH=/usr/bin:/bin CUDA_VISIBLE_DEVICES= "$work/a folder/moved/$1")" || return 1
  echo "$said"
  count="$(grep -cE '^skipped: [^:]+: .' <<< "$said")"
  [ "$count" -ge 6 ] && [ "$(tail -n 1 <<< "$said")" = "0 passed, 0 failed, $count skipped" ]
}
if [ ${#gpu_tests[@]} -gt 0 ]; then
  check "with tests for a GPU it is small enough to travel, too" [ "$(stat -c %s "$work"/made.tar.gz)" -le $((60 << 20)) ]
  for script in tests/gpu.sh bench/gpu.sh; do check "without a GPU, $script" names_what_is_left_out "$script"; done
else
  skipped=1
  echo "skipped: the bundle's programs for a GPU: no nvcc"
fi

# An empty root.
if [ "$(id -u)" != 0 ] || ! unshare --mount --net --pid --ipc --fork true 2> /dev/null; then
  echo "skipped: the bundle in an empty root: needs root and namespaces"
  end 1
fi
cat > "$work/enter.sh" << 'END'
set -e
root="$1" bundle="$2" files="$3"
shift 3
mount -t tmpfs none "$root"
mkdir -p "$root"/bin "$root"/bundle "$root"/proc "$root"/sys "$root"/dev/shm "$root"/tmp "$root"/files
cp "$(command -v busybox)" "$root/bin/sh"
mount --bind "$bundle" "$root/bundle"
mount -o remount,bind,ro "$root/bundle"
mount --bind "$files" "$root/files"
mount -t proc none "$root/proc"
mount -t sysfs none "$root/sys"
mount -t tmpfs none "$root/dev/shm"
for node in null zero urandom; do touch "$root/dev/$node"; mount --bind "/dev/$node" "$root/dev/$node"; done
chmod 1777 "$root/tmp" "$root/dev/shm"
ip link set lo up
exec chroot --userspec=1000:1000 "$root" /bin/sh -c "cd /files && HOME=/tmp PATH=/bundle/bin:/bin $*"
END
mkdir "$work/root"
chmod -R a+rwX "$work/files"
chmod a+rx "$work" "$work/a folder"
bare() { unshare --mount --net --pid --ipc --uts --fork bash "$work/enter.sh" "$work/root" "$work/a folder/moved" "$work/files" "$@"; }
bare_has_nothing() { ! bare "test -e /lib64/ld-linux-x86-64.so.2 -o -e /lib -o -e /usr" ; }
check "in an empty root the program starts" bare "trireme --version --verbose"
check "which has no loader and no library" bare_has_nothing
check "one rank" bare "trireme ${run[*]} -o one.jsonl"
check "with the same bytes" same "$work/files/one.jsonl"
for layout in "2 --tp 2" "2 --pp 2" "3 --tp 3"; do
  check "mpirun -n $layout" bare "mpirun --oversubscribe -n ${layout%% *} trireme ${run[*]} -o ranks.jsonl ${layout#* }"
  check "with the same bytes" same "$work/files/ranks.jsonl"
done
check "doctor" bare "mpirun -n 2 trireme doctor"
end
