#!/usr/bin/env python3
"""check_pages.py FOLDER...: the pages of runs are well formed, complete and need nothing from elsewhere.

Looks at what a reader needs: every fault class of the history named in both pages, every operation in the timeline, every
picture there and drawn, every link leading somewhere, the verdict's text, findings for an invalid run.  Without gnuplot
the page must say so instead.  Exit 1: a sentence says what is wrong.
"""
import json
import os
import re
import shutil
import struct
import sys
import xml.etree.ElementTree
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "input", "link", "hr"}
PLOTS = ["faults.png", "rate.png", "latency-quantiles.png", "latency-raw.png"]


class Page(HTMLParser):
    """Every element closed in order; scripts, links and text apart."""

    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        self.path, self.open, self.links, self.text, self.scripts = path, [], [], [], []
        with open(path, encoding="utf-8") as f:
            self.feed(f.read())
        self.close()
        assert not self.open, f"{path}: {self.open} not closed"

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        assert len(dict(attrs)) == len(attrs), f"{self.path}: an attribute of {tag} twice"
        self.links += [value for name, value in attrs if name in ("href", "src")]
        if tag == "script":
            assert not attrs, f"{self.path}: a script from elsewhere"
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"{self.path}: {tag} closed inside {self.open[-1:]} at {self.getpos()}"
        self.open.pop()

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            self.scripts[-1] += data
        elif self.open[-1:] != ["style"]:
            self.text.append(data)


def picture(path):
    with open(path, "rb") as f:
        head = f.read(24)
    assert head[:8] == b"\x89PNG\r\n\x1a\n", f"{path} is no PNG"
    width, height = struct.unpack(">II", head[16:24])
    assert width >= 1000 and height >= 100 and os.path.getsize(path) > 3000, f"{path} is empty"


def timeline_data(page):
    data = next(s for s in page.scripts if "const RUN=" in s)
    found = re.fullmatch(r"\s*const RUN=\{from:(\d+),to:(\d+),nodes:\d+,\nclasses:(.*),\nfaults:(.*),\nnamed:(.*),\n"
                         r"ops:(.*)\};\s*", data, re.S)
    assert found, f"{page.path}: its data cannot be read"
    return [json.loads(part) for part in found.groups()[2:]]


def check_links(folder, page):
    for link in page.links:
        assert not re.match(r"[a-z]+:|//", link), f"{page.path}: {link} is elsewhere"
        name = link.split("#")[0]
        assert os.path.exists(os.path.join(folder, name)), f"{page.path}: {link} leads nowhere"


def check_timeline(folder, events, classes, named):
    pages = sorted(name for name in os.listdir(folder) if re.fullmatch(r"timeline(-\d+)?\.html", name))
    shown = []
    for name in pages:
        page = Page(os.path.join(folder, name))
        check_links(folder, page)
        text = " ".join(page.text)
        names, faults, marks, ops = timeline_data(page)
        shown += [op[0] for op in ops]
        for c in classes:
            assert c in [n for n, _ in names] and c in text, f"{page.path}: {c} is not named"
        assert set(marks) == named, f"{page.path}: marks {marks}, not {sorted(named)}"
        assert len(faults) == sum(e["process"] == "nemesis" and e["f"] in classes and e["value"] != "end" for e in events)
    asked = [e["index"] for e in events if e["type"] == "invoke" and e["process"] != "nemesis"]
    assert sorted(shown) == asked, f"{folder}: {len(shown)} of {len(asked)} operations in the timeline"


def check(folder):
    with open(os.path.join(folder, "history.jsonl"), encoding="utf-8") as f:
        events = [json.loads(line) for line in f if line.strip()]
    with open(os.path.join(folder, "results.json"), encoding="utf-8") as f:
        results = json.load(f)
    classes = {e["f"] for e in events if e["process"] == "nemesis" and e["value"] == "end"}
    index = Page(os.path.join(folder, "index.html"))
    check_links(folder, index)
    text = " ".join(index.text)
    assert results["why"] in text, f"{index.path}: it does not say why"
    for c in classes | {e["f"] for e in events if e["process"] != "nemesis"}:
        assert c in text, f"{index.path}: {c} is not named"
    wanted = PLOTS + (["clock-skew.png"] if "clock" in classes else [])
    for plot in wanted if shutil.which("gnuplot") else []:
        picture(os.path.join(folder, plot))
        assert plot in index.links, f"{index.path} does not show {plot}"
    assert shutil.which("gnuplot") or "gnuplot is not installed" in text, f"{index.path}: plots missing without a word"
    by_process, invoke = {}, {}
    for e in events:
        if e["type"] == "invoke":
            by_process[e["process"]] = e["index"]
        invoke[e["index"]] = by_process.get(e["process"])
    named = {invoke[int(n)] for n in re.findall(r"#(\d+)", results["why"])}
    check_timeline(folder, events, classes, named)
    with open(os.path.join(folder, "history.txt"), encoding="utf-8") as f:
        assert len(f.readlines()) == len(events) + 1, f"{folder}/history.txt: a line for each event"
    findings = os.path.join(folder, "findings")
    files = [os.path.join(where, name) for where, _, names in os.walk(findings) for name in names]
    assert bool(files) == (results["valid"] == "false"), f"{folder}: findings of a run that is {results['valid']}"
    for path in files:
        assert os.path.getsize(path) > 0, f"{path} is empty"
        if path.endswith(".svg"):
            xml.etree.ElementTree.parse(path)


for run in sys.argv[1:]:
    try:
        check(run)
    except (AssertionError, OSError, ValueError, StopIteration, xml.etree.ElementTree.ParseError) as why:
        sys.exit(f"{run}: {why!r}")
print(f"{len(sys.argv) - 1} folders: pages are well formed and complete")
