#!/bin/bash
# A judge that is interrupted or killed in the middle of a run leaves nothing behind: no node, no strace, no loop
# device, no mount, no network namespace.
#
#     cleanup.sh JUDGE ASSENTD
#
# Looks for exactly what the run had made.  Exit 77: not possible here (it says why).
set -u
judge=$1 assentd=$2
out=$(mktemp -d)
wait_s=20

fail() { echo "cleanup: $*" >&2; exit 1; }
children_of() { cat /proc/"$1"/task/*/children 2>/dev/null; }
# A process and when it started: the number alone may be given again.
born() { awk '{ sub(/.*\) /, ""); print $20 }' /proc/"$1"/stat 2>/dev/null; }
lives() { [ -n "$1" ] && [ "$(born "${1%:*}")" = "${1#*:}" ]; }
word_of() { tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null | awk '{ n = split($1, p, "/"); print p[n] }'; }

# What the run has made, into nodes, tracers, loops, spaces; false: not everything is there yet.
collect() {
    nodes=() tracers=() loops=() spaces=()
    local child block
    for child in $(children_of "$pid"); do
        case $(word_of "$child") in
            assentd) nodes+=("$child:$(born "$child")") spaces+=("$(readlink "/proc/$child/ns/net")") ;;
            strace) tracers+=("$child:$(born "$child")") ;;
        esac
    done
    spaces+=("$(readlink "/proc/$pid/ns/net")" "$(readlink "/proc/$pid/ns/mnt")")
    for block in /sys/block/loop*; do
        grep -qs "$out" "$block/loop/backing_file" && loops+=("$block")
    done
    [ ${#nodes[@]} -ge 2 ] && [ ${#tracers[@]} -ge 1 ] && [ ${#loops[@]} = 3 ]
}

left_over() {
    local one block space
    for one in "${nodes[@]}" "${tracers[@]}" "$pid:$pid_born"; do
        ! lives "$one" || { echo "process ${one%:*} ($(word_of "${one%:*}"))"; return 0; }
    done
    for block in "${loops[@]}"; do
        ! grep -qs "$out" "$block/loop/backing_file" || { echo "loop device $block"; return 0; }
    done
    ! grep -qs "$out" /proc/[0-9]*/mountinfo || { echo "a mount below $out"; return 0; }
    for space in "${spaces[@]}"; do
        [ -z "$(find /proc/[0-9]*/ns /proc/[0-9]*/fd -maxdepth 1 -lname "$space" 2>/dev/null)" ] ||
            { echo "namespace $space"; return 0; }
    done
    return 1
}

once() { # name of a signal
    local tries what
    "$judge" --workload tso --faults slow:stall,partition,power,pause --at-once 3 --seconds 120 --fault-ms 8000 \
        --rate 50 --assentd "$assentd" --out "$out" >"$out/said" 2>&1 &
    pid=$!
    pid_born=$(born $pid)
    for ((tries = 0; tries < 900; tries++)); do
        if ! lives "$pid:$pid_born"; then
            wait $pid
            if grep -qE 'cannot be made here|need a mount namespace|is missing|cannot be mounted on a loop' "$out/said"; then
                tail -n 1 "$out/said"
                exit 77
            fi
            cat "$out/said" >&2
            fail "the run ended before anything could be interrupted"
        fi
        # Not during the self-checks: those are over when the run has said its folder.
        ! grep -q "^$out/tso-" "$out/said" || ! collect || break
        sleep 0.1
    done
    [ $tries -lt 900 ] || fail "no run with nodes, disks and a tracer within 90 s"
    kill -"$1" $pid
    wait $pid 2>/dev/null
    for ((tries = 0; tries < wait_s * 10; tries++)); do
        what=$(left_over) || { echo "$1: ${#nodes[@]} nodes, ${#tracers[@]} tracers, ${#loops[@]} loop devices," \
            "${#spaces[@]} namespaces: all gone"; return; }
        sleep 0.1
    done
    fail "$wait_s s after SIG$1 there still is $what"
}

[ "$(id -u)" = 0 ] || { echo "network namespaces cannot be made here: not root"; exit 77; }
pid='' pid_born=''
nodes=() tracers=()
tidy() { # what a failed test found is not left either
    local one
    for one in "$pid:$pid_born" "${nodes[@]}" "${tracers[@]}"; do
        [ "$one" = : ] || ! lives "$one" || kill -KILL "${one%:*}"
    done
    rm -rf "$out"
}
trap tidy EXIT
once INT
once KILL
once TERM
