#!/bin/sh
# clang-tidy and cppcheck over our C files; the configuration is .clang-tidy and tests/lint/cppcheck.txt.
# usage: run.sh BUILD_DIR JOBS
set -eu
build=$1 jobs=$2
cd "$(dirname "$0")/../.."

# clang's own flags: a build directory of its own, configured only
cmake --preset clang -B "$build" -DCMAKE_MESSAGE_LOG_LEVEL=NOTICE >/dev/null
# what this machine does not build (the guard of a database whose client is missing) cannot be read either
files=$(find raftlog statemachine node client -name "*.c" | sort | while read -r file; do
    if grep -q "/$file\"" "$build/compile_commands.json"; then echo "$file"; else echo "lint: $file is not built here" >&2; fi
done)

printf 'lint: clang-tidy over %s files\n' "$(printf '%s\n' "$files" | wc -l)"
printf '%s\n' "$files" | xargs -P "$jobs" -n 4 clang-tidy -p "$build" --quiet 2>"$build/tidy.err" || {
    grep -v -e 'warnings generated' -e 'Suppressed' "$build/tidy.err" >&2 || true
    echo 'lint: clang-tidy found something' >&2
    exit 1
}

echo 'lint: cppcheck'
cppcheck --project="$build/compile_commands.json" --cppcheck-build-dir="$(mkdir -p "$build/cppcheck" && echo "$build/cppcheck")" \
    --enable=warning,performance,portability --inline-suppr --suppressions-list=tests/lint/cppcheck.txt \
    -itests --library=posix --quiet --error-exitcode=1 -j "$jobs"
echo 'lint: clean'
