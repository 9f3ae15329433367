// Lists of which only the rows in sight are in the page, and the log made of one.

/** A scrolling list of `count` rows of equal height; `draw(i)` makes a row. */
function windowed(height, attributes, draw) {
  const rows = el("div", { class: "wf-rows" });
  const space = el("div", { class: "wf-space" }, rows);
  const node = el("div", { class: "wf-window", tabindex: 0, ...attributes }, space);
  let count = 0;
  let shown = "";
  let frame = 0;
  function paint(again) {
    frame = 0;
    const first = Math.max(0, Math.floor(node.scrollTop / height) - 8);
    const last = Math.min(count, Math.ceil((node.scrollTop + (node.clientHeight || 300)) / height) + 8);
    if (!again && shown === `${first} ${last}`) return;
    shown = `${first} ${last}`;
    rows.style.transform = `translateY(${first * height}px)`;
    rows.replaceChildren(...Array.from({ length: last - first }, (_, i) => draw(first + i)));
  }
  node.addEventListener("scroll", () => (frame ||= requestAnimationFrame(() => paint(false))));
  return {
    node,
    /** There are `n` rows now; whoever was at the end stays there. */
    update(n) {
      const following = node.scrollHeight - node.scrollTop - node.clientHeight < height;
      count = n;
      space.style.height = `${n * height}px`;
      if (following && attributes.role === "log") node.scrollTop = n * height;
      paint(true);
    },
    show(i) {
      const at = i * height;
      if (at < node.scrollTop || at > node.scrollTop + node.clientHeight - height) node.scrollTop = at - node.clientHeight / 2;
      paint(true);
    },
  };
}

const ROW = 18;

/** The log of the run, or of one step, with a search. Lines are broken where the window ends. */
function logPane(run) {
  let only = null;
  let rows = [];
  let taken = -1; // lines of the run already broken into rows, counted from its first
  let lastLength = 0;
  let grown = 0;
  let columns = 0;
  let hits = [];
  let hit = -1;
  const id = unique("wf-log");
  const search = el("input", { type: "search", class: "wf-search", placeholder: "Search the log", "aria-label": "Search the log", "aria-controls": id });
  const found = el("span", { class: "wf-muted", role: "status" });
  const back = el("button", { type: "button", class: "wf-plain-button", "aria-label": "Previous match", onclick: () => go(-1) }, "↑");
  const next = el("button", { type: "button", class: "wf-plain-button", "aria-label": "Next match", onclick: () => go(1) }, "↓");
  const title = el("span", { class: "wf-muted" });
  const list = windowed(ROW, { role: "log", id, "aria-label": "Log", "aria-live": "off" }, draw);
  const node = el("div", { class: "wf-log" }, el("div", { class: "wf-bar" }, title, search, found, back, next), list.node);

  function draw(i) {
    const { line, text, first } = rows[i];
    const row = el("div", { class: "wf-row-log" });
    if (!only) row.append(el("span", { class: "wf-log-step", title: line.path }, first ? line.path : ""));
    const body = el("span", { class: line.data ? "wf-log-rich" : "" });
    const asked = search.value.toLowerCase();
    let at = 0;
    if (asked) {
      const low = text.toLowerCase();
      for (let p = low.indexOf(asked); p >= 0; p = low.indexOf(asked, at)) {
        body.append(text.slice(at, p), el("mark", { class: hits[hit] === i ? "wf-hit" : "" }, text.slice(p, p + asked.length)));
        at = p + asked.length;
      }
    }
    body.append(text.slice(at));
    row.append(body);
    return row;
  }

  function breakLine(line) {
    for (const [n, part] of line.text.replace(/\r+$/, "").split("\n").entries()) {
      for (let at = 0; at === 0 || at < part.length; at += columns) {
        rows.push({ line, text: part.slice(at, at + columns), first: n === 0 && at === 0 });
      }
    }
  }

  function find(from) {
    const asked = search.value.toLowerCase();
    if (!asked) hits = [];
    else for (let i = from; i < rows.length; i++) if (rows[i].text.toLowerCase().includes(asked)) hits.push(i);
    say(found, asked ? (hits.length ? `${hit + 1} of ${hits.length}` : "no match") : "");
    back.hidden = next.hidden = !hits.length;
  }

  function go(by) {
    if (!hits.length) return;
    hit = (hit + by + hits.length) % hits.length;
    find(rows.length);
    list.show(hits[hit]);
  }

  function update(again) {
    if (!node.isConnected || node.closest("[hidden]")) return;
    const wide = Math.max(20, Math.floor((list.node.clientWidth - (only ? 24 : 150)) / 7.25));
    const end = run.gone + run.lines.length;
    const whole = again || grown !== run.grown || wide !== columns || taken < run.gone || taken > end || rows.length > 3 * LOG_LIMIT;
    columns = wide;
    grown = run.grown;
    let from = whole ? run.gone : taken;
    let kept = whole ? 0 : rows.length;
    // The last line may have grown.
    if (!whole && rows.length && rows.at(-1).line.text.length !== lastLength) {
      const { line } = rows.at(-1);
      while (kept && rows[kept - 1].line === line) kept--;
      rows.length = kept;
      breakLine(line);
    }
    if (whole) rows = [];
    for (let i = from - run.gone; i < run.lines.length; i++) {
      if (!only || run.lines[i].path === only) breakLine(run.lines[i]);
    }
    taken = end;
    lastLength = rows.at(-1)?.line.text.length;
    hits = hits.filter((i) => i < kept);
    find(kept);
    say(title, rows.length ? "" : "Nothing has been written yet.");
    list.node.hidden = search.hidden = !rows.length;
    list.update(rows.length);
    if (search.value && hit < 0) go(1); // the first match has just arrived
  }

  search.addEventListener("input", () => {
    hits = [];
    hit = -1;
    find(0);
    list.update(rows.length);
    go(1);
  });
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter") go(event.shiftKey ? -1 : 1);
  });
  new ResizeObserver(() => update(false)).observe(node);
  return {
    node,
    update,
    /** Show the lines of this step alone, or of all for null. */
    only(path) {
      if (path !== only) {
        only = path;
        update(true);
      }
    },
  };
}
