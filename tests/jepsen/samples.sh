#!/bin/bash
# samples.sh ASSENT_JEPSEN HIST2 HISTORIES: the released histories still get their verdicts, their exports are what we
# would write today, and an exported register is judged as the history is.
set -euo pipefail
judge=$1 hist2=$2 histories=$3
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
field() { sed -n "s/^ *\"$1\": \"\(.*\)\",\{0,1\}\$/\1/p" "$2/results.json"; }
fail() { echo "$*"; [ ! -f "$dir/said" ] || cat "$dir/said"; exit 1; }

count=0 wrong=0
for sample in "$histories"/*/; do
    sample=${sample%/} valid=$(field valid "$sample") model=$(field model "$sample")
    count=$((count + 1))
    case $valid in true) want=0 ;; false) want=1 wrong=$((wrong + 1)) ;; *) fail "$sample: verdict $valid" ;; esac
    case $sample in *-valid) [ "$valid" = true ] ;; *-invalid) [ "$valid" = false ] ;; *) false ;; esac || fail "$sample: is $valid"
    status=0
    if [ -n "$model" ]; then
        "$hist2" check "$model" "$sample" >"$dir/said" 2>&1 || status=$?
    else
        "$judge" --judge "$sample" >"$dir/said" 2>&1 || status=$?
    fi
    [ $status = $want ] || fail "$sample: status $status, not $want"
    for format in knossos porcupine elle-edn elle-json csv; do
        exported=("$sample/$format"*)
        [ -e "${exported[0]}" ] || continue
        "$hist2" $format "$sample" "$dir/$(basename "${exported[0]}")"
        diff -r "${exported[0]}" "$dir/$(basename "${exported[0]}")" >"$dir/said" || fail "$sample: $format is another today"
        rm -rf "$dir/$(basename "${exported[0]}")"
    done
    # Key by key, what comes back from the foreign formats is as valid as what went out.
    worst=0
    for format in knossos porcupine; do
        [ -d "$sample/$format" ] || continue
        worst=0
        for key in "$sample/$format"/*; do
            status=0
            "$hist2" check cas-register "$key" >"$dir/said" 2>&1 || status=$?
            [ $status -le 2 ] || fail "$key: status $status"
            [ $status != 1 ] || worst=1
        done
        [ $worst = $want ] || fail "$sample: as $format its verdict is another"
    done
    for file in "$sample"/elle-edn.edn "$sample"/elle-json.json; do
        [ -e "$file" ] || continue
        status=0
        "$hist2" check append "$file" >"$dir/said" 2>&1 || status=$?
        [ $status = $want ] || fail "$file: status $status, not $want"
    done
done
# A run that never wrote down what its participants did has decided nothing, however many clients were content.
mkdir "$dir/deaf"
echo '{"workload":"saga","valid":"unknown"}' >"$dir/deaf/results.json"
for i in $(seq 0 2 598); do
    key=\"k$((i / 2))\"
    echo "{\"index\":$i,\"time\":$i,\"process\":0,\"type\":\"invoke\",\"f\":\"status\",\"key\":$key,\"value\":null}"
    echo "{\"index\":$((i + 1)),\"time\":$((i + 1)),\"process\":0,\"type\":\"ok\",\"f\":\"status\",\"key\":$key,\"value\":\"COMMITTED\"}"
done >"$dir/deaf/history.jsonl"
status=0
"$judge" --judge "$dir/deaf" >"$dir/said" 2>&1 || status=$?
grep -q 'participants did is not in the history' "$dir/said" && [ $status = 2 ] || fail "without effects: status $status"

[ $count -ge 20 ] && [ $wrong -ge 10 ] || fail "$count samples, $wrong invalid: too few"
echo "$count samples, $wrong of them invalid: every verdict and every export as released"
