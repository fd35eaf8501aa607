#!/bin/sh
# The simulator, the chaos of cores and the guards against a libraft whose assertions are on, with the address and
# undefined behaviour sanitizers in the library too.  The package is built with NDEBUG: there a broken invariant of the
# library is silent.
#
# usage: asserts.sh FOLDER [SEEDS]     FOLDER is made; SEEDS (1000) of the simulator and of each shape of chaos
# exit: 0 nothing found, 1 something found, 77 the source package of the installed library cannot be had
set -u
cd "$(dirname "$0")/../.." || exit 1
folder=$1 seeds=${2:-1000} root=$PWD
mkdir -p "$folder/source" || exit 1
folder=$(cd "$folder" && pwd)

skip() {
    echo "skipped: $1"
    exit 77
}

# ---- the source of exactly the installed version, from the suite it was installed from, checked by apt

version=$(dpkg-query -W -f '${Version}' libraft-dev 2>/dev/null) || skip "libraft-dev is not a package here"
upstream=${version%%-*}
tarball=$folder/source/raft_$upstream.orig.tar.gz
fetch() {
    origin=$(apt-cache policy libraft-dev | awk '/\*\*\*/ {here = 1; next} here && $2 ~ /^http/ {print $2, $3; exit}')
    # shellcheck disable=SC2086  # two words: where, and suite/component
    set -- $origin
    [ $# -eq 2 ] || return 1
    mkdir -p "$folder/apt/lists/partial" "$folder/apt/cache/archives/partial"
    keys=/usr/share/keyrings/debian-archive-keyring.gpg
    echo "deb-src [signed-by=$keys] $1 ${2%%/*} ${2#*/}" >"$folder/apt/sources.list"
    set -- -q -o "Dir::Etc::sourcelist=$folder/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o "Dir::State::lists=$folder/apt/lists" -o "Dir::Cache=$folder/apt/cache" -o "APT::Sandbox::User=$(id -un)"
    apt-get "$@" update && (cd "$folder/source" && apt-get "$@" source --download-only --tar-only "libraft-dev=$version")
}
if [ ! -f "$tarball" ]; then
    fetch >"$folder/apt.log" 2>&1 || skip "apt has no source of libraft $version (deb-src of its suite); $folder/apt.log"
    [ -f "$tarball" ] || skip "apt fetched no $tarball"
fi

# ---- a static library with assertions

library=$folder/library
if [ ! -f "$library/libraft.a" ]; then
    rm -rf "$folder/source/raft-$upstream"
    tar xzf "$tarball" -C "$folder/source" || exit 1
    mkdir -p "$library"
    # the core and what its public face needs; not the legacy loop on libuv
    for source in "$folder/source/raft-$upstream"/src/*.c; do
        name=$(basename "$source" .c)
        case $name in uv | uv_*) continue ;; esac
        cc -std=gnu11 -O1 -g -UNDEBUG -DV0_ENABLED -fPIC -fno-omit-frame-pointer \
            -fsanitize=address,undefined -fno-sanitize-recover=undefined -w \
            -I "$folder/source/raft-$upstream/include" -I "$(pkg-config --variable=includedir raft)" \
            -c "$source" -o "$library/$name.o" || exit 1
    done
    ar rcs "$library/libraft.a" "$library"/*.o || exit 1
fi
cat >"$library/raft.pc" <<END
Name: raft
Description: libraft $upstream with assertions and sanitizers
Version: $upstream
Libs: -L$library -lraft
Cflags: -I$(pkg-config --variable=includedir raft)
END

# ---- ours against it

build=$folder/assent
PKG_CONFIG_PATH=$library cmake --preset dev -B "$build" -DCMAKE_C_COMPILER_LAUNCHER="$(command -v ccache)" \
    >"$folder/cmake.log" 2>&1 || { tail -20 "$folder/cmake.log"; exit 1; }
programs="assent-sim assent-museum test_core_chaos test_guards_off"
# shellcheck disable=SC2086
ninja -C "$build" ${JOBS:+-j $JOBS} $programs >"$folder/build.log" 2>&1 || { tail -20 "$folder/build.log"; exit 1; }
if ldd "$build/tests/sim/assent-sim" | grep -q libraft; then
    echo "the packaged library was linked instead of $library/libraft.a"
    exit 1
fi

# ---- runs

found=0
run() {
    what=$1
    shift
    echo "== $what"
    "$@" >"$folder/$what.log" 2>&1 && tail -3 "$folder/$what.log" && return
    found=1
    tail -15 "$folder/$what.log"
    echo "FOUND something: $folder/$what.log"
}
cd "$root" || exit 1
run simulator "$build/tests/sim/assent-sim" --seeds "$seeds"
run chaos env ASSENT_SEEDS="$seeds" "$build/tests/raftlog/test_core_chaos"
run museum "$build/tests/sim/assent-museum"
run guards "$build/tests/raftlog/test_guards_off"
exit $found
