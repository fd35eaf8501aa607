#!/bin/bash
# pages.sh ASSENT_JEPSEN HISTORIES: the pages of released samples of every sort of finding, and of a run under every class of faults at once.
set -euo pipefail
judge=$1 histories=$2 here=$(dirname "$0")
command -v python3 >/dev/null || { echo "python3 is not installed: pages are not looked at"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# Exit statuses 1 and 2 are verdicts.
redraw() { "$judge" --redraw "$1" >"$dir/said" 2>&1 || [ $? -le 2 ] || { cat "$dir/said"; exit 1; }; }
folders=()
for sample in tso-valid decide-invalid register-invalid lists-invalid lamport-invalid bank-invalid; do
    cp -r "$histories/$sample" "$dir/$sample"
    redraw "$dir/$sample"
    folders+=("$dir/$sample")
done

# Every class the judge knows, one after the other and some at once; clocks as the nemesis words it.
every=$dir/every
cp -r "$histories/register-valid" "$every"
{ "$judge" 2>&1 || true; } | sed -n '/^faults:/,$s/^  \([a-z]*\) .*/\1/p' >"$dir/classes"
python3 - "$every" "$dir/classes" <<'END'
import json, sys
folder, classes = sys.argv[1], open(sys.argv[2]).read().split()
events = [json.loads(line) for line in open(folder + "/history.jsonl")]
last = events[-1]["time"]
said = {"clock": ["clocks jump: node-1 +500 ms node-2 -90 ms", "clock of node-3 goes 1.5 times as fast"]}
faults = []
for n, name in enumerate(classes):
    for k, text in enumerate(said.get(name, [f"{name} of node-1 & <others> \"quoted\""])):
        begin = last * (n + k * 0.4) / (len(classes) + 1)
        faults += [(begin, name, text), (begin + last * 0.3 / len(classes), name, "end")]
events += [{"time": int(t), "process": "nemesis", "type": "info", "f": f, "value": text} for t, f, text in faults]
events = [e for e in events if e["process"] != "nemesis" or e["f"] in classes]
events.sort(key=lambda e: e["time"])
with open(folder + "/history.jsonl", "w") as out:
    for i, e in enumerate(events):
        out.write(json.dumps({**e, "index": i}) + "\n")
results = json.load(open(folder + "/results.json"))
results["faultClasses"] = {name: {} for name in classes}
json.dump(results, open(folder + "/results.json", "w"))
END
redraw "$every"
folders+=("$every")
[ "$(wc -w <"$dir/classes")" -ge 11 ] || { echo "the judge names few faults:"; cat "$dir/classes"; exit 1; }

# A long run: its timeline has two pages.
mkdir "$dir/long"
echo '{"workload":"tso","valid":"true","why":"","faultClasses":{}}' >"$dir/long/results.json"
awk 'BEGIN { for (i = 0; i < 41000; i++) {
    op = sprintf("\"process\":%d,\"f\":\"grant\",\"node\":\"node-%d\"", i % 5, i % 3 + 1)
    printf "{\"index\":%d,\"time\":%d,\"type\":\"invoke\",\"value\":1,%s}\n", 2 * i, 2000000 * i, op
    printf "{\"index\":%d,\"time\":%d,\"type\":\"ok\",\"value\":[%d,1],%s}\n", 2 * i + 1, 2000000 * i + 900000, i + 1, op
} }' >"$dir/long/history.jsonl"
redraw "$dir/long"
[ -f "$dir/long/timeline-2.html" ] || { echo "41,000 operations on one page"; exit 1; }
python3 "$here/check_pages.py" "${folders[@]}" "$dir/long"

# And the check sees what is broken.
must_fail() {
    if python3 "$here/check_pages.py" "$dir/broken" >"$dir/said" 2>&1; then
        echo "not seen: $1"
        exit 1
    fi
    rm -rf "$dir/broken"
}
broken() { cp -r "$every" "$dir/broken"; }
broken; sed -i '0,/<\/table>/s///' "$dir/broken/index.html"; must_fail "a table that is not closed"
broken; sed -i 's/<td>partition</<td>something</g; s/partition/something/g' "$dir/broken/timeline.html"; must_fail "a class that is not named"
broken; sed -i 's#src="rate.png"#src="https://example.org/rate.png"#' "$dir/broken/index.html"
command -v gnuplot >/dev/null && must_fail "a picture from elsewhere"
rm -rf "$dir/broken"
broken; sed -i '/^ops:/{n;d}' "$dir/broken/timeline.html"; must_fail "an operation that is missing"
broken; rm "$dir/broken/history.txt"; must_fail "a file that is missing"
