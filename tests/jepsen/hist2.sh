#!/bin/bash
# hist2.sh HIST2 CROSS_CHECK: the programs on files: verdicts as exit statuses, exports, and z3 where it is installed.
set -euo pipefail
hist2=$1 cross=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

cat >"$dir/good.jsonl" <<'END'
{"index":0,"time":1000,"process":0,"type":"invoke","f":"write","key":7,"value":1}
{"index":1,"time":1200,"process":1,"type":"invoke","f":"read","key":7,"value":null}
{"index":2,"time":5001000,"process":0,"type":"info","f":"write","key":7,"value":1,"error":"timeout"}
{"index":3,"time":5002000,"process":1,"type":"ok","f":"read","key":7,"value":0}
{"index":4,"time":5003000,"process":1,"type":"invoke","f":"read","key":7,"value":null}
{"index":5,"time":5004000,"process":1,"type":"ok","f":"read","key":7,"value":1}
END
{
    cat "$dir/good.jsonl"
    echo '{"index":6,"time":5005000,"process":1,"type":"invoke","f":"read","key":7,"value":null}'
    echo '{"index":7,"time":5006000,"process":1,"type":"ok","f":"read","key":7,"value":0}'
} >"$dir/bad.jsonl"
head -n 3 "$dir/good.jsonl" | tail -n 2 >"$dir/cut.jsonl"

# expect STATUS command...
expect() {
    local wanted=$1 got=0
    shift
    "$@" >"$dir/out" 2>&1 || got=$?
    [ "$got" = "$wanted" ] || { echo "$*: status $got, not $wanted"; cat "$dir/out"; exit 1; }
}

for engine in wgl jit zones; do
    expect 0 "$hist2" check register "$dir/good.jsonl" --engine $engine
    expect 1 "$hist2" check register "$dir/bad.jsonl" --engine $engine
done
expect 1 "$hist2" check cas-register "$dir/bad.jsonl"
expect 3 "$hist2" check register "$dir/cut.jsonl"
expect 3 "$hist2" check counter "$dir/good.jsonl"
expect 2 "$hist2" check tso "$dir/good.jsonl"
expect 3 "$hist2" check nothing "$dir/good.jsonl"
expect 3 "$hist2" jpeg "$dir/good.jsonl" "$dir/x"
expect 3 "$hist2" elle-edn "$dir/good.jsonl" "$dir/x"
expect 0 "$hist2" knossos "$dir/good.jsonl" "$dir/knossos"
[ "$(wc -l <"$dir/knossos/key-0000.edn")" = 8 ]
expect 0 "$hist2" porcupine "$dir/good.jsonl" "$dir/porcupine"
expect 0 "$hist2" csv "$dir/good.jsonl" "$dir/good.csv"

if python3 -c 'import z3' 2>/dev/null; then
    expect 0 python3 "$cross" "$dir/good.jsonl"
    expect 1 python3 "$cross" "$dir/bad.jsonl"
else
    echo "z3 is not installed: its cross-check is skipped"
fi
