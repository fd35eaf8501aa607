// Draws RUN (times in microseconds): an overview to drag in, one row per class of faults, one lane per worker or node.
(function () {
  const EVENT = 0, ASKED = 1, TOOK = 2, PROCESS = 3, NODE = 4, END = 5, F = 6, KEY = 7, VALUE = 8, ANSWER = 9, ERROR = 10;
  const OK = 1, REFUSED = 2, UNKNOWN = 3, WORDS = ["", "ok", "refused", "unknown"];
  const GUTTER = 96, AXIS = 22, ROW = 17, LANE = 20, BAR = 14;
  const $ = (id) => document.getElementById(id);
  const chart = $("chart"), overview = $("overview"), tip = $("tip");
  const named = new Set(RUN.named);
  const classes = RUN.classes.map(([name, colour]) => ({ name, colour }));
  const ops = RUN.ops;
  for (const o of ops) o.till = o[TOOK] < 0 ? RUN.to : o[ASKED] + o[TOOK];
  let from = RUN.from, to = RUN.to, lanes = [], colours = {}, width = 0, chosen = null;

  // A worker whose operation ends unknown goes on as another process: a new process takes the lane that lost its own.
  function byWorker() {
    const lane = new Map(), free = [];
    lanes = [];
    for (const o of ops) {
      if (!lane.has(o[PROCESS])) {
        let at = free.findIndex((f) => f.at <= o[ASKED]);
        if (at >= 0) at = free.splice(at, 1)[0].lane;
        else { at = lanes.length; lanes.push({ name: "worker " + (at + 1) }); }
        lane.set(o[PROCESS], at);
      }
      o.lane = lane.get(o[PROCESS]);
      if (o[END] === UNKNOWN && o[TOOK] >= 0) free.push({ lane: o.lane, at: o.till });
    }
  }

  // As many lanes per node as it had operations open at once.
  function byNode() {
    const groups = new Map();
    for (const o of ops) {
      if (!groups.has(o[NODE])) groups.set(o[NODE], { ends: [], ops: [] });
      const g = groups.get(o[NODE]);
      let at = g.ends.findIndex((end) => end <= o[ASKED]);
      if (at < 0) at = g.ends.length;
      g.ends[at] = o.till;
      o.lane = at;
      g.ops.push(o);
    }
    lanes = [];
    for (const name of [...groups.keys()].sort()) {
      const g = groups.get(name), first = lanes.length;
      for (const o of g.ops) o.lane += first;
      g.ends.forEach((_, i) => lanes.push({ name: i === 0 ? name : "", head: i === 0 }));
    }
  }

  const top = () => AXIS + classes.length * ROW + 8;
  const x = (us) => GUTTER + (us - from) / (to - from) * (width - GUTTER - 8);
  const us = (px) => from + (px - GUTTER) / (width - GUTTER - 8) * (to - from);
  const seconds = (t, digits) => (t / 1e6).toFixed(digits) + " s";

  function readColours() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["page", "text", "soft", "line", "card", "ok", "refused", "unknown", "bad", "onok"])
      colours[name] = style.getPropertyValue("--" + name).trim();
    colours.ends = ["", colours.ok, colours.refused, colours.unknown];
    $("legend").innerHTML = [OK, REFUSED, UNKNOWN].map((end) => '<span class="swatch" style="background:' +
      colours.ends[end] + '"></span>' + WORDS[end]).join(" &nbsp; ") +
      (named.size ? " &nbsp; <b>&#9660;</b> named by the verdict" : "");
  }

  function surface(canvas, height) {
    const ratio = window.devicePixelRatio || 1;
    width = document.body.clientWidth - 2 * parseFloat(getComputedStyle(document.body).paddingLeft);
    canvas.style.width = width + "px";
    canvas.style.height = height + "px";
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const c = canvas.getContext("2d");
    c.scale(ratio, ratio);
    c.font = "12px system-ui, 'DejaVu Sans', sans-serif";
    c.textBaseline = "middle";
    return c;
  }

  function drawAxis(c, height) {
    const step = [1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8].flatMap((s) => [s, 2 * s, 5 * s])
      .find((s) => (to - from) / s <= width / 110) || 1e9;
    const digits = Math.max(0, 6 - Math.floor(Math.log10(step)));
    for (let t = Math.ceil(from / step) * step; t <= to; t += step) {
      c.fillStyle = colours.line;
      c.fillRect(x(t), AXIS - 4, 1, height);
      c.fillStyle = colours.soft;
      c.fillText(seconds(t, digits), x(t) + 3, 10);
    }
  }

  function drawFaults(c, height) {
    classes.forEach((k, i) => {
      c.fillStyle = colours.soft;
      c.fillText(k.name, 4, AXIS + i * ROW + ROW / 2, GUTTER - 10);
    });
    for (const [a, b, k, text] of RUN.faults) {
      if (b < from || a > to) continue;
      const left = Math.max(x(a), GUTTER), w = Math.max(x(Math.min(b, to)) - left, 1), y = AXIS + k * ROW;
      c.fillStyle = classes[k].colour;
      c.globalAlpha = 0.22;
      c.fillRect(left, y, w, height - y);
      c.globalAlpha = 1;
      c.fillRect(left, y + 1, w, ROW - 3);
      if (w > 24) {
        c.save();
        c.beginPath(); c.rect(left, y, w - 3, ROW); c.clip();
        c.fillStyle = "#111";
        c.fillText(text, left + 4, y + ROW / 2);
        c.restore();
      }
    }
  }

  function label(o) {
    return o[F] + (o[KEY] ? " " + o[KEY] : "") + (o[ANSWER] || o[VALUE] ? " " + (o[ANSWER] || o[VALUE]) : "");
  }

  function drawOp(c, o, only) {
    const left = Math.max(x(o[ASKED]), GUTTER), right = Math.max(x(Math.min(o.till, to)), left + 1.5);
    const y = top() + o.lane * LANE + 3, w = right - left, dim = only && o[KEY] !== only;
    c.globalAlpha = dim ? 0.12 : 1;
    c.fillStyle = colours.ends[o[END]];
    if (o[END] === OK) c.fillRect(left, y, w, BAR);
    else if (o[END] === REFUSED) {
      c.globalAlpha = dim ? 0.05 : 0.3;
      c.fillRect(left, y, w, BAR);
      c.globalAlpha = dim ? 0.12 : 1;
      c.fillRect(left, y + BAR - 4, w, 4);
    } else {
      c.globalAlpha = dim ? 0.08 : 0.45;
      c.fillRect(left, y, w, BAR);
      c.globalAlpha = dim ? 0.12 : 1;
      c.strokeStyle = colours.unknown;
      c.lineWidth = 1.5;
      c.strokeRect(left + 0.75, y + 0.75, Math.max(w - 1.5, 0.5), BAR - 1.5);
    }
    if (w > 46 && !dim) {
      c.save();
      c.beginPath(); c.rect(left, y, w - 3, BAR); c.clip();
      c.fillStyle = o[END] === OK ? colours.onok : colours.text;
      c.fillText(label(o), left + 4, y + BAR / 2 + 0.5);
      c.restore();
    }
    if (named.has(o[EVENT]) || o === chosen) {
      c.strokeStyle = named.has(o[EVENT]) ? colours.bad : colours.text;
      c.lineWidth = 2;
      c.strokeRect(left - 1, y - 1, w + 2, BAR + 2);
      c.fillStyle = c.strokeStyle;
      c.beginPath(); c.moveTo(left - 5, y - 8); c.lineTo(left + 5, y - 8); c.lineTo(left, y - 1); c.fill();
    }
    c.globalAlpha = 1;
  }

  function draw() {
    const height = top() + lanes.length * LANE + 6, c = surface(chart, height), only = $("key").value.trim();
    c.fillStyle = colours.page;
    c.fillRect(0, 0, width, height);
    drawAxis(c, height);
    drawFaults(c, height);
    lanes.forEach((lane, i) => {
      c.fillStyle = colours.line;
      if (lane.head !== false) c.fillRect(0, top() + i * LANE - 1, width, 1);
      c.fillStyle = colours.text;
      c.fillText(lane.name, 4, top() + i * LANE + LANE / 2, GUTTER - 10);
    });
    const special = [];
    for (const o of ops) {
      if (o.till < from || o[ASKED] > to) continue;
      if (o[END] === OK && !named.has(o[EVENT]) && o !== chosen) drawOp(c, o, only);
      else special.push(o);
    }
    for (const o of special) drawOp(c, o, only);
    drawOverview();
  }

  const place = (t) => GUTTER + (t - RUN.from) / (RUN.to - RUN.from) * (width - GUTTER - 8); // as the whole chart

  function drawOverview() {
    const height = 56, c = surface(overview, height), n = Math.max(1, Math.floor((width - GUTTER - 8) / 3));
    const counts = Array.from({ length: n }, () => [0, 0, 0, 0]);
    let most = 1;
    for (const o of ops) {
      const k = counts[Math.min(n - 1, Math.floor((o[ASKED] - RUN.from) / (RUN.to - RUN.from) * n))];
      k[o[END]]++;
      most = Math.max(most, k[1] + k[2] + k[3]);
    }
    c.fillStyle = colours.card;
    c.fillRect(GUTTER, 0, width - GUTTER - 8, height);
    c.fillStyle = colours.soft;
    c.fillText("overview", 4, height / 2);
    for (const [a, b, k] of RUN.faults) {
      c.fillStyle = classes[k].colour;
      c.globalAlpha = 0.55;
      const left = place(Math.max(a, RUN.from)), right = place(Math.min(b, RUN.to));
      if (right >= left) c.fillRect(left, 0, Math.max(1, right - left), height);
    }
    c.globalAlpha = 1;
    const step = (width - GUTTER - 8) / n;
    counts.forEach((k, i) => {
      let y = height;
      for (const end of [OK, REFUSED, UNKNOWN]) {
        const h = k[end] ? Math.max(1, k[end] / most * (height - 6)) : 0;
        c.fillStyle = colours.ends[end];
        c.fillRect(GUTTER + i * step, y - h, Math.max(1, step - 0.5), h);
        y -= h;
      }
    });
    c.strokeStyle = colours.text;
    c.lineWidth = 2;
    c.strokeRect(place(from) + 1, 1, Math.max(4, place(to) - place(from) - 2), height - 2);
  }

  function show(a, b) {
    const span = Math.min(Math.max(b - a, 50), RUN.to - RUN.from);
    from = Math.min(Math.max(a, RUN.from), RUN.to - span);
    to = from + span;
    requestAnimationFrame(draw);
  }
  function zoom(factor, around) { show(around - (around - from) * factor, around + (to - around) * factor); }
  const move = (part) => show(from + (to - from) * part, to + (to - from) * part);

  function under(event) {
    const box = chart.getBoundingClientRect(), px = event.clientX - box.left, py = event.clientY - box.top;
    const lane = Math.floor((py - top()) / LANE);
    let best = null, distance = 5;
    if (py < top()) {
      const k = Math.floor((py - AXIS) / ROW), t = us(px);
      return { fault: RUN.faults.find((f) => f[2] === k && f[0] <= t && t <= f[1]) };
    }
    for (const o of ops) {
      if (o.lane !== lane || o.till < from || o[ASKED] > to) continue;
      const d = Math.max(x(o[ASKED]) - px, px - x(o.till), 0);
      if (d < distance) { distance = d; best = o; }
    }
    return { op: best };
  }

  function describe(o) {
    const took = o[TOOK] < 0 ? "never answered" : (o[TOOK] / 1e3).toFixed(3) + " ms";
    return "#" + o[EVENT] + "  " + o[F] + (o[KEY] ? "  key " + o[KEY] : "") + "\nasked     " + (o[VALUE] || "-") +
      "\nanswer    " + (o[ANSWER] || "-") + "\nended     " + WORDS[o[END]] + (o[ERROR] ? " (" + o[ERROR] + ")" : "") +
      "\nat        " + seconds(o[ASKED], 6) + ", took " + took + "\nprocess   " + o[PROCESS] + " at " + (o[NODE] || "?");
  }

  let drag = null;
  chart.addEventListener("mousemove", (event) => {
    if (drag) { move((drag - event.clientX) / (width - GUTTER)); drag = event.clientX; return; }
    const { op, fault } = under(event);
    tip.hidden = !op && !fault;
    if (tip.hidden) return;
    tip.textContent = op ? describe(op) : classes[fault[2]].name + ": " + fault[3] + "\n" + seconds(fault[0], 3) + " to " +
      seconds(fault[1], 3);
    tip.style.left = Math.min(event.pageX + 14, document.body.scrollWidth - tip.offsetWidth - 8) + "px";
    tip.style.top = event.pageY + 16 + "px";
  });
  chart.addEventListener("mouseleave", () => { tip.hidden = true; });
  chart.addEventListener("mousedown", (event) => { drag = event.clientX; event.preventDefault(); });
  window.addEventListener("mouseup", () => { drag = null; });
  chart.addEventListener("click", (event) => {
    const { op, fault } = under(event);
    if (fault) show(fault[0] - 0.2 * (fault[1] - fault[0]), fault[1] + 0.2 * (fault[1] - fault[0]));
    if (op) choose(op);
  });
  chart.addEventListener("dblclick", (event) => {
    const { op } = under(event);
    $("key").value = op && $("key").value !== op[KEY] ? op[KEY] : "";
    draw();
  });
  chart.addEventListener("wheel", (event) => {
    event.preventDefault();
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) move((event.deltaX || event.deltaY) / 1500);
    else zoom(event.deltaY > 0 ? 1.25 : 0.8, us(event.clientX - chart.getBoundingClientRect().left));
  }, { passive: false });
  let brush = false;
  const pick = (event) => {
    const px = event.clientX - overview.getBoundingClientRect().left - GUTTER;
    const t = RUN.from + px / (width - GUTTER - 8) * (RUN.to - RUN.from);
    const span = to - from < (RUN.to - RUN.from) * 0.95 ? to - from : (RUN.to - RUN.from) / 12;
    show(t - span / 2, t + span / 2);
  };
  overview.addEventListener("mousedown", (event) => { brush = true; pick(event); event.preventDefault(); });
  window.addEventListener("mousemove", (event) => { if (brush) pick(event); });
  window.addEventListener("mouseup", () => { brush = false; });

  function choose(o) {
    chosen = o;
    $("detail").textContent = describe(o);
    draw();
  }
  const middle = () => (from + to) / 2;
  $("in").onclick = () => zoom(0.5, middle());
  $("out").onclick = () => zoom(2, middle());
  $("left").onclick = () => move(-0.5);
  $("right").onclick = () => move(0.5);
  $("all").onclick = () => show(RUN.from, RUN.to);
  $("key").oninput = draw;
  $("lanes").onchange = () => { ($("lanes").value === "node" ? byNode : byWorker)(); draw(); };
  document.addEventListener("keydown", (event) => {
    const keys = { "+": () => zoom(0.5, middle()), "-": () => zoom(2, middle()), "0": () => show(RUN.from, RUN.to),
      ArrowLeft: () => move(-0.25), ArrowRight: () => move(0.25) };
    if (event.target.tagName !== "INPUT" && event.target.tagName !== "SELECT" && keys[event.key]) {
      keys[event.key]();
      event.preventDefault();
    }
  });
  for (const row of document.querySelectorAll("tr[data-from]"))
    row.onclick = () => {
      const a = +row.dataset.from, b = +row.dataset.to;
      show(a - 0.3 * (b - a), b + 0.3 * (b - a));
      chart.scrollIntoView({ block: "nearest" });
    };

  // #op=12 shows that operation, #s=3.5-4 that time, &lanes=node groups.
  function follow() {
    const want = new URLSearchParams(location.hash.slice(1)), span = (want.get("s") || "").split("-").map(Number);
    $("lanes").value = want.get("lanes") === "node" ? "node" : "worker";
    ($("lanes").value === "node" ? byNode : byWorker)();
    if (want.get("key")) $("key").value = want.get("key");
    const o = ops.find((op) => op[EVENT] === Number(want.get("op") || NaN));
    if (o) {
      const wide = Math.max(4 * (o.till - o[ASKED]), 10000);
      choose(o);
      show(o[ASKED] - wide, o.till + wide);
    } else if (span.length === 2 && span[1] > span[0]) show(span[0] * 1e6, span[1] * 1e6);
    else draw();
  }
  document.head.insertAdjacentHTML("beforeend", "<style>canvas{display:block;margin:.3em 0}#chart{cursor:crosshair}" +
    "#tip{position:absolute;white-space:pre-wrap;max-width:46em;background:var(--card);color:var(--text);border:1px solid " +
    "var(--soft);border-radius:4px;padding:.4em .7em;font:12px/1.45 ui-monospace,'DejaVu Sans Mono',monospace;" +
    "pointer-events:none;overflow-wrap:anywhere;z-index:2}#tip[hidden]{display:none}.bar>*{margin-right:.3em}</style>");
  readColours();
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); draw(); });
  window.addEventListener("resize", draw);
  window.addEventListener("hashchange", follow);
  follow();
})();
