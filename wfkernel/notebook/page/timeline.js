// The steps in the order they first ran, each with its attempts on a common axis of time. A long time in which nothing ran
// (a run suspended overnight) is folded away, or the work would be a hair at either end.

const LINE_HEIGHT = 26;
const FOLDED = 0.04;

/** A function from moments to 0..1, and the folds as [from, seconds left out]. */
function timeScale(spans, now) {
  const busy = [];
  for (const [from, to] of spans.map((a) => [a[2], a[3] ?? now]).sort((a, b) => a[0] - b[0])) {
    const last = busy.at(-1);
    if (last && from <= last[1]) last[1] = Math.max(last[1], to);
    else busy.push([from, to]);
  }
  const start = busy[0]?.[0] ?? 0;
  const work = busy.reduce((sum, [from, to]) => sum + to - from, 0) || 1e-6;
  const pieces = []; // [from, to, at, width], width in seconds of drawing
  const folds = [];
  let at = 0;
  busy.forEach(([from, to], i) => {
    if (i) {
      const idle = from - busy[i - 1][1];
      const width = idle > work * 0.5 ? work * FOLDED : idle;
      if (width !== idle) folds.push([busy[i - 1][1], idle]);
      pieces.push([busy[i - 1][1], from, at, width]);
      at += width;
    }
    pieces.push([from, to, at, to - from]);
    at += to - from;
  });
  const all = at || 1e-6;
  const scale = (moment) => {
    const piece = pieces.find(([, to]) => moment <= to) ?? pieces.at(-1);
    if (!piece) return 0;
    const [from, to, x, width] = piece;
    return Math.min(1, (x + (to > from ? ((moment - from) / (to - from)) * width : 0)) / all);
  };
  return { scale, folds, total: all, start };
}

function timelinePane(run, choose) {
  const axis = el("div", { class: "wf-axis" });
  const list = windowed(LINE_HEIGHT, { role: "list", "aria-label": "Steps and their attempts" }, draw);
  const node = el("div", { class: "wf-timeline" }, axis, list.node);
  let rows = [];
  let time = null;
  let selected = null;

  function draw(i) {
    const { step, spans } = rows[i];
    const status = shownStatus(step);
    const bars = el("span", { class: "wf-bars" });
    for (const [, number, from, to, outcome] of spans) {
      const left = time.scale(from);
      const bar = el("span", { class: "wf-span", title: `attempt ${number || "–"}: ${outcome}, ${seconds((to ?? run.now) - from)}` });
      bar.dataset.status = outcome;
      bar.style.left = `${left * 100}%`;
      bar.style.width = `max(3px, ${(time.scale(to ?? run.now) - left) * 100}%)`;
      bars.append(bar);
    }
    const { done, total } = step.progress ?? {};
    const counted = step.progress && status === "running" ? `${done}${total ? ` / ${total}` : ""} ${step.progress.label ?? ""}` : "";
    const waits = step.waits_for.length ? `waits for ${step.waits_for.join(", ")}` : "";
    const words = [statusWords(step), counted, waits].filter(Boolean).join(" · ");
    const row = el(
      "button",
      { type: "button", class: "wf-span-row", role: "listitem", "aria-pressed": step.path === selected, onclick: () => choose(step.path), title: `${step.path}: ${words}` },
      el("span", { class: "wf-icon", "aria-hidden": "true" }, ICONS[status]),
      el("span", { class: "wf-span-name", style: `padding-left:${depthOf(step.path) * 12}px` }, step.path),
      el("span", { class: "wf-span-words" }, words), bars,
      el("span", { class: "wf-time" }, seconds(run.took(step))),
    );
    row.dataset.status = status;
    return row;
  }

  return {
    node,
    update() {
      if (!node.isConnected || node.closest("[hidden]")) return;
      const spans = new Map();
      for (const a of run.attempts.values()) spans.set(a[0], [...(spans.get(a[0]) ?? []), a]);
      time = timeScale([...run.attempts.values()], run.now);
      const begun = (step) => spans.get(step.path)?.[0][2] ?? Infinity;
      // What is inside a step stands beneath it.
      const order = [...run.steps.values()].map((step) => ({ step, spans: spans.get(step.path) ?? [] }));
      if (run.head.mode !== "interactive") order.sort((a, b) => begun(a.step) - begun(b.step));
      const tops = new Map();
      for (const row of order) {
        const top = row.step.path.split(/[.[]/)[0];
        tops.set(top, [...(tops.get(top) ?? []), row]);
      }
      rows = [...tops.values()].flat();
      const folded = time.folds.length ? ` (${time.folds.map(([, idle]) => seconds(idle)).join(", ")} of waiting folded away)` : "";
      axis.textContent = spans.size ? `${seconds(time.total)}${folded}` : "";
      const held = document.activeElement?.closest(".wf-span-row")?.title.split(":")[0];
      list.node.style.height = `${Math.min(rows.length * LINE_HEIGHT + 2, 340)}px`;
      list.update(rows.length);
      if (held && list.node.isConnected && !document.activeElement?.closest(".wf-span-row")) {
        const at = [...list.node.querySelectorAll(".wf-span-row")].find((one) => one.title.split(":")[0] === held);
        at?.focus({ preventScroll: true });
      }
    },
    select: (path) => (selected = path),
  };
}
