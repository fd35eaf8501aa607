#!/bin/bash
# Every workload under every given list of faults, some runs at a time; a table of what came out.
#
#     matrix.sh BUILD OUT SECONDS FAULTS...      FAULTS: names joined by commas, or `calm`
#
# WORKLOADS="decide tso", SEED=7 and JOBS=4 (runs at a time) choose.  Workloads that end in -stale or -unfrozen are
# controls: the first must be judged invalid under a partition, the second always, and a judge that does not see it has
# failed.  Exit: 1 when any is invalid, else 3 when the judge failed, else 2 when any is unknown, else 0.
set -u
[ $# -ge 4 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 3; }
build=$1 out=$2 seconds=$3
shift 3
judge=$build/jepsen/harness/assent-jepsen
table=$out/summary-$(date +%Y%m%d-%H%M%S).txt
parts=$(mktemp -d)
mkdir -p "$out"
declare -A running=() # process id of a run -> its number
trap 'trap "" INT TERM; kill -TERM "${!running[@]}" 2>/dev/null; wait; rm -rf "$parts"; exit 130' INT TERM

number() { sed -n "s/^  \"$1\": \\([0-9]*\\),\\{0,1\\}\$/\\1/p" "$2/results.json"; }
forced() { tr -d '\n' <"$1/results.json" | grep -o '"[a-z]*": *{ *"inForce": *[0-9]*' | sed 's/"\([a-z]*\)".*: */\1 /' |
    awk '{ printf "%s%s %s", sep, $1, $2; sep = ", " }'; }
row() { printf '%-16s %-23s %-9s %8s %8s %8s %9s %7s  %s\n' "$@" | tee -a "$table"; }

invalid=0 failed=0 unknown=0 ended=0
report() { # number of a run, its exit status
    local workload=${workloads[$1]} faults=${lists[$1]} dir word why said=$parts/$1
    dir=$(sed -n 's/^  .* changes of leader; //p' "$said")
    case $2 in
        0) word=valid ;;
        1) word=INVALID ;;
        2) word=unknown unknown=1 ;;
        *) word=FAILED failed=1 ;;
    esac
    case $workload:$faults:$word in
        *-stale:*:INVALID | *-unfrozen:*:INVALID) word=as-hoped ;;
        *-stale:*partition*:valid | *-unfrozen:*:valid) word=MISSED failed=1 ;;
    esac
    [ $word != INVALID ] || invalid=1
    ended=$((ended + 1))
    if [ -n "$dir" ] && [ -f "$dir/results.json" ]; then
        why=$(sed -n 's/^  "why": "\(.*\)",$/\1/p' "$dir/results.json")
        row "$workload" "$faults" $word "$(number ok "$dir")" "$(number refused "$dir")" "$(number unknown "$dir")" \
            "$(number undecided "$dir")" "$(number leaderChanges "$dir")" "${why:+$why; }$(forced "$dir"); $dir"
    else
        row "$workload" "$faults" $word - - - - - "$(tail -n 1 "$said")"
    fi
}
take_one() { # wait until one of the runs has ended
    local pid status=0
    wait -n -p pid "${!running[@]}" || status=$?
    report "${running[$pid]}" $status
    unset "running[$pid]"
}

workloads=() lists=()
all=$("$judge" --list)
if [ -z "${WORKLOADS:-}" ] && { ! compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || [ ! -x /usr/sbin/mariadbd ]; }; then
    all=$(grep -vx xa <<<"$all")
    echo "xa is left out: it needs the packages postgresql and mariadb-server-core" >&2
fi
for workload in ${WORKLOADS:-$all}; do
    for faults in "$@"; do
        workloads+=("$workload") lists+=("$faults")
    done
done
echo "${#workloads[@]} runs of $seconds s, ${JOBS:-1} at a time"
row workload faults verdict ok refused unknown undecided leaders 'times in force, or why; folder'
for i in "${!workloads[@]}"; do
    [ ${#running[@]} -lt "${JOBS:-1}" ] || take_one
    if [ "${lists[$i]}" = calm ]; then with=(); else with=(--faults "${lists[$i]}"); fi
    "$judge" --workload "${workloads[$i]}" "${with[@]}" --seconds "$seconds" --fault-ms 2000 --rate "${RATE:-100}" \
        --seed $((${SEED:-1} + i)) --assentd "$build/node/assentd" --out "$out" >"$parts/$i" 2>&1 &
    running[$!]=$i
done
while [ ${#running[@]} -gt 0 ]; do take_one; done
rm -rf "$parts"
echo "$ended runs; written to $table"
[ $invalid = 0 ] || exit 1
[ $failed = 0 ] || exit 3
[ $unknown = 0 ] || exit 2
