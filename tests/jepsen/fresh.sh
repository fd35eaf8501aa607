#!/bin/bash
# fresh.sh ASSENT_JEPSEN ASSENTD: a run leaves complete pages and says how it was run; what a node's log cries out makes it
# invalid, also when all answers were right.
set -euo pipefail
judge=$1 assentd=$2 here=$(dirname "$0")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
run() { "$judge" --workload tso --faults kill --fault-ms 600 --loopback --seconds 5 --rate 30 --workers 3 --out "$dir/$1" --assentd "$2" >"$dir/said" 2>&1; }
fail() { echo "$*"; cat "$dir/said"; exit 1; }

run quiet "$assentd" || fail "a quiet run: status $?"
[ ! -x "$(command -v python3)" ] || python3 "$here/check_pages.py" "$dir"/quiet/*
grep -q 'workload tso --faults kill --fault-ms 600' "$dir"/quiet/*/index.html || fail "the command is not in index.html"
"$judge" --judge "$dir"/quiet/* | grep -q 'tso: true .*it was true$' || fail "another verdict a moment later"

printf '#!/bin/sh\necho "clock.c:7:3: runtime error: signed integer overflow" >&2\nexec "%s" "$@"\n' "$assentd" >"$dir/program"
chmod +x "$dir/program"
status=0
run crying "$dir/program" || status=$?
[ $status = 1 ] && grep -q 'false  node-1.log: clock.c:7:3: runtime error' "$dir/said" || fail "a log that cries: status $status"
{ "$judge" --judge "$dir"/crying/* || true; } | grep -q 'tso: false ' || fail "judged again it is valid"
