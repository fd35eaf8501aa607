#!/bin/sh
# Installs the participants' guard into a fresh folder and links it as its users do: shared in C, static in C++.
# usage: guard_install.sh BUILD_DIR CC CXX SANITIZERS
set -eu
build=$1 cc=$2 cxx=$3 sanitize=${4:+-fsanitize=$4}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
cmake --install "$build" --component library --prefix "$root" >/dev/null
cmake --install "$build" --component guard --prefix "$root" >/dev/null
PKG_CONFIG_PATH=$(dirname "$(find "$root" -name assent-guard.pc)")
export PKG_CONFIG_PATH
lib=$(pkg-config --variable=libdir assent-guard)

# The program refers to one function of each library that was built; nothing is called without a database.
for part in "" -pq -mariadb -redis; do
    [ -e "$PKG_CONFIG_PATH/assent-guard$part.pc" ] || continue
    case $part in
    -pq) call='assent_guard_pq_create(0, 0, 0, &r)' ;;
    -mariadb) call='assent_guard_mariadb_create(0, 0, 0, &r)' ;;
    -redis) call='assent_guard_redis_eval(0, &c, 0, 0, 0, 0, &r)' ;;
    *) call=0 ;;
    esac
    cat >"$root/program.c" <<END
#include <assent/guard.h>
int main(int argc, char **argv)
{
    struct assent_guard_call c;
    struct assent_guard_result r;
    (void)argv, (void)argc, (void)r;
    int rc = assent_guard_call_query(&c, "gid=1&branch_id=2&op=try&trans_type=tcc");
    if (argc > 5)
        rc = $call;
    return rc;
}
END
    cp "$root/program.c" "$root/program.cc"
    # shellcheck disable=SC2046,SC2086 # flags are words
    "$cc" -Wall -Wextra -Werror $sanitize -o "$root/shared" "$root/program.c" $(pkg-config --cflags --libs "assent-guard$part")
    LD_LIBRARY_PATH=$lib "$root/shared"
    # shellcheck disable=SC2046,SC2086
    "$cxx" -std=c++11 -Wall -Wextra -Werror $sanitize -o "$root/static" "$root/program.cc" \
        $(pkg-config --cflags "assent-guard$part") -Wl,-Bstatic $(pkg-config --libs "assent-guard$part") -lassent-guard \
        -Wl,-Bdynamic $(pkg-config --libs $(pkg-config --print-requires-private "assent-guard$part") 2>/dev/null)
    "$root/static"
    foreign=$(nm -D --defined-only "$lib/libassent-guard$part.so" | awk '$3 !~ /^(assent_|__asan|__odr_asan|_init$|_fini$|__gcov|mangle_path)/ { print $3 }')
    if [ -n "$foreign" ] && [ -z "$sanitize" ]; then
        echo "libassent-guard$part.so shows names that are not its own: $foreign" >&2
        exit 1
    fi
    echo "assent-guard$part: installed, linked shared from C and static from C++"
done
