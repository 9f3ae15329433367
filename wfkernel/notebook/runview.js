// The live view of a run (`RunView` in runview.py): draws the trait `view`, asks for answers, and goes on.
//
// The page is kept and only what changed is written into it, so that an update, ten times a second, touches neither
// what somebody is typing nor where they have scrolled to. `form.js` and `control.js` stand before this
// file in the same module.

const ICONS = {
  pending: "○", running: "●", waiting: "…", suspended: "❚❚", paused: "❚❚",
  success: "✓", restored: "↺", failed: "✗", tripwire: "⚠", canceled: "⊘", skipped: "↷",
};

function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
  if (node.hidden === !!text) node.hidden = !text;
}

function seconds(value) {
  if (value == null) return "";
  if (value < 9.95) return `${value.toFixed(value < 1 ? 2 : 1)} s`;
  const whole = Math.round(value);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

const given = ({ run_id, params }) =>
  [`run ${run_id}`, ...Object.entries(params).map(([k, v]) => `${k} = ${JSON.stringify(v)}`)].join(" · ");

// Run the cell with this id and all cells below it, as the notebook's own "Run Selected Cell and All Below" does, and
// return whether there was a notebook that took it. JupyterLab and Notebook 7 run the command named by a clicked
// element's `data-commandlinker-command`; they mark the click as handled, which is how anything else is told apart.
// The command works on the active cell, and the cell that has the focus is the active one. If the notebook is not
// trusted, JupyterLab asks before it runs anything.
function runCellsFrom(model, el_, cellId) {
  const cells = model.widget_manager?.context?.model?.cells;
  const notebook = el_.closest(".jp-Notebook");
  if (!cells || !notebook || !cellId) return false;
  const index = [...cells].findIndex((cell) => cell.id === cellId);
  const cell = notebook.querySelector(`.jp-Cell[data-windowed-list-index="${index}"]`);
  if (!cell) return false;
  const link = el("span", { "data-commandlinker-command": "notebook:run-all-below", hidden: true });
  el_.append(link);
  cell.focus({ preventScroll: true });
  const handled = !link.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true }));
  link.remove();
  // The command makes the last cell the active one; whoever answered wants to see this one go on.
  if (handled) setTimeout(() => document.querySelector(".jp-Dialog") || cell.focus(), 100);
  return handled;
}

const keyOf = ({ index, schema, message, payload }) => JSON.stringify([index, schema, message, payload]);

/** The question of a suspended step: message, payload, form. */
function question(suspension, submit) {
  const form = buildForm(suspension.schema);
  const button = el("button", { type: "submit", class: "wf-resume" }, "Resume");
  const general = el("p", { class: "wf-note", role: "status", hidden: true });
  const inputs = el("fieldset", { class: "wf-plain" }, form.node, button);
  const node = el("form", { class: "wf-question", novalidate: true }, inputs, general);
  const { message, payload } = suspension;
  if (payload !== null) {
    const flat = payload.constructor === Object && Object.values(payload).every((v) => typeof v !== "object");
    const rows = flat && Object.entries(payload).flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, String(v))]);
    node.prepend(flat ? el("dl", {}, ...rows) : el("pre", {}, JSON.stringify(payload, null, 2)));
  }
  if (message) node.prepend(el("p", { class: "wf-message" }, message));
  let refused = "";
  node.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { data, problems } = form.read();
    form.show(problems);
    if (problems.length) return form.focusProblem();
    inputs.disabled = true;
    const late = setTimeout(() => say(general, "waiting for the kernel, which is busy or gone"), 2000);
    const reply = await submit(data);
    clearTimeout(late);
    say(general, "");
    if (reply.ok) return;
    inputs.disabled = false;
    form.show(reply.problems ?? []);
    form.focusProblem();
  });
  return {
    node,
    key: keyOf(suspension),
    /** Problems of an answer given elsewhere; said once, so that they do not come back while they are put right. */
    refuse(problems) {
      const now = JSON.stringify(problems);
      if (now !== refused && !inputs.disabled) form.show(problems);
      refused = now;
    },
  };
}

