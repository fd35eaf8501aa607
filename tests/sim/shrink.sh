#!/bin/sh
# A run that finds something is shrunk: fewer faults are left, and the file that was written shows the same kind of
# finding again, twice alike.  usage: shrink.sh PROGRAM FOLDER SEEDS [OPTION...]
#   PROGRAM: the simulator with guards that can be switched off (OPTION) and planted bugs (ASSENT_PLANTED)
#   SEEDS: to look through
set -u
program=$1 folder=$2 seeds=$3
shift 3
mkdir -p "$folder"
file=$folder/smaller.run

fail() {
    echo "$1" >&2
    exit 1
}

seed=1
while [ "$seed" -le "$seeds" ]; do
    "$program" --seeds 1 --from "$seed" "$@" >/dev/null 2>&1
    kind=$?
    [ "$kind" -ge 127 ] && break
    seed=$((seed + 1))
done
[ "$seed" -le "$seeds" ] || fail "nothing was found in $seeds seeds"

said=$("$program" --shrink "$seed" "$@" --within 60 --out "$file")
[ $? -eq "$kind" ] || fail "seed $seed: exit $kind, shrunk to another kind: $said"
echo "seed $seed: $said"
figure() { # of what was said: name, 1 before or 2 after
    echo "$said" | sed -n "s/.*, $1 \\([0-9]*\\) -> \\([0-9]*\\).*/\\$2/p"
}
before=$(figure faults 1) after=$(figure faults 2)
[ -n "$before" ] && [ "$after" -le "$before" ] || fail "no smaller: $before faults, then $after"
[ "$(figure 'milliseconds with faults' 2)" -lt "$(figure 'milliseconds with faults' 1)" ] || fail "no shorter"
[ "$(grep -c '^fault ' "$file")" -eq "$after" ] || fail "the file does not hold its $after faults"

for again in 1 2; do
    "$program" --replay "$file" --trace >"$folder/$again.out" 2>"$folder/$again.err"
    [ $? -eq "$kind" ] || fail "the shrunk run does not find the same kind again"
done
cmp "$folder/1.err" "$folder/2.err" || fail "two replays differ"
[ "$(wc -l <"$folder/1.err")" -gt 20 ] || fail "the trace is missing"
echo "seed $seed: $before faults became $after, and the file shows it again"
