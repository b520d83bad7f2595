#!/bin/sh
# Starts a program of the bundle, wherever that lies: the one by whose name this script is called. Needs no other program
# of the host than this shell (and readlink, when it is called by a link).
case $0 in */*) self=$0 ;; *) self=./$0 ;; esac
if [ -h "$self" ]; then self=$(readlink -f "$self"); fi
name=${0##*/}
here=$(CDPATH='' cd -P -- "${self%/*}/.." && pwd) || exit 70

export OPAL_PREFIX="$here" OPAL_BINDIR="$here/bin" OPAL_LIBDIR="$here/lib" OPAL_PKGLIBDIR="$here/lib/openmpi"
export OPAL_DATADIR="$here/share" OPAL_PKGDATADIR="$here/share/openmpi" OPAL_SYSCONFDIR="$here/etc"
export PMIX_PREFIX="$here" PMIX_LIBDIR="$here/lib" PMIX_PKGLIBDIR="$here/lib/pmix"
export PMIX_DATADIR="$here/share" PMIX_PKGDATADIR="$here/share/pmix" PMIX_SYSCONFDIR="$here/etc"
export UCX_MODULE_DIR="$here/lib/ucx"

# Open MPI gives up without a way to other hosts, even where it needs none.
command -v ssh > /dev/null || command -v rsh > /dev/null || [ -n "$SLURM_JOB_ID" ] || export OMPI_MCA_plm="${OMPI_MCA_plm-isolated}"

case "$name" in
  mpirun)
    PATH="$here/bin:$PATH"
    program=$here/libexec/orterun
    set -- --prefix "$here" "$@"
    ;;
  *) program=$here/libexec/$name ;;
esac

# The libraries want glibc 2.36, as Debian 12 has. A host's own is taken when it is that new: the libraries of its name
# services and locales fit no other.
libc=$(getconf GNU_LIBC_VERSION 2> /dev/null)
libc=${libc#glibc }
major=${libc%%.*} minor=${libc#*.}
case "$major$minor" in
  '' | *[!0-9]*) own=1 ;;
  *) if [ "$major" -gt 2 ] || { [ "$major" -eq 2 ] && [ "$minor" -ge 36 ]; }; then own=; else own=1; fi ;;
esac
if [ -z "$own" ]; then exec "$program" "$@"; fi
# --library-path stands in place of LD_LIBRARY_PATH, where a GPU's driver may lie.
exec "$here/lib/glibc/ld-linux-x86-64.so.2" --argv0 "$0" --library-path "$here/lib/glibc:$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" "$program" "$@"
