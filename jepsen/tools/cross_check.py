#!/usr/bin/env python3
"""A verdict on register histories by a solver nobody here wrote (z3, difference logic).

    cross_check.py history.jsonl    prints "true" or "false" per key; exit 0 all true, 1 some false, 77 no z3

Each operation takes effect at an integer moment strictly between its call and its return; one without an answer may
take effect after its call or never.  A read sees the last write before it.  For histories of up to about 150 operations
per key: an oracle for doubtful cases, not a gate.
"""
import json
import sys

try:
    import z3
except ImportError:
    print("z3 is not installed (python3-z3)", file=sys.stderr)
    sys.exit(77)


def operations(path):
    """(key, f, value, found, call, return or None) of all that constrains something.  Moments are 2 * rank."""
    with open(path, encoding="utf-8") as lines:
        events = [json.loads(line) for line in lines if line.strip()]
    order = sorted(range(len(events)), key=lambda i: (events[i]["time"], events[i]["type"] != "invoke", i))
    rank = {event: place for place, event in enumerate(order)}
    open_calls, found = {}, []
    for i, event in enumerate(events):
        if event["process"] == "nemesis":
            continue
        if event["type"] == "invoke":
            open_calls[event["process"]] = i
            continue
        found.append((open_calls.pop(event["process"]), i))
    found += [(call, None) for call in open_calls.values()]
    for call, end in found:
        ask = events[call]
        answer = events[end] if end is not None else {"type": "info", "value": ask["value"]}
        f, kind = ask["f"], answer["type"]
        if kind == "fail" or (f == "read" and kind != "ok"):
            continue
        last = rank[end] if kind == "ok" else None
        yield json.dumps(ask.get("key")), f, answer["value"] if kind == "ok" else ask["value"], rank[call], last


def linearizable(ops, horizon):
    solver = z3.Solver()
    moments, happened, written, read = [], [], [], []
    for number, (_, f, value, call, end) in enumerate(ops):
        t = z3.Int(f"t{number}")
        occurs = z3.BoolVal(True) if end is not None else z3.Bool(f"o{number}")
        # Ranks times 10^4 leave room for every operation between two events.
        solver.add(t > call * 10000, t < (end if end is not None else horizon) * 10000)
        moments.append(t)
        happened.append(occurs)
        written.append(value if f == "write" else value[1] if f == "cas" else None)
        read.append(value if f == "read" else value[0] if f == "cas" else None)
    solver.add(z3.Distinct(moments) if len(moments) > 1 else True)
    writers = [w for w in range(len(ops)) if written[w] is not None]
    for r in range(len(ops)):
        if read[r] is None:
            continue
        sources = []
        for w in writers:
            if w != r and written[w] == read[r]:
                others = [z3.Or(z3.Not(happened[u]), moments[u] < moments[w], moments[u] > moments[r])
                          for u in writers if u not in (w, r)]
                sources.append(z3.And(happened[w], moments[w] < moments[r], *others))
        if read[r] == 0:
            sources.append(z3.And([z3.Or(z3.Not(happened[u]), moments[u] > moments[r]) for u in writers if u != r]))
        solver.add(z3.Implies(happened[r], z3.Or(sources)))
    return solver.check() == z3.sat


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    keys = {}
    for op in operations(sys.argv[1]):
        keys.setdefault(op[0], []).append(op)
    horizon = 1 + sum(len(ops) for ops in keys.values()) * 4 + max((op[3] for ops in keys.values() for op in ops), default=0)
    wrong = 0
    for key, ops in keys.items():
        verdict = linearizable(ops, horizon)
        wrong += not verdict
        print(f"{'true' if verdict else 'false'}\t{key}\t{len(ops)} operations")
    sys.exit(1 if wrong else 0)


main()
