#!/bin/sh
# Installs libassent into a fresh folder and builds programs against it as its users do: the example in C, shared and
# static, and the header in C++.  usage: install.sh BUILD_DIR CC CXX FLAGS
set -eu
build=$1 cc=$2 cxx=$3 instrument=$4
here=$(cd "$(dirname "$0")" && pwd)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
cmake --install "$build" --component library --prefix "$root" >/dev/null
PKG_CONFIG_PATH=$(dirname "$(find "$root" -name assent.pc)")
export PKG_CONFIG_PATH
lib=$(pkg-config --variable=libdir assent)
example=$here/../../client/example/transfer.c

# shellcheck disable=SC2046,SC2086 # flags are words
"$cc" -Wall -Wextra -Werror $instrument -o "$root/shared" "$example" $(pkg-config --cflags --libs assent)
LD_LIBRARY_PATH=$lib "$root/shared" --version
# shellcheck disable=SC2046,SC2086
"$cc" -Wall -Wextra -Werror $instrument -o "$root/static" "$example" $(pkg-config --cflags assent) \
    "$lib/libassent.a" $(pkg-config --libs libuv msgpack) -lpthread
"$root/static" --version

# The archive must bear a program with inner names of its own.
cat >"$root/both.cc" <<'END'
#include "assent/client.h"
#include <cstring>
extern "C" int codec_parse(void) { return 1; }
int main()
{
    struct assent_options options;
    assent_options_init(&options);
    struct assent_client *client = nullptr;
    return codec_parse() == 1 && assent_open(&client, &options) == ASSENT_INVALID && client == nullptr &&
                   std::strcmp(assent_error_name(ASSENT_OK), "OK") == 0
               ? 0
               : 1;
}
END
# shellcheck disable=SC2046,SC2086
"$cxx" -std=c++11 -Wall -Wextra -Werror $instrument -o "$root/both" "$root/both.cc" $(pkg-config --cflags assent) \
    "$lib/libassent.a" $(pkg-config --libs libuv msgpack) -lpthread
"$root/both"

foreign=$(nm -D --defined-only "$lib/libassent.so" | awk '$3 !~ /^(assent_|__asan|__odr_asan|_init$|_fini$|__gcov|mangle_path)/ { print $3 }')
if [ -n "$foreign" ] && [ -z "$instrument" ]; then
    echo "libassent.so shows names that are not its own: $foreign" >&2
    exit 1
fi
echo "installed, linked shared and static, from C and C++"
