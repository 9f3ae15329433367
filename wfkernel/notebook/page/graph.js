// The plan as a graph. Python placed the boxes (`plan/placing.py`); here they are drawn once, and then only what changed is
// written into them. A nested workflow opens as a level of its own, with the way back above it.

const SVG = "http://www.w3.org/2000/svg";
function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
const WIDTH = { step: 172, nested: 172, loop: 172, foreach: 172, map: 116, sleep: 116, branch: 116 };
const HEIGHT = 46;
const KINDS = { nested: "workflow", loop: "loop", foreach: "for each", branch: "branch", map: "map", sleep: "sleep" };
const cut = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

function curve(points) {
  const [first, ...rest] = points;
  let path = `M${first}`;
  let [x, y] = first;
  for (const [u, v] of rest) {
    const half = (u - x) / 2;
    path += `C${x + half},${y} ${u - half},${v} ${u},${v}`;
    [x, y] = [u, v];
  }
  return path;
}

/** The graph; `choose(path)` is told which step was selected. */
function graphPane(run, choose) {
  const canvas = el("div", { class: "wf-canvas" });
  const trail = el("nav", { class: "wf-trail", "aria-label": "Opened workflows" });
  const zoomed = (by) => () => ((scale = by ? Math.min(1.6, Math.max(0.08, scale * by)) : fit()), resize(), (own = !!by));
  const tool = (label, text, by) => el("button", { type: "button", class: "wf-plain-button", "aria-label": label, title: label, onclick: zoomed(by) }, text);
  const tools = el("div", { class: "wf-tools" }, tool("Smaller", "−", 0.8), tool("Fit", "⤢", 0), tool("Larger", "+", 1.25));
  const node = el("div", { class: "wf-graph" }, el("div", { class: "wf-bar" }, trail, tools), canvas);
  const tipName = unique("wf-tip"); // an arrow head that belongs to a hidden graph is not drawn in this one
  let inside = []; // levels opened: {level, label, item}
  let drawn = null;
  let boxes = [];
  let arrows = [];
  let picture = null;
  let scale = 1;
  let own = false; // the person chose the scale or the place
  let selected = null;
  let followed = null;

  const levelName = () => inside.at(-1)?.level ?? "";
  /** The path in the run of a path in the chart: the items of a foreach have numbers. */
  const pathIn = (path) => inside.reduce((at, { item }) => (item == null ? at : at.replace("[].", `[${item}].`)), path);
  const level = () => run.chart[levelName()] ?? { boxes: [], arrows: [], at: [], size: [0, 0], via: {} };
  const fit = () => Math.min(1, (canvas.clientWidth - 20) / (level().size[0] || 1), 420 / (level().size[1] || 1));

  function resize() {
    if (!picture) return;
    const [w, h] = level().size;
    picture.setAttribute("width", (w + 16) * scale);
    picture.setAttribute("height", (h + 16) * scale);
    node.classList.toggle("wf-far", scale < 0.5);
  }

  function open(box) {
    const path = pathIn(box.path);
    let item = null;
    if (box.opens.endsWith("[].")) {
      const items = [...run.steps.keys()].filter((one) => one.startsWith(`${path}[`) && one.endsWith("]") && !one.slice(path.length + 1).includes("["));
      const busy = items.find((one) => run.steps.get(one).status === "running") ?? items.at(-1) ?? `${path}[0]`;
      item = Number(busy.slice(path.length + 1, -1));
    }
    inside.push({ level: box.opens, label: box.label, item, path });
    own = false;
    update();
    boxes[0]?.node.focus();
  }

  let trailed = "";
  function drawTrail() {
    const now = JSON.stringify([inside, inside.some(({ item }) => item != null) && run.steps.size]);
    if (now === trailed) return;
    trailed = now;
    const step = (label, depth) =>
      el("button", { type: "button", class: "wf-link", onclick: () => ((inside = inside.slice(0, depth)), (own = false), update()) }, label);
    const parts = inside.length ? [step(run.head.workflow, 0)] : [];
    inside.forEach(({ label, item, path }, i) => {
      parts.push(" › ", i < inside.length - 1 ? step(label, i + 1) : el("strong", {}, label));
      if (item == null) return;
      const count = [...run.steps.keys()].filter((one) => one.startsWith(`${path}[`) && !one.slice(path.length + 1, -1).includes("]")).length;
      const pick = el("select", { "aria-label": `Item of ${label}` });
      for (let n = 0; n < Math.max(count, item + 1); n++) pick.append(el("option", { value: n }, `item ${n + 1}`));
      pick.value = item;
      pick.addEventListener("change", () => ((inside[i].item = Number(pick.value)), refresh()));
      parts.push(" ", pick);
    });
    trail.replaceChildren(...parts);
  }

  function makeBox(box, i, [x, y]) {
    const w = WIDTH[box.kind];
    const icon = svg("text", { x: 18, y: 20, class: "wf-box-icon", "text-anchor": "middle", "aria-hidden": "true" });
    const name = svg("text", { x: 34, y: 20, class: "wf-box-name" }, cut(box.label, Math.floor((w - 44) / 7.1)));
    const detail = svg("text", { x: 34, y: 36, class: "wf-box-detail" });
    const bar = svg("rect", { x: 1, y: HEIGHT - 4, height: 3, rx: 1.5, class: "wf-box-bar" });
    const shape = svg("rect", { width: w, height: HEIGHT, rx: ["map", "sleep", "branch"].includes(box.kind) ? 23 : 7, class: "wf-box-shape" });
    const g = svg("g", { class: "wf-box", role: "button", tabindex: i ? -1 : 0, transform: `translate(${x + 8},${y + 8})` });
    const hint = svg("title");
    if (box.kind === "foreach" || box.kind === "loop") g.append(svg("rect", { x: 4, y: -4, width: w - 4, height: HEIGHT, rx: 7, class: "wf-box-shape wf-box-behind" }));
    g.append(shape, icon, name, detail, bar, hint);
    if (box.opens) {
      const opener = svg("g", { class: "wf-box-open", transform: `translate(${w - 22},${HEIGHT / 2 - 9})` }, svg("rect", { width: 18, height: 18, rx: 4 }), svg("path", { d: "M7 5l4 4-4 4" }));
      opener.addEventListener("click", (event) => (event.stopPropagation(), open(box)));
      g.append(opener);
    }
    g.dataset.kind = box.kind;
    g.addEventListener("click", () => choose(pathIn(box.path)));
    g.addEventListener("dblclick", () => box.opens && open(box));
    g.addEventListener("keydown", (event) => key(event, i));
    return { box, node: g, icon, detail, bar, hint, w, shown: "" };
  }

  /** Arrow keys follow the arrows; Enter selects, O opens, Escape goes back. */
  function key(event, i) {
    const { arrows: lines, at } = level();
    let to = -1;
    if (event.key === "ArrowRight") to = lines.find(([a]) => a === i)?.[1] ?? -1;
    else if (event.key === "ArrowLeft") to = lines.find(([, b]) => b === i)?.[0] ?? -1;
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const way = event.key === "ArrowDown" ? 1 : -1;
      const far = (n) => (at[n][1] - at[i][1]) * way + Math.abs(at[n][0] - at[i][0]) * 2;
      to = at.map((_, n) => n).filter((n) => (at[n][1] - at[i][1]) * way > 0).sort((a, b) => far(a) - far(b))[0] ?? -1;
    } else if (event.key === "Home") to = 0;
    else if (event.key === "End") to = boxes.length - 1;
    else if (event.key === "Enter" || event.key === " ") choose(pathIn(boxes[i].box.path));
    else if (event.key.toLowerCase() === "o" && boxes[i].box.opens) open(boxes[i].box);
    else if (event.key === "Escape" && inside.length) (inside.pop(), (own = false), update());
    else return;
    event.preventDefault();
    event.stopPropagation();
    if (to < 0) return;
    boxes[i].node.setAttribute("tabindex", -1);
    boxes[to].node.setAttribute("tabindex", 0);
    boxes[to].node.focus();
  }

  function draw() {
    const { boxes: all, arrows: lines, at, size, via } = level();
    boxes = all.map((box, i) => makeBox(box, i, at[i]));
    arrows = lines.map(([a, b, words], n) => {
      const from = [at[a][0] + WIDTH[all[a].kind] + 8, at[a][1] + HEIGHT / 2 + 8];
      const to = [at[b][0] + 2, at[b][1] + HEIGHT / 2 + 8];
      const middle = (via[n] ?? []).map(([x, y]) => [x + 8, y + 8]);
      return { node: svg("path", { d: curve([from, ...middle, to]), class: "wf-arrow", "marker-end": `url(#${tipName})` }), from: all[a], to: all[b], words };
    });
    const tip = svg("marker", { id: tipName, viewBox: "0 0 8 8", refX: 6, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" }, svg("path", { d: "M0 0L8 4L0 8z", class: "wf-tip" }));
    picture = svg("svg", { viewBox: `0 0 ${size[0] + 16} ${size[1] + 16}`, role: "group", "aria-label": `Plan of ${inside.at(-1)?.label ?? run.head.workflow}: ${all.length} steps` });
    picture.append(svg("defs", {}, tip), ...arrows.map((arrow) => arrow.node), ...boxes.map((box) => box.node));
    canvas.replaceChildren(picture);
    canvas.hidden = !all.length;
    const fitting = fit();
    scale = fitting >= 0.7 ? fitting : 0.9;
    followed = null;
    resize();
  }

  function detailOf(box, step, status) {
    if (!step) return KINDS[box.kind] ?? "";
    const { done, total } = step.progress ?? {};
    const parts = [];
    if (box.kind === "loop" && step.iteration) parts.push(`round ${step.iteration}`);
    if (step.progress && (status === "running" || box.kind === "foreach")) parts.push(total ? `${done} / ${total}` : `${done}`);
    if (box.kind === "branch") parts.push((run.head.arms[step.path] ?? []).join(", "));
    if (step.attempt > 1) parts.push(`attempt ${step.attempt}`);
    const took = seconds(run.took(step));
    if (took) parts.push(took);
    return parts.filter(Boolean).join(" · ") || (status === "pending" ? KINDS[box.kind] ?? "" : status);
  }

  /** What a box stands for in the run; a branch has no step of its own, only a decision. */
  function stateOf(box) {
    const path = pathIn(box.path);
    const step = run.steps.get(path);
    if (step) return [step, shownStatus(step)];
    const chosen = run.head.arms[path];
    if (box.kind === "branch" && chosen) return [{ path, attempt: 0, status: "success" }, "success"];
    return [undefined, unchosen(box) ? "skipped" : "pending"];
  }
  const unchosen = (box) =>
    arrows.some(({ from, to, words }) => to === box && from.kind === "branch" && run.head.arms[pathIn(from.path)] && !run.head.arms[pathIn(from.path)].includes(words));

  function refresh() {
    let running = null;
    let stopped = null; // where a run that rests waits for somebody
    for (const one of boxes) {
      const [step, status] = stateOf(one.box);
      const detail = detailOf(one.box, step, status);
      const { done, total } = step?.progress ?? {};
      const part = status === "running" && total ? Math.min(1, done / total) : 0;
      const path = pathIn(one.box.path);
      if (status === "running") running ??= one;
      if (["suspended", "failed", "tripwire"].includes(status)) stopped ??= one;
      const now = [status, detail, part, path === selected].join();
      if (now === one.shown) continue;
      one.shown = now;
      one.node.dataset.status = status;
      one.icon.textContent = ICONS[status];
      one.detail.textContent = cut(detail, Math.floor((one.w - 40) / 6));
      one.bar.setAttribute("width", part * (one.w - 2));
      one.hint.textContent = `${path}\n${status}${detail ? `\n${detail}` : ""}`;
      one.node.setAttribute("aria-label", `${KINDS[one.box.kind] ?? "step"} ${one.box.label}, ${status}${detail ? `, ${detail}` : ""}`);
      one.node.setAttribute("aria-pressed", path === selected);
    }
    for (const { node: line, from, to } of arrows) {
      const reached = stateOf(to)[1];
      const state = reached === "skipped" || stateOf(from)[1] === "skipped" ? "skipped" : reached === "pending" ? "" : "taken";
      if (line.dataset.state !== state) line.dataset.state = state;
    }
    const present = running ?? stopped;
    if (present && present !== followed && !own) {
      const [x, y] = level().at[boxes.indexOf(present)];
      canvas.scrollTo({ left: x * scale - canvas.clientWidth / 2 + 90, top: y * scale - canvas.clientHeight / 2 + 30, behavior: followed ? "smooth" : "auto" });
    }
    followed = present ?? followed;
  }

  function update() {
    if (!node.isConnected || node.closest("[hidden]") || !canvas.parentNode.clientWidth) return;
    if (inside.length && !run.chart[levelName()]) inside = [];
    const now = `${run.version} ${levelName()} ${canvas.clientWidth > 0}`;
    if (now !== drawn) {
      drawn = now;
      draw();
    }
    drawTrail();
    tools.hidden = boxes.length < 2;
    refresh();
  }

  // Drag to move; a drag is not a click.
  let held = null;
  canvas.addEventListener("pointerdown", (event) => (held = event.button ? null : [event.clientX, event.clientY, canvas.scrollLeft, canvas.scrollTop]));
  canvas.addEventListener("pointermove", (event) => {
    if (!held) return;
    const [x, y, left, top] = held;
    if (Math.abs(event.clientX - x) + Math.abs(event.clientY - y) < 4) return;
    own = true;
    canvas.scrollLeft = left - event.clientX + x;
    canvas.scrollTop = top - event.clientY + y;
  });
  for (const end of ["pointerup", "pointerleave"]) canvas.addEventListener(end, () => (held = null));
  canvas.addEventListener("wheel", () => (own = true), { passive: true });
  new ResizeObserver(() => update()).observe(node);
  return { node, update, select: (path) => ((selected = path), refresh()), opens: (path) => boxes.find(({ box }) => pathIn(box.path) === path && box.opens), open: (path) => open(boxes.find(({ box }) => pathIn(box.path) === path).box) };
}