/** One step of the list. `update` writes what changed. */
function stepRow(model, el_, path) {
  const part = (tag, className, attributes = {}) => el(tag, { class: className, hidden: true, ...attributes });
  const icon = el("span", { class: "wf-icon", "aria-hidden": "true" });
  const status = el("span", { class: "wf-status" });
  const time = el("span", { class: "wf-time" });
  const line = el("div", { class: "wf-line" }, icon, el("span", { class: "wf-name" }, path), status, time);
  const waits = part("p", "wf-hint");
  const bar = el("progress", { "aria-label": `Progress of ${path}` });
  const counted = el("span");
  const progress = part("div", "wf-progress");
  progress.append(bar, counted);
  const error = part("p", "wf-error", { role: "alert" });
  const summary = el("summary", { onclick: () => (touched = true) });
  const lines = el("pre", { tabindex: 0, "aria-label": `Log of ${path}` });
  const log = part("details", "wf-log");
  log.append(summary, lines);
  const note = part("p", "wf-note", { role: "status" });
  const node = el("li", { class: "wf-step" }, line, waits, progress, error, log, note);
  let touched = false;
  let asking = null;

  const answer = async (data) => {
    const reply = await ask(model, { op: "resume", step: path, data });
    if (!reply.ok) return reply;
    say(note, reply.message || "The answer is saved. The step goes on when its cell runs.");
    if (!runCellsFrom(model, el_, reply.cell_id || model.get("cell_id"))) {
      const went = await ask(model, { op: "continue", step: path });
      say(note, went.message || (went.problems ?? []).map(([, problem]) => problem).join("; "));
    }
    return reply;
  };

  function update(step, elapsed) {
    const shown = step.restored && step.status === "success" ? "restored" : step.status;
    if (shown === "running" && node.dataset.status !== shown) say(note, "");
    node.dataset.status = shown;
    say(icon, ICONS[shown]);
    say(status, step.attempt > 1 ? `${shown}, attempt ${step.attempt}` : shown);
    const took = shown === "restored" ? step.restored_in : step.duration;
    say(time, seconds(took == null ? null : took + (step.status === "running" ? elapsed : 0)));
    say(waits, step.waits_for.length ? `waits for ${step.waits_for.join(", ")}` : "");
    const { done, total, label } = step.progress ?? {};
    progress.hidden = !step.progress || step.status === "success";
    bar.hidden = !total;
    if (total) [bar.max, bar.value] = [total, done];
    say(counted, step.progress ? `${done}${total ? ` / ${total}` : ""} ${label}` : "");
    say(error, step.error ? [step.error.type, step.error.message].filter(Boolean).join(": ") : "");
    say(summary, step.log.length ? `log (${step.log.length})` : "");
    log.hidden = !step.log.length;
    if (!touched) log.open = step.status !== "success";
    const text = step.log.join("\n");
    if (lines.textContent !== text) {
      const following = lines.scrollHeight - lines.scrollTop - lines.clientHeight < 4;
      lines.textContent = text;
      if (following) lines.scrollTop = lines.scrollHeight;
    }
    const s = step.suspension;
    if (asking && (!s || asking.key !== keyOf(s))) {
      asking.node.remove();
      asking = null;
    }
    if (s && !asking) {
      say(note, "");
      asking = question(s, answer);
      node.append(asking.node);
    }
    asking?.refuse(s.problems);
  }
  return { node, update };
}

function render({ model, el: el_ }) {
  const icon = el("span", { class: "wf-icon", "aria-hidden": "true" });
  const name = el("span", { class: "wf-name" });
  const status = el("span", { class: "wf-status", role: "status" });
  const time = el("span", { class: "wf-time" });
  const params = el("p", { class: "wf-hint" });
  const error = el("p", { class: "wf-error", role: "alert", hidden: true });
  const head = el("header", {}, el("div", { class: "wf-line" }, icon, name, status, time), params, error);
  const steps = el("ol");
  // Keys typed here are not the notebook's shortcuts.
  const root = el("section", { class: "wf-run", "aria-label": "workflow run" }, head, steps);
  root.dataset.lmSuppressShortcuts = "true";
  el_.append(root);
  const rows = new Map();
  let received = 0;

  function draw() {
    const view = model.get("view");
    const focus = model.get("focus");
    const elapsed = (performance.now() - received) / 1000;
    const all = view.steps;
    head.hidden = !!focus;
    head.dataset.status = view.status;
    say(icon, ICONS[view.status]);
    say(name, view.workflow);
    const done = all.filter((step) => step.status === "success").length;
    say(status, `${view.status}, ${done} of ${all.length} steps done`);
    say(time, seconds(view.duration == null ? null : view.duration + (view.status === "running" ? elapsed : 0)));
    say(params, given(view));
    const told = all.some((step) => step.error);
    say(error, view.error && !told ? `${view.error.type}: ${view.error.message}` : "");
    const wanted = all.filter((step) => !focus || step.path === focus);
    const paths = new Set(wanted.map((step) => step.path));
    for (const [path, row] of rows) {
      if (paths.has(path)) continue;
      row.node.remove();
      rows.delete(path);
    }
    wanted.forEach((step, i) => {
      if (!rows.has(step.path)) rows.set(step.path, stepRow(model, el_, step.path));
      const row = rows.get(step.path);
      // Moving a node would take the focus out of it.
      if (steps.children[i] !== row.node) steps.insertBefore(row.node, steps.children[i] ?? null);
      row.update(step, elapsed);
    });
  }
  const fresh = () => {
    received = performance.now();
    draw();
  };
  fresh();
  model.on("change:view", fresh);
  model.on("change:focus", draw);
  const clock = setInterval(() => model.get("view").status === "running" && draw(), 1000);
  return () => {
    clearInterval(clock);
    model.off("change:view", fresh);
    model.off("change:focus", draw);
  };
}

export default { render };
