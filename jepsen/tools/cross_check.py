#!/usr/bin/env python3
"""A verdict on register histories by a solver nobody here wrote (z3, difference logic).

    cross_check.py [--model NAME] [--most N] [--wgl HIST2] HISTORY...

HISTORY is a history.jsonl or a run's folder.  A line for each key: true or false, the key, its operations, seconds.
With --wgl the verdict of our own engine (build/release/jepsen/tools/hist2) stands beside it, and a difference is an error.
--model: register, cas-register (the same here) or versioned; without it, by the values.  Keys of more than N (150)
operations are skipped, and counted: this is an oracle for doubtful cases, not a gate.

Exit: 0 all are true (with --wgl: all agree), 1 some are false (some differ), 2 nothing was checked, 77 no z3.

Each operation takes effect at a moment strictly between its call and its return; one without an answer may take effect
after its call or never.  A read sees the last write before it.
"""
import argparse
import json
import os
import subprocess
import sys
import time

try:
    import z3
except ImportError:
    print("z3 is not installed (python3-z3): there is no cross-check", file=sys.stderr)
    sys.exit(77)


class Op:
    """What constrains something: it finds `read` and leaves `written` (None: it does neither)."""

    def __init__(self, f, ask, answer, call, end, mismatch):
        self.call, self.end = call, end
        self.avoids = ask[0] if mismatch else None
        self.read = answer if f == "read" else ask[0] if f == "cas" and not mismatch else None
        self.written = ask if f == "write" else ask[1] if f == "cas" and not mismatch else None
        self.version = None


def load(path):
    with open(os.path.join(path, "history.jsonl") if os.path.isdir(path) else path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def model_of(events):
    for event in events:
        if event["type"] == "ok" and event["f"] in ("read", "write"):
            return "versioned" if isinstance(event["value"], list) else "cas-register"
    return "cas-register"


def operations(events, versioned):
    """key -> [Op].  Moments are ranks; of equal times calls come first."""
    order = sorted(range(len(events)), key=lambda i: (events[i]["time"], events[i]["type"] != "invoke", i))
    rank = {event: place for place, event in enumerate(order)}
    open_calls, found, keys = {}, [], {}
    for i, event in enumerate(events):
        if event["process"] == "nemesis":
            continue
        if event["type"] == "invoke":
            open_calls[event["process"]] = i
        else:
            found.append((open_calls.pop(event["process"]), i))
    found += [(call, None) for call in open_calls.values()]
    for call, end in sorted(found):
        ask, answer = events[call], events[end] if end is not None else None
        f, kind = ask["f"], answer["type"] if answer else "info"
        if f not in ("read", "write", "cas"):
            raise ValueError(f"{f} is no operation of a register")
        mismatch = kind == "fail" and f == "cas" and answer.get("error") == "mismatch"
        if (kind == "fail" and not mismatch) or (f == "read" and kind != "ok"):
            continue
        value = answer["value"] if kind == "ok" else None
        op = Op(f, ask["value"], value, rank[call], rank[end] if kind in ("ok", "fail") else None, mismatch)
        if versioned and kind == "ok":
            op.version = value[-1]
            op.read = value[0] if f == "read" else op.read
        keys.setdefault(json.dumps(ask.get("key"), separators=(",", ":")), []).append(op)
    return keys


def linearizable(ops, versioned):
    solver = z3.Solver()
    horizon = 1 + max(max(op.call, op.end or 0) for op in ops)
    room = 2 * len(ops) + 2  # moments between two events
    t, occurs, version = [], [], []
    for i, op in enumerate(ops):
        t.append(z3.Int(f"t{i}"))
        occurs.append(z3.BoolVal(True) if op.end is not None else z3.Bool(f"o{i}"))
        solver.add(t[i] > op.call * room, t[i] < (op.end if op.end is not None else horizon) * room)
        version.append(z3.IntVal(op.version) if op.version is not None else z3.Int(f"v{i}"))
    writers = [i for i, op in enumerate(ops) if op.written is not None]
    first = z3.Int("first")  # the version before all writes, which nobody knows
    if versioned:
        solver.add(first >= 0)
        for i in writers:
            solver.add(z3.Implies(occurs[i], version[i] > first))
            for j in writers:
                if j < i:
                    both = z3.And(occurs[i], occurs[j])
                    solver.add(z3.Implies(both, z3.And(version[i] != version[j], t[i] != t[j])))
                    solver.add(z3.Implies(both, (t[i] < t[j]) == (version[i] < version[j])))

    def last_before(i, w):
        """`w` (None: nobody) wrote what is there at t[i]."""
        no_other = [z3.Or(z3.Not(occurs[u]), t[u] > t[i], t[u] < t[w] if w is not None else False)
                    for u in writers if u not in (w, i)]
        return z3.And(no_other + ([occurs[w], t[w] < t[i]] if w is not None else []))

    for i, op in enumerate(ops):
        if op.read is None and op.avoids is None:
            continue
        sources = []
        for w in [None] + [w for w in writers if w != i]:
            value = 0 if w is None else ops[w].written
            if value == op.read if op.read is not None else value != op.avoids:
                same = op.written is not None or op.version is None
                same = True if same else (first if w is None else version[w]) == op.version
                sources.append(z3.And(last_before(i, w), same))
        solver.add(z3.Implies(occurs[i], z3.Or(sources)))
    return solver.check() == z3.sat


def our_verdicts(hist2, model, path):
    run = subprocess.run([hist2, "check", model, path, "--parts"], capture_output=True, text=True, check=False)
    if run.returncode == 3:
        raise ValueError(run.stderr.strip())
    return {key: verdict for verdict, key, _ in (line.split("\t") for line in run.stdout.splitlines())}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--model", choices=["register", "cas-register", "versioned"])
    parser.add_argument("--most", type=int, default=150)
    parser.add_argument("--wgl")
    parser.add_argument("histories", nargs="+")
    want = parser.parse_args()
    said, skipped, differ, slowest, begun = {True: 0, False: 0}, 0, 0, 0.0, time.monotonic()
    for path in want.histories:
        events = load(path)
        model = want.model or model_of(events)
        ours = our_verdicts(want.wgl, model, path) if want.wgl else {}
        for key, ops in operations(events, model == "versioned").items():
            if len(ops) > want.most:
                skipped += 1
                continue
            start = time.monotonic()
            verdict = linearizable(ops, model == "versioned")
            took = time.monotonic() - start
            slowest = max(slowest, took)
            said[verdict] += 1
            word = "true" if verdict else "false"
            # A key of which nothing constrains anything has no line of ours.
            other = ours.get(key, "true") if want.wgl else word
            differ += other != word
            if len(want.histories) < 20 or other != word:
                print(f"{word}\t{key}\t{len(ops)} operations\t{took:.2f} s{f'	wgl says {other}: {path}' if other != word else ''}")
    print(f"{said[True]} valid, {said[False]} invalid, {skipped} skipped as too long; slowest {slowest:.2f} s, "
          f"all {time.monotonic() - begun:.1f} s" + (f"; {differ} differ from wgl" if want.wgl else ""))
    if said[True] + said[False] == 0:
        sys.exit(2)
    sys.exit(1 if (differ if want.wgl else said[False]) else 0)


main()
