#!/bin/bash
# Every workload under every given list of faults, one run after the other; a table of what came out.
#
#     matrix.sh BUILD OUT SECONDS FAULTS...      FAULTS: names joined by commas, or `calm`
#
# WORKLOADS="decide tso" and SEED=7 choose.  A workload whose name ends in -stale is a control: under a partition it
# must be judged invalid, and a judge that does not see it has failed.  Exit: 1 when any is invalid, else 3 when the judge failed, else 2 when
# any is unknown, else 0.
set -u
[ $# -ge 4 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 3; }
build=$1 out=$2 seconds=$3
shift 3
judge=$build/jepsen/harness/assent-jepsen
table=$out/summary-$(date +%Y%m%d-%H%M%S).txt
mkdir -p "$out"
running=
trap 'trap "" INT TERM; [ -z "$running" ] || { kill -TERM "$running" 2>/dev/null; wait "$running"; }; exit 130' INT TERM

number() { sed -n "s/^  \"$1\": \\([0-9]*\\),\\{0,1\\}\$/\\1/p" "$2/results.json"; }
forced() { tr -d '\n' <"$1/results.json" | grep -o '"[a-z]*": *{ *"inForce": *[0-9]*' | sed 's/"\([a-z]*\)".*: */\1 /' |
    awk '{ printf "%s%s %s", sep, $1, $2; sep = ", " }'; }
row() { printf '%-16s %-23s %-9s %8s %8s %8s %7s  %s\n' "$@" | tee -a "$table"; }

row workload faults verdict ok refused unknown leaders 'times in force, or why; folder'
invalid=0 failed=0 unknown=0
for workload in ${WORKLOADS:-$("$judge" --list)}; do
    for faults in "$@"; do
        say=$out/last-run.txt
        if [ "$faults" = calm ]; then with=(); else with=(--faults "$faults"); fi
        "$judge" --workload "$workload" "${with[@]}" --seconds "$seconds" --fault-ms 2000 --seed "${SEED:-1}" \
            --assentd "$build/node/assentd" --out "$out" >"$say" 2>&1 &
        running=$!
        wait "$running"
        status=$?
        running=
        dir=$(sed -n 's/^  .* changes of leader; //p' "$say")
        case $status in
            0) word=valid ;;
            1) word=INVALID ;;
            2) word=unknown unknown=1 ;;
            *) word=FAILED failed=1 ;;
        esac
        case $workload:$faults:$word in
            *-stale:*:INVALID) word=as-hoped ;;
            *-stale:*partition*:valid) word=MISSED failed=1 ;;
        esac
        [ $word != INVALID ] || invalid=1
        if [ -n "$dir" ] && [ -f "$dir/results.json" ]; then
            why=$(sed -n 's/^  "why": "\(.*\)",$/\1/p' "$dir/results.json")
            row "$workload" "$faults" $word "$(number ok "$dir")" "$(number refused "$dir")" "$(number unknown "$dir")" \
                "$(number leaderChanges "$dir")" "${why:+$why; }$(forced "$dir"); $dir"
        else
            row "$workload" "$faults" $word - - - - "$(tail -n 1 "$say")"
        fi
    done
done
rm -f "$out/last-run.txt"
echo "written to $table"
[ $invalid = 0 ] || exit 1
[ $failed = 0 ] || exit 3
[ $unknown = 0 ] || exit 2
