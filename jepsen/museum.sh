#!/bin/bash
# The outside judge against nodes with one bug planted: each must be judged invalid within its budget of tries, and
# with nothing planted none may be.
#
#     museum.sh BUILD OUT [NAME...]        all of the table below, or those bugs (`quick`: the ones marked so)
#
# SEED=1 chooses where seeds begin, JOBS=2 how many runs go at a time.  A run that is not invalid is tried again with
# the next seed.  Exit: 0 as it must be, 1 a bug was not seen or a healthy node was judged invalid, 3 the judge failed.
set -u
[ $# -ge 2 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 3; }
build=$1 out=$2
shift 2
judge=$build/jepsen/harness/assent-jepsen node=$build/tests/assentd-museum
[ -x "$judge" ] && [ -x "$node" ] || { echo "build assent-jepsen and assentd-museum in $build first" >&2; exit 3; }
mkdir -p "$out"

# bug, workload, faults, seconds of a run, tries; then options of the judge
exhibits() {
    cat <<'TABLE'
nothing                 decide       kill              20  1 quick --loopback
nothing                 tso          power,clock       30  1 full
nothing                 saga-order   calm              20  1 quick --loopback
compensation-forward    saga-order   calm              15  2 quick --loopback
timeout-is-success      tcc          calm              20  3 full
answer-before-save      decide       calm              15  2 quick --loopback
only-tried-cancelled    tcc          kill              20  3 full
query-error-sends       message      kill              20  3 full
reply-not-kept          idempotency  kill              20  3 full
snapshot-without-keys   idempotency  kill              30  4 full
read-at-follower        register     calm              15  2 quick --loopback
tso-bound-not-kept      tso          kill,clock        40  4 full
freeze-let-go-early     append       calm              30  3 full
reply-before-sync       decide       power:all-running 40  3 full
replica-of-its-own      saga-order   kill:one          25  3 full
TABLE
}

seed=${SEED:-1}
dir=$(mktemp -d)
declare -A running=()
trap 'trap "" INT TERM; kill -TERM "${!running[@]}" 2>/dev/null; wait; rm -rf "$dir"; exit 130' INT TERM

# One exhibit: tries until it is invalid; writes its line and a status to files of its own.
judge_it() { # number bug workload faults seconds tries options...
    local number=$1 bug=$2 workload=$3 faults=$4 seconds=$5 tries=$6 try status=0 child=0 begun=$SECONDS word folder why with=()
    shift 6
    [ "$faults" = calm ] || with=(--faults "$faults")
    trap '[ $child = 0 ] || { kill -TERM $child; wait $child; }; exit 130' INT TERM
    for ((try = 1; try <= tries; try++)); do
        ASSENT_PLANTED=$bug "$judge" --workload "$workload" "${with[@]}" --seconds "$seconds" --fault-ms 2500 --rate 100 \
            --seed $((seed + try - 1)) --assentd "$node" --out "$out" "$@" >"$dir/said-$number" 2>&1 &
        child=$!
        wait $child
        status=$?
        child=0
        [ $status -ne 1 ] && [ "$bug" != nothing ] && [ $status -ne 3 ] && continue
        break
    done
    [ $try -le "$tries" ] || try=$tries
    case $bug:$status in
        nothing:0) word=healthy status=0 ;;
        nothing:3 | *:3) word=FAILED status=3 ;;
        nothing:*) word=WRONG status=1 ;;
        *:1) word=found status=0 ;;
        *) word=MISSED status=1 ;;
    esac
    folder=$(sed -n 's/^.* changes of leader; //p' "$dir/said-$number")
    why=$(sed -n 's/^  "why": "\(.*\)",$/\1/p' "$folder/results.json" 2>/dev/null)
    [ -n "$why" ] || [ $word = healthy ] || why=$(tail -n 1 "$dir/said-$number")
    printf '%-21s %-11s %-15s %-8s %d of %d %4d s  %s; %s\n' "$bug" "$workload" "$faults" $word "$try" "$tries" \
        $((SECONDS - begun)) "${why:0:120}" "$folder"
    exit $status
}

wanted() { # bug quick-or-full
    [ ${#names[@]} -gt 0 ] || return 0
    local name
    for name in "${names[@]}"; do
        [ "$name" = "$1" ] || { [ "$name" = quick ] && [ "$2" = quick ]; } && return 0
    done
    return 1
}

names=("$@") worst=0 number=0
take_one() {
    local pid status=0
    wait -n -p pid "${!running[@]}" || status=$?
    unset "running[$pid]"
    [ $status -le $worst ] || worst=$status
}
while read -r bug workload faults seconds tries kind options; do
    wanted "$bug" "$kind" || continue
    [ ${#running[@]} -lt "${JOBS:-2}" ] || take_one
    number=$((number + 1))
    # shellcheck disable=SC2086 # options are words
    judge_it $number "$bug" "$workload" "$faults" "$seconds" "$tries" $options </dev/null &
    running[$!]=$number
done < <(exhibits)
[ $number -gt 0 ] || { echo "no such exhibit: ${names[*]}" >&2; exit 3; }
while [ ${#running[@]} -gt 0 ]; do take_one; done
rm -rf "$dir"
exit $worst
