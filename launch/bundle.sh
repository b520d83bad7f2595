#!/usr/bin/env bash
# One relocatable folder for machines without internet: the program, Open MPI with launcher and plugins, UCX, HDF5, every
# other library, and the loader and libc for hosts whose own are older. It runs from any path, read-only, as any user.
#   launch/bundle.sh [FOLDER]    default build/trireme-bundle in the checkout; a bundle there is replaced, FOLDER.tar.gz too
#   --gpu-tests                  with tests/gpu.sh and bench/gpu.sh, and what they run
#   --offline                    uses only what is there
set -euo pipefail
checkout="$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")"
target="$checkout/build/trireme-bundle" tests=()
for argument in "$@"; do
  case "$argument" in
    --offline) OFFLINE=1 ;;
    --gpu-tests) tests=(tests/kernels/kernels_gpu_test tests/testkit/make_tiny_model bench/gpu_kernels bench/gpu_products) ;;
    "" | -*) echo "usage: $0 [--gpu-tests] [--offline] [FOLDER]" >&2; exit 64 ;;
    *) target="$(realpath -m "$argument")" ;;
  esac
done
cd "$checkout"
source launch/packages.sh

if { [ -e "$target" ] || [ -e "$target.tar.gz" ]; } && [ ! -f "$target/bundle.txt" ]; then
  die "$target or its .tar.gz is there and is no bundle: name another folder"
fi
install_packages "${build_packages[@]}" patchelf
BUILD_TARGETS="trireme ${tests[*]}" build build

# Where Debian's packages keep what they open while they run.
system="/usr/lib/$(g++ -print-multiarch)"
mpi_plugins="$(ompi_info --parsable --path pkglibdir | cut -d: -f3-)"
mpi_data="$(ompi_info --parsable --path pkgdatadir | cut -d: -f3-)"
mpi_settings="$(ompi_info --parsable --path sysconfdir | cut -d: -f3-)"
pmix="$system/pmix2"

mkdir -p "$(dirname "$target")"
work="$(mktemp -d "$(dirname "$target")/bundle.XXXXXX")"
trap 'rm -rf "$work"' EXIT
folder="$work/$(basename "$target")"
mkdir -p "$folder"/{bin,libexec,lib/{openmpi,pmix,ucx,glibc},share/{openmpi,pmix,licenses},etc}
cp build/trireme "${tests[@]/#/build/}" /usr/bin/orterun /usr/bin/orted "$folder/libexec"
# OpenSHMEM, and fabrics of other libraries than UCX, are not for us.
find "$mpi_plugins" -name 'mca_*.so' | grep -vE 'mca_(memheap|spml|scoll|sshmem|atomic|mtl|btl_ofi|btl_openib)' | xargs cp -t "$folder/lib/openmpi"
find "$pmix/lib/pmix" -name '*.so' -exec cp -t "$folder/lib/pmix" {} +
find "$system/ucx" -name '*.so.0' -exec cp -L -t "$folder/lib/ucx" {} +
cp "$mpi_data"/help-*.txt "$folder/share/openmpi"
find "$pmix/share" -name 'help-*.txt' -exec cp -t "$folder/share/pmix" {} +
cp "$mpi_settings/openmpi-mca-params.conf" "$folder/etc"
if [ ${#tests[@]} -gt 0 ]; then
  cp --parents -t "$folder" tests/gpu.sh tests/golden/check.py tests/golden/smollm2_fp32.json \
    tests/golden/families/{check,folder,gguf,models}.py tests/golden/families/goldens.json bench/gpu.sh bench/torch_decode.py
fi
for name in trireme mpirun orted "${tests[@]##*/}"; do install -m 755 launch/bundle_start.sh "$folder/bin/$name"; done

# What all of these link, libc and its kin apart.
declare -A licensed
find "$folder/libexec" "$folder/lib" -type f -exec ldd {} + > "$work/linked"
! grep "not found" "$work/linked" || die "these libraries are linked, and are not there"
mapfile -t linked < <(awk '$2 == "=>" { print $3 } $1 ~ /^\/.*ld-linux/ { print $1 }' "$work/linked" | sort -u)
for library in "${linked[@]}"; do
  case "${library##*/}" in
    ld-linux*|libc.so.*|libm.so.*|libdl.so.*|librt.so.*|libpthread.so.*|libutil.so.*|libresolv.so.*|libmvec.so.*) into=glibc ;;
    *) into=. ;;
  esac
  cp -L "$library" "$folder/lib/$into"
  real="$(realpath "$library")"  # dpkg may know it without the /usr that /lib links to
  package="$(dpkg-query -S "$real" 2> /dev/null || dpkg-query -S "${real#/usr}")" || die "no package has $real"
  licensed[${package%%:*}]=1
done
for package in openmpi-bin nlohmann-json3-dev "${!licensed[@]}"; do
  cp -L "/usr/share/doc/$package/copyright" "$folder/share/licenses/$package"
done
cp LICENSE "$folder/share/licenses/trireme"
cp -rL /usr/share/common-licenses "$folder/share/licenses"  # what Debian's own notes point at

# Every file finds the others from where it lies, before it looks into LD_LIBRARY_PATH, which may name a site's MPI.
find "$folder/libexec" "$folder/lib" -type f ! -path "*/glibc/*" | while read -r object; do
  strip --strip-unneeded "$object"
  case "$object" in
    "$folder"/libexec/*) patchelf --force-rpath --set-rpath '$ORIGIN/../lib' "$object" ;;
    "$folder"/lib/*/*) patchelf --force-rpath --set-rpath '$ORIGIN/..' "$object" ;;
    *) patchelf --force-rpath --set-rpath '$ORIGIN' "$object" ;;
  esac
done
{
  build/trireme --version --verbose
  echo
  echo "bin/trireme and bin/mpirun run from here, wherever here is: mpirun -n 2 trireme run --help"
  if [ ${#tests[@]} -gt 0 ]; then echo "tests/gpu.sh and bench/gpu.sh try this machine's GPU, eight minutes at most each"; fi
} > "$folder/bundle.txt"
tar -C "$work" -czf "$folder.tar.gz" "$(basename "$target")"
rm -rf "$target" "$target.tar.gz"
mv "$folder" "$folder.tar.gz" "$(dirname "$target")"
say "$target: $(du -sm "$target" | cut -f1) MB; to carry elsewhere: $target.tar.gz, $(du -sm "$target.tar.gz" | cut -f1) MB"
if [ ${#tests[@]} -gt 0 ]; then say "there: tar -xzf ${target##*/}.tar.gz, then ${target##*/}/tests/gpu.sh and ${target##*/}/bench/gpu.sh"; fi
